"""A trial of an odd file: every command on it, and what must be so whatever the file is.

Every command ends with a line and a right exit code. The file is not touched. What was loaded and what was rejected
are together what the file holds, value by value. Another file is imported afterwards, and once the odd one is undone
nothing is left of it.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from click.testing import Result
from psycopg2.extensions import connection as Connection

from callytics.importer import Limits
from callytics.importer.source import copying
from callytics.settings import Settings
from tests.support import commands
from tests.support.catalogue import catalogue
from tests.support.installation import contents
from tests.support.odd_check import problems
from tests.support.odd_files import OddFile, change, write_odd
from tests.support.samples import write_sample

SMALL = Limits(chunk_rows=3, piece_rows=4, large_table_rows=5)
SECONDS = 90
MANY = 2**50
SIDECARS = ("", "-wal", "-journal", "-shm")
RIGHT_REFUSALS = re.compile(
    r"holds no tables|is (truncated|corrupt|empty)|is not an SQLite database|no ids are left in|could not be copied|"
    r"cannot be read"
)
"""What a command may say of a file that is not sound, or holds nothing."""
OF_SOUND_FILES = re.compile(r"holds no tables|no ids are left in")
OWN_NAME = re.compile(r"INDEX \w+ (?=ON public\.\w+_default )")
"""The name of a partition's index, which PostgreSQL chooses."""


class Hangs(Exception):
    """A command takes longer than any may."""


def write_ordinary(path: Path) -> Path:
    """Write a file in which nothing is odd, and no value that would be in the way of an odd one's."""
    write_sample(path, generation=2, calls=1, seed=99)
    with closing(sqlite3.connect(path)) as sqlite, sqlite:
        for table in ("business_type_codes", "classification_type_codes", "detail_classification_codes"):
            sqlite.execute(f"delete from {table}")
    return path


@contextmanager
def in_time(seconds: int = SECONDS) -> Iterator[None]:
    """Raise ``Hangs`` in the main thread if the block takes too long."""

    def end(*_: Any) -> None:
        raise Hangs(f"takes longer than {seconds} s")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@dataclass
class OddTrial:
    """An odd file in a folder of its own, and a fresh database."""

    settings: Settings
    folder: Path
    ordinary: Path
    # Also catch up, import a second time, report.
    thorough: bool = True
    # After so many seconds the import is killed, and has to go on.
    killed: float | None = None
    found: list[str] = field(default_factory=list)
    name: bytes = b"odd.sqlite"

    @property
    def file(self) -> Path:
        return self.folder / os.fsdecode(self.name)

    def run(self, odd: OddFile, *, after: bool = False, small: bool = True) -> list[str]:
        """Try a file, ``after`` the ordinary one or before it; return what is wrong, nothing where all is right."""
        self.name = odd.name
        write_odd(self.file, odd)
        limits = SMALL if small else Limits()
        with closing(psycopg2.connect(self.settings.conninfo(owner=True))) as connection, _changes(self.folder):
            connection.autocommit = True
            self._try(connection, odd, limits, after)
        return self.found

    def _try(self, connection: Connection, odd: OddFile, limits: Limits, after: bool) -> None:
        before = self._state(connection)
        if after:
            self._take_ordinary()
        earlier = self._last_run(connection)
        run = self._take_odd(connection, odd, limits)
        refused = not after and not self._take_ordinary(beside_odd=True)
        if run != earlier:
            self._command(limits, "undo", run, "--yes", "--quiet", codes=(0,))
        if refused:
            self._take_ordinary()
        if self.thorough:
            self._command(limits, "verify", self.ordinary, "--quiet", codes=(0,))
        self._command(limits, "undo", self._run_of(connection, self.ordinary), "--yes", "--quiet", codes=(0,))
        self._compare("undo left something", before, self._state(connection))
        if scratch := [path.name for path in self.folder.rglob(".*")]:
            self.found.append(f"scratch files are left: {scratch}")

    def _take_odd(self, connection: Connection, odd: OddFile, limits: Limits) -> int:
        """Inspect and import the file; return the number of the last import."""
        was, written, earlier = self._state(connection), self._bytes(), self._last_run(connection)
        self._command(limits, "inspect", self.file, codes=(0, 1), odd=odd)
        # Who writes to a file in WAL mode keeps no reader out.
        if odd.locked and odd.journal == "delete" and not odd.damage:
            self._try_locked(limits)
        arguments = ("import", self.file, "--yes", "--unmapped", "--quiet")
        if self.killed is not None:
            self._kill(connection, arguments, self.killed)
        code = self._command(limits, *arguments, codes=(0, 1, 3), odd=odd).exit_code
        if self._bytes() != written:
            self.found.append("the file, or what is beside it, was written to")
        run = self._last_run(connection)
        if code == 1:
            self._compare("a refused import left something", was, self._state(connection))
        elif run != earlier:
            self._check_imported(connection, limits, run, code)
            if self.thorough and not odd.damage:
                self._check_synced(connection, limits, run, odd)
        return run

    def _kill(self, connection: Connection, arguments: tuple[object, ...], seconds: float) -> None:
        """Kill an import in its middle, and wait until the server has noticed."""
        process = commands.start(self.settings, *arguments, folder=self.folder)
        with suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        query = "select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
        deadline = time.monotonic() + SECONDS
        while _one(connection, query) and time.monotonic() < deadline:
            time.sleep(0.05)

    def _check_synced(self, connection: Connection, limits: Limits, run: int, odd: OddFile) -> None:
        """Change the file and catch up with it."""
        change(self.file, odd)
        code = self._command(limits, "sync", self.file, "--quiet", codes=(0, 3)).exit_code
        with _truth(self.folder, self.file) as truth:
            self.found += [f"after a sync: {problem}" for problem in problems(truth, connection, run)]
        self._command(limits, "verify", self.file, "--quiet", codes=(code,))

    def _try_locked(self, limits: Limits) -> None:
        with closing(sqlite3.connect(self.file, isolation_level=None)) as other:
            other.execute("begin exclusive")
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(copying, "LOCK_TIMEOUT_SECONDS", 0.1)
                result = self._command(limits, "import", self.file, "--yes", "--unmapped", "--quiet", codes=(0, 1, 3))
            if "is locked" not in result.stderr:
                self.found.append(f"a locked file: {result.output}")

    def _check_imported(self, connection: Connection, limits: Limits, run: int, code: int) -> None:
        with _truth(self.folder, self.file) as truth:
            try:
                self.found += problems(truth, connection, run)
            except sqlite3.DatabaseError as error:
                self.found.append(f"imported, though SQLite can't read it: {error}")
        self._command(limits, "verify", self.file, "--quiet", codes=(code,))
        if not self.thorough:
            return
        self._command(limits, "sync", self.file, "--quiet", codes=(code,))
        again = self._command(limits, "import", self.file, "--yes", "--unmapped", "--quiet", codes=(code,))
        if "already imported" not in again.output:
            self.found.append(f"imported a second time: {again.output}")
        self._command(limits, "report", codes=(0,))
        self._command(limits, "report", "--format", "html", codes=(0,))

    def _take_ordinary(self, *, beside_odd: bool = False) -> bool:
        """Import the ordinary file; False if it is refused because the odd one's ids leave none, which may be so."""
        codes = (0, 1) if beside_odd else (0,)
        result = self._command(Limits(), "import", self.ordinary, "--yes", "--quiet", codes=codes)
        if result.exit_code == 1 and "no ids are left in" not in result.stderr:
            self.found.append(f"an ordinary file was refused: {result.stderr}")
        return result.exit_code != 1

    def _command(
        self, limits: Limits, *arguments: object, codes: tuple[int, ...], odd: OddFile | None = None
    ) -> Result:
        """Run a command and require that it ends as it should."""
        with in_time():
            result = commands.invoke(self.settings, *arguments, obj=limits)
        name = " ".join(map(str, arguments[:2]))
        errors = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
        if "Traceback" in result.output or not isinstance(result.exception, SystemExit | None):
            self.found.append(f"{name} ended in a traceback: {result.output[-1500:]} {result.exception!r}")
        elif result.exit_code not in codes:
            self.found.append(f"{name} ended with {result.exit_code}: {result.output[-1500:]}")
        elif result.exit_code == 1 and (len(errors) != 1 or result.stderr.splitlines()[-1] != errors[0]):
            self.found.append(f"{name} ended with {result.exit_code} and not one line: {result.output[-1500:]}")
        elif result.exit_code == 1 and odd and not (RIGHT_REFUSALS if odd.damage else OF_SOUND_FILES).search(errors[0]):
            self.found.append(f"{name} refused the file: {errors[0]}")
        return result

    def _state(self, connection: Connection) -> dict[str, Any]:
        """Return all rows that a database must have again, and the rules for them."""
        found: dict[str, Any] = dict(contents(connection))
        for table in ("runs", "sources", "tables", "syncs"):
            found.pop(f"imports.{table}", None)
        rules = catalogue(connection)
        # Months that were made stay, with what belongs to a partition.
        for kind in ("constraints", "indexes", "triggers"):
            found[kind] = sorted(
                OWN_NAME.sub("INDEX ", one) for one in rules[kind] if not re.search(r"_\d{4}_\d\d", one)
            )
        return found

    @staticmethod
    def leaves_ids(settings: Settings) -> bool:
        """Tell whether so many ids are left in a database that another file can be tried there."""
        with closing(psycopg2.connect(settings.conninfo(owner=True))) as connection:
            query = "select max(last_value) from pg_sequences where schemaname = 'public'"
            return _one(connection, query) < MANY

    def _compare(self, what: str, before: dict[str, Any], after: dict[str, Any]) -> None:
        for name in before.keys() | after.keys():
            if before.get(name) != after.get(name):
                one, other = before.get(name) or [], after.get(name) or []
                gone, come = [row for row in one if row not in other], [row for row in other if row not in one]
                self.found.append(f"{what}: {name} lacks {gone[:3]}, has {come[:3]}"[:1500])

    def _bytes(self) -> dict[str, bytes]:
        paths = {suffix: self.file.with_name(self.file.name + suffix) for suffix in SIDECARS}
        return {suffix: path.read_bytes() for suffix, path in paths.items() if path.exists()}

    def _last_run(self, connection: Connection) -> int:
        return _one(connection, "select coalesce(max(id), 0) from imports.runs")

    def _run_of(self, connection: Connection, file: Path) -> int:
        return _one(connection, "select coalesce(max(run_id), 0) from imports.sources where path = %s", str(file))


def _one(connection: Connection, query: str, *values: object) -> int:
    with connection.cursor() as cursor:
        cursor.execute(query, values or None)
        return int(cursor.fetchall()[0][0])


@contextmanager
def _changes(folder: Path) -> Iterator[None]:
    """Work in a folder: snapshots go where a command is run."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


@contextmanager
def _truth(folder: Path, file: Path) -> Iterator[Path]:
    """Yield a copy of a file with what is beside it, which SQLite may open as it likes."""
    aside = folder / "truth"
    aside.mkdir()
    for suffix in SIDECARS[:3]:
        if (path := file.with_name(file.name + suffix)).exists():
            shutil.copy(path, aside)
    try:
        yield aside / file.name
    finally:
        shutil.rmtree(aside)
