"""Files as people hand them over: each name, value and file by hand has the line or the row that is right.

What has tests of its own is not here: values by type (test_values), names in bytes (test_names), limits (test_limits).
"""

from __future__ import annotations

import gzip
import io
import os
import shutil
import sqlite3
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from callytics.importer.source.tables import name_text
from callytics.postgres.text import JOINERS, shown
from callytics.settings import Settings
from tests.support import commands
from tests.support.independent import homes
from tests.support.installation import Installation
from tests.support.odd_files import quoted
from tests.support.samples import write_sample
from tests.support.servers import Databases

pytestmark = pytest.mark.slow

NAMES = [
    *("", " ", "\t", "\n", "\u00a0", "\u200b", ".", "a.b", "public.calls", '"', 'say "no"', "it's", "`", "[x]"),
    *("100%", "%s", "%(id)s", "%%", "{", "{}", "{0}", "{name}", "{{x}}", "\\", "\\N", "C:\\calls\\", "$1", ":id", "?"),
    *("a;--", "/* x", "--", "#", "@", "~", "=1", "select", "user", "order", "table", "group", "values", "default"),
    *("null", "true", "oid", "ctid", "xmin", "tableoid", "0", "-1", "1e5", "imports", "pg_catalog", "sqlite"),
    *("\uac01", "\u1100\u1161\u11a8", "caf\u00e9", "cafe\u0301", "ÉCLAIR", "éclair"),
    *("ß", "ẞ", "straße", "STRASSE", "ﬁ", "fi", "Ａ", "A"),
    *("n" * 63, "n" * 64, "n" * 63 + "1", "n" * 63 + "2", "통" * 21, "통" * 21 + "a", "통" * 21 + "b", "통" * 200),
    *("\u202eback", "\x1b[2J", "\x7f", "\ufeffname", "👩‍💻", "오전", "통화 기록"),
]  # fmt: skip


def ascii_folded(name: str) -> str:
    """Return what SQLite takes for the same name."""
    return "".join(letter.lower() if letter.isascii() else letter for letter in name)


@pytest.fixture(scope="module")
def named(databases: Databases, template: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """A file with a table of each name, which has a column of this name and one of the name before it."""
    folder = tmp_path_factory.mktemp("named")
    with databases.clone(template) as database, Installation.on(database, folder, unmapped=True) as installation:
        with closing(sqlite3.connect(installation.file)) as sqlite, sqlite:
            for number, name in enumerate(NAMES):
                columns = f"{quoted(name)} text, {quoted(NAMES[number - 1])} blob"
                sqlite.execute(f"create table {quoted(name)} ({columns})")
                sqlite.execute(f"insert into {quoted(name)} values (?, ?)", (f"value {number}", name.encode()))
        installation.take(installation.file)
        yield installation


def test_no_two_of_the_names_are_one() -> None:
    """Or SQLite would have one table for both."""
    assert len({ascii_folded(name) for name in NAMES}) == len(NAMES)


@pytest.mark.parametrize("number", range(len(NAMES)), ids=lambda number: ascii(NAMES[number])[:30])
def test_a_table_and_its_columns_may_have_any_name(number: int, named: Installation) -> None:
    name, before = NAMES[number], NAMES[number - 1]
    rows = named.all("select source_row from imports.unmapped where source_table = %s", name_text(name.encode()))
    kept = {name_text(name.encode()): f"value {number}", name_text(before.encode()): {"blob": name.encode().hex()}}
    assert rows == [(kept,)]


def test_tables_of_any_name_are_shown_caught_up_with_and_taken_back(named: Installation) -> None:
    """No name is obeyed by a terminal, and none is in the way of a command."""
    for command in (("inspect", named.file), ("import", "--dry-run", "--unmapped", named.file), ("report",)):
        said = named.said(*command)
        assert {letter for letter in said if not (letter.isprintable() or letter in JOINERS)} == {"\n"}
        # Markdown has escapes of its own.
        assert shown("\x1b[2J") in said.replace("\\\\", "\\").replace("\\[", "[")
    copy = Path(shutil.copy(named.file, named.folder / "later.sqlite"))
    with closing(sqlite3.connect(copy)) as sqlite, sqlite:
        for number, name in enumerate(NAMES):
            sqlite.execute(f"update {quoted(name)} set {quoted(name)} = ?", (f"later {number}",))
    copy.replace(named.file)
    assert named.sync().changed == len(NAMES)
    texts = {value for row in named.unmapped() for value in row.values() if isinstance(value, str)}
    assert texts == {f"later {number}" for number in range(len(NAMES))}
    assert named.verify().status == "verified"
    assert named.undo().exit_code == 0
    assert named.unmapped() == []


def test_a_row_of_blobs_in_every_table_is_rejected_and_no_other(installation: Installation) -> None:
    """A BLOB fits into no column: its row is kept whole, and its neighbours are loaded."""
    tables = {}
    for generation in (1, 2, 3):
        write_sample(installation.folder / f"{generation}.sqlite", generation=generation, calls=2, seed=11)
    files = sorted(path for path in installation.folder.rglob("*") if path.is_file())
    for file in files:
        with closing(sqlite3.connect(file)) as sqlite, sqlite:
            query = "select name from sqlite_master where type = 'table' and name not like 'sqlite_%'"
            for (table,) in sqlite.execute(query).fetchall():
                columns = [row[1] for row in sqlite.execute(f"pragma table_info({table})")]
                if homes(table, columns):
                    blobs = ", ".join(["x'c0ffee00'"] * (len(columns) - 1))
                    sqlite.execute("pragma ignore_check_constraints = on")
                    sqlite.execute(f"insert into {table} values (700001, {blobs})")
                    tables[file, table] = len(columns)
    outcome = installation.take(*files, code=3)
    assert outcome.differences == []
    rejected = installation.all(
        "select distinct source_table, source_row -> any_column from imports.rejected r, "
        "lateral jsonb_object_keys(source_row) as any_column where jsonb_typeof(source_row -> any_column) = 'object'"
    )
    assert {table for table, _ in rejected} == {table for _, table in tables}
    assert {value["blob"] for _, value in rejected} == {"c0ffee00"}
    assert installation.one("select count(distinct (table_id, source_rowid)) from imports.rejected") >= len(tables)
    assert installation.one("select count(*) from imports.rejected where source_rowid <> 700001") == 0


def zipped() -> bytes:
    """Return an archive such as backups, and spreadsheets, are."""
    with zipfile.ZipFile(archive := io.BytesIO(), "w") as file:
        file.writestr("xl/workbook.xml", "<workbook/>")
    return archive.getvalue()


def taped() -> bytes:
    """Return a tar archive, which has its mark only further in."""
    with tarfile.open(fileobj=(archive := io.BytesIO()), mode="w") as file:
        file.addfile(tarfile.TarInfo("calls.sqlite"))
    return archive.getvalue()


def sidecar_of(folder: Path, journal: str) -> bytes:
    """Return what SQLite leaves beside a database that is written to."""
    with closing(sqlite3.connect(folder / "written.sqlite", isolation_level=None)) as sqlite:
        sqlite.executescript(f"pragma journal_mode = {journal}; create table t (a); pragma cache_size = 1; begin;")
        sqlite.execute(
            "insert into t with recursive n(i) as (select 1 union all select i + 1 from n limit 999) "
            "select zeroblob(900) from n"
        )
        name = "written.sqlite-wal" if journal == "wal" else "written.sqlite-journal"
        return (folder / name).read_bytes()


ENCRYPTED = "or it is encrypted: export it unencrypted first"
OTHER_FILES: dict[str, tuple[Callable[[Path], bytes], str]] = {
    "SQLite 2": (
        lambda _: b"** This file contains an SQLite 2.1 database **\0" + bytes(976),
        "a database of SQLite 2:",
    ),
    "gzip": (lambda _: gzip.compress(b"SQLite format 3\0" + bytes(4080)), "but compressed by gzip: unpack it first"),
    "zip or Excel": (lambda _: zipped(), "but a zip archive or an office document: unpack it"),
    "old Excel": (lambda _: bytes.fromhex("d0cf11e0a1b11ae1") + bytes(504), "but an office document: export"),
    "tar": (lambda _: taped(), ENCRYPTED),
    "PostgreSQL's dump": (lambda _: b"PGDMP\1\x0e\0\4\x08\1\1\1", "but a dump of PostgreSQL: restore it"),
    "PostgreSQL's dump as text": (lambda _: b"--\n-- PostgreSQL database dump\n--\n", ENCRYPTED),
    "CSV": (lambda _: "\ufeffid,이름\r\n1,상담\r\n".encode(), ENCRYPTED),
    "CSV in UTF-16": (lambda _: "id;name\n1;a\n".encode("utf-16"), ENCRYPTED),
    "SQLCipher": (lambda _: bytes((7 * i * i + 3 * i + 11) % 251 for i in range(4096)), ENCRYPTED),
    "WAL": (lambda folder: sidecar_of(folder, "wal"), "but the WAL of a database: name the database beside it"),
    "journal": (lambda folder: sidecar_of(folder, "delete"), "but the journal of a database: name the database"),
    "one line break": (lambda _: b"\n", ENCRYPTED),
    "the name of the format alone": (lambda _: b"SQLite format 3", ENCRYPTED),
    "the next format": (lambda _: b"SQLite format 4\0" + bytes(4080), ENCRYPTED),
}


@pytest.mark.parametrize("kind", OTHER_FILES)
def test_a_file_of_another_kind_is_said_to_be_one(kind: str, shared_database: Settings, tmp_path: Path) -> None:
    """Whatever its name says; nothing is left beside it, and nothing is on record."""
    make, words = OTHER_FILES[kind]
    (tmp_path / "made").mkdir()
    content = make(tmp_path / "made")
    shutil.rmtree(tmp_path / "made")
    file = tmp_path / "calls.db"
    file.write_bytes(content)
    for command in ("inspect", "import", "verify"):
        result = commands.invoke(shared_database, command, file, "--snapshots", tmp_path / "kept")
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr.startswith(f"Error: {file} is not an SQLite database, ")
        assert result.stderr.endswith("\n")
        assert result.stderr.count("\n") == 1
        assert words in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["calls.db"]


def _circle(path: Path) -> None:
    path.symlink_to(path.with_name("other"))
    path.with_name("other").symlink_to(path)


NO_FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a folder of this name": (Path.mkdir, "is a folder without an SQLite file: name one that holds some, or a file"),
    "two links to each other": (_circle, "cannot be read ("),
    "a link to a pipe": (
        lambda path: (os.mkfifo(path.with_name("pipe")), path.symlink_to(path.with_name("pipe"))),
        "is no ordinary file: name an SQLite database",
    ),
    "a link to a device": (lambda path: path.symlink_to("/dev/zero"), "is no ordinary file: name an SQLite database"),
    "a link into a file": (lambda path: path.symlink_to("/etc/passwd/calls.sqlite"), "cannot be read ("),
}  # fmt: skip


@pytest.mark.parametrize("kind", NO_FILES)
def test_what_is_no_file_is_said_to_be_none(kind: str, shared_database: Settings, tmp_path: Path) -> None:
    """And is not waited for, as a pipe's reader would."""
    make, words = NO_FILES[kind]
    make(tmp_path / "calls.sqlite")
    before = sorted(tmp_path.iterdir())
    for command in ("inspect", "import"):
        result = commands.invoke(shared_database, command, tmp_path / "calls.sqlite", "--snapshots", tmp_path / "kept")
        assert (result.exit_code, result.stdout) == (1, "")
        assert words in result.stderr
    assert sorted(tmp_path.iterdir()) == before
