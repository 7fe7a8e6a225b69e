"""An installation's files and the database that they were imported into, fresh for each test."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from click.testing import CliRunner
from psycopg2.extensions import connection as Connection

from callytics.cli import cli
from callytics.importer.import_ import Options, Outcome, import_files, verify_files
from callytics.importer.sync import Synced, sync_files
from callytics.importer.undo import undo_import
from callytics.settings import Settings
from callytics.trial.sample import write_sample
from tests.support.commands import environment
from tests.support.independent import problems
from tests.support.places import REPOSITORY
from tests.support.servers import Databases

INSTALLATIONS = {
    "2": ["2.sqlite"],
    "audio": ["audio_analysis.sqlite"],
    "quality": ["consultation_quality.sqlite"],
    "3": ["audio_analysis.sqlite", "consultation_quality.sqlite"],
}


@dataclass
class House:
    """An installation's files, and the database that they were imported into."""

    settings: Settings
    connection: Connection
    options: Options
    files: list[Path]

    def imported(self) -> Outcome:
        return import_files(self.settings, self.files, self.options, lambda *_: None)

    def synced(self, files: Sequence[Path] | None = None, **options: Any) -> Synced:
        return sync_files(self.settings, files or self.files, self.options, lambda *_: None, **options)

    def verified(self) -> Outcome:
        return verify_files(self.settings, self.files, self.options, lambda *_: None)

    def problems(self) -> list[str]:
        return [problem for file in self.files for problem in problems(file, self.connection)]

    def undone(self, run: int = 1, **options: Any) -> Synced:
        return undo_import(self.settings, run, lambda *_: None, **options)

    def write(self, script: str, file: int = 0) -> None:
        """Be the application that writes to SQLite."""
        with closing(sqlite3.connect(self.files[file])) as sqlite:
            sqlite.executescript(script)

    def change(self, statement: str, *values: object) -> None:
        """Be the application that writes to PostgreSQL: its role, its session, its triggers."""
        with closing(psycopg2.connect(self.settings.conninfo())) as application, application.cursor() as cursor:
            cursor.execute(statement, values)
            application.commit()

    @property
    def environment(self) -> dict[str, str]:
        """The variables that lead to the database."""
        return environment(self.settings) | {"PYTHONPATH": str(REPOSITORY)}

    def start(self, *arguments: object) -> subprocess.Popen[str]:
        """Start a command as a process of its own, where the snapshots are."""
        return subprocess.Popen(
            [sys.executable, "-m", "callytics.cli", *map(str, arguments)],
            cwd=self.options.snapshots.parent,
            env=os.environ | self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def finished(self, *arguments: object) -> int:
        """Run a command to its end and return its exit code."""
        process = self.start(*arguments)
        process.communicate()
        return process.returncode

    def said(self, *arguments: object, code: int = 0) -> str:
        """Run a command in this process and return what it printed; its exit code must be this one."""
        snapshots = ["--snapshots", self.options.snapshots] if arguments[0] != "undo" else []
        result = CliRunner().invoke(cli, [*map(str, [*arguments, *snapshots])], env=self.environment)
        assert result.exit_code == code, result.output
        return result.stdout if "--json" in arguments else result.output

    def all(self, query: str, *values: object) -> list[Any]:
        with self.connection.cursor() as cursor:
            cursor.execute(query, values)
            return cursor.fetchall()

    def one(self, query: str, *values: object) -> Any:
        return self.all(query, *values)[0][0]


@dataclass(frozen=True)
class Homes:
    """Databases with an imported installation each, and the files as they were imported: clone and copy them."""

    folder: Path
    template: Settings
    databases: Databases
    stack: ExitStack
    made: dict[str, Settings]

    def imported(self, name: str) -> Settings:
        """Return the database with an installation; connect to clones of it, not to it."""
        if name not in self.made:
            settings = self.stack.enter_context(self.databases.clone(self.template))
            self.lay_out(name)
            files = [self.live / file for file in INSTALLATIONS[name]]
            outcome = import_files(settings, files, Options(snapshots=self.live / "callytics-imports"), lambda *_: None)
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


@pytest.fixture(scope="module")
def homes(databases: Databases, template: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Homes]:
    folder = tmp_path_factory.mktemp("homes")
    samples = folder / "samples"
    write_sample(samples, generation=3, calls=6, seed=3)
    write_sample(samples / "2.sqlite", generation=2, calls=6, seed=2)
    with ExitStack() as stack:
        yield Homes(folder, template, databases, stack, {})


@pytest.fixture
def house(request: pytest.FixtureRequest, homes: Homes, databases: Databases) -> Iterator[House]:
    """The audio database of generation 3, or the installation that the test asks for."""
    name = getattr(request, "param", "audio")
    imported = homes.imported(name)
    homes.lay_out(name)
    with (
        databases.clone(imported) as settings,
        closing(psycopg2.connect(settings.conninfo(owner=True))) as connection,
    ):
        connection.autocommit = True
        files = [homes.live / file for file in INSTALLATIONS[name]]
        yield House(settings, connection, Options(snapshots=homes.live / "callytics-imports"), files)


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
