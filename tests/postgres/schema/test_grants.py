"""What the roles may do is what the migrations give them: every difference is named, and put right."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import psycopg2
import pytest
from click.testing import CliRunner, Result
from psycopg2.extensions import connection as Connection

from callytics.api.server import check_schema
from callytics.cli import cli
from callytics.exceptions import MigrationError, PrivilegeMissing
from callytics.postgres import connect
from callytics.schema import grants
from callytics.schema.doctor.doctor import examine
from callytics.schema.doctor.findings import Finding
from callytics.schema.grants import Difference
from callytics.schema.migrate import migrate
from callytics.schema.versions import migrations
from callytics.settings import Settings
from callytics.trial.embedded import EmbeddedPostgres
from callytics.trial.sample import write_sample
from tests.support.filling import MONTHLY
from tests.support.installation import Installation
from tests.support.servers import Databases
from tests.support.servers import superuser as superuser_of

pytestmark = pytest.mark.slow


@pytest.fixture
def superuser(server: EmbeddedPostgres, database: Settings) -> Iterator[Connection]:
    with closing(psycopg2.connect(server.superuser_conninfo(database.database))) as connection:
        connection.autocommit = True
        yield connection


@pytest.fixture
def execute(database: Settings) -> Iterator[Callable[[str], None]]:
    """A way to run a statement as the owner."""
    with closing(connect(database, owner=True)) as connection:
        connection.autocommit = True

        def run(statement: str) -> None:
            with connection.cursor() as cursor:
                cursor.execute(statement)

        yield run


@pytest.fixture
def callytics(database: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Result]:
    """The command, with the database's settings in its environment."""
    monkeypatch.chdir(tmp_path)
    for name, value in {
        "POSTGRES_HOST": database.hosts[0],
        "POSTGRES_PORT": str(database.port),
        "POSTGRES_DB": database.database,
        "POSTGRES_USER": database.user,
        "POSTGRES_PASSWORD": database.password,
        "POSTGRES_OWNER_USER": database.owner_user or "",
        "POSTGRES_OWNER_PASSWORD": database.owner_password or "",
    }.items():
        monkeypatch.setenv(name, value)
    return lambda *arguments: CliRunner().invoke(cli, arguments)


def test_what_was_just_migrated_needs_nothing(database: Settings) -> None:
    assert grants.check(database) == []
    assert grants.apply(database) == []


# A change by hand, and what it makes differ.
DRIFTS = {
    "revoke insert, select on audio_files from callytics_user": Difference(
        "missing", "table audio_files", "callytics_user", ("INSERT", "SELECT")
    ),
    "revoke all on schema public from callytics_user": Difference(
        "missing", "schema public", "callytics_user", ("USAGE",)
    ),
    "revoke execute on function keep_partitions_ahead(integer) from callytics_user": Difference(
        "missing", "function keep_partitions_ahead(integer)", "callytics_user", ("EXECUTE",)
    ),
    "alter default privileges in schema public revoke insert on tables from callytics_user": Difference(
        "missing",
        "default privileges on new relations belonging to role callytics_owner in schema public",
        "callytics_user",
        ("INSERT",),
    ),
    "grant select on imports.runs to callytics_user": Difference(
        "excess", "table imports.runs", "callytics_user", ("SELECT",)
    ),
    "grant truncate on utterances to callytics_user": Difference(
        "excess", "table utterances", "callytics_user", ("TRUNCATE",)
    ),
    "grant select (file_name) on audio_files to public": Difference(
        "excess", "column file_name of table audio_files", "everybody", ("SELECT",)
    ),
    "grant all on topics to public": Difference(
        "excess",
        "table topics",
        "everybody",
        ("DELETE", "INSERT", "REFERENCES", "SELECT", "TRIGGER", "TRUNCATE", "UPDATE"),
    ),
    "grant execute on function keep_partitions_ahead(integer) to public": Difference(
        "excess", "function keep_partitions_ahead(integer)", "everybody", ("EXECUTE",)
    ),
    "grant execute on procedure grant_to_callytics_roles() to callytics_user": Difference(
        "excess", "function grant_to_callytics_roles()", "callytics_user", ("EXECUTE",)
    ),
    "alter default privileges grant select on tables to public": Difference(
        "excess", "default privileges on new relations belonging to role callytics_owner", "everybody", ("SELECT",)
    ),
    "alter default privileges in schema imports grant insert on tables to callytics_user": Difference(
        "excess",
        "default privileges on new relations belonging to role callytics_owner in schema imports",
        "callytics_user",
        ("INSERT",),
    ),
    "alter default privileges in schema public grant execute on routines to callytics_user": Difference(
        "excess",
        "default privileges on new functions belonging to role callytics_owner in schema public",
        "callytics_user",
        ("EXECUTE",),
    ),
    "revoke select on sequence topics_id_seq from callytics_user": Difference(
        "missing", "sequence topics_id_seq", "callytics_user", ("SELECT",)
    ),
    "grant update on sequence topics_id_seq to callytics_user": Difference(
        "excess", "sequence topics_id_seq", "callytics_user", ("UPDATE",)
    ),
    "grant usage on schema imports to callytics_user": Difference(
        "excess", "schema imports", "callytics_user", ("USAGE",)
    ),
    "grant references (name) on topics to callytics_user": Difference(
        "excess", "column name of table topics", "callytics_user", ("REFERENCES",)
    ),
    "grant select on topics to callytics_user with grant option": Difference(
        "excess", "table topics", "callytics_user", ("grant option for SELECT",)
    ),
}


@pytest.mark.parametrize("statement", DRIFTS)
def test_a_difference_is_named_and_put_right(
    database: Settings, execute: Callable[[str], None], statement: str
) -> None:
    execute(statement)
    assert grants.check(database) == [DRIFTS[statement]]
    # Looking at it changed nothing.
    assert grants.apply(database) == [DRIFTS[statement]]
    assert grants.check(database) == []


def ill(settings: Settings) -> set[Finding]:
    return {finding for finding in examine(settings).findings if finding.level != "ok"}


@pytest.mark.parametrize("statement", DRIFTS)
def test_the_doctor_names_each_difference_once_and_what_puts_it_right(
    database: Settings, execute: Callable[[str], None], statement: str
) -> None:
    before = ill(database)
    assert {one.check for one in before} <= {"settings", "public", "log"}
    execute(statement)
    new = ill(database) - before
    name = DRIFTS[statement].object.split()[-1].partition("(")[0]
    assert [one for one in new if name not in one.what] == []
    # Three privileges of one table that the application lacks are three lines.
    assert {one.check for one in new} in ({"privileges"}, {"dml"}, {"public"})
    assert len(new) == len({one.what for one in new})
    for finding in new:
        owner, _, revoke = finding.fix.partition(": ")
        if owner == "as callytics_owner":
            execute(revoke)
        else:
            assert finding.fix == "run 'callytics grants'"
            grants.apply(database)
    assert ill(database) == before


def test_an_event_trigger_that_refuses_grants_is_named(database: Settings, superuser: Connection) -> None:
    with superuser.cursor() as cursor:
        cursor.execute(
            "create function refuse() returns event_trigger language plpgsql as "
            "$$ begin raise exception 'not on Fridays'; end $$; "
            "create event trigger refuse on ddl_command_start when tag in ('GRANT', 'REVOKE') execute function refuse()"
        )
    (finding,) = [one for one in examine(database).findings if one.check == "privileges"]
    assert finding.level == "warning"
    assert "not on Fridays" in finding.what


def test_the_application_s_login_alone_compares_no_privileges(database: Settings) -> None:
    alone = replace(database, owner_user=None, owner_password=None)
    (finding,) = [one for one in examine(alone).findings if one.check == "privileges"]
    assert (finding.level, finding.what) == (
        "ok",
        f"can't be compared: the tables of database {database.database} are callytics_owner's: "
        "set POSTGRES_OWNER_USER to it",
    )


def test_every_role_of_ours_is_looked_at(
    database: Settings, superuser: Connection, execute: Callable[[str], None]
) -> None:
    """And of what it was given, what it handed on to others, too; another role keeps what the owner gave it."""
    with superuser.cursor() as cursor:
        cursor.execute("create role callytics_readonly")
        cursor.execute("create role callytics_monitor")
        cursor.execute("create role analyst")
    try:
        execute("grant select on topics to analyst")
        execute("grant select on topics to callytics_user with grant option")
        with superuser.cursor() as cursor:
            cursor.execute("set role callytics_user; grant select on topics to callytics_monitor; reset role")
        found = {(one.kind, one.role) for one in grants.apply(database)}
        assert found == {
            ("missing", "callytics_readonly"),
            ("missing", "callytics_monitor"),
            ("excess", "callytics_monitor"),
            ("excess", "callytics_user"),
        }
        assert grants.check(database) == []
        with superuser.cursor() as cursor:
            cursor.execute(
                "select has_table_privilege('analyst', 'topics', 'select'), "
                "has_table_privilege('callytics_readonly', 'topics', 'select'), "
                "has_table_privilege('callytics_monitor', 'topics', 'select')"
            )
            assert cursor.fetchone() == (True, True, False)
    finally:
        with superuser.cursor() as cursor:
            for role in ("callytics_readonly", "callytics_monitor", "analyst"):
                cursor.execute(f"drop owned by {role}; drop role {role}")


def test_an_owner_who_is_the_application_keeps_his_tables(
    database: Settings, superuser: Connection, execute: Callable[[str], None]
) -> None:
    """An installation may have one role for everything."""
    with superuser.cursor() as cursor:
        cursor.execute("reassign owned by callytics_owner to callytics_user")
    alone = replace(database, owner_user=None, owner_password=None)
    grants.apply(alone)
    assert grants.check(alone) == []
    with closing(connect(alone)) as connection, connection.cursor() as cursor:
        cursor.execute("insert into audio_files (file_name) values ('a.wav')")
    with superuser.cursor() as cursor:
        cursor.execute("reassign owned by callytics_user to callytics_owner")


def test_without_migrations_it_says_what_to_do(empty_database: Settings) -> None:
    with pytest.raises(MigrationError, match="run 'callytics migrate'"):
        grants.check(empty_database)


def test_whoever_does_not_own_the_tables_is_refused(database: Settings) -> None:
    with pytest.raises(MigrationError, match="are callytics_owner's: set POSTGRES_OWNER_USER to it"):
        grants.apply(replace(database, owner_user=None, owner_password=None))


@pytest.mark.quick
def test_a_role_that_is_not_there_costs_no_other_its_rights(database: Settings) -> None:
    with pytest.raises(MigrationError, match="role nobody_yet does not exist, so no privilege was changed: create it"):
        grants.apply(replace(database, user="nobody_yet"))
    assert grants.check(database) == []


def test_the_command_names_the_differences_then_puts_them_right(
    callytics: Callable[..., Result], execute: Callable[[str], None]
) -> None:
    execute("revoke insert on audio_files from callytics_user")
    execute("grant truncate on topics to callytics_user")
    checked = callytics("grants", "--check")
    assert (checked.exit_code, checked.stdout.splitlines()) == (
        1,
        [
            "callytics_user lacks INSERT on table audio_files",
            "callytics_user has TRUNCATE on table topics, which the migrations do not give",
        ],
    )
    applied = callytics("grants")
    assert (applied.exit_code, applied.stdout.splitlines()) == (
        0,
        [
            "granted INSERT on table audio_files to callytics_user",
            "revoked TRUNCATE on table topics from callytics_user",
        ],
    )
    again = callytics("grants", "--check")
    assert (again.exit_code, again.stdout) == (0, "The roles' privileges are as the migrations say\n")


def test_the_command_answers_in_json(callytics: Callable[..., Result], execute: Callable[[str], None]) -> None:
    execute("grant truncate on topics to callytics_user")
    difference = {"kind": "excess", "object": "table topics", "role": "callytics_user", "privileges": ["TRUNCATE"]}
    checked, applied = callytics("grants", "--check", "--json"), callytics("grants", "--json")
    assert json.loads(checked.stdout) == {"ok": False, "differences": [difference]}
    assert json.loads(applied.stdout) == {"ok": True, "differences": [difference]}
    assert (checked.exit_code, applied.exit_code) == (1, 0)


def test_migrate_names_what_is_missing_and_applies_nothing(
    callytics: Callable[..., Result], execute: Callable[[str], None]
) -> None:
    assert callytics("migrate", "--check").exit_code == 0
    said = json.loads(callytics("migrate", "--check", "--json").stdout)
    assert said == {"ok": True, "missing": [], "last": [*migrations()][-1]}
    execute("delete from _yoyo_migration where migration_id = '0003.views'")
    for _ in range(2):
        checked = callytics("migrate", "--check")
        assert checked.exit_code == 1
        assert checked.stdout.splitlines() == ["0003.views", "1 missing: run 'callytics migrate'"]


def test_partitions_of_the_months_to_come_are_made_once(callytics: Callable[..., Result]) -> None:
    made = json.loads(callytics("partitions", "ahead", "--months", "6", "--json").stdout)["made"]
    assert len(made) >= len(MONTHLY) * 2
    assert {name[:-8] for name in made} == {*MONTHLY}
    again = callytics("partitions", "ahead", "--months", "6")
    assert (again.exit_code, again.stdout) == (0, "Every partition is there already\n")
    more = callytics("partitions", "ahead", "--months", "7")
    assert more.exit_code == 0
    assert more.stdout.splitlines()[-1] == f"{len(MONTHLY)} partitions made"
    assert len(more.stdout.splitlines()) == len(MONTHLY) + 1


def test_partitions_want_the_migrations(empty_database: Settings, callytics: Callable[..., Result]) -> None:
    refused = CliRunner().invoke(cli, ["partitions", "ahead"], env={"POSTGRES_DB": empty_database.database})
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert refused.stderr.endswith("is not partitioned yet: run 'callytics migrate'\n")


NAMES = [
    ("calls_owner", "calls_app"),
    ("Call-Owner 100%'s", "상담 App@1"),
    ('say "owner"', "callytics_readonly_2"),
    ("callytics_user", "App-User"),
]


@pytest.fixture(params=NAMES, ids=[owner for owner, _ in NAMES])
def of_other_names(
    request: pytest.FixtureRequest, server: EmbeddedPostgres, databases: Databases, template: Settings
) -> Iterator[Settings]:
    """An empty database whose owner and application have other names than usual, beside roles of the usual ones."""
    owner, application = request.param
    usual = template
    settings = replace(usual, database=f"콜 DB-100% of {owner}", user=application, owner_user=owner)
    server.provide(settings)
    try:
        yield settings
    finally:
        superuser_of(server, "drop database {} with (force)", settings.database)
        for role in {owner, application} - {"callytics_user"}:
            superuser_of(server, "drop role {}", role)
        server.provide(usual)


def test_grants_go_to_the_configured_roles(of_other_names: Settings, tmp_path: Path) -> None:
    settings = of_other_names
    assert migrate(settings, report=lambda line: None)
    assert grants.check(settings) == []
    lines = {finding.check: finding for finding in examine(settings).findings}
    for check in ("connection", "schema", "ddl", "dml", "readonly"):
        assert lines[check].level == "ok", lines[check]
    with Installation.on(settings, tmp_path) as installation:
        write_sample(installation.file, generation=2, calls=2, seed=1)
        assert installation.import_().exit_code == 0
        assert installation.verify().exit_code == 0
        assert installation.change("select count(*) from audio_files") == 2
        assert "audio_files" in installation.run("report").output
        assert installation.undo().exit_code == 0
        granted = "select has_table_privilege('callytics_user', 'audio_files', 'select')"
        assert installation.one(granted) is (settings.owner_user == "callytics_user")
    check_schema(settings)


def test_another_application_is_granted_its_rights_by_one_command(
    database: Settings, server: EmbeddedPostgres, superuser: Connection
) -> None:
    """Whoever changes POSTGRES_USER has nothing to migrate: the doctor says what to do."""
    other = replace(database, user="other-app", database=database.database)
    server.provide(other)
    try:
        assert {(one.role, one.kind) for one in grants.check(other)} == {
            ("other-app", "missing"),
            ("callytics_user", "excess"),
        }
        assert {one.fix for one in examine(other).findings if one.check == "dml"} == {"run 'callytics grants'"}
        with pytest.raises(PrivilegeMissing, match=r"role other-app may not do this .*: 'callytics doctor' says"):
            check_schema(other)
        grants.apply(other)
        assert grants.check(other) == []
        check_schema(other)
        assert {(one.role, one.kind) for one in grants.apply(database)} == {("callytics_user", "missing")}
    finally:
        with superuser.cursor() as cursor:
            cursor.execute('drop owned by "other-app"; drop role "other-app"')
