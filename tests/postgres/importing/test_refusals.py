"""What import refuses: one clear line, exit 1, nothing written; and what it survives: writers, odd files."""

from __future__ import annotations

import json
import os
import random
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from callytics.importer.source import copying
from callytics.importer.source.snapshot import take_snapshot
from callytics.settings import Settings
from tests.support.installation import Installation, write

pytestmark = pytest.mark.slow

AUDIO = """
create table audio_files (id integer primary key autoincrement, file_path text, file_name text, processing_status text,
    sample_rate);
create table transcriptions (id integer primary key autoincrement, audio_file_id integer, speaker_segment_id integer,
    text_content text, start_time real, end_time real, created_at datetime);
insert into audio_files values (1, '/1', 'one', 'pending', 8000), (2, '/2', 'two', 'pending', 8000);
insert into transcriptions values (1, 1, null, 'hello', 0, 1, '2024-05-01 10:00:00');
"""


class Desk(Installation):
    """An installation whose rows and files are watched."""

    def listing(self) -> dict[str, bytes]:
        """Return every file and folder here with its content."""
        return {
            str(path.relative_to(self.folder)): path.read_bytes() if path.is_file() else b""
            for path in sorted(self.folder.rglob("*"))
            if not path.is_fifo()
        }

    def rows(self) -> dict[str, int]:
        """Return the number of rows of every table that has any."""
        found: dict[str, int] = {}
        with self.connection.cursor() as cursor:
            cursor.execute(
                "select oid::regclass::text from pg_class where relkind = 'r' "
                "and relnamespace in ('public'::regnamespace, 'imports'::regnamespace)"
            )
            for (table,) in cursor.fetchall():
                cursor.execute(f"select count(*) from {table}")
                ((found[table],),) = cursor.fetchall()
        return {table: count for table, count in found.items() if count}

    @contextmanager
    def nothing_written(self) -> Iterator[None]:
        """Require that neither a row nor a file is another afterwards."""
        before = self.rows(), self.listing()
        yield
        assert (self.rows(), self.listing()) == before


@pytest.fixture
def desk(database: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    """A desk whose folder is the working folder."""
    monkeypatch.chdir(tmp_path)
    with Desk.on(database, tmp_path) as desk:
        yield desk


def refused(result: Result, words: str, settings: Settings) -> None:
    """Require one line on stderr, exit 1, the words, and no password anywhere."""
    assert result.exit_code == 1, result.output
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1, result.stderr
    (line,) = result.stderr.splitlines()
    assert line.startswith("Error: ")
    assert words in line
    for password in (settings.password, settings.owner_password or settings.password):
        assert password not in result.output
        assert repr(password)[1:-1] not in result.output


MANY_PAGES = """
create table more as with recursive n(i) as (values (1) union all select i + 1 from n limit 5000)
select i, hex(randomblob(20)) from n;
"""


def truncated(path: Path) -> None:
    """Write the first two thirds of a database."""
    content = write(path, AUDIO + MANY_PAGES).read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])


def corrupt_page(path: Path) -> None:
    """Write a database with a page in the middle overwritten."""
    content = bytearray(write(path, AUDIO + MANY_PAGES).read_bytes())
    content[20 * 4096 : 21 * 4096] = b"\xa5" * 4096
    path.write_bytes(content)


def rubbish_after_header(path: Path) -> None:
    """Write SQLite's first sixteen bytes and then noise."""
    path.write_bytes(b"SQLite format 3\0" + random.Random(1).randbytes(8176))


BAD_FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "not SQLite": (lambda path: path.write_text("id,name\n1,one\n"), "is not an SQLite database"),
    "empty": (lambda path: path.touch(), "is empty"),
    "encrypted": (lambda path: path.write_bytes(random.Random(0).randbytes(8192)), "or it is encrypted"),
    "zeros": (lambda path: path.write_bytes(bytes(8192)), "or it is encrypted"),
    "header only": (lambda path: path.write_bytes(b"SQLite format 3\0"), "is truncated"),
    "rubbish after the header": (rubbish_after_header, "Error"),
    "truncated": (truncated, "is truncated"),
    "corrupt page": (corrupt_page, "is corrupt"),
    "a directory": (lambda path: path.mkdir(), "is a folder"),
    "missing": (lambda path: None, "does not exist"),
    "a pipe": (os.mkfifo, "is no ordinary file"),
    "links in a circle": (lambda path: path.symlink_to(path), "cannot be read"),
    "a dead link": (lambda path: path.symlink_to("nowhere"), "does not exist"),
    "no tables": (lambda path: write(path, "pragma user_version = 1; vacuum;"), "holds no tables"),
    "only views": (lambda path: write(path, "create view v as select 1;"), "holds no tables"),
}


@pytest.mark.parametrize("command", ["import", "inspect"])
@pytest.mark.parametrize("kind", BAD_FILES)
def test_a_file_that_can_t_be_used(kind: str, command: str, desk: Desk) -> None:
    """One line names the file and what is wrong with it; no row, no file and no folder is left."""
    make, words = BAD_FILES[kind]
    make(desk.folder / "calls.sqlite")
    with desk.nothing_written():
        result = desk.run(command, "calls.sqlite")
    refused(result, words, desk.settings)
    assert "calls.sqlite" in result.stderr


def test_a_path_through_a_file(desk: Desk) -> None:
    """A file has no files in it; nor is there one whose name is beyond what file systems take."""
    write(desk.folder / "calls.sqlite", AUDIO)
    with desk.nothing_written():
        refused(desk.run("import", "calls.sqlite/inner.sqlite"), "cannot be read", desk.settings)
        refused(desk.run("import", "x" * 300), "cannot be read", desk.settings)


@pytest.mark.quick
def test_one_bad_file_among_good_ones(desk: Desk) -> None:
    """All files or none: the good one before the bad one leaves no snapshot either."""
    write(desk.folder / "good.sqlite", AUDIO)
    (desk.folder / "bad.sqlite").write_text("no database")
    with desk.nothing_written():
        refused(desk.run("import", "good.sqlite", "bad.sqlite"), "bad.sqlite is not an SQLite database", desk.settings)


@contextmanager
def unprivileged() -> Iterator[None]:
    """Drop root's rights for a while; any other user stays as they are."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """A folder that everybody may enter, unlike pytest's own."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def test_no_permission(desk: Desk, public_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that may not be read is named with what to do."""
    file = write(public_folder / "calls.sqlite", AUDIO)
    file.chmod(0)
    monkeypatch.chdir(public_folder)
    with desk.nothing_written(), unprivileged():
        result = desk.run("import", file)
    refused(result, "may not be read by this user", desk.settings)


@pytest.mark.parametrize("journal", ["delete", "wal", "uncheckpointed", "hot"])
def test_a_read_only_folder_is_read(journal: str, public_folder: Path, tmp_path: Path) -> None:
    """As from a backup or a CD, with whatever is beside the file: all that was committed is in the copy."""
    source, calls, kept = tmp_path / "calls.sqlite", public_folder / "calls", public_folder / "kept"
    calls.mkdir()
    kept.mkdir(mode=0o700)
    write(source, f"pragma journal_mode = {'delete' if journal in ('delete', 'hot') else 'wal'};" + AUDIO)
    with closing(sqlite3.connect(source, isolation_level=None)) as writer:
        writer.executescript("pragma wal_autocheckpoint = 0; pragma cache_size = 1;")
        if journal == "uncheckpointed":
            writer.execute("update audio_files set file_name = 'last'")
        if journal == "hot":
            writer.executescript("begin; update audio_files set file_name = 'never';" + MANY_PAGES)
        for suffix in ("", *(("-wal",) if journal == "uncheckpointed" else ("-journal",) if journal == "hot" else ())):
            shutil.copyfile(f"{source}{suffix}", calls / f"calls.sqlite{suffix}")
    if os.geteuid() == 0:
        os.chown(kept, 65534, 65534)
    calls.chmod(0o555)
    before = {path.name: path.read_bytes() for path in calls.iterdir()}
    with unprivileged():
        taken = take_snapshot(calls / "calls.sqlite", kept)
    with closing(sqlite3.connect(taken.path)) as sqlite:
        names = {name for (name,) in sqlite.execute("select file_name from audio_files")}
    assert names == ({"last"} if journal == "uncheckpointed" else {"one", "two"})
    assert {path.name: path.read_bytes() for path in calls.iterdir()} == before
    calls.chmod(0o755)


def test_snapshot_folder_not_writable(desk: Desk, public_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder where no snapshot can be written is named."""
    file = write(public_folder / "calls.sqlite", AUDIO)
    (public_folder / "kept").mkdir(0o555)
    public_folder.chmod(0o555)
    monkeypatch.chdir(public_folder)
    with desk.nothing_written(), unprivileged():
        results = [desk.run("import", file, "--snapshots", public_folder / name) for name in ("kept", "new")]
    for result in results:
        refused(result, str(public_folder), desk.settings)
    public_folder.chmod(0o755)


def test_snapshot_folder_full(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Room is asked for before anything is copied."""
    write(desk.folder / "calls.sqlite", AUDIO)
    usage = shutil.disk_usage(desk.folder)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=100))
    with desk.nothing_written():
        refused(desk.run("import", "calls.sqlite"), "no room for a snapshot", desk.settings)


def test_exclusive_lock(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that another program holds for itself is waited for, but not for ever."""
    file = write(desk.folder / "calls.sqlite", AUDIO)
    monkeypatch.setattr(copying, "LOCK_TIMEOUT_SECONDS", 0.2)
    with closing(sqlite3.connect(file, isolation_level=None)) as holder:
        holder.execute("begin exclusive")
        with desk.nothing_written():
            refused(desk.run("import", "calls.sqlite"), "is locked by another program", desk.settings)
    assert desk.run("import", "calls.sqlite").exit_code == 0


ZONES = ["Mars/Olympus", "", "Asia", "../../etc/passwd", "/etc/localtime", "UTC+9", "a\tb"]


@pytest.mark.parametrize("zone", ZONES)
def test_unknown_time_zone(zone: str, desk: Desk) -> None:
    """Only names of the time zone database are zones."""
    write(desk.folder / "calls.sqlite", AUDIO)
    for command in ("import", "inspect"):
        with desk.nothing_written():
            refused(desk.run(command, "calls.sqlite", "--timezone", zone), "is not a time zone", desk.settings)


def test_what_is_in_the_wal_arrives(desk: Desk) -> None:
    """Committed rows that are only in the WAL arrive; file, WAL and folder are the same afterwards."""
    live, calls = desk.folder / "live", desk.folder / "calls"
    live.mkdir()
    calls.mkdir()
    with closing(sqlite3.connect(live / "c.sqlite")) as writer:
        writer.executescript("pragma journal_mode = wal; pragma wal_autocheckpoint = 0;" + AUDIO)
        for name in ("c.sqlite", "c.sqlite-wal"):
            shutil.copyfile(live / name, calls / name)
        for file in (live / "c.sqlite", calls / "c.sqlite"):
            before = beside(desk)
            assert desk.run("import", file, "--snapshots", "kept").exit_code == 0
            assert beside(desk) == before
    assert desk.all("select file_name from audio_files order by id") == [("one",), ("two",)]


def beside(desk: Desk) -> dict[str, bytes | None]:
    """Return the files beside the snapshots; of a WAL's index, in which readers leave marks, only its name."""
    return {
        name: None if name.endswith("-shm") else content
        for name, content in desk.listing().items()
        if not name.startswith("kept")
    }


def test_a_hot_journal_is_rolled_back_in_the_copy(desk: Desk) -> None:
    """What a crashed writer had not committed does not arrive, and its journal stays where it is."""
    file, crashed = write(desk.folder / "calls.sqlite", AUDIO), desk.folder / "crashed.sqlite"
    with closing(sqlite3.connect(file, isolation_level=None)) as writer:
        writer.executescript("pragma cache_size = 1; begin; update audio_files set file_name = 'never';")
        writer.execute(
            "create table filler as with recursive n(i) as (values (1) union all select i + 1 from n limit 9999) "
            "select i from n"
        )
        shutil.copyfile(file, crashed)
        shutil.copyfile(f"{file}-journal", f"{crashed}-journal")
    before = beside(desk)
    assert desk.run("import", crashed, "--snapshots", "kept").exit_code == 0
    assert beside(desk) == before
    assert desk.all("select file_name from audio_files order by id") == [("one",), ("two",)]


WRITER = """
import sqlite3, sys, time
c = sqlite3.connect(sys.argv[1], timeout=60, isolation_level=None)
n = 10
while True:
    c.execute("begin immediate")
    c.execute("insert into audio_files values (?, ?, 'x', 'pending', 1)", (n, f"/{n}"))
    c.execute("insert into transcriptions values (?, ?, null, 'text', 0, 1, '2024-05-01 10:00:00')", (n, n))
    c.execute("commit")
    time.sleep(0.002)
    n += 1
    if n == 40: print("ready", flush=True)
"""


@pytest.mark.parametrize("journal", ["delete", "wal"])
def test_a_database_that_is_being_written_to(journal: str, desk: Desk) -> None:
    """Whatever another process writes meanwhile, the import is of one moment: each call with its transcript."""
    file = write(
        desk.folder / "calls.sqlite", f"pragma journal_mode = {journal};" + AUDIO + "delete from transcriptions;"
    )
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(file)], stdout=subprocess.PIPE, text=True)
    try:
        assert writer.stdout
        assert writer.stdout.readline() == "ready\n"
        result = desk.run("import", "calls.sqlite")
    finally:
        writer.kill()
        writer.communicate()
    assert result.exit_code == 0, result.output
    ((calls, transcripts, together),) = desk.all(
        "select (select count(*) from audio_files where id >= 10), (select count(*) from transcriptions), "
        "(select count(*) from transcriptions t join audio_files f on f.id = t.audio_file_id)"
    )
    assert calls == transcripts == together >= 30


def closed_port() -> int:
    """Return a port without a listener."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


WRONG_TARGETS: dict[str, tuple[Callable[[Settings], Settings], str]] = {
    "unreachable": (lambda s: replace(s, port=closed_port()), "Connection refused"),
    "wrong password": (
        lambda s: replace(s, owner_password="not @/%'\" it"),
        "correct POSTGRES_OWNER_USER and POSTGRES_OWNER_PASSWORD",
    ),
    "no such role": (
        lambda s: replace(s, owner_user="nobody_here"),
        "correct POSTGRES_OWNER_USER and POSTGRES_OWNER_PASSWORD",
    ),
    "no such database": (lambda s: replace(s, database="no_such_database"), "does not exist"),
    "no such host": (lambda s: replace(s, hosts=("no-such-host.invalid",)), "POSTGRES_HOST"),
}


@pytest.mark.parametrize("arguments", [("import",), ("import", "--dry-run"), ("verify",)], ids=" ".join)
@pytest.mark.parametrize("kind", WRONG_TARGETS)
def test_a_target_that_can_t_be_reached(kind: str, arguments: tuple[str, ...], desk: Desk) -> None:
    """One line says who could not get where and what to do."""
    change, words = WRONG_TARGETS[kind]
    wrong = change(desk.settings)
    write(desk.folder / "calls.sqlite", AUDIO)
    with desk.nothing_written():
        result = desk.run(*arguments, "calls.sqlite", settings=wrong)
    refused(result, words, wrong)


@pytest.mark.parametrize("command", ["import", "verify"])
def test_migrations_missing(command: str, empty_database: Settings, desk: Desk) -> None:
    """A database without our tables is named as what it is."""
    write(desk.folder / "calls.sqlite", AUDIO)
    with desk.nothing_written():
        refused(desk.run(command, "calls.sqlite", settings=empty_database), "callytics migrate", desk.settings)


def test_migrations_behind(desk: Desk) -> None:
    """A database that lacks the last migration is not imported into."""
    write(desk.folder / "calls.sqlite", AUDIO)
    with desk.connection.cursor() as cursor:
        cursor.execute(
            "delete from _yoyo_migration where migration_id = (select max(migration_id) from _yoyo_migration)"
        )
        assert cursor.rowcount == 1
    with desk.nothing_written():
        refused(desk.run("import", "calls.sqlite"), "has 1 migration not applied", desk.settings)


def test_the_application_s_role_may_not_import(desk: Desk) -> None:
    """callytics_user works with calls; it does not own the tables, and is told who does."""
    write(desk.folder / "calls.sqlite", AUDIO)
    for arguments in (("import",), ("import", "--dry-run")):
        with desk.nothing_written():
            refused(desk.run(*arguments, "calls.sqlite", owner=False), "POSTGRES_OWNER_USER", desk.settings)


def test_a_server_that_goes_away(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that is cut in the middle ends in one line; the same command goes on."""
    write(desk.folder / "calls.sqlite", AUDIO)

    def cut(*_: object, **__: object) -> None:
        with desk.connection.cursor() as cursor:
            cursor.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and "
                "pid <> pg_backend_pid()"
            )

    with monkeypatch.context() as patched:
        patched.setattr("callytics.importer.target.writing.load.Loader._load_chunk", cut)
        refused(desk.run("import", "calls.sqlite"), "run the same command again", desk.settings)
    result = desk.run("import", "calls.sqlite")
    assert (result.exit_code, "resuming import 1" in result.stdout) == (0, True)


def test_no_content_in_an_unforeseen_error(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even an error of our own making shows neither a password nor what a caller said."""
    write(
        desk.folder / "calls.sqlite",
        AUDIO + "update transcriptions set text_content = 'my secret' || char(10) || 'my other secret';",
    )

    def fail(loader: Any, *_: object, **__: object) -> None:
        with loader.rows.cursor() as cursor:
            cursor.execute("insert into transcriptions (text_content) values ('my secret\nmy other secret')")

    monkeypatch.setattr("callytics.importer.target.writing.load.Loader._load_chunk", fail)
    result = desk.run("import", "calls.sqlite")
    assert result.exit_code == 1
    assert "secret" not in result.output
    assert (desk.settings.owner_password or "") not in result.output


def test_exit_codes(desk: Desk) -> None:
    """0 verified, 1 refused, 2 usage, 3 with rejects, 4 with differences."""
    write(desk.folder / "clean.sqlite", AUDIO)
    write(desk.folder / "dirty.sqlite", AUDIO + "update audio_files set sample_rate = 'fast' where id = 2;")
    assert desk.run("verify", "clean.sqlite").exit_code == 1
    assert desk.run("import", "clean.sqlite").exit_code == 0
    assert desk.run("import").exit_code == 2
    assert desk.run("import", "clean.sqlite", "--jobs", "none").exit_code == 2
    assert desk.run("import", "dirty.sqlite").exit_code == 3
    assert desk.run("import", "dirty.sqlite").exit_code == 3
    assert desk.run("verify", "clean.sqlite").exit_code == 0
    assert desk.run("verify", "dirty.sqlite").exit_code == 3
    with desk.connection.cursor() as cursor:
        cursor.execute("update audio_files set file_name = 'other' where id = 1")
    assert desk.run("verify", "clean.sqlite").exit_code == 4
    assert desk.run("verify", "clean.sqlite", "dirty.sqlite").exit_code == 4


def test_results_as_json(desk: Desk) -> None:
    """stdout holds one JSON document and nothing else, whatever the outcome."""
    write(desk.folder / "calls.sqlite", AUDIO + "update audio_files set sample_rate = 'fast' where id = 2;")
    (profile,) = json.loads(desk.run("inspect", "--json", "calls.sqlite").stdout)
    assert profile["rows"] == 3
    outcome = json.loads(desk.run("import", "--json", "calls.sqlite").stdout)
    assert (outcome["status"], outcome["rejects"][0]["source_column"]) == ("rejects", "sample_rate")
    with desk.connection.cursor() as cursor:
        cursor.execute("set callytics.importing = 'on'; update audio_files set file_name = 'other' where id = 1")
    verified = json.loads(desk.run("verify", "--json", "calls.sqlite").stdout)
    assert verified["differences"] == [{"table": "audio_files", "key": 1, "column": "file_name", "finding": "differs"}]


def test_dry_run_writes_nothing(desk: Desk) -> None:
    """--dry-run shows what would happen and leaves no trace."""
    write(desk.folder / "calls.sqlite", AUDIO)
    with desk.nothing_written():
        result = desk.run("import", "--dry-run", "--snapshots", "some/where/kept", "calls.sqlite")
        assert result.exit_code == 0
        assert "transcriptions" in result.stdout
        json.loads(desk.run("import", "--dry-run", "--json", "calls.sqlite").stdout)


def test_the_plan_is_shown_and_nothing_is_written(desk: Desk) -> None:
    """--dry-run --plan tells every step of this file into this database, with what it waits for."""
    write(desk.folder / "calls.sqlite", AUDIO)
    with desk.nothing_written():
        printed = desk.run("import", "--dry-run", "--plan", "calls.sqlite").stdout.splitlines()
        groups = json.loads(desk.run("import", "--dry-run", "--plan", "--json", "calls.sqlite").stdout)
    assert "load audio_files: 2 rows" in printed
    assert "build audio_files: 2 rows   after load audio_files" in printed
    assert any(line.startswith("validate foreign keys transcriptions") for line in printed)
    assert groups[0]["step"] == "load"
    assert len(groups) == len(printed)
    assert desk.run("import", "--plan", "calls.sqlite").exit_code == 2


def test_a_folder_stands_for_the_files_in_it(desk: Desk) -> None:
    """import, inspect, verify and sync take the SQLite files, and a line says what they leave."""
    (desk.folder / "calls").mkdir()
    write(desk.folder / "calls" / "audio.db", AUDIO)
    (desk.folder / "calls" / "notes.txt").write_text("not a database")
    for command in ("inspect", "import", "verify", "sync"):
        result = desk.run(command, "calls")
        assert result.exit_code == 0, result.output
        assert "calls: takes audio.db; leaves notes.txt (not an SQLite database)" in result.stderr.splitlines()
    assert desk.all("select count(*) from audio_files") == [(2,)]


STRICT = {
    "a reject": ("update audio_files set sample_rate = 'fast';", "sample_rate"),
    "a normalisation": ("update audio_files set sample_rate = 8000.0;", "sample_rate"),
    "an unknown table": ("create table notes (a);", "notes"),
    "an unknown column": ("alter table audio_files add column colour;", "audio_files"),
}


@pytest.mark.parametrize("kind", STRICT)
def test_strict_refuses_what_is_not_clean(kind: str, desk: Desk) -> None:
    """--strict takes all or nothing."""
    statement, words = STRICT[kind]
    write(desk.folder / "calls.sqlite", AUDIO + statement)
    with desk.nothing_written():
        refused(desk.run("import", "--strict", "calls.sqlite"), words, desk.settings)


def test_strict_takes_what_is_clean(desk: Desk) -> None:
    """A clean file passes --strict."""
    write(desk.folder / "calls.sqlite", AUDIO)
    assert desk.run("import", "--strict", "calls.sqlite").exit_code == 0


def test_time_zone_of_the_installation(desk: Desk) -> None:
    """--timezone Asia/Seoul: ten o'clock there is one o'clock UTC, and verify knows without being told."""
    write(desk.folder / "calls.sqlite", AUDIO)
    assert desk.run("import", "calls.sqlite", "--timezone", "Asia/Seoul").exit_code == 0
    assert (
        desk.all("select created_at at time zone 'UTC' from transcriptions")[0][0].isoformat() == "2024-05-01T01:00:00"
    )
    assert desk.run("verify", "calls.sqlite").exit_code == 0


def test_verify_of_a_file_that_has_changed_since(desk: Desk) -> None:
    """What was imported is another content: verify says so instead of counting differences."""
    file = write(desk.folder / "calls.sqlite", AUDIO)
    assert desk.run("import", "calls.sqlite").exit_code == 0
    write(file, "insert into audio_files values (3, '/3', 'three', 'pending', 1);")
    refused(desk.run("verify", "calls.sqlite"), "has changed since import 1", desk.settings)
