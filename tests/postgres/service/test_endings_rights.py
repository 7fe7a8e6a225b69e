"""A role without privileges, and a server, database or role without a connection left."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace

import psycopg2
import pytest

from callytics.settings import Settings
from callytics.trial.embedded import EmbeddedPostgres
from tests.support.endings import WITH_DATABASE, Place, error_of, findings, place
from tests.support.servers import VOLATILE, Databases, migrated, private_server, superuser

pytestmark = pytest.mark.slow

STRANGER = {"user": "stranger", "password": "unknown", "owner_user": "stranger", "owner_password": "unknown"}
OWNER = "set POSTGRES_OWNER_USER and POSTGRES_OWNER_PASSWORD to the role that migrates"
NEEDS_OWNER = (
    "partitions freeze",
    "partitions list",
    "import",
    "verify",
    "sync",
    "undo",
    "timezone",
    "report",
    "partitions archive",
    "partitions restore",
    "erase",
)
# Whoever owns the tables can do what the others must be granted.
WITHOUT_PRIVILEGES = dict.fromkeys(NEEDS_OWNER, OWNER) | {
    "migrate": "GRANT CREATE ON SCHEMA public TO stranger",
    "grants": "set POSTGRES_OWNER_USER to it",
}


@pytest.fixture(scope="module")
def here(databases: Databases, template: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with place(databases, template, tmp_path_factory.mktemp("place")) as prepared:
        yield prepared


@pytest.fixture(scope="module")
def stranger(server: EmbeddedPostgres, here: Place) -> Iterator[Place]:
    """The same with a login that owns nothing and was granted nothing."""
    superuser(server, "create role stranger login password 'unknown'")
    yield here.at(replace(here.settings, **STRANGER))
    superuser(server, "drop role stranger")


@pytest.mark.parametrize("command", WITH_DATABASE)
def test_without_privileges(command: str, stranger: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(stranger.folder)
    line = error_of(stranger.run(command))
    assert WITHOUT_PRIVILEGES.get(command, "'callytics doctor' says what to grant") in line
    assert "role stranger may not" in line or command == "grants"


@pytest.mark.quick
def test_the_doctor_says_what_to_grant(stranger: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(stranger.folder)
    found = findings(stranger.run("doctor"))
    assert any(line.startswith("role stranger may not select") for line in found["dml"])
    assert all("callytics grants" in line for line in found["dml"])


@contextmanager
def limited(server: EmbeddedPostgres, statement: str, name: str, limit: int = 0) -> Iterator[None]:
    superuser(server, f"{statement} connection limit {limit}", name)
    try:
        yield
    finally:
        superuser(server, f"{statement} connection limit -1", name)


# What is full, and how libpq's words for it are answered.
FULL = {
    "role": ("too many connections for role", "raise its CONNECTION LIMIT"),
    "database": ("too many connections for database", "raise its CONNECTION LIMIT"),
}


@pytest.fixture(params=FULL)
def full(request: pytest.FixtureRequest, server: EmbeddedPostgres, stranger: Place) -> Iterator[tuple[Place, str]]:
    what = request.param
    name = {"role": "stranger", "database": stranger.settings.database}[what]
    with limited(server, f"alter {what} {{}}", name):
        yield stranger, what


@pytest.mark.parametrize("command", WITH_DATABASE)
def test_with_all_connections_taken(command: str, full: tuple[Place, str], monkeypatch: pytest.MonkeyPatch) -> None:
    there, what = full
    monkeypatch.chdir(there.folder)
    line = error_of(there.run(command))
    assert all(words in line for words in FULL[what])


def test_the_doctor_without_a_connection(full: tuple[Place, str], monkeypatch: pytest.MonkeyPatch) -> None:
    there, what = full
    monkeypatch.chdir(there.folder)
    lines = findings(there.run("doctor"))["connection"]
    assert len(lines) == 2
    assert all(words in line for line in lines for words in FULL[what])


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[EmbeddedPostgres, Place]]:
    """A server with few connections."""
    options = VOLATILE | {"max_connections": "8", "superuser_reserved_connections": "2", "autovacuum": "off"}
    with private_server(tmp_path_factory.mktemp("small"), options) as server:
        template = migrated(server, "template_callytics")
        with place(Databases(server), template, tmp_path_factory.mktemp("place")) as prepared:
            yield server, prepared


@pytest.mark.parametrize("taken", [6, 8])
@pytest.mark.parametrize("command", WITH_DATABASE)
def test_with_a_server_that_is_full(
    command: str, taken: int, small: tuple[EmbeddedPostgres, Place], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, there = small
    monkeypatch.chdir(there.folder)
    with ExitStack() as stack:
        for _ in range(taken):
            stack.enter_context(closing(psycopg2.connect(server.superuser_conninfo())))
        line = error_of(there.run(command))
    assert "raise max_connections, or lower POSTGRES_MAX_CONNECTIONS" in line


# Workers read on connections of their own, and the service opens its pool.
@pytest.mark.parametrize("command", ["import", "verify", "sync", "serve"])
def test_with_too_few_connections(
    command: str, server: EmbeddedPostgres, here: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(here.folder)
    role = here.settings.user if command == "serve" else here.settings.owner_user or ""
    before = sorted(path.name for path in here.folder.rglob("*"))
    with limited(server, "alter role {}", role, 2):
        line = error_of(here.run(command))
    assert "raise its CONNECTION LIMIT" in line
    assert sorted(path.name for path in here.folder.rglob("*")) == before
    # Nothing had begun, and the same command works; the service would not end.
    if command != "serve":
        again = here.run(command)
        assert again.exit_code in (0, 3), again.output
