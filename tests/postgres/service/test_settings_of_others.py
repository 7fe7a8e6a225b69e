"""What a database, a role or a variable has set for its sessions changes nothing, or is named with what to do."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg2
import pytest
from psycopg2 import sql

from callytics.settings import Settings
from callytics.trial.embedded import EmbeddedPostgres
from tests.support.endings import Place, error_of, findings, place
from tests.support.life import lead, serve
from tests.support.servers import Databases

pytestmark = pytest.mark.slow

# Each kind by what it would change, for the database (first) or for both roles.
HARMLESS: dict[str, dict[str, str]] = {
    "names": {"quote_all_identifiers": "on", "search_path": "pg_catalog"},
    "names of a schema": {"search_path": "elsewhere, public"},
    "literals": {
        "standard_conforming_strings": "off",
        "backslash_quote": "on",
        "array_nulls": "off",
        "transform_null_equals": "on",
        "escape_string_warning": "on",
    },
    "formats": {
        "datestyle": "German, DMY",
        "intervalstyle": "sql_standard",
        "timezone": "Asia/Kathmandu",
        "bytea_output": "escape",
        "extra_float_digits": "-15",
        "client_encoding": "LATIN1",
        "xmloption": "document",
        "lc_numeric": "C",
        "lc_messages": "C",
    },
    "time limits": {
        "statement_timeout": "40ms",
        "lock_timeout": "1ms",
        "idle_in_transaction_session_timeout": "1s",
        "idle_session_timeout": "2s",
    },
    # Even the first statement, by which a session would put this right, may not take longer.
    "no time at all": {
        "statement_timeout": "1ms",
        "lock_timeout": "1ms",
        "idle_in_transaction_session_timeout": "1ms",
        "idle_session_timeout": "1ms",
    },
    "transactions": {"default_transaction_isolation": "serializable", "default_transaction_deferrable": "on"},
    "plans and checks": {
        "row_security": "off",
        "check_function_bodies": "off",
        "gin_fuzzy_search_limit": "1",
        "geqo": "off",
        "enable_indexscan": "off",
        "plan_cache_mode": "force_generic_plan",
        "client_min_messages": "debug1",
        "synchronous_commit": "off",
    },
    "places": {
        "default_tablespace": "callytics_elsewhere",
        "temp_tablespaces": "callytics_elsewhere",
        "default_table_access_method": "heap2",
    },
}
SCHEMA = """
create schema elsewhere;
grant all on schema elsewhere to public;
create table elsewhere.audio_files (id int);
create access method heap2 type table handler heap_tableam_handler
"""


@dataclass(frozen=True)
class Superuser:
    """A superuser's session in a database."""

    connection: psycopg2.extensions.connection

    def run(self, statement: str, *names: str) -> None:
        with self.connection.cursor() as cursor:
            cursor.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))

    def set(self, target: str, settings: Settings, values: dict[str, str]) -> None:
        """Set values for a database, or for our roles in it."""
        for name, value in values.items():
            parts = [sql.Literal(part) for part in value.split(", ")]
            for whom in self._whom(target, settings):
                statement = sql.SQL("alter {} set {} = {}")
                with self.connection.cursor() as cursor:
                    cursor.execute(statement.format(whom, sql.SQL(name), sql.SQL(", ").join(parts)))

    def _whom(self, target: str, settings: Settings) -> Iterator[sql.Composable]:
        database = sql.Identifier(settings.database)
        if target == "database":
            yield sql.SQL("database {}").format(database)
        else:
            for role in {settings.user, settings.login(owner=True)[0]}:
                yield sql.SQL("role {} in database {}").format(sql.Identifier(role), database)


@contextmanager
def superuser_in(server: EmbeddedPostgres, settings: Settings) -> Iterator[Superuser]:
    with closing(psycopg2.connect(server.superuser_conninfo(settings.database))) as connection:
        connection.autocommit = True
        yield Superuser(connection)


@pytest.fixture(scope="module", autouse=True)
def tablespace(server: EmbeddedPostgres, bare_database: Settings) -> Iterator[None]:
    """A tablespace in which none of our roles may make anything."""
    folder = server.home / "elsewhere"
    folder.mkdir()
    server._hand_over(folder)
    with superuser_in(server, bare_database) as superuser:
        superuser.run(f"create tablespace callytics_elsewhere location '{folder}'")
        yield
        superuser.run("drop tablespace callytics_elsewhere")


@pytest.mark.parametrize("target", ["database", "roles"])
@pytest.mark.parametrize("kind", HARMLESS)
def test_a_setting_of_others_changes_nothing(
    kind: str,
    target: str,
    empty_database: Settings,
    server: EmbeddedPostgres,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    with superuser_in(server, empty_database) as superuser:
        superuser.run(SCHEMA)
        superuser.set(target, empty_database, HARMLESS[kind])
    lead(empty_database, tmp_path)


VARIABLES = {
    "PGTZ": "Asia/Kathmandu",
    "PGDATESTYLE": "German",
    "PGGEQO": "off",
    "PGOPTIONS": "-c quote_all_identifiers=on -c standard_conforming_strings=off -c default_transaction_read_only=on",
    "PGCLIENTENCODING": "LATIN1",
}


def test_a_variable_of_libpq_changes_nothing(
    empty_database: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    lead(empty_database, tmp_path)


@pytest.fixture(scope="module")
def here(databases: Databases, template: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with place(databases, template, tmp_path_factory.mktemp("place")) as prepared:
        yield prepared


COMMANDS = ("migrate", "import", "verify", "sync", "undo", "serve")


@pytest.mark.parametrize("command", COMMANDS)
def test_sessions_without_triggers_and_keys_are_refused(
    command: str, here: Place, server: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(here.folder)
    with superuser_in(server, here.settings) as superuser:
        superuser.set("roles", here.settings, {"session_replication_role": "replica"})
        try:
            line = error_of(here.run(command))
            (found, *_) = findings(here.run("doctor"))["connection"]
        finally:
            superuser.set("roles", here.settings, {"session_replication_role": "origin"})
    assert "have session_replication_role = replica, where no trigger and no foreign key works: as a superuser" in line
    assert "RESET session_replication_role" in found


REFUSING = """
create function refuse_ddl() returns event_trigger language plpgsql as
$$ begin raise exception 'no change on Fridays'; end $$;
create event trigger refuse_ddl on ddl_command_start execute function refuse_ddl()
"""


@pytest.mark.parametrize("command", ["verify", "doctor", "report", "serve"])
def test_an_event_trigger_that_refuses_stops_nobody_who_changes_no_table(
    command: str, here: Place, server: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(here.folder)
    with superuser_in(server, here.settings) as superuser:
        superuser.run(REFUSING)
        try:
            if command == "serve":
                serve(here.settings)
            elif command == "doctor":
                found = findings(here.run(command))
                assert "no change on Fridays" in found["privileges"][0]
            else:
                result = here.run(command)
                assert result.exit_code in (0, 3), result.output
        finally:
            superuser.run("drop event trigger refuse_ddl; drop function refuse_ddl()")


@pytest.mark.parametrize("command", ["migrate", "import", "sync", "undo"])
def test_an_event_trigger_that_refuses_is_named(
    command: str, here: Place, server: EmbeddedPostgres, databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(here.folder)
    with contextlib.ExitStack() as stack:
        there = here.at(stack.enter_context(databases.empty())) if command == "migrate" else here
        superuser = stack.enter_context(superuser_in(server, there.settings))
        superuser.run(REFUSING)
        try:
            line = error_of(there.run(command))
        finally:
            superuser.run("drop event trigger refuse_ddl; drop function refuse_ddl()")
    assert "refuse_ddl()" in line
    if command == "import":
        again = here.run(command)
        assert again.exit_code in (0, 3), again.output


REVOKE_ALL = """
revoke create on schema public from callytics_owner;
revoke temporary on database {} from callytics_owner
"""


@pytest.fixture
def of_another(here: Place, server: EmbeddedPostgres) -> Iterator[tuple[Place, Superuser]]:
    """A database of another owner than the tables', who has kept the owner of the tables short."""
    database = here.settings.database
    with superuser_in(server, here.settings) as superuser:
        superuser.run(
            "alter database {} owner to postgres; revoke temporary on database {} from public", *[database] * 2
        )
        yield here, superuser
        superuser.run("grant temporary on database {} to public", database)
        superuser.run("alter database {} owner to {}", database, here.settings.login(owner=True)[0])


def test_without_the_right_to_make_temporary_tables(
    of_another: tuple[Place, Superuser], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The owner of the tables need not be the owner of the database."""
    there, superuser = of_another
    monkeypatch.chdir(there.folder)
    superuser.run("grant create on schema public to callytics_owner")
    line = error_of(there.run("sync"))
    assert "GRANT TEMPORARY ON DATABASE" in line
    superuser.run(line[line.index("GRANT TEMPORARY") :].replace("{", "{{"))
    again = there.run("sync")
    assert again.exit_code in (0, 3), again.output
    superuser.run(REVOKE_ALL, there.settings.database)


@pytest.mark.parametrize("command", ["import", "sync", "undo", "partitions ahead", "timezone"])
def test_who_may_make_no_index_is_told_so_before_anything_is_begun(
    command: str, of_another: tuple[Place, Superuser], monkeypatch: pytest.MonkeyPatch
) -> None:
    there, superuser = of_another
    monkeypatch.chdir(there.folder)
    result = there.run(command)
    if command == "partitions ahead":
        # The partitions of the months to come are there.
        assert result.exit_code == 0
        return
    line = error_of(result)
    grant = "GRANT CREATE ON SCHEMA public TO callytics_owner"
    assert line.endswith(f"role callytics_owner may not create tables in schema public: {line.split(': ')[-1]}")
    assert line.endswith(grant)
    (found, *_) = findings(there.run("doctor"))["ddl"]
    assert found.endswith(grant)
    superuser.run(f"{grant}; grant temporary on database {{}} to callytics_owner", there.settings.database)
    again = there.run(command)
    assert again.exit_code in (0, 3), again.output
    superuser.run(REVOKE_ALL, there.settings.database)


@pytest.mark.parametrize("command", ["migrate", "verify", "report", "serve", "grants", "doctor"])
def test_who_makes_no_index_needs_no_right_to(
    command: str, of_another: tuple[Place, Superuser], monkeypatch: pytest.MonkeyPatch
) -> None:
    there, _ = of_another
    monkeypatch.chdir(there.folder)
    if command == "serve":
        serve(there.settings)
    elif command == "migrate":
        assert error_of(there.run(command)).endswith("GRANT CREATE ON SCHEMA public TO callytics_owner")
    elif command == "doctor":
        lacking = findings(there.run(command))["ddl"]
        assert [line.partition(" → ")[0] for line in lacking] == [
            "role callytics_owner lacks CREATE on SCHEMA public",
            f"role callytics_owner lacks TEMPORARY on DATABASE {there.settings.database}",
        ]
    else:
        result = there.run(command)
        assert result.exit_code in (0, 3), result.output
