"""Each thing is broken for real, and the doctor names it with what to do; doing that makes it well again."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import psycopg2
import pytest
from click.testing import CliRunner
from psycopg2.extensions import connection as Connection

from callytics import cli
from callytics.postgres import connect
from callytics.schema import grants, migrate, partitions
from callytics.schema.doctor import doctor, logs
from callytics.schema.doctor.doctor import Diagnosis, examine
from callytics.schema.doctor.findings import Finding, Site
from callytics.schema.readiness.importing import IMPORT_LOCK
from callytics.settings import Settings, libpq
from callytics.trial.embedded import EmbeddedPostgres
from tests.support.commands import environment
from tests.support.needs import lacking, need_postgres_15
from tests.support.servers import settings_for

pytestmark = pytest.mark.slow


@pytest.fixture
def owner(database: Settings) -> Iterator[Connection]:
    with closing(connect(database, owner=True)) as connection:
        connection.autocommit = True
        yield connection


@pytest.fixture
def superuser(server: EmbeddedPostgres, database: Settings) -> Iterator[Connection]:
    with closing(psycopg2.connect(server.superuser_conninfo(database.database))) as connection:
        connection.autocommit = True
        yield connection


@pytest.fixture
def as_superuser(superuser: Connection) -> Iterator[Callable[..., None]]:
    """A way to change what all databases share, with the statement that takes it back."""
    back = []

    def change(statement: str, undo: str) -> None:
        back.append(undo)
        run(superuser, statement)

    yield change
    for statement in reversed(back):
        run(superuser, statement)


def run(connection: Connection, statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)


def found(settings: Settings, check: str) -> list[tuple[str, str]]:
    """Return level and text of what is wrong; everything wrong comes with what to do."""
    findings = [finding for finding in examine(settings).findings if finding.check == check]
    assert findings
    assert all(finding.fix for finding in findings if finding.level != "ok")
    return [(finding.level, finding.what) for finding in findings if finding.level != "ok"]


def fix_of(settings: Settings, check: str) -> str:
    return next(finding.fix for finding in examine(settings).findings if finding.check == check)


def test_unreachable_server_is_a_finding(database: Settings) -> None:
    examined = examine(replace(database, port=1))
    assert examined.exit_code == 1
    assert {finding.check for finding in examined.findings} == {"connection"}
    assert "Connection refused" in examined.findings[0].what
    assert "POSTGRES_PORT" in examined.findings[0].fix


def test_without_the_owner_s_login_the_application_s_goes_on(database: Settings) -> None:
    examined = examine(replace(database, owner_password="wrong"))
    ours, theirs, *others = examined.findings
    assert (ours.level, theirs.level) == ("ok", "error")
    assert "callytics_owner" in theirs.what
    assert {finding.check for finding in others} == set(doctor.CHECKS)


def test_owner_s_login_shows_what_is_wrong_without_the_application_s(database: Settings) -> None:
    examined = examine(replace(database, password="wrong"))
    assert [finding.level for finding in examined.findings[:2]] == ["error", "ok"]
    assert {finding.check for finding in examined.findings[2:]} == set(doctor.CHECKS)


def test_nothing_can_be_written(database: Settings) -> None:
    connection = doctor._connect(database, owner=True)
    with closing(connection), pytest.raises(psycopg2.errors.ReadOnlySqlTransaction):
        run(connection, "create table mine ()")


@pytest.mark.quick
def test_missing_migrations(empty_database: Settings) -> None:
    ((level, what),) = found(empty_database, "schema")
    assert (level, what.partition(" ")[2]) == ("error", "migrations missing, from 0001.tables")
    assert fix_of(empty_database, "schema") == "run 'callytics migrate'"


def test_missing_migrations_are_named_once(empty_database: Settings) -> None:
    missing = {finding.check for finding in examine(empty_database).findings if "can't be told" in finding.what}
    assert missing == {"imports", "trails"}


def test_edited_migration(database: Settings, owner: Connection) -> None:
    run(owner, "update _callytics_migration set sha256 = 'other' where migration_id = '0003.views'")
    assert found(database, "schema") == [("error", "migration 0003.views was edited after it was applied")]


def test_unknown_migration(database: Settings, owner: Connection) -> None:
    run(owner, "insert into _yoyo_migration (migration_hash, migration_id) values ('x', '9999.later')")
    text = "the database has migrations that this version does not know: 9999.later"
    # As any other command, which refuses such a database.
    assert found(database, "schema") == [("error", text)]
    run(owner, "update _yoyo_migration set migration_id = '0001.of-ours' where migration_id = '9999.later'")
    assert found(database, "schema") == [("warning", text.replace("9999.later", "0001.of-ours"))]


@pytest.mark.quick
def test_table_that_was_dropped(database: Settings, owner: Connection) -> None:
    run(owner, "drop table imports.definitions")
    assert found(database, "imports") == [("error", 'relation "imports.definitions" does not exist')]


@pytest.mark.parametrize("attribute", ["SUPERUSER", "CREATEROLE", "CREATEDB", "REPLICATION", "BYPASSRLS"])
@pytest.mark.parametrize("role", ["callytics_user", "callytics_owner"])
def test_role_with_an_attribute(
    database: Settings, as_superuser: Callable[..., None], role: str, attribute: str
) -> None:
    as_superuser(f"alter role {role} {attribute}", f"alter role {role} no{attribute}")
    assert found(database, "roles") == [("error", f"role {role} has {attribute}")]
    as_superuser(fix_of(database, "roles").removeprefix("as a superuser: "), "select")
    assert found(database, "roles") == []


@pytest.mark.parametrize("role", ["callytics_owner", "pg_execute_server_program", "postgres"])
def test_role_that_became_a_member(database: Settings, as_superuser: Callable[..., None], role: str) -> None:
    as_superuser(f"grant {role} to callytics_user", f"revoke {role} from callytics_user")
    assert found(database, "roles") == [("error", f"role callytics_user is a member of {role}")]
    as_superuser(fix_of(database, "roles").removeprefix("as a superuser: "), "select")
    assert found(database, "roles") == []


def test_connection_limit_below_the_pool(database: Settings, as_superuser: Callable[..., None]) -> None:
    as_superuser("alter role callytics_user connection limit 7", "alter role callytics_user connection limit -1")
    assert found(database, "roles") == [("warning", "role callytics_user, with up to 20 connections, may be given 7")]


def test_application_that_may_create_tables(database: Settings, owner: Connection) -> None:
    assert found(database, "ddl") == []
    run(owner, f"grant create on database {database.database} to callytics_user")
    run(owner, "create table theirs ()")
    text = "role callytics_user can change tables: it may create schemas"
    assert found(database, "ddl") == [("error", text)]


def test_application_that_owns_a_table(database: Settings, superuser: Connection) -> None:
    run(superuser, "grant create on schema public to callytics_user")
    with closing(connect(database)) as application, application:
        run(application, "create table mine ()")
    text = "role callytics_user can change tables: it may create in schema public and owns mine"
    assert found(database, "ddl") == [("error", text)]
    for statement in (
        fix_of(database, "ddl").removeprefix("as callytics_owner: ").replace("as a superuser: ", "").split(";")
    ):
        run(superuser, statement)
    assert found(database, "ddl") == []


def test_one_role_for_everything_is_a_warning(database: Settings) -> None:
    alone = replace(database, user="callytics_owner", password=database.owner_password or "", owner_user=None)
    ((level, what),) = found(alone, "ddl")
    assert (level, what.startswith("role callytics_owner can change tables")) == ("warning", True)


def test_application_without_its_rights(database: Settings, owner: Connection) -> None:
    run(owner, "revoke insert, delete on audio_files from callytics_user")
    run(owner, "revoke all on sequence topics_id_seq from callytics_user")
    run(owner, "revoke execute on function keep_partitions_ahead(integer) from callytics_user")
    assert sorted(found(database, "dml")) == [
        ("error", "role callytics_user may not delete audio_files"),
        ("error", "role callytics_user may not insert audio_files"),
        ("error", "role callytics_user may not usage topics_id_seq"),
        ("warning", "role callytics_user may not call keep_partitions_ahead(integer)"),
    ]
    fixes = {finding.fix for finding in examine(database).findings if finding.check == "dml"}
    assert fixes == {"run 'callytics grants'"}
    grants.apply(database)
    assert found(database, "dml") == []


def test_application_kept_out_of_the_schema(database: Settings, superuser: Connection) -> None:
    run(superuser, "revoke usage on schema public from public, callytics_user")
    assert ("error", "role callytics_user may not use schema public") in found(database, "dml")
    # Its own login sees no table; that is not the cause.
    assert found(database, "schema") == []
    grants.apply(database)
    assert found(database, "dml") == []


def test_reader_that_may_write(database: Settings, owner: Connection, as_superuser: Callable[..., None]) -> None:
    as_superuser("create role callytics_readonly", "drop owned by callytics_readonly; drop role callytics_readonly")
    run(owner, "grant update on topics, imports.runs to callytics_readonly")
    assert found(database, "readonly") == [("error", "role callytics_readonly may write imports.runs, topics")]
    run(owner, fix_of(database, "readonly").removeprefix("as callytics_owner: "))
    assert found(database, "readonly") == []


def test_what_is_open_to_everybody(database: Settings, superuser: Connection) -> None:
    run(superuser, "grant create on schema public to public")
    run(superuser, "grant select, update on topics to public")
    name = database.database
    assert sorted(found(database, "public")) == [
        ("error", "everybody may create in schema public"),
        ("error", "everybody may select, update topics"),
        ("warning", f"everybody may make temporary tables in and connect to database {name}"),
    ]
    for finding in examine(database).findings:
        if finding.check == "public":
            for statement in finding.fix.partition(": ")[2].split(";"):
                run(superuser, statement)
    assert found(database, "public") == []


@pytest.mark.parametrize(("kind", "level"), [("", "warning"), ("unique", "error")])
def test_index_whose_building_was_cut_short(database: Settings, owner: Connection, kind: str, level: str) -> None:
    run(owner, "insert into topics (id, name) values (100, 'no number'), (101, 'no number')")
    failing = "name" if kind else "(1 / (id - 100))"
    with pytest.raises((psycopg2.errors.UniqueViolation, psycopg2.errors.DivisionByZero)):
        run(owner, f"create {kind} index concurrently broken on topics ({failing})")
    assert found(database, "indexes") == [(level, "index broken of topics is not valid")]
    run(owner, fix_of(database, "indexes").removeprefix("as callytics_owner: ").partition(",")[0])
    assert found(database, "indexes") == []


def test_foreign_key_with_orphans(database: Settings, owner: Connection) -> None:
    key = "audio_features_topic_id_fkey"
    run(owner, f"alter table audio_features drop constraint {key}")
    run(owner, f"alter table audio_features add constraint {key} foreign key (topic_id) references topics not valid")
    text = f"constraint {key} of audio_features is not validated: there are rows that break it"
    assert found(database, "constraints") == [("warning", text)]
    run(owner, fix_of(database, "constraints").partition("callytics_owner: ")[2])
    assert found(database, "constraints") == []


@pytest.fixture
def killed_import(owner: Connection) -> Connection:
    run(
        owner,
        """
        insert into imports.runs (id, version, timezone, started_at) values (7, '0', 'UTC', '2025-01-01 12:00+00');
        insert into imports.sources (run_id, path, snapshot_path, sha256, size_bytes)
        values (7, 'calls.sqlite', 's', 'x', 1);
        insert into imports.definitions (run_id, kind, table_name, name, definition)
        values (7, 'index', 'topics', 'i', 'd');
        """,
    )
    return owner


def test_import_that_was_killed(database: Settings, killed_import: Connection) -> None:
    unfinished, aside = found(database, "imports")
    assert unfinished[0] == "warning"
    assert unfinished[1].startswith("import 7 of calls.sqlite, started 2025-01-01 12:00")
    assert unfinished[1].endswith("is not finished")
    assert aside == ("error", "import 7 set 1 index or foreign key of topics aside and did not bring it back")


def test_import_that_is_running_is_no_illness(database: Settings, killed_import: Connection) -> None:
    run(killed_import, f"select pg_advisory_lock({IMPORT_LOCK})")
    assert found(database, "imports") == []


def test_import_with_differences(database: Settings, killed_import: Connection) -> None:
    run(
        killed_import,
        "update imports.runs set status = 'different'; update imports.definitions set restored_at = now()",
    )
    assert found(database, "imports") == [("error", "verification of import 7 found differences")]


def test_imports_are_the_owner_s_to_see(database: Settings, killed_import: Connection) -> None:
    assert found(replace(database, owner_user=None), "imports") == []


def test_a_role_that_is_not_there(database: Settings) -> None:
    """Nobody can log in as it, and its privileges cannot be asked for: findings, like everything that is wrong."""
    missing = replace(database, user="nobody_yet")
    assert found(missing, "connection")[0][0] == "error"
    missed = 'could not be told: role "nobody_yet" does not exist'
    told = [one for one in examine(missing).findings if one.what == missed]
    assert {one.fix for one in told} == {"create the role, or correct POSTGRES_USER, then look again"}


def test_month_without_a_partition(database: Settings, owner: Connection) -> None:
    run(owner, "select keep_partitions_ahead(3)")
    assert found(database, "partitions") == []
    run(
        owner,
        "do $$ begin execute format('drop table %I',"
        " 'utterances' || to_char(now() at time zone 'UTC' + interval '1 month', '_YYYY_MM')); end $$",
    )
    ((level, what),) = found(database, "partitions")
    assert (level, what[:17], what[-14:]) == ("warning", "no partition for ", " in utterances")
    assert fix_of(database, "partitions").partition(",")[0] == "run 'callytics partitions ahead'"
    partitions.make_ahead(database, 3)
    assert found(database, "partitions") == []


def test_rows_in_a_default_partition(database: Settings, owner: Connection) -> None:
    run(owner, "select keep_partitions_ahead(3)")
    dates = "(null), ('1970-01-01'), ('2021-03-31'), ('2021-05-01')"
    run(owner, f"insert into utterances (created_at) values {dates}")
    text = "utterances_default holds rows of months of their own, from 2021-03 to 2021-05"
    assert found(database, "partitions") == [("warning", text)]
    run(owner, fix_of(database, "partitions").removeprefix("as callytics_owner: "))
    assert found(database, "partitions") == []


def test_sequence_behind_its_table(database: Settings, owner: Connection) -> None:
    assert found(database, "sequences") == []
    run(owner, "insert into topics (id, name) values (2, 'next')")
    run(owner, "insert into utterances (id) values (40)")
    assert sorted(found(database, "sequences")) == [
        ("error", "the next id of topics would be 2, but there is a row 2"),
        ("error", "the next id of utterances would be 1, but there is a row 40"),
    ]
    for finding in examine(database).findings:
        if finding.check == "sequences":
            run(owner, finding.fix.removeprefix("as callytics_owner: "))
    assert found(database, "sequences") == []


def test_id_that_stands_twice(database: Settings, owner: Connection) -> None:
    run(owner, "set callytics.importing = 'on'")
    run(owner, "select ensure_month_partitions('utterances', '2024-01-01', '2024-02-01')")
    for month in ("2024-01-01", "2024-02-01"):
        run(owner, f"insert into utterances (id, created_at) values (7, '{month}')")
    run(owner, "select setval('utterances_id_seq', 8)")
    assert found(database, "sequences") == [("error", "utterances holds 1 id more than once, the first is 7")]


def test_forgotten_transaction(database: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    assert found(database, "transactions") == []
    monkeypatch.setattr(doctor, "OLD_TRANSACTION", "0 seconds")
    with closing(connect(database)) as mine, closing(connect(database, owner=True)) as theirs:
        for connection in (mine, theirs):
            run(connection, "select 1")
        levels, whats = zip(*found(database, "transactions"), strict=True)
    assert levels == ("warning", "warning")
    assert [what.partition(" (")[0] for what in sorted(whats)] == [
        "callytics of callytics_owner",
        "callytics of callytics_user",
    ]


@pytest.mark.parametrize(
    ("name", "value", "level"),
    [
        ("zero_damaged_pages", "on", "error"),
        ("ignore_checksum_failure", "on", "error"),
        ("password_encryption", "md5", "error"),
        ("track_counts", "off", "error"),
        ("timezone", "Asia/Seoul", "warning"),
    ],
)
def test_setting_of_a_database(database: Settings, superuser: Connection, name: str, value: str, level: str) -> None:
    before = found(database, "settings")
    run(superuser, f"alter database {database.database} set {name} = '{value}'")
    (new,) = set(found(database, "settings")) - set(before)
    assert (new[0], new[1].partition(":")[0].lower()) == (level, f"{name} is {value.lower()}")


# A setting, and a value of it with which the server's log would hold what people said.
TALKATIVE = {
    "log_min_error_statement": "error",
    "log_error_verbosity": "default",
    "log_statement": "mod",
    "log_min_duration_statement": "5s",
    "log_min_duration_sample": "0",
    "log_transaction_sample_rate": "0.1",
    "log_parameter_max_length_on_error": "-1",
    "debug_print_plan": "on",
    "auto_explain.log_min_duration": "1s",
}
PLACES = {
    "database {database}": "DATABASE {database}",
    "role callytics_owner": "ROLE callytics_owner",
    "role callytics_user in database {database}": "ROLE callytics_user IN DATABASE {database}",
}


@pytest.fixture
def quiet(database: Settings, superuser: Connection) -> Settings:
    for statement in ("log_min_error_statement = panic", "log_error_verbosity = terse"):
        run(superuser, f"alter database {database.database} set {statement}")
    run(superuser, f"alter database {database.database} set session_preload_libraries = 'auto_explain'")
    return database


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", TALKATIVE)
def test_what_would_log_words_is_named_and_put_right(
    quiet: Settings, as_superuser: Callable[..., None], superuser: Connection, name: str, place: str
) -> None:
    assert found(quiet, "log") == []
    where = place.format(database=quiet.database)
    # A role outlives the database.
    as_superuser(f"alter {where} set {name} = '{TALKATIVE[name]}'", f"alter {where} reset all")
    ((level, what),) = found(quiet, "log")
    assert (level, what.partition(": ")[0].partition(" is ")[0]) == ("warning", name)
    fix = fix_of(quiet, "log").removeprefix("as a superuser, or as the provider lets you: ")
    assert fix.startswith(f"ALTER {PLACES[place].format(database=quiet.database)} SET {name} = ")
    run(superuser, fix)
    assert found(quiet, "log") == []


def test_as_postgresql_comes_its_log_would_hold_words(database: Settings) -> None:
    whats = [what.partition(":")[0] for _level, what in found(database, "log")]
    assert whats == ["log_error_verbosity is default", "log_min_error_statement is error"]


@pytest.mark.parametrize(
    ("setting", "said"),
    [("none", False), ("ddl", False), ("ddl, role", False), ("write", True), ("ddl,write", True), ("all", True)],
)
def test_an_audit_of_statements(setting: str, said: bool) -> None:
    fact = {"name": "pgaudit.log", "setting": setting, "source": "configuration file", "role": "r"}
    site = Site("application", "owner", "application", "owner", '"the calls"', 1)
    assert [what for _level, what, _fix in logs.settings([fact], site)] == (
        [f"pgaudit.log is {setting}: what is said in calls is written to the server's log"] if said else []
    )


def test_settings_of_a_server_that_may_lose_everything(database: Settings) -> None:
    """The server of these tests is such a one."""
    wrong = {what.partition(" ")[0]: level for level, what in found(database, "settings")}
    assert wrong.items() >= {"fsync": "error", "full_page_writes": "error", "synchronous_commit": "warning"}.items()


def test_pool_larger_than_the_server_allows(database: Settings) -> None:
    text = "POSTGRES_MAX_CONNECTIONS is 48, but the server has 47 for all together"
    assert found(replace(database, max_connections=47), "settings") == found(database, "settings")
    assert ("error", text) in found(replace(database, max_connections=48), "settings")


def test_encoding_that_is_not_utf_8(server: EmbeddedPostgres, as_superuser: Callable[..., None]) -> None:
    as_superuser(
        "create database latin encoding 'LATIN1' locale 'C' template template0", "drop database latin with (force)"
    )
    assert ("error", "database latin has encoding LATIN1") in found(settings_for(server, "latin"), "server")


def test_replication_slot_that_nobody_reads(database: Settings, as_superuser: Callable[..., None]) -> None:
    assert found(database, "disk") == []
    as_superuser("select pg_create_physical_replication_slot('gone', true)", "select pg_drop_replication_slot('gone')")
    ((level, what),) = found(database, "disk")
    assert (level, what.startswith("replication slot gone is not in use and keeps ")) == ("warning", True)


NAME = "db.callytics.test"
OPTIONS = {
    "ssl": "on",
    "ssl_cert_file": "server.crt",
    "ssl_key_file": "server.key",
    "archive_mode": "on",
    "max_prepared_transactions": "2",
}


@pytest.fixture(scope="module")
def careful(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """A server as on a host: durable, with checksums and a certificate of an authority of its own."""
    # Of the servers that come as a wheel none speaks TLS.
    need_postgres_15()
    server = EmbeddedPostgres(tmp_path_factory.mktemp("careful"))
    try:
        server.start()
        server.stop()
        certify(server)
        server.options = OPTIONS
        with server:
            yield server
    finally:
        server.remove()


def certify(server: EmbeddedPostgres) -> None:
    """Give the server a certificate for its name."""
    account = (server.data.stat().st_uid, server.data.stat().st_gid)
    key, certificate = server.data / "server.key", server.data / "server.crt"
    subject = ("-subj", f"/CN={NAME}", "-addext", f"subjectAltName=DNS:{NAME}")
    command = ("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2")
    try:
        subprocess.run([*command, *subject, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    except FileNotFoundError:
        lacking("no openssl: install it")
    for path in (key, certificate):
        path.chmod(0o600)
        os.chown(path, *account)


@pytest.fixture
def well(careful: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A database of which nothing is to be said, reached by a name that is not this machine's."""
    settings = replace(
        settings_for(careful, "well"),
        hosts=(NAME,),
        sslmode="verify-full",
        sslrootcert=str(careful.data / "server.crt"),
    )
    # libpq goes there instead of asking who has the name, which it still compares with the certificate's.
    monkeypatch.setitem(libpq.EXPLICIT, "hostaddr", "127.0.0.1")
    careful.provide(settings)
    migrate.migrate(settings, report=lambda line: None)
    with closing(connect(settings, owner=True)) as owner, owner:
        run(owner, "select keep_partitions_ahead(3)")
        run(owner, "revoke all on database well from public; grant connect on database well to callytics_user")
    return settings


def env_file(settings: Settings, folder: Path) -> Path:
    path = folder / ".env"
    values = environment(settings)
    path.write_text("".join(f"{name}={json.dumps(value, ensure_ascii=False)}\n" for name, value in values.items()))
    path.chmod(0o600)
    return path


def test_nothing_to_say(well: Settings, tmp_path: Path) -> None:
    result = CliRunner().invoke(cli.cli, ["--env-file", str(env_file(well, tmp_path)), "doctor"])
    assert [line for line in result.stdout.splitlines() if not line.startswith("ok ")] == ["", "All is well."]
    assert (result.exit_code, result.stderr) == (0, "")
    assert "server verified" in result.stdout


def test_json(well: Settings, tmp_path: Path) -> None:
    result = CliRunner().invoke(cli.cli, ["--env-file", str(env_file(well, tmp_path)), "doctor", "--json"])
    answer = json.loads(result.stdout)
    assert (answer["ok"], answer["errors"], answer["warnings"], result.exit_code) == (True, 0, 0, 0)
    assert set(answer["findings"][0]) == {"check", "level", "what", "fix"}


def test_json_and_exit_code_of_an_error(well: Settings, tmp_path: Path) -> None:
    wrong = replace(well, password="one'of our\\secrets")
    result = CliRunner().invoke(cli.cli, ["--env-file", str(env_file(wrong, tmp_path)), "doctor", "--json"])
    answer = json.loads(result.stdout)
    assert (answer["ok"], answer["errors"], result.exit_code) == (False, 1, 1)
    assert "secrets" not in result.output


def test_tls_that_verifies_nobody(well: Settings) -> None:
    ((level, what),) = found(replace(well, sslmode="require", sslrootcert=None), "tls")
    assert level == "warning"
    assert what.endswith(f"but who answers as {NAME} is not verified (sslmode require)")


def test_no_tls_to_another_machine(well: Settings) -> None:
    plain = replace(well, sslmode="disable", sslrootcert=None)
    assert found(plain, "tls") == [("error", f"passwords and calls travel to {NAME} in clear")]


def test_no_tls_on_this_machine(well: Settings) -> None:
    assert found(replace(well, hosts=("127.0.0.1",), sslmode="disable", sslrootcert=None), "tls") == []


def test_wrong_name_is_a_finding(well: Settings) -> None:
    first = examine(replace(well, hosts=("other.test",))).findings[0]
    assert (first.level, "POSTGRES_HOST" in first.fix) == ("error", True)


@pytest.fixture
def changed(careful: EmbeddedPostgres) -> Iterator[Callable[[str], None]]:
    """A way to change a setting of the server until the test ends."""
    with closing(psycopg2.connect(careful.superuser_conninfo())) as connection:
        connection.autocommit = True

        def change(setting: str) -> None:
            run(connection, f"alter system {setting}")
            run(connection, "select pg_reload_conf()")
            # The postmaster tells its children on its own time.
            run(connection, "select pg_sleep(0.3)")

        yield change
        change("reset all")


def test_autovacuum_off(well: Settings, changed: Callable[[str], None]) -> None:
    changed("set autovacuum = off")
    assert found(well, "settings") == [("error", "autovacuum is off: tables bloat until the server stops")]


def test_setting_that_waits_for_a_restart(well: Settings, changed: Callable[[str], None]) -> None:
    changed("set max_connections = 60")
    assert found(well, "settings") == [("warning", "max_connections wait for a restart")]


def test_archiving_that_fails(well: Settings, careful: EmbeddedPostgres, changed: Callable[[str], None]) -> None:
    changed("set archive_command = 'false'")
    with closing(psycopg2.connect(careful.superuser_conninfo())) as connection:
        connection.autocommit = True
        run(connection, "select pg_switch_wal(), txid_current()")
        deadline = time.monotonic() + 30
        while not (findings := found(well, "disk")) and time.monotonic() < deadline:
            time.sleep(0.2)
    assert findings[0][0] == "error"
    assert findings[0][1].endswith("WAL fills the disk")


def test_prepared_transaction(well: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "OLD_TRANSACTION", "0 seconds")
    with closing(connect(well)) as connection:
        connection.autocommit = True
        run(connection, "begin; insert into topics (name) values ('in doubt'); prepare transaction 'lost'")
        assert "transaction lost is prepared since" in found(well, "transactions")[0][1]
        run(connection, "rollback prepared 'lost'")


def test_standby(well: Settings, careful: EmbeddedPostgres) -> None:
    careful.stop()
    signal = careful.data / "standby.signal"
    signal.touch()
    os.chown(signal, careful.data.stat().st_uid, careful.data.stat().st_gid)
    try:
        with careful:
            assert found(well, "server") == [("error", "the server is a standby and takes no writes")]
    finally:
        signal.unlink()
        careful.start()


def test_findings_read_as_lines() -> None:
    findings = [Finding("a", "error", "x is off", "turn it on"), Finding("b", "ok", "fine")]
    assert list(doctor.lines(Diagnosis(findings))) == [
        "error    a            x is off",
        "                      → turn it on",
        "ok       b            fine",
        "",
        "1 error, 0 warnings",
    ]


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("localhost", True),
        ("127.0.0.9", True),
        ("::1", True),
        ("/run/postgresql", True),
        ("db", False),
        ("10.0.0.1", False),
    ],
)
def test_which_hosts_are_this_machine(host: str, local: bool) -> None:
    assert doctor.is_local(host) is local
