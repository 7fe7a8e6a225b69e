"""Roles as declared: missing attributes, memberships and settings are added, and excess ones removed."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pyinfra import host
from pyinfra.api import HiddenValue, StringCommand, operation

from deploy.operations.cluster import scram
from deploy.operations.cluster.psql import JsonFact, identifier, literal, run_sql
from deploy.operations.secret.keys import KeptKey

ATTRIBUTES = ("superuser", "createdb", "createrole", "inherit", "login", "replication", "bypassrls")


@dataclass(frozen=True)
class Role:
    """A role as it should be; an attribute that is not named is taken away.

    Without a password the role cannot log in over the network. ``settings`` are those of ALTER ROLE … SET, spelt as
    PostgreSQL stores them ("1min", not "60s"): they are compared as text.
    """

    name: str
    login: bool = True
    superuser: bool = False
    createdb: bool = False
    createrole: bool = False
    inherit: bool = True
    replication: bool = False
    bypassrls: bool = False
    connection_limit: int = -1
    member_of: Sequence[str] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    password: HiddenValue | KeptKey | None = None


class Roles(JsonFact):
    """Every role of the server by name."""

    query = "roles"


def role_changes(role: Role, found: Mapping[str, Any] | None) -> Iterator[str]:
    """Yield the statements that turn what was ``found`` under its name into ``role``; nothing if it is the same."""
    if found is None:
        yield f"create role {identifier(role.name)} with {_attributes(role)}"
        yield from _password_changes(role, None)
        yield from _membership_changes(role, {"member_of": [], "administers": []})
        yield from _setting_changes(role, {"settings": [], "database_settings": []})
        return
    if _attributes(role) != _attributes_found(found):
        yield f"alter role {identifier(role.name)} with {_attributes(role)}"
    # An expired role cannot log in with the right password, and the client is not told why.
    if found["valid_until"] not in (None, "infinity"):
        yield f"alter role {identifier(role.name)} valid until 'infinity'"
    yield from _password_changes(role, found["password"])
    yield from _membership_changes(role, found)
    yield from _setting_changes(role, found)


@operation()
def present(roles: Sequence[Role], cluster: str) -> Generator[StringCommand, None, None]:
    """Make the server's roles as declared, all in one transaction; leaves roles that are not declared alone.

    Passwords travel as SCRAM verifiers over stdin, and only if the stored verifier was made from another password: a
    new verifier has a new salt, so setting it each time would report a change each time.
    """
    found = host.get_fact(Roles, cluster=cluster) or {}
    statements = [statement for role in roles for statement in role_changes(role, found.get(role.name))]
    if statements:
        yield run_sql(statements, cluster=cluster, quiet=True)
    else:
        host.noop("every role is as declared")


def _attributes(role: Role) -> str:
    return _attributes_found({name: getattr(role, name) for name in (*ATTRIBUTES, "connection_limit")})


def _attributes_found(found: Mapping[str, Any]) -> str:
    words = [name if found[name] else f"no{name}" for name in ATTRIBUTES]
    return f"{' '.join(words)} connection limit {found['connection_limit']}"


def _password_changes(role: Role, found: Mapping[str, Any] | None) -> Iterator[str]:
    if role.password is None:
        if found is not None:
            yield f"alter role {identifier(role.name)} password null"
        return
    password = role.password.unmask()
    if found is None or found["salt"] is None or not scram.matches(password, **found):
        yield f"alter role {identifier(role.name)} password {literal(scram.verifier(password))}"


def _membership_changes(role: Role, found: Mapping[str, Any]) -> Iterator[str]:
    name, wanted, there = identifier(role.name), set(role.member_of), set(found["member_of"])
    for group in sorted(wanted - there):
        yield f"grant {identifier(group)} to {name}"
    for group in sorted(there - wanted):
        yield f"revoke {identifier(group)} from {name}"
    for group in sorted(wanted & set(found["administers"])):
        yield f"revoke admin option for {identifier(group)} from {name}"


def _setting_changes(role: Role, found: Mapping[str, Any]) -> Iterator[str]:
    name, there = identifier(role.name), dict(setting.split("=", 1) for setting in found["settings"])
    for setting in sorted(role.settings.items() - there.items()):
        yield f"alter role {name} set {setting[0]} to {literal(setting[1])}"
    for setting_name in sorted(there.keys() - role.settings.keys()):
        yield f"alter role {name} reset {'.'.join(map(identifier, setting_name.split('.')))}"
    for database in found["database_settings"]:
        yield f"alter role {name} in database {identifier(database)} reset all"
