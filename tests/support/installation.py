"""The one harness of the tests of imports: files, the database they are imported into, and what can be done to both."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import psycopg2
from click.testing import Result
from psycopg2.extensions import connection as Connection

from callytics.importer import Options, Outcome, Synced, import_files, sync_files, undo_import, verify_files
from callytics.postgres.session import STARTUP
from callytics.settings import Settings
from tests.support import commands
from tests.support.independent import problems
from tests.support.servers import Databases, execute

INSTALLATIONS = {
    "2": ["2.sqlite"],
    "audio": ["audio_analysis.sqlite"],
    "quality": ["consultation_quality.sqlite"],
    "3": ["audio_analysis.sqlite", "consultation_quality.sqlite"],
}


def quiet(what: str, done: int, total: int) -> None:
    """Show no progress."""


def write(path: Path, script: str) -> Path:
    """Run a script in a SQLite file, which need not exist."""
    with closing(sqlite3.connect(path)) as sqlite:
        sqlite.executescript(script)
    return path


@dataclass
class Installation:
    """An installation's files and the database that they are imported into, seen as its owner."""

    settings: Settings
    folder: Path
    connection: Connection
    options: Options
    files: list[Path]

    @classmethod
    @contextmanager
    def on(cls, settings: Settings, folder: Path, *names: str, **options: Any) -> Iterator[Self]:
        """Connect to a database; files and snapshots are in the folder, and commands are run there."""
        with closing(psycopg2.connect(settings.conninfo(owner=True), options=STARTUP)) as connection:
            connection.autocommit = True
            files = [folder / name for name in names or ("file.sqlite",)]
            yield cls(settings, folder, connection, Options(folder / "callytics-imports", **options), files)

    @property
    def file(self) -> Path:
        """The first of its files, in most tests the only one."""
        return self.files[0]

    def write(self, script: str, name: str | None = None) -> Path:
        """Be the application that writes to SQLite: to the first file, or to another of a name."""
        return write(self.folder / name if name else self.file, script)

    def import_(self, progress: Callable[[str, int, int], None] = quiet) -> Outcome:
        return import_files(self.settings, self.files, self.options, progress)

    def verify(self) -> Outcome:
        return verify_files(self.settings, self.files, self.options, quiet)

    def verify_of(self, files: Sequence[Path]) -> Outcome:
        return verify_files(self.settings, files, self.options, quiet)

    def sync(self, files: Sequence[Path] | None = None, **options: Any) -> Synced:
        return sync_files(self.settings, files or self.files, self.options, quiet, **options)

    def undo(self, run: int = 1, **options: Any) -> Synced:
        return undo_import(self.settings, run, self.options, quiet, **options)

    def take(self, *scripts: str | Path, code: int = 0) -> Outcome:
        """Import files, given as such or as scripts; require the exit code, and that verify says the same."""
        files = [
            one if isinstance(one, Path) else self.write(one, f"{len(list(self.folder.iterdir()))}-{number}.sqlite")
            for number, one in enumerate(scripts)
        ]
        outcome = import_files(self.settings, files, self.options, quiet)
        assert (outcome.exit_code, outcome.differences) == (code, []), outcome.rejects
        assert all(table.loaded + table.rejected + table.shared == table.source_rows for table in outcome.tables)
        again = verify_files(self.settings, files, self.options, quiet)
        assert (again.exit_code, again.differences) == (code, [])
        return outcome

    def run(self, *arguments: object, settings: Settings | None = None, owner: bool = True) -> Result:
        """Run a command in this process, whose working folder it finds its files in."""
        return commands.invoke(settings or self.settings, *arguments, owner=owner)

    def said(self, *arguments: object, code: int = 0) -> str:
        """Run a command in this process and return what it printed; its exit code must be this one."""
        snapshots = ["--snapshots", self.options.snapshots] if arguments[0] not in ("undo", "report") else []
        result = self.run(*arguments, *snapshots)
        assert result.exit_code == code, result.output
        return result.stdout if "--json" in arguments else result.output

    def said_of(self, *arguments: object, code: int = 0) -> str:
        """Run a command that takes no snapshots and return what it printed; its exit code must be this one."""
        result = self.run(*arguments)
        assert result.exit_code == code, result.output
        return result.stdout if "--json" in arguments else result.output

    def start(self, *arguments: object) -> subprocess.Popen[str]:
        """Start a command as a process of its own in the folder."""
        return commands.start(self.settings, *arguments, folder=self.folder)

    def finish(self, *arguments: object) -> int:
        """Run a command as a process of its own to its end and return its exit code."""
        process = self.start(*arguments)
        process.communicate()
        return process.returncode

    def change(self, statement: str, *values: object) -> Any:
        """Be the application that writes to PostgreSQL: its role, its session, its triggers; return the first value."""
        rows = execute(self.settings, statement, *values, owner=False)
        return rows[0][0] if rows else None

    def all(self, query: str, *values: object) -> list[Any]:
        """Run a statement as the owner and return its rows."""
        with self.connection.cursor() as cursor:
            cursor.execute(query, values or None)
            return cursor.fetchall() if cursor.description else []

    def one(self, query: str, *values: object) -> Any:
        """Return the first value of a query."""
        return self.all(query, *values)[0][0]

    def unmapped(self) -> list[dict[str, Any]]:
        """Return what imports.unmapped holds, in the order of the source."""
        return [
            row for (row,) in self.all("select source_row from imports.unmapped order by source_table, source_rowid")
        ]

    def rejected(self) -> list[tuple[str, int, str | None]]:
        """Return (table, row number, column) of what was rejected."""
        return self.all("select source_table, source_rowid, source_column from imports.rejected order by 1, 2")

    def problems(self) -> list[str]:
        """Return what a check that shares no code with the importer finds wrong."""
        return [problem for file in self.files for problem in problems(file, self.connection)]


@dataclass(frozen=True)
class Imported:
    """Databases with an imported installation each, and the files as they were imported: clone and copy them."""

    folder: Path
    template: Settings
    databases: Databases
    stack: ExitStack
    made: dict[str, Settings]

    def database(self, name: str) -> Settings:
        """Return the database with an installation; connect to clones of it, not to it."""
        if name not in self.made:
            settings = self.stack.enter_context(self.databases.clone(self.template))
            self.lay_out(name)
            files = [self.live / file for file in INSTALLATIONS[name]]
            outcome = import_files(settings, files, Options(snapshots=self.live / "callytics-imports"), quiet)
            assert outcome.exit_code == 0
            shutil.copytree(self.live / "callytics-imports", self.folder / f"snapshots_{name}")
            self.made[name] = settings
        return self.made[name]

    @property
    def live(self) -> Path:
        """The folder that the files were imported from, whose name the records hold."""
        return self.folder / "live"

    def lay_out(self, name: str) -> None:
        """Put the files and the snapshots there as they were after the import."""
        shutil.rmtree(self.live, ignore_errors=True)
        self.live.mkdir()
        for file in INSTALLATIONS[name]:
            shutil.copy(self.folder / "samples" / file, self.live)
        if name in self.made:
            shutil.copytree(self.folder / f"snapshots_{name}", self.live / "callytics-imports")

    @contextmanager
    def clone(self, name: str) -> Iterator[Installation]:
        """Lend an installation as it was right after its import."""
        imported = self.database(name)
        self.lay_out(name)
        with (
            self.databases.clone(imported) as settings,
            Installation.on(settings, self.live, *INSTALLATIONS[name]) as installation,
        ):
            yield installation


def contents(connection: Connection, *, records: bool = True) -> dict[str, list[Any]]:
    """Return every row of every table, of the imports' records too."""
    found: dict[str, list[Any]] = {}
    schemas = ["public", "imports"] if records else ["public"]
    with connection.cursor() as cursor:
        cursor.execute(
            "select c.oid::regclass::text from pg_class c where relkind in ('r', 'p') and not relispartition "
            "and relnamespace::regnamespace::text = any (%s) and relname not in ('steps', 'sizes') "
            "and relname !~ '^(_?yoyo|_callytics)_' order by 1",
            (schemas,),
        )
        for (table,) in cursor.fetchall():
            cursor.execute(f"select to_jsonb(t) - 'verified_at' from {table} t order by 1")
            found[table] = [json.dumps(row, sort_keys=True) for (row,) in cursor.fetchall()]
    return found
