"""An import as a process of its own that can be killed, what to do it harm with, and what must be there afterwards."""

from __future__ import annotations

import contextlib
import os
import random
import re
import selectors
import shutil
import signal
import socket
import sqlite3
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg2

from callytics.importer import Limits
from callytics.settings import Settings
from callytics.trial.embedded import EmbeddedPostgres
from tests.support import commands
from tests.support.catalogue import catalogue
from tests.support.samples import write_sample
from tests.support.servers import Databases

SECONDS = 60.0
"""Longer than any import here may take."""

SMALL = Limits(chunk_rows=400, piece_rows=3000, large_table_rows=1500)
"""Limits that make a small file go every way of a large one: chunks, pieces, deferred keys."""

PROGRAM = """
from callytics.cli import main
from callytics.importer import Limits
main({limits!r})
"""

PHASE = """
select case
    when not exists (select from imports.runs where status <> 'undone') then 'snapshot'
    when not exists (select from imports.runs where status = 'running') then 'done'
    when exists (select from imports.tables where loaded_at is null) then 'load'
    when exists (select from imports.definitions where restored_at is null) then 'build'
    else 'verify'
end
"""
"""The first phase of which something is left to do."""

SESSIONS = """
select count(*) from pg_stat_activity
where datname = current_database() and application_name = 'callytics' and pid <> pg_backend_pid()
"""
TERMINATE = f"select count(pg_terminate_backend(pid)) from ({SESSIONS.replace('count(*)', 'pid')}) as s"
LOCKS = """
select count(*) from pg_locks l join pg_database d on d.oid = l.database
where d.datname = current_database() and l.pid <> pg_backend_pid()
"""


def write_calls(file: Path, calls: int, seed: int = 7) -> Path:
    """Write a file whose rows go every way: clean ones, normalised ones, rejected ones, and orphans of these."""
    write_sample(file, generation=1, calls=calls, seed=seed)
    with closing(sqlite3.connect(file)) as sqlite, sqlite:
        sqlite.execute("pragma ignore_check_constraints = on")
        sqlite.execute("update Utterance set Profane = 1.0 where ID % 500 = 7")
        sqlite.execute("update Utterance set Sequence = 'x' where ID % 900 = 11")
        sqlite.execute("update File set Rate = 'x' where ID % 97 = 5")
        sqlite.execute("create table Notes as select ID, Content from Utterance where ID % 10 = 0")
    return file


def change_calls(file: Path, copy: Path) -> Path:
    """Write a later copy of such a file, in which rows of each kind have changed, gone and come."""
    copy.write_bytes(file.read_bytes())
    with closing(sqlite3.connect(copy)) as sqlite, sqlite:
        sqlite.execute("pragma ignore_check_constraints = on")
        sqlite.execute("update Utterance set Content = Content || '!' where ID % 50 = 0")
        sqlite.execute("update Utterance set Sequence = 1000 + ID where ID % 900 = 11")
        sqlite.execute("update Utterance set Sequence = 'y' where ID % 900 = 12")
        sqlite.execute("delete from Utterance where ID % 60 = 3")
        sqlite.execute("delete from Notes where ID % 40 = 0")
        sqlite.execute("insert into Notes select ID, Content from Utterance where ID % 50 = 1")
    return copy


@dataclass
class Attempt:
    """A file that is to be imported into a database, whatever happens."""

    settings: Settings
    file: Path
    folder: Path
    small: bool = True
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def start(self, *arguments: object, settings: Settings | None = None) -> subprocess.Popen[str]:
        """Start the import as a process of its own."""
        return self._start("import", self.file, "--quiet", *arguments, settings=settings)

    def start_undo(self) -> subprocess.Popen[str]:
        """Start to take the latest import back, as a process of its own."""
        with self._asking() as ask:
            run = ask("select max(id) from imports.runs")
        return self._start("undo", run, "--yes", "--quiet")

    def start_sync(self, changed: Path) -> subprocess.Popen[str]:
        """Start to catch up with a later copy of the file, as a process of its own."""
        return self._start("sync", changed, "--of", 1, "--quiet")

    def _start(self, *arguments: object, settings: Settings | None = None) -> subprocess.Popen[str]:
        limits = SMALL if self.small else Limits()
        process = commands.start(
            settings or self.settings,
            *arguments,
            folder=self.folder,
            program=(sys.executable, "-c", PROGRAM.format(limits=limits)),
        )
        self.started.append(process)
        return process

    def end(self) -> None:
        """End what was started and has not ended."""
        for process in self.started:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            for stream in (process.stdout, process.stderr):
                if stream:
                    stream.close()

    def finish(self, *arguments: object) -> str:
        """Run the import to its end, at once and without a second try; returns what it printed."""
        process = self.start(*arguments)
        output, errors = process.communicate(timeout=SECONDS)
        assert process.returncode == 3, f"exit {process.returncode}: {errors}"
        return output

    def undone(self) -> None:
        """Take the latest import back to the end, at once and without a second try."""
        process = self.start_undo()
        _, errors = process.communicate(timeout=SECONDS)
        assert process.returncode == 0, f"exit {process.returncode}: {errors}"

    def caught_up(self, changed: Path) -> None:
        """Catch up with a later copy of the file to the end, at once and without a second try."""
        process = self.start_sync(changed)
        _, errors = process.communicate(timeout=SECONDS)
        assert process.returncode == 3, f"exit {process.returncode}: {errors}"

    def connected(self, process: subprocess.Popen[str]) -> None:
        """Return when the import has begun to talk to the server, or has ended."""
        with self._asking() as ask:
            while process.poll() is None and not ask(SESSIONS):
                time.sleep(0.01)

    def reached(self, process: subprocess.Popen[str], phase: str) -> bool:
        """Return when a phase is the next that has something to do; False when the import ended before."""
        with self._asking() as ask:
            while process.poll() is None:
                if ask(PHASE) == phase:
                    return True
                time.sleep(0.005)
        return False

    def terminated(self, process: subprocess.Popen[str], phase: str) -> int:
        """End every session of the import on the server's side in a phase; returns how many there were.

        On the connection that has seen the phase: while another one is made a short phase can be over.
        """
        with self._asking() as ask:
            while process.poll() is None:
                if ask(PHASE) == phase:
                    return int(ask(TERMINATE))
        return 0

    def at_work(self, process: subprocess.Popen[str], statement: str) -> bool:
        """Return when the server is in the middle of a statement of a kind; False when the import ended before."""
        with self._asking() as ask:
            while process.poll() is None:
                if ask(f"{SESSIONS} and state = 'active' and query ~* '{statement}'"):
                    return True
        return False

    @property
    def phase(self) -> str:
        """What is to be done next."""
        with self._asking() as ask:
            return str(ask(PHASE))

    @property
    def changes_written(self) -> bool:
        """Whether a sync has written and committed what differed."""
        with self._asking() as ask:
            return bool(ask("select count(*) from imports.syncs"))

    def duration(self) -> float:
        """Import once, undisturbed; returns the seconds from the first connection to the end."""
        process = self.start()
        self.connected(process)
        began = time.monotonic()
        _, errors = process.communicate(timeout=SECONDS)
        assert process.returncode == 3, errors
        return time.monotonic() - began

    def state(self) -> dict[str, Any]:
        """Return all that must be the same after any fault: schema, every value, sequences, and the records."""
        with closing(psycopg2.connect(self.settings.conninfo(owner=True))) as connection:
            found: dict[str, Any] = dict(catalogue(connection))
            with connection.cursor() as cursor:
                for name, query in STATE.items():
                    cursor.execute(query)
                    found[name] = cursor.fetchall()
                cursor.execute(TABLES)
                for (table,) in cursor.fetchall():
                    cursor.execute(
                        f"select count(*), coalesce(sum(hashtextextended(t::text, 0)), 0)::text from {table} t"
                    )
                    found[table] = cursor.fetchone()
        return found

    def contents(self) -> dict[str, Any]:
        """Return what is there, whatever was there before: all but the records of each run and the next ids."""
        found = {name: rows for name, rows in self.state().items() if name not in OF_A_RUN}
        # PostgreSQL names a partition's index itself.
        found["indexes"] = sorted({PARTITIONS_INDEX.sub("INDEX ", entry) for entry in found["indexes"]})
        found["relations"] = [entry for entry in found["relations"] if "', 'i', " not in entry]
        return found

    def left_behind(self) -> list[str]:
        """Return what a finished import must not leave: sessions, locks, scratch files. The server has a moment."""
        deadline = time.monotonic() + 5
        while True:
            found = list(self._left_behind())
            if not found or time.monotonic() > deadline:
                return found
            time.sleep(0.05)

    def _left_behind(self) -> Iterator[str]:
        with self._asking() as ask:
            for query in (SESSIONS, LOCKS):
                if ask(query):
                    yield query
        yield from (str(path) for path in self.folder.rglob(".*"))

    @contextmanager
    def _asking(self) -> Iterator[Callable[[str], Any]]:
        with closing(psycopg2.connect(self.settings.conninfo(owner=True))) as connection:
            connection.autocommit = True

            def ask(query: str) -> Any:
                with connection.cursor() as cursor:
                    cursor.execute(query)
                    return cursor.fetchall()[0][0]

            yield ask


PARTITIONS_INDEX = re.compile(r"INDEX \w+ (?=ON public\.\w+_(default|\d{4}_\d\d) )")
OF_A_RUN = ("runs", "counts", "restored", "next ids")
TABLES = """
select c.oid::regclass::text from pg_class c
where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition
    and c.relname !~ '^(_?yoyo|_callytics)_'
"""
STATE = {
    "runs": "select status from imports.runs",
    "counts": """
        select t.source_table, t.target_table, t.source_rows, t.verified_rows, t.different_rows,
            t.loaded_at is not null, sum(c.copied + c.inserted)::bigint, sum(c.rejected)::bigint, bool_or(c.pending)
        from imports.tables t join imports.chunks c on c.table_id = t.id group by t.id order by t.id
    """,
    "rejected": """
        select source_table, source_rowid, source_column, reason, source_row::text from imports.rejected order by 1, 2
    """,
    "unmapped": "select source_table, source_rowid, source_row::text from imports.unmapped order by 1, 2",
    "normalised": """
        select t.source_table, n.source_column, n.normalisation, n.rows
        from imports.normalisations n join imports.tables t on t.id = n.table_id order by 1, 2, 3
    """,
    "restored": """
        select kind, table_name, name, definition, restored_at is not null, orphans
        from imports.definitions order by 1, 2, 3
    """,
    "next ids": "select sequencename, last_value from pg_sequences where schemaname = 'public' order by 1",
}


def differences(expected: dict[str, Any], actual: dict[str, Any]) -> list[str]:
    """Return what is not as it should be, shortened."""
    found = []
    for name in expected.keys() | actual.keys():
        one, other = expected.get(name), actual.get(name)
        if one != other and isinstance(one, list) and isinstance(other, list):
            found += [f"{name} lacks {item}"[:300] for item in one if item not in other]
            found += [f"{name} has {item}"[:300] for item in other if item not in one]
        elif one != other:
            found.append(f"{name} is {other}, not {one}"[:300])
    return found


def lost(before: Settings, after: dict[str, Any]) -> list[str]:
    """Return the indexes and constraints that an empty database had and an import did not leave, valid or not."""
    with closing(psycopg2.connect(before.conninfo(owner=True))) as connection:
        had = catalogue(connection)
    return [
        entry
        for name in ("indexes", "constraints")
        for entry in had[name]
        if plain(entry) not in set(map(plain, after[name]))
    ]


def plain(entry: str) -> str:
    """Return an entry of the catalogue without the name of a partition's index, which PostgreSQL chooses."""
    return PARTITIONS_INDEX.sub("INDEX ", entry.replace(" NOT VALID", ""))


STATEMENTS = ("create index", "add constraint", "validate constraint", "^copy", "insert into imports", "update imports")
"""What is most delicate to be killed in."""


def kill(process: subprocess.Popen[str], delay: float) -> bool:
    """Kill a process outright after a delay, with all that it started; False when it ended before."""
    try:
        process.wait(timeout=delay)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    return process.returncode == -signal.SIGKILL


def kill_server(server: EmbeddedPostgres) -> None:
    """Kill a server's processes outright, as a machine does that runs out of memory; returns when they are gone."""
    postmaster = int((server.data / "postmaster.pid").read_text().split()[0])
    # Stopped first: it would start others, and would tell its children to end in peace.
    os.kill(postmaster, signal.SIGSTOP)
    children = _children(postmaster)
    for process in (postmaster, *children):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    deadline = time.monotonic() + SECONDS
    while any(_alive(process) for process in (postmaster, *children)):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    # Where nobody reaps the dead, as in a container without init, the next server would take it for alive.
    (server.data / "postmaster.pid").unlink()


def _children(parent: int) -> list[int]:
    children = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # The name, in parentheses, may hold anything.
            if int(status.read_text().rpartition(")")[2].split()[1]) == parent:
                children.append(int(status.parent.name))
    return children


def _alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def terminate_sessions(settings: Settings) -> int:
    """End every session of an import on the server's side; returns how many there were."""
    with closing(psycopg2.connect(settings.conninfo(owner=True))) as connection, connection.cursor() as cursor:
        cursor.execute(TERMINATE)
        return int(cursor.fetchall()[0][0])


class Wire:
    """A TCP proxy before a server, whose connections can be cut all at once, and which then takes no new ones."""

    def __init__(self, port: int) -> None:
        self._server = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._cut = False
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()
        self._thread.join()

    def cut(self) -> None:
        """Reset every connection, as a router does that lost its mind."""
        self._cut = True
        self._thread.join()

    def _serve(self) -> None:
        with selectors.DefaultSelector() as selector, self._listener:
            selector.register(self._listener, selectors.EVENT_READ)
            while not self._cut:
                for key, _ in selector.select(0.02):
                    self._serve_one(selector, key.fileobj)  # type: ignore[arg-type]
            for ends in self._pairs:
                for end in ends:
                    with contextlib.suppress(OSError):
                        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    end.close()

    def _serve_one(self, selector: selectors.BaseSelector, ready: socket.socket) -> None:
        if ready is self._listener:
            client, _ = self._listener.accept()
            server = socket.create_connection(("127.0.0.1", self._server))
            self._pairs.append((client, server))
            selector.register(client, selectors.EVENT_READ)
            selector.register(server, selectors.EVENT_READ)
            return
        ends = next(ends for ends in self._pairs if ready in ends)
        try:
            received = ready.recv(1 << 16)
            (ends[1] if ready is ends[0] else ends[0]).sendall(received)
        except OSError:
            received = b""
        if not received:
            for end in ends:
                selector.unregister(end)
                end.close()
            self._pairs.remove(ends)


@contextmanager
def small_disk(folder: Path, size: int, account: str | None = None) -> Iterator[Callable[[int], None]]:
    """Mount a disk of so many bytes on a new folder; yields what gives it another size.

    Raises PermissionError where nobody may mount.
    """
    folder.mkdir(parents=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True, text=True
    )
    if mounted.returncode:
        raise PermissionError(mounted.stderr.strip())
    try:
        if account:
            shutil.chown(folder, account)

        def resize(size: int) -> None:
            subprocess.run(["mount", "-o", f"remount,size={size}", str(folder)], check=True)

        yield resize
    finally:
        # Lazily, so that a file that is still open does not leave it mounted.
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@dataclass
class Site:
    """A server of its own, which may be killed, with a migrated template."""

    server: EmbeddedPostgres
    template: Settings
    folder: Path
    databases: Databases

    def attempt(self, file: Path) -> Attempt:
        """Return an attempt to import a file into a fresh database and from a fresh folder."""
        settings = self.databases.copy(self.template)
        folder = self.folder / settings.database
        folder.mkdir()
        return Attempt(settings, file, folder)


def delays(rng: random.Random, duration: float) -> Iterator[float]:
    """Yield moments in an import, the first ones spread over all of it."""
    strata = [0.1, 0.6, 0.35, 0.85]
    while True:
        rng.shuffle(strata)
        for stratum in strata:
            yield max(0.0, duration * (stratum + rng.uniform(-0.14, 0.14)))
