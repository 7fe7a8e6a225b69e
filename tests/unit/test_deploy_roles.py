"""The difference between a role as declared and as found, in statements."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

pytest.importorskip("pyinfra", reason="the deployment's tests need pyinfra: pip install '.[deploy]'")

from pyinfra.api import HiddenValue

from deploy.operations.cluster import scram
from deploy.operations.cluster.declared_roles import ATTRIBUTES, Role, role_changes

PASSWORD = "pässword 'quoted'"
VERIFIER = scram.verifier(PASSWORD)
ROLE = Role(
    "app",
    connection_limit=5,
    member_of=("readers",),
    settings={"lock_timeout": "10s"},
    password=HiddenValue(PASSWORD),
)
RIGHT: dict[str, Any] = {
    **dict.fromkeys(ATTRIBUTES, False),
    "inherit": True,
    "login": True,
    "connection_limit": 5,
    "valid_until": None,
    "password": {
        "iterations": 4096,
        "salt": VERIFIER.split("$")[1].split(":")[1],
        "fingerprint": hashlib.sha256(VERIFIER.encode()).hexdigest(),
    },
    "member_of": ["readers"],
    "administers": [],
    "settings": ["lock_timeout=10s"],
    "database_settings": [],
}


def changes(role: Role = ROLE, **found: Any) -> list[str]:
    """Return the statements for a role that is right but for this."""
    return list(role_changes(role, RIGHT | found))


def test_a_role_as_declared_needs_nothing() -> None:
    assert changes() == []


def test_a_role_that_is_not_there_is_created_whole() -> None:
    create, password, grant, setting = role_changes(ROLE, None)
    assert create == (
        'create role "app" with nosuperuser nocreatedb nocreaterole inherit login noreplication nobypassrls '
        "connection limit 5"
    )
    assert password.startswith('alter role "app" password \'SCRAM-SHA-256$4096:')
    assert grant == 'grant "readers" to "app"'
    assert setting == "alter role \"app\" set lock_timeout to '10s'"


@pytest.mark.parametrize("attribute", ATTRIBUTES)
def test_every_attribute_is_put_right(attribute: str) -> None:
    (statement,) = changes(**{attribute: not RIGHT[attribute]})
    word = attribute if RIGHT[attribute] else f"no{attribute}"
    assert f" {word} " in statement


def test_connection_limit_is_put_right() -> None:
    (statement,) = changes(connection_limit=-1)
    assert statement.endswith("connection limit 5")


@pytest.mark.parametrize(("until", "count"), [("2020-01-01T00:00:00+00:00", 1), ("infinity", 0)])
def test_an_end_of_validity_is_lifted(until: str, count: int) -> None:
    assert len(changes(valid_until=until)) == count


@pytest.mark.parametrize(
    "password",
    [
        None,
        {"iterations": None, "salt": None, "fingerprint": "0" * 64},
        RIGHT["password"] | {"fingerprint": "0" * 64},
    ],
    ids=["none", "md5", "other"],
)
def test_a_password_that_is_not_the_declared_one_is_set(password: dict[str, Any] | None) -> None:
    (statement,) = changes(password=password)
    assert "password 'SCRAM-SHA-256$" in statement
    assert PASSWORD not in statement


def test_a_password_that_is_not_declared_is_removed() -> None:
    role = Role("app", connection_limit=5, member_of=("readers",), settings={"lock_timeout": "10s"})
    assert changes(role) == ['alter role "app" password null']
    assert changes(role, password=None) == []


def test_memberships_are_granted_and_revoked() -> None:
    assert changes(member_of=["pg_write_server_files"]) == [
        'grant "readers" to "app"',
        'revoke "pg_write_server_files" from "app"',
    ]


def test_the_admin_option_is_revoked() -> None:
    assert changes(administers=["readers"]) == ['revoke admin option for "readers" from "app"']


def test_settings_are_set_and_reset() -> None:
    assert changes(settings=["lock_timeout=0", "my.own=1"], database_settings=["d"]) == [
        "alter role \"app\" set lock_timeout to '10s'",
        'alter role "app" reset "my"."own"',
        'alter role "app" in database "d" reset all',
    ]


def test_a_role_does_not_show_its_password() -> None:
    assert PASSWORD not in repr(ROLE)
