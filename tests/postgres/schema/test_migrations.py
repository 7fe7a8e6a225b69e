"""The migrations: up, down and up again, empty and full; killed, doubled, edited; by both commands."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import psycopg2
import pytest
from psycopg2.extensions import connection as Connection
from yoyo.exceptions import LockTimeout

from callytics.exceptions import MigrationError, NewerSchema
from callytics.postgres import connect
from callytics.schema import made, migrate, partitions, versions
from callytics.settings import Settings
from callytics.trial.embedded import EmbeddedPostgres
from tests.support.catalogue import catalogue, rows
from tests.support.commands import environment, invoke
from tests.support.filling import fill, tables
from tests.support.migrating import down, others_at_work, up
from tests.support.needs import lacking
from tests.support.places import REPOSITORY
from tests.support.servers import Databases

pytestmark = pytest.mark.slow

FILES = sorted(path for path in versions.migrations_folder().glob("*.sql") if not path.name.endswith(".rollback.sql"))
IDS = [path.stem for path in FILES]
# A reader of a busy table may wait this long for a whole migration, on whatever machine runs the tests.
READER_SECONDS = 2.0


def silent(line: str) -> None:
    """Report nothing."""


@pytest.fixture
def owner(empty_database: Settings) -> Iterator[Connection]:
    connection = connect(empty_database, owner=True)
    yield connection
    connection.close()


@dataclass(frozen=True)
class Step:
    """A database of its own that is migrated up to a migration, and its owner's connection."""

    id: str
    settings: Settings
    owner: Connection


@pytest.fixture(scope="module")
def steps(databases: Databases) -> dict[str, Settings]:
    """A database for each migration, as it is after that one; connect to clones of them, not to them."""
    made = {}
    with databases.empty() as rising:
        for migration_id in IDS:
            up(rising, migration_id)
            made[migration_id] = databases.copy(rising)
    return made


@pytest.fixture
def step(request: pytest.FixtureRequest, steps: dict[str, Settings], databases: Databases) -> Iterator[Step]:
    with databases.clone(steps[request.param]) as settings, closing(connect(settings, owner=True)) as owner:
        yield Step(request.param, settings, owner)


@pytest.fixture
def superuser(server: EmbeddedPostgres) -> Iterator[Connection]:
    connection = psycopg2.connect(server.superuser_conninfo())
    yield connection
    connection.close()


def ask(connection: Connection, query: str, *values: object) -> object:
    with connection, connection.cursor() as cursor:
        cursor.execute(query, values or None)
        row = cursor.fetchone()
        return row[0] if row else None


def qualified(table: str) -> str:
    return table if "." in table else f"public.{table}"


def columns_of(settings: Settings) -> set[tuple[str, str]]:
    """Return the columns of every table, with the tables' names; of partitioned ones without their partitions."""
    query = """
        select n.nspname || '.' || c.relname, a.attname
        from pg_class as c
        join pg_namespace as n on n.oid = c.relnamespace
        join pg_attribute as a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
        where n.nspname in ('public', 'imports') and c.relkind in ('r', 'p') and not c.relispartition
            and c.relname !~ '^(_?yoyo|_callytics)_'
    """
    with closing(connect(settings, owner=True)) as connection, connection.cursor() as cursor:
        cursor.execute(query)
        return {*cursor.fetchall()}


def run(connection: Connection, statement: str, *values: object) -> None:
    with connection, connection.cursor() as cursor:
        cursor.execute(statement, values or None)


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_each_migration_says_why_follows_the_one_before_and_can_be_rolled_back(path: Path) -> None:
    migration = {m.id: m for m in migrate.read()}[path.stem]
    migration.load()
    before = IDS[IDS.index(path.stem) - 1 : IDS.index(path.stem)]
    assert migration.module.__doc__.strip()
    assert [parent.id for parent in migration.depends] == before
    assert path.with_name(path.stem + ".rollback.sql").exists()


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_an_index_is_built_concurrently_outside_a_transaction(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    if "create index concurrently" in text:
        assert text.startswith("-- transactional: false\n")
        assert "create table" not in text


@pytest.mark.quick
def test_migrate_applies_everything_once(empty_database: Settings) -> None:
    assert migrate.migrate(empty_database, report=silent) == IDS
    assert migrate.migrate(empty_database, report=silent) == []


def test_pending_names_what_is_missing(empty_database: Settings, owner: Connection) -> None:
    assert versions.pending(owner) == IDS
    up(empty_database, IDS[3])
    assert versions.pending(owner) == IDS[4:]
    up(empty_database)
    assert versions.pending(owner) == []


def test_up_down_and_up_on_an_empty_database(empty_database: Settings, owner: Connection) -> None:
    up(empty_database)
    before = catalogue(owner)
    assert down(empty_database) == IDS[::-1]
    assert not any(catalogue(owner).values())
    up(empty_database)
    assert catalogue(owner) == before


def test_up_down_and_up_on_a_full_database(empty_database: Settings, owner: Connection) -> None:
    """Nobody's call is lost by a rollback, not even by that of the tables."""
    up(empty_database)
    fill(owner, 300, 5000)
    run(owner, "select ensure_month_partitions('utterances', '2024-02-01', '2024-03-01')")
    names = tables(owner)
    data = rows(owner, names)
    assert min(count for count, _ in data.values()) == 300
    down(empty_database)
    up(empty_database)
    assert rows(owner, names) == data
    again = catalogue(owner)
    down(empty_database)
    up(empty_database)
    assert catalogue(owner) == again
    assert rows(owner, names) == data


def test_the_way_back_is_what_was_applied_since(empty_database: Settings, owner: Connection) -> None:
    up(empty_database)
    before = catalogue(owner)
    assert versions.last(owner) == IDS[-1]
    assert migrate.roll_back(empty_database, IDS[3], report=silent) == IDS[:3:-1]
    assert versions.pending(owner) == IDS[4:]
    assert migrate.roll_back(empty_database, IDS[3].partition(".")[0], report=silent) == []
    up(empty_database)
    assert catalogue(owner) == before


def test_the_way_back_goes_by_the_clock(empty_database: Settings, owner: Connection) -> None:
    """A migration that came late is what an upgrade has brought, whatever its number."""
    up(empty_database)
    [late] = [one for one in IDS if one.startswith("0010.")]
    run(owner, "update _yoyo_migration set applied_at_utc = now() + interval '1 day' where migration_id = %s", late)
    assert versions.last(owner) == late
    assert migrate.roll_back(empty_database, IDS[-1], report=silent) == [late]
    assert versions.pending(owner) == [late]


def test_a_way_back_that_is_not_there_is_refused_before_anything_is_done(
    empty_database: Settings, owner: Connection, own_folder: Path
) -> None:
    up(empty_database)
    before = catalogue(owner)
    with pytest.raises(MigrationError, match="is not applied"):
        migrate.roll_back(empty_database, "0000.nothing", report=silent)
    (own_folder / f"{IDS[-2]}.rollback.sql").unlink()
    with pytest.raises(MigrationError, match=f"{IDS[-2]} can't be rolled back: restore a backup"):
        migrate.roll_back(empty_database, IDS[-3], report=silent)
    for path in own_folder.glob(f"{IDS[-2]}*"):
        path.unlink()
    with pytest.raises(NewerSchema, match="newer version"):
        migrate.roll_back(empty_database, IDS[-3], report=silent)
    assert catalogue(owner) == before


def test_whoever_goes_back_is_told_what_goes_and_asked(empty_database: Settings, owner: Connection) -> None:
    up(empty_database)
    fill(owner, 20)
    run(owner, "insert into imports.runs (version, timezone) values ('x', 'UTC')")
    step = "select id, 'analyze', 'calls', now(), now() from imports.runs limit 1"
    run(owner, f"insert into imports.steps (run_id, step, name, started_at, finished_at) {step}")
    asked = invoke(empty_database, "migrate", "--back-to", "0055")
    assert asked.exit_code == 1
    assert f"{len(IDS) - IDS.index('0055.import-summaries') - 1} migrations would be rolled back, and" in asked.stderr
    lines = [line.strip() for line in asked.stderr.splitlines()]
    for line in (
        "table imports.steps, 1 row: deleted",
        "table imports.sizes, 0 rows",
        "table agent_scopes, 20 rows: put aside",
        "table audit_log, 20 rows: put aside",
        "column folded_name of agent_accounts",
    ):
        assert line in lines
    assert not [line for line in lines if line.startswith("table agent_accounts")]
    assert lines[-1].endswith(f"Roll back {empty_database.database} to 0055? [y/N]: Aborted!")
    assert versions.pending(owner) == []
    assert invoke(empty_database, "migrate", "--back-to", "0055", input="y\n").exit_code == 0
    assert invoke(empty_database, "migrate", "--back-to", "0055").stdout == "Nothing was applied after 0055\n"
    assert invoke(empty_database, "migrate", "--back-to", "0050", "--yes").stderr == ""
    assert versions.pending(owner)[0] == "0051.sync-and-undo"


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_what_goes_is_what_the_migration_brought(path: Path, steps: dict[str, Settings]) -> None:
    """Tables and columns read from a migration's text are those that the database has after it, and no more."""
    before = IDS[IDS.index(path.stem) - 1 : IDS.index(path.stem)]
    had, has = (set() if not one else columns_of(steps[one]) for one in (before[0] if before else None, path.stem))
    tables_of = {table for table, _ in had}
    new = {(table, column) for table, column in has - had if table in tables_of}
    assert {table for table, _ in has - had} - tables_of == {*map(qualified, made.tables(path))}
    assert new == {(qualified(table), column) for table, column in made.columns(path)}


@pytest.mark.parametrize("step", IDS[1:], indirect=True)
def test_each_step_down_and_up_keeps_catalogue_and_rows(step: Step) -> None:
    fill(step.owner, 20)
    before, data = catalogue(step.owner), rows(step.owner, tables(step.owner))
    assert down(step.settings, step.id) == [step.id]
    up(step.settings, step.id)
    assert (catalogue(step.owner), rows(step.owner, tables(step.owner))) == (before, data)


def test_ids_go_on_where_they_were_after_each_way(empty_database: Settings, owner: Connection) -> None:
    insert = (
        "insert into processing_logs (audio_file_id, processing_step, start_time) values (1, 's', now()) returning id"
    )
    up(empty_database)
    fill(owner, 10)
    assert ask(owner, insert) == 11
    down(empty_database, "0040")
    assert ask(owner, insert) == 12
    down(empty_database)
    up(empty_database)
    assert ask(owner, insert) == 13
    assert (
        ask(owner, "select pg_get_serial_sequence('public.processing_logs', 'id')") == "public.processing_logs_id_seq"
    )


@pytest.mark.slow
def test_no_one_waits_long_for_a_migration(empty_database: Settings, owner: Connection) -> None:
    """Readers of a table of 200,000 rows go on while it is indexed, partitioned, and made plain again."""
    up(empty_database, "0007")
    fill(owner, 200, 200_000)
    reading = "select count(*) from transcriptions where id = 7"
    with others_at_work(empty_database, reading) as tuned:
        up(empty_database)
    with others_at_work(empty_database, reading) as undone:
        down(empty_database, "0002")
    with others_at_work(empty_database, reading) as redone:
        up(empty_database)
    for waits in (tuned, undone, redone):
        print(f"longest wait of a reader {waits.reader:.3f} s, longest lock {waits.locked:.3f} s, {waits.reads} reads")  # noqa: T201
        assert waits.reads > 100
        assert waits.reader < READER_SECONDS
        assert waits.locked < READER_SECONDS


def test_a_busy_table_is_tried_again_while_no_one_waits_behind_it(empty_database: Settings, owner: Connection) -> None:
    up(empty_database, "0031z")
    told: list[str] = []
    run(owner, "select 1")
    with owner.cursor() as cursor:
        cursor.execute("select count(*) from utterances")
        threading.Timer(8, owner.rollback).start()
        assert migrate.migrate(empty_database, report=told.append) == IDS[IDS.index("0040.partitioning") :]
    assert "a table is busy, trying again" in told


@pytest.mark.parametrize("step", IDS, indirect=True)
def test_done_but_not_marked(step: Step) -> None:
    """Plain yoyo commits a migration before its mark; killed between the two, it could not go on."""
    before = catalogue(step.owner)
    run(step.owner, "delete from _yoyo_migration where migration_id = %s", step.id)
    run(step.owner, "delete from _callytics_migration where migration_id = %s", step.id)
    assert up(step.settings, step.id) == [step.id]
    assert catalogue(step.owner) == before
    assert versions.pending(step.owner) == IDS[IDS.index(step.id) + 1 :]


# A comment leaves nothing behind that could be missed.
@pytest.mark.parametrize("step", [name for name in IDS if name != "0005.comments"], indirect=True)
def test_undone_but_still_marked(step: Step) -> None:
    before = catalogue(step.owner)
    with migrate.Backend(settings=step.settings, report=silent) as backend:
        migration = {m.id: m for m in migrate.read()}[step.id]
        migration.process_steps(backend, "rollback")
    assert up(step.settings, step.id) == [step.id]
    assert catalogue(step.owner) == before


def test_an_interrupted_index_is_dropped_and_built_again(empty_database: Settings, owner: Connection) -> None:
    name, index = "0011.index-speaker-segments", "speaker_segments_audio_file_id_idx"
    up(empty_database, "0011")
    fill(owner, 20)
    interrupt_index(empty_database, owner, Path(versions.migrations_folder() / f"{name}.sql"))
    valid = "select indisvalid from pg_index where indexrelid = to_regclass(%s)"
    assert ask(owner, valid, index) is False
    assert up(empty_database, name) == [name]
    assert ask(owner, valid, index) is True


def test_a_marked_index_that_is_invalid_is_built_again(empty_database: Settings, owner: Connection) -> None:
    """Plain yoyo goes over an invalid index, since it exists, and marks it."""
    name, index = "0011.index-speaker-segments", "speaker_segments_audio_file_id_idx"
    up(empty_database, name)
    run(owner, f"drop index {index}")
    interrupt_index(empty_database, owner, Path(versions.migrations_folder() / f"{name}.sql"))
    assert up(empty_database, name) == [name]
    assert ask(owner, "select indisvalid from pg_index where indexrelid = to_regclass(%s)", index) is True


def interrupt_index(settings: Settings, writer: Connection, path: Path) -> None:
    """Leave the invalid index that a killed CREATE INDEX CONCURRENTLY leaves: it gives up waiting for a writer."""
    builder = connect(settings, owner=True)
    builder.autocommit = True
    with writer.cursor() as writing, builder.cursor() as building:
        writing.execute("update speaker_segments set confidence = 1 where id = 1")
        building.execute("set statement_timeout = '300ms'")
        with pytest.raises(psycopg2.errors.QueryCanceled):
            building.execute(path.read_text(encoding="utf-8").rpartition("\n\n")[2])
    writer.rollback()
    builder.close()


SLOW = "-- Takes its time.\n-- depends: 0001.tables\ncreate table slow (id bigint);\n\nselect pg_sleep(60);\n"
SLEEPS = "select exists (select from pg_stat_activity where query = 'select pg_sleep(60);' and state = 'active')"
WAKE = "select count(pg_terminate_backend(pid)) from pg_stat_activity where query = 'select pg_sleep(60);'"
SLOW_PLAIN_YOYO = """
import sys
from yoyo import get_backend, read_migrations
backend = get_backend(sys.argv[1])
with backend.lock():
    backend.apply_migrations(backend.to_apply(read_migrations(sys.argv[2])))
"""
SLOW_OURS = """
import os, sys
from pathlib import Path
from callytics.schema import migrate, versions
from callytics.settings import Settings
versions.migrations_folder = lambda: Path(sys.argv[2])
migrate.migrate(Settings.load(env_file=None), report=lambda line: None)
"""


@pytest.fixture
def slow_folder(tmp_path: Path) -> Path:
    """The first migration, and one that never ends."""
    for name in ("0001.tables.sql", "0001.tables.rollback.sql"):
        shutil.copy(versions.migrations_folder() / name, tmp_path)
    (tmp_path / "0002.slow.sql").write_text(SLOW, encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize("program", [SLOW_PLAIN_YOYO, SLOW_OURS], ids=["plain yoyo", "callytics"])
def test_a_killed_run_is_resumed(
    empty_database: Settings, superuser: Connection, slow_folder: Path, program: str
) -> None:
    """Killed for good in the middle of a migration, a run leaves yoyo's lock and an open transaction behind."""
    command = [sys.executable, "-c", program, empty_database.yoyo_uri(), str(slow_folder)]
    with subprocess.Popen(command, env=os.environ | environment(empty_database), cwd=REPOSITORY) as killed:
        wait_until(superuser, SLEEPS)
        killed.kill()
    # The server notices a client's death only when it has something to say to it.
    ask(superuser, WAKE)
    told: list[str] = []
    assert migrate.migrate(empty_database, report=told.append) == IDS[1:]
    assert "Removing the lock of a run that was killed" in told
    with closing(connect(empty_database, owner=True)) as owner:
        assert ask(owner, "select count(*) from yoyo_lock") == 0
        assert ask(owner, "select to_regclass('slow')") is None


def test_the_lock_of_a_living_plain_yoyo_is_left_alone(
    empty_database: Settings, superuser: Connection, slow_folder: Path
) -> None:
    program = [sys.executable, "-c", SLOW_PLAIN_YOYO, empty_database.yoyo_uri(), str(slow_folder)]
    with subprocess.Popen(program, cwd=REPOSITORY) as running:
        wait_until(superuser, SLEEPS)
        with (
            migrate.Backend(settings=empty_database, report=silent) as backend,
            pytest.raises(LockTimeout, match=str(running.pid)),
            backend.lock(timeout=1),
        ):
            pass
        running.kill()
    ask(superuser, WAKE)


def wait_until(connection: Connection, query: str) -> None:
    for _ in range(200):
        if ask(connection, query):
            return
        time.sleep(0.1)
    pytest.fail(f"never true: {query}")


def test_runs_at_once(empty_database: Settings) -> None:
    """One applies all; the others wait, also where nothing is there yet, and find nothing left to do."""
    applied: list[list[str]] = []
    runs = [
        threading.Thread(target=lambda: applied.append(migrate.migrate(empty_database, report=silent)))
        for _ in range(4)
    ]
    for each in runs:
        each.start()
    for each in runs:
        each.join()
    assert sorted(applied) == [[], [], [], IDS]


@pytest.fixture
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the migrations that may be edited."""
    folder = tmp_path / "migrations"
    shutil.copytree(REPOSITORY / "migrations", folder)
    monkeypatch.setattr(versions, "migrations_folder", lambda: folder)
    return folder


def edit(path: Path) -> None:
    path.write_text(path.read_text(encoding="utf-8") + "\nselect 1;\n", encoding="utf-8")


def test_an_edited_applied_migration_is_refused(empty_database: Settings, own_folder: Path) -> None:
    up(empty_database, "0004z")
    edit(own_folder / "0003.views.sql")
    with pytest.raises(MigrationError, match=r"0003\.views was edited after it was applied: restore .*new migration"):
        migrate.migrate(empty_database, report=silent)


def test_a_migration_can_be_edited_before_it_is_applied(empty_database: Settings, own_folder: Path) -> None:
    up(empty_database, "0002z")
    edit(own_folder / "0003.views.sql")
    assert migrate.migrate(empty_database, report=silent) == IDS[2:]


def test_other_line_ends_are_no_edit(empty_database: Settings, own_folder: Path) -> None:
    up(empty_database)
    for path in own_folder.glob("*.sql"):
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert migrate.migrate(empty_database, report=silent) == []


def test_an_edit_is_noticed_after_plain_yoyo_too(empty_database: Settings, own_folder: Path) -> None:
    """Plain yoyo records no contents: they are recorded when they are first seen."""
    plain_yoyo("apply", empty_database, own_folder)
    assert migrate.migrate(empty_database, report=silent) == []
    edit(own_folder / "0010.index-audio-files.sql")
    with pytest.raises(MigrationError, match=r"0010\.index-audio-files was edited"):
        migrate.migrate(empty_database, report=silent)


def plain_yoyo(command: str, settings: Settings, folder: Path) -> None:
    """Run yoyo without our backend."""
    subprocess.run(
        [
            sys.executable,
            "-m",
            "yoyo",
            command,
            "--no-config-file",
            "--batch",
            "--database",
            settings.yoyo_uri(),
            str(folder),
        ],
        check=True,
        capture_output=True,
    )


def test_a_failing_migration_leaves_nothing_and_says_why(empty_database: Settings, own_folder: Path) -> None:
    text = (
        "-- Fails.\n-- depends: 0040.partitioning\ncreate table half (id bigint);\n\ninsert into half values ('a');\n"
    )
    (own_folder / "9999.fails.sql").write_text(text, encoding="utf-8")
    with pytest.raises(MigrationError, match=r"^migration 9999\.fails failed: invalid input syntax for type bigint"):
        migrate.migrate(empty_database, report=silent)
    (own_folder / "9999.fails.sql").unlink()
    connection = connect(empty_database, owner=True)
    assert ask(connection, "select to_regclass('half')") is None
    assert versions.pending(connection) == []
    connection.close()


def yoyo(settings: Settings, *arguments: str, **changed: str) -> subprocess.CompletedProcess[str]:
    if "callytics" not in importlib.metadata.entry_points(group="yoyo.backends").names:
        lacking("the package is not installed, so that yoyo does not know callytics://: pip install -e .")
    return subprocess.run(
        [sys.executable, "-m", "yoyo", *arguments],
        env=os.environ | environment(settings) | changed,
        cwd=REPOSITORY,
        text=True,
        capture_output=True,
        check=False,
    )


def test_yoyo_apply_as_typed(empty_database: Settings, owner: Connection) -> None:
    """Every special character is in this password."""
    assert set("@/%'\" ") < set(empty_database.owner_password or "")
    done = yoyo(empty_database, "apply")
    assert (done.returncode, done.stdout) == (0, "")
    assert versions.pending(owner) == []
    assert migrate.migrate(empty_database, report=silent) == []
    assert yoyo(empty_database, "list").stdout.count("\nA  ") == len(IDS)
    assert yoyo(empty_database, "rollback", "--all").returncode == 0
    assert versions.pending(owner) == IDS


NEXT_MONTH = (
    "select to_regclass(to_char(now() at time zone 'UTC' + interval '1 month', '\"utterances_\"YYYY_MM'))::text"
)


def test_migrations_make_the_partitions_of_this_month_and_the_next(empty_database: Settings, owner: Connection) -> None:
    """Also where a run was killed after the last migration; a run that stops before it makes none."""
    up(empty_database, IDS[-2])
    assert ask(owner, NEXT_MONTH) is None
    assert "Partitions made for this month and the next 3" in yoyo(empty_database, "apply").stderr.splitlines()
    months = f"select keep_partitions_ahead({partitions.MONTHS})"
    assert ask(owner, months) == 0
    run(owner, f"drop table {ask(owner, NEXT_MONTH)}")
    told: list[str] = []
    assert migrate.migrate(empty_database, report=told.append) == []
    assert told == ["Partitions made for this month and the next 3"]
    assert ask(owner, months) == 0


def test_yoyo_apply_without_an_owner(empty_database: Settings, owner: Connection) -> None:
    """Without POSTGRES_OWNER_USER the application's role migrates, and owns what it made."""
    run(owner, "grant create on schema public to callytics_user")
    run(owner, f"grant create on database {empty_database.database} to callytics_user")
    done = yoyo(empty_database, "apply", POSTGRES_OWNER_USER="", POSTGRES_OWNER_PASSWORD="")
    assert (done.returncode, done.stdout) == (0, "")
    assert ask(owner, "select tableowner from pg_tables where tablename = 'audio_files'") == "callytics_user"


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"POSTGRES_DB": ""}, "POSTGRES_DB is empty"),
        ({"POSTGRES_PORT": "abc"}, "POSTGRES_PORT 'abc' is not a whole number"),
        ({"POSTGRES_OWNER_PASSWORD": "wrong"}, "password authentication failed"),
        ({"POSTGRES_DB": "nowhere"}, 'database "nowhere" does not exist'),
    ],
    ids=lambda value: value if isinstance(value, str) else next(iter(value)),
)
def test_yoyo_says_in_one_line_what_is_wrong(empty_database: Settings, changed: dict[str, str], message: str) -> None:
    done = yoyo(empty_database, "apply", **changed)
    assert done.returncode != 0
    assert message in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_the_application_works_with_the_calls_and_with_nothing_else(database: Settings) -> None:
    application = connect(database)
    run(application, "insert into audio_files (file_name) values ('a.wav')")
    assert ask(application, "select count(*) from audio_files") == 1
    assert ask(application, "select keep_partitions_ahead(4)") == 5
    run(application, "insert into utterances (audio_file_id, text) values (1, 'a')")
    for statement in ("delete from _yoyo_migration", "create table mine (id bigint)", "select from imports.runs"):
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            run(application, statement)
    application.close()


def test_a_role_that_comes_later_is_given_its_rights(database: Settings, superuser: Connection) -> None:
    """The roles are absent when this database is migrated, which must not fail."""
    run(superuser, "create role callytics_readonly")
    reads = "select has_table_privilege('callytics_readonly', 'utterances', 'select')"
    with closing(connect(database, owner=True)) as owner:
        assert ask(owner, reads) is False
        run(owner, "call grant_to_callytics_roles()")
        assert ask(owner, reads) is True
        assert ask(owner, "select has_table_privilege('callytics_readonly', 'utterances', 'insert')") is False
        down(database, "0006")
        assert ask(owner, reads) is False
    run(superuser, "drop role callytics_readonly")
