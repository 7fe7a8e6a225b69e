"""A real PostgreSQL, fresh for each test: one template migrated by the real migrations, cloned per test."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import psycopg2
import pytest
from psycopg2 import sql

from callytics.schema.migrate import migrate
from callytics.settings import Settings
from callytics.trial.embedded import EmbeddedPostgres, find_servers

# Nothing here outlives a test run, so nothing needs to reach a disk.
VOLATILE = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": "50",
    "shared_buffers": "64MB",
}


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Keep a file's tests in one process, and all that boot hosts in one: what their fixtures make is dear.

    xdist's own groups are of no use with pytest 9.2, which does not let it rename tests.
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return "infra" if nodeid.startswith("tests/infra/") else nodeid.partition("::")[0]

    return ByFile(config, log)


def lacking(reason: str) -> NoReturn:
    """Skip a test whose need is not met here; in CI everything must be met."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"CI must have what this test needs: {reason}")
    pytest.skip(reason)


def need_postgres_15() -> None:
    """Skip a test that asks for the server that hosts have, where another one would be started."""
    if [server.version for server in find_servers()][:1] != [15]:
        lacking("PostgreSQL 15 is not the first server found: install postgresql-15")


@pytest.fixture(autouse=True)
def _no_environment_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the settings of whoever runs the tests out of them."""
    for variable in list(os.environ):
        if variable.startswith(("POSTGRES_", "PG")) or variable == "DATABASE_URL":
            monkeypatch.delenv(variable)


@contextmanager
def private_server(folder: Path, options: Mapping[str, str]) -> Iterator[EmbeddedPostgres]:
    """A PostgreSQL that runs, and is removed afterwards."""
    if next(find_servers(), None) is None:
        lacking("no PostgreSQL >= 15: install postgresql-15, or 'callytics[embedded]'")
    embedded = EmbeddedPostgres(folder, options=options)
    try:
        with embedded:
            yield embedded
    finally:
        embedded.remove()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """A private PostgreSQL with the roles callytics_owner and callytics_user."""
    with private_server(tmp_path_factory.mktemp("server"), VOLATILE) as embedded:
        yield embedded


def settings_for(server: EmbeddedPostgres, database: str) -> Settings:
    """Return the settings of a database whose passwords hold everything that needs quoting somewhere."""
    return Settings(
        hosts=("127.0.0.1",),
        port=server.port,
        database=database,
        user="callytics_user",
        password="app @/%'\"\\$# 비밀",
        owner_user="callytics_owner",
        owner_password="owner @/%'\"\\$# 주인",
    )


@pytest.fixture(scope="session")
def template(server: EmbeddedPostgres) -> Settings:
    """A database migrated by the real migrations; connect to clones of it, not to it."""
    settings = settings_for(server, "template_callytics")
    server.provide(settings)
    migrate(settings, report=lambda line: None)
    return settings


@pytest.fixture(scope="session")
def _superuser(server: EmbeddedPostgres) -> Iterator[Callable[..., None]]:
    """A way to run a statement about databases as the superuser."""
    connection = psycopg2.connect(server.superuser_conninfo())
    connection.autocommit = True

    def execute(statement: str, *names: str) -> None:
        with connection.cursor() as cursor:
            cursor.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))

    yield execute
    connection.close()


@pytest.fixture(scope="session")
def _names() -> Iterator[str]:
    return (f"test_{number}" for number in itertools.count(1))


@pytest.fixture
def database(template: Settings, _superuser: Callable[..., None], _names: Iterator[str]) -> Iterator[Settings]:
    """A fresh clone of the template: owned by callytics_owner, callytics_user is the application's role."""
    yield from _clone(template, _superuser, next(_names))


@pytest.fixture(scope="module")
def shared_database(template: Settings, _superuser: Callable[..., None], _names: Iterator[str]) -> Iterator[Settings]:
    """One clone for all tests of a file, each of which begins by deleting what the one before has left."""
    yield from _clone(template, _superuser, next(_names))


def _clone(template: Settings, _superuser: Callable[..., None], name: str) -> Iterator[Settings]:
    _superuser("CREATE DATABASE {} TEMPLATE {} OWNER callytics_owner", name, template.database)
    yield replace(template, database=name)
    _superuser("DROP DATABASE {} WITH (FORCE)", name)


@pytest.fixture
def empty_database(
    server: EmbeddedPostgres, _superuser: Callable[..., None], _names: Iterator[str]
) -> Iterator[Settings]:
    """A database without any migration applied, owned by callytics_owner."""
    settings = settings_for(server, next(_names))
    server.provide(settings)
    yield settings
    _superuser("DROP DATABASE {} WITH (FORCE)", settings.database)
