"""Every value of every file is in PostgreSQL, by a check that shares no code with the importer."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from psycopg2.extensions import connection as Connection

from callytics.importer import Outcome
from callytics.settings import Settings
from callytics.trial.sample import write_sample
from tests.support.independent import problems
from tests.support.installation import Installation
from tests.support.places import SHARED
from tests.support.servers import Databases, execute

pytestmark = pytest.mark.slow

FOLDERS = ("callytics-1", "callytics-2", "callytics-3")


@pytest.fixture(scope="session")
def samples(tmp_path_factory: pytest.TempPathFactory) -> dict[int, list[Path]]:
    """A generated installation of each generation."""
    folder = tmp_path_factory.mktemp("samples")
    write_sample(folder / "1.sqlite", generation=1, calls=12, seed=1)
    write_sample(folder / "2.sqlite", generation=2, calls=12, seed=2)
    write_sample(folder / "3", generation=3, calls=12, seed=3)
    return {1: [folder / "1.sqlite"], 2: [folder / "2.sqlite"], 3: sorted((folder / "3").iterdir())}


def run(installation: Installation, files: list[Path]) -> Outcome:
    """Import and require that everything arrived."""
    installation.files = files
    outcome = installation.import_()
    assert (outcome.exit_code, outcome.rejects, outcome.differences) == (0, [], [])
    return outcome


def verified(installation: Installation, files: list[Path]) -> Outcome:
    """Verify these of its files."""
    installation.files = files
    return installation.verify()


def snapshot_of(connection: Connection) -> dict[str, list[tuple[Any, ...]]]:
    """Return every row of every table, of the import's records too, and where every sequence stands."""
    found: dict[str, list[tuple[Any, ...]]] = {}
    with connection.cursor() as cursor:
        cursor.execute(
            "select c.oid::regclass::text, c.relkind from pg_class c join pg_namespace n on n.oid = c.relnamespace "
            "where nspname in ('public', 'imports') and relkind in ('r', 'S') order by 1"
        )
        for table, kind in cursor.fetchall():
            cursor.execute(f"select {'last_value, is_called' if kind == 'S' else 't::text'} from {table} t order by 1")
            found[table] = cursor.fetchall()
    return found


def unreferenced(connection: Connection) -> list[str]:
    """Return the foreign keys that are not valid."""
    with connection.cursor() as cursor:
        cursor.execute("select conname from pg_constraint where contype = 'f' and not convalidated")
        return [name for (name,) in cursor.fetchall()]


def test_no_column_has_a_type_of_our_own(shared_database: Settings) -> None:
    """The driver that copies knows PostgreSQL's own types without asking the server for all that there are."""
    own = (
        "select attrelid::regclass::text, attname from pg_attribute join pg_class on pg_class.oid = attrelid "
        "where relkind in ('r', 'p', 'v') and relnamespace::regnamespace::text in ('public', 'imports') "
        "and attnum > 0 and atttypid >= 16384"
    )
    assert execute(shared_database, own) == []
    assert execute(shared_database, own.replace(">= 16384", "< 16384"))


@pytest.mark.skipif(not SHARED.exists(), reason=f"{SHARED} is not there: real installations are not shipped")
@pytest.mark.parametrize("folder", FOLDERS)
def test_every_value_of_a_real_installation_is_there(folder: str, installation: Installation) -> None:
    """Each folder of real files arrives whole, and verify agrees."""
    # Two moments of one installation are among them.
    installation.options = replace(installation.options, again=True)
    files = sorted((SHARED / folder).glob("*.sqlite"))
    run(installation, files)
    assert installation.problems() == []
    assert verified(installation, files).exit_code == 0


@pytest.mark.skipif(not SHARED.exists(), reason=f"{SHARED} is not there: real installations are not shipped")
def test_all_real_installations_together(installation: Installation) -> None:
    """Every real file in one command: rows stay apart, references lead where they led."""
    # Two moments of one installation are among them.
    installation.options = replace(installation.options, again=True)
    files = sorted(SHARED.glob("*/*.sqlite"))
    run(installation, files)
    assert installation.problems() == []
    assert unreferenced(installation.connection) == []


@pytest.mark.parametrize("generation", [1, 2, pytest.param(3, marks=pytest.mark.quick)])
def test_every_value_of_a_generated_installation_is_there(
    generation: int, samples: dict[int, list[Path]], installation: Installation
) -> None:
    """A generated installation arrives whole, every foreign key valid, and verify agrees."""
    run(installation, samples[generation])
    assert installation.problems() == []
    assert unreferenced(installation.connection) == []
    assert verified(installation, samples[generation]).exit_code == 0


@pytest.mark.parametrize("order", ["123", "321", "213"])
def test_generations_in_one_database_stay_apart(
    order: str,
    samples: dict[int, list[Path]],
    installation: Installation,
) -> None:
    """Generations imported one after the other, in any order, keep all rows apart and all references right."""
    for generation in order:
        run(installation, samples[int(generation)])
    files = installation.files = [file for generation in order for file in samples[int(generation)]]
    assert installation.problems() == []
    assert unreferenced(installation.connection) == []
    for file in files:
        assert verified(installation, [file]).exit_code == 0


def test_one_command_for_all_generations(samples: dict[int, list[Path]], installation: Installation) -> None:
    """All generations named in one command arrive like one after the other."""
    files = [file for generation in samples.values() for file in generation]
    run(installation, files)
    assert installation.problems() == []
    assert unreferenced(installation.connection) == []


def test_a_zone_moves_timestamps_without_offset(samples: dict[int, list[Path]], installation: Installation) -> None:
    """With a time zone, what was written without offset is read as local time there, but for what SQLite wrote."""
    installation.options = replace(installation.options, zone=ZoneInfo("Asia/Seoul"))
    run(installation, samples[3])
    for file in samples[3]:
        assert problems(file, installation.connection, "Asia/Seoul") == []
        assert problems(file, installation.connection, "UTC") != []


def test_the_application_counts_the_files(samples: dict[int, list[Path]], installation: Installation) -> None:
    """The application's role reads what was imported."""
    run(installation, samples[3])
    assert installation.change("select current_user") == "callytics_user"
    assert installation.change("SELECT COUNT(*) FROM audio_files") == 12


INSERTS = {
    "audio_files": "insert into audio_files (file_name, file_path) values ('new', '/new') returning id",
    "utterances": "insert into utterances (text) values ('new') returning id",
    "transcriptions": "insert into transcriptions (audio_file_id, text_content, start_time, end_time) "
    "values ((select min(id) from audio_files), 'new', 0, 1) returning id",
    "agent_teams": "insert into agent_teams (team_name, department) values ('new', 'new') returning id",
}


@pytest.mark.parametrize("table", INSERTS)
def test_the_next_id_is_the_one_that_sqlite_would_have_given(
    table: str, samples: dict[int, list[Path]], tmp_path: Path, installation: Installation
) -> None:
    """An insert by the application goes on where sqlite_sequence stood, not at the highest id."""
    file = next(f for f in samples[3] if table in tables_of(f))
    copy = tmp_path / file.name
    copy.write_bytes(file.read_bytes())
    with closing(sqlite3.connect(copy)) as sqlite, sqlite:
        sqlite.execute("update sqlite_sequence set seq = seq + 417 where name = ?", (table,))
        (stood,) = sqlite.execute("select seq from sqlite_sequence where name = ?", (table,)).fetchone()
    run(installation, [copy, *(f for f in samples[3] if f != file)])
    assert installation.change(INSERTS[table]) == stood + 1


def test_the_next_id_after_ids_moved(samples: dict[int, list[Path]], installation: Installation) -> None:
    """Where ids moved, the next id moves with them."""
    assert installation.change(INSERTS["audio_files"]) == 1
    run(installation, samples[1])
    assert installation.one("select id_offset from imports.tables where target_table = 'audio_files'") == 1
    with closing(sqlite3.connect(samples[1][0])) as sqlite:
        (stood,) = sqlite.execute("select seq from sqlite_sequence where name = 'File'").fetchone()
    assert installation.change(INSERTS["audio_files"]) == stood + 1 + 1


def tables_of(file: Path) -> set[str]:
    """Return a file's tables."""
    with closing(sqlite3.connect(file)) as sqlite:
        return {name for (name,) in sqlite.execute("select name from sqlite_master where type = 'table'")}


def test_a_second_import_changes_nothing(samples: dict[int, list[Path]], installation: Installation) -> None:
    """The same files again: said so, and not one row, record or sequence is touched."""
    run(installation, samples[3])
    before = snapshot_of(installation.connection)
    again = run(installation, samples[3])
    assert len([note for note in again.notes if "already imported" in note and "nothing changed" in note]) == 2
    assert snapshot_of(installation.connection) == before


def test_the_same_content_under_another_name_is_the_same_file(
    samples: dict[int, list[Path]], tmp_path: Path, installation: Installation
) -> None:
    """A renamed copy brings nothing new."""
    run(installation, samples[1])
    copy = tmp_path / "renamed.db"
    copy.write_bytes(samples[1][0].read_bytes())
    before = snapshot_of(installation.connection)
    assert "already imported" in run(installation, [copy]).notes[0]
    assert snapshot_of(installation.connection) == before


NOT_LOADED = """
create table audio_files (id integer primary key, file_path text, file_name text, processing_status text,
    sample_rate integer);
insert into audio_files values (1, '/a', 'a', 'pending', 8000), (2, '/b', 'b', 'pending', 'quick'), (3, '/c',
    'c', 'pending', x'00ff');
create table notes (subject text, body);
insert into notes values ('one', 1), ('two', 2.5), ('three', x'ff');
"""

TAMPERED_RECORDS = [
    """update imports.rejected set source_row = source_row || '{"file_name": "z"}' where source_rowid = 2""",
    "update imports.rejected set raw = 'slow' where source_rowid = 2",
    "update imports.rejected set raw = null where source_rowid = 3",
    "update imports.rejected set storage_class = 'blob' where source_rowid = 2",
    "update imports.rejected set source_column = 'file_name' where source_rowid = 2",
    "update imports.rejected set source_rowid = 99 where source_rowid = 2",
    "delete from imports.rejected where source_rowid = 2",
    "insert into imports.rejected (table_id, source_table, source_rowid, reason, source_row) "
    "select table_id, source_table, 77, reason, source_row from imports.rejected where source_rowid = 2",
    """update imports.unmapped set source_row = '{"subject": "one", "body": {"real": "1.0"}}' where source_rowid = 1""",
    """update imports.unmapped set source_row = '{"subject": "three", "body": {"text": "ff"}}' """
    "where source_rowid = 3",
    "update imports.unmapped set source_rowid = 99 where source_rowid = 2",
    "delete from imports.unmapped where source_rowid = 2",
    "insert into imports.unmapped (table_id, source_table, source_rowid, source_row) "
    "select table_id, source_table, 77, source_row from imports.unmapped where source_rowid = 2",
]  # fmt: skip


@pytest.fixture(scope="module")
def not_loaded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with rows that are rejected and rows that are unmapped."""
    file = tmp_path_factory.mktemp("not_loaded") / "not_loaded.sqlite"
    with closing(sqlite3.connect(file)) as sqlite:
        sqlite.executescript(NOT_LOADED)
    return file


@pytest.fixture(scope="module")
def filled(
    template: Settings,
    databases: Databases,
    samples: dict[int, list[Path]],
    not_loaded: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Settings]:
    """A database with generations 3 and 1 and a file that is not clean: connect to clones of it, not to it."""
    with databases.clone(template) as settings:
        with Installation.on(settings, tmp_path_factory.mktemp("filled")) as installation:
            run(installation, samples[3])
            run(installation, samples[1])
            installation.files = [not_loaded]
            assert installation.import_().exit_code == 3
        yield settings


@pytest.fixture
def imported(filled: Settings, databases: Databases, tmp_path: Path) -> Iterator[Installation]:
    """A clone of the filled database, free to be tampered with."""
    with databases.clone(filled) as settings, Installation.on(settings, tmp_path) as installation:
        yield installation


def change(installation: Installation, statement: str) -> None:
    """Change what was imported, as the owner, with no trigger adding to it."""
    with installation.connection.cursor() as cursor:
        cursor.execute("set callytics.importing = 'on'")
        cursor.execute(statement)
        assert cursor.rowcount == 1


TAMPERED = {
    "bigint": ("audio_files", "sample_rate", "sample_rate + 1"),
    "reference": ("transcriptions", "audio_file_id", "audio_file_id % 12 + 1"),
    "double precision": ("transcriptions", "confidence", "confidence + 1e-12"),
    "double precision, last bit": ("audio_metrics", "snr_db", "-snr_db"),
    "text": ("transcriptions", "text_content", "text_content || ' '"),
    "text to NULL": ("audio_files", "format", "null"),
    "timestamptz": ("audio_files", "created_at", "created_at + interval '1 microsecond'"),
    "date": ("consultation_sessions", "session_date", "session_date + 1"),
    "boolean": ("agent_profiles", "is_active", "not is_active"),
    "jsonb": ("llm_analysis", "result_json", """result_json || '{"more": 1}'"""),
    "jsonb to NULL": ("agent_settings", "privacy_settings", "null"),
    "double precision[]": ("audio_features", "mfcc[13]", "mfcc[13] + 1e-9"),
    "NULL to a value": ("audio_files", "error_message", "'all fine'"),
}


@pytest.mark.parametrize("kind", TAMPERED)
def test_verify_notices_a_changed_value(kind: str, imported: Installation, samples: dict[int, list[Path]]) -> None:
    """One value changed: exit code 4, the table and column named, its content not."""
    table, column, change_to = TAMPERED[kind]
    key = "audio_file_id" if table == "audio_features" else "id"
    generation = 1 if table == "audio_features" else 3
    null = "" if kind != "NULL to a value" else f"where {column} is null"
    change(imported, f"update {table} set {column} = {change_to} where {key} = (select min({key}) from {table} {null})")
    outcome = verified(imported, samples[generation])
    assert outcome.exit_code == 4
    assert [(one.table, one.column) for one in outcome.differences] == [(table, column.partition("[")[0])]


@pytest.mark.parametrize("table", ["transcriptions", "audio_metrics"])
def test_verify_notices_a_deleted_row(table: str, imported: Installation, samples: dict[int, list[Path]]) -> None:
    """A row deleted, in a plain or in a partitioned table: exit code 4, table and row named."""
    change(imported, f"delete from {table} where id = 5")
    outcome = verified(imported, samples[3])
    assert outcome.exit_code == 4
    assert [(one.table, one.key, one.column) for one in outcome.differences] == [(table, 5, None)]


def test_verify_notices_a_row_that_is_there_twice(imported: Installation, samples: dict[int, list[Path]]) -> None:
    """A partitioned table has no key across its months: verify is what notices a second row with an id."""
    change(
        imported,
        "insert into transcriptions (id, audio_file_id, text_content, start_time, end_time, created_at) "
        "select id, audio_file_id, text_content, start_time, end_time, '1999-01-01' from transcriptions where id = 5",
    )
    outcome = verified(imported, samples[3])
    assert (outcome.exit_code, outcome.differences[0].table) == (4, "transcriptions")


def test_verify_is_green_again_once_the_value_is_put_back(
    imported: Installation, samples: dict[int, list[Path]]
) -> None:
    """The verdict follows what is there, also back."""
    change(imported, "update audio_metrics set snr_db = -snr_db where id = 2")
    assert verified(imported, samples[3]).exit_code == 4
    change(imported, "update audio_metrics set snr_db = -snr_db where id = 2")
    assert verified(imported, samples[3]).exit_code == 0


@pytest.mark.parametrize("statement", TAMPERED_RECORDS)
def test_verify_notices_tampering_with_rejected_and_unmapped_rows(
    statement: str, imported: Installation, not_loaded: Path
) -> None:
    """Rejected and unmapped rows are part of what is verified: every byte of them."""
    assert verified(imported, [not_loaded]).exit_code == 3
    change(imported, statement)
    outcome = verified(imported, [not_loaded])
    table = "imports.rejected" if "rejected" in statement else "imports.unmapped"
    assert (outcome.exit_code, {one.table for one in outcome.differences}) == (4, {table})


def test_verify_notices_a_loaded_row_passed_off_as_rejected(imported: Installation, not_loaded: Path) -> None:
    """A row that is deleted and filed under imports.rejected afterwards is still a row missing."""
    change(
        imported,
        "insert into imports.rejected (table_id, source_table, source_rowid, reason, source_row) "
        "select table_id, source_table, 1, 'made up', jsonb_build_object('id', 1, 'file_path', '/a', 'file_name', 'a', "
        "'processing_status', 'pending', 'sample_rate', 8000) from imports.rejected where source_rowid = 2",
    )
    change(imported, "delete from audio_files where file_path = '/a'")
    assert verified(imported, [not_loaded]).exit_code == 4
