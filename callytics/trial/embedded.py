"""A private PostgreSQL for the demo and the tests: one folder, one port on 127.0.0.1, nothing installed."""

from __future__ import annotations

import fcntl
import os
import pwd
import re
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import encrypt_password

from callytics.exceptions import DatabaseUnavailable
from callytics.settings import Settings, create_env_file, env_text
from callytics.trial.servers import OLDEST_VERSION, WHEEL, Server, find_servers

SUPERUSER = "postgres"
# The contents of ``home``, and the file that marks a folder as ours.
MADE = ("data", "data.part", "server.log", "superuser.password", "wheel", "wheel.part")
MARKER = ".callytics-server"
# For whoever finds the file and wonders.
MARKER_TEXT = "A private PostgreSQL of Callytics: 'callytics server stop --remove' deletes it.\n"
# TCP only: a Unix socket's path is limited to 107 bytes (unix(7)), which a test's folder often exceeds.
CONFIGURATION = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "password_encryption": "scram-sha-256",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # `_complaint` looks for English words.
    "lc_messages": "C",
    # Nobody's words in the log: a statement that fails holds its values, and an error's detail quotes rows.
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
}


class EmbeddedPostgres:
    """A private server in ``folder``, reached over TCP with scram passwords.

    ``start`` creates the cluster, or reuses the existing one, with its port unless another program has taken
    that; for root the server runs as an unprivileged account. ``options`` are settings of
    postgresql.conf. Raises DatabaseUnavailable with the server's own words.
    """

    def __init__(self, folder: Path, port: int | None = None, options: Mapping[str, str] | None = None) -> None:
        self.folder = folder.absolute()
        self.options = dict(options or {})
        self._wanted_port = port
        self._account = _unprivileged_account() if os.geteuid() == 0 else None

    def __enter__(self) -> EmbeddedPostgres:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start the server and return once it accepts connections; does nothing if it runs."""
        if self.running:
            return
        self._refuse_others_folder()
        # Before any folder is made: where there is no server, nothing is left behind.
        found = self._find_server()
        self._make_folder()
        with self.turn() as turn:
            self._make_home()
            if not self.running:
                self._start(self._within_reach(found), turn)

    def _start(self, server: Server, turn: TextIO) -> None:
        if not self.data.exists():
            self._initialise(server, turn)
        self._configure(self._choose_port())
        # Old complaints must not be taken for those of this start.
        self.log.unlink(missing_ok=True)
        self._run(server, "pg_ctl", "start", "-D", self.data, "-w", "-t", "60", "-s", "-l", self.log)

    def stop(self) -> None:
        """Stop the server and return once it has ended; does nothing if it does not run."""
        if self.running:
            server = self._within_reach(self._find_server())
            self._run(server, "pg_ctl", "stop", "-D", self.data, "-w", "-s", "-m", "fast")

    @contextmanager
    def turn(self) -> Iterator[TextIO]:
        """Wait for another start in this folder, and for the initdb of one that was killed, which goes on alone."""
        with (self.folder / MARKER).open("a") as turn:
            fcntl.flock(turn, fcntl.LOCK_EX)
            yield turn

    def remove(self) -> list[str]:
        """Stop the server and delete what ``start`` created, including every database, and nothing else.

        The folder is deleted too unless it contains anything else, whose names are returned. Raises
        DatabaseUnavailable if ``start`` has created nothing there.
        """
        self.refuse_foreign()
        with self.turn():
            self.stop()
            # By name, not the whole folder: anything else in there is not ours to delete.
            _delete(self.home / name for name in MADE)
        _rmdir_if_empty(self.home)
        _delete(self.folder / name for name in ("server", ".env", MARKER) if not (self.folder / name).is_dir())
        _rmdir_if_empty(self.folder)
        return sorted(path.name for path in self.folder.iterdir()) if self.folder.exists() else []

    @property
    def is_ours(self) -> bool:
        """Whether ``start`` created a server in ``folder``, or had begun to."""
        # Servers of version 0.1.0 have no marker.
        return (self.folder / MARKER).is_file() or (self.home / "superuser.password").is_file()

    def refuse_foreign(self) -> None:
        """Raise DatabaseUnavailable if ``folder`` holds no private server."""
        try:
            ours = self.is_ours
        except PermissionError:
            raise DatabaseUnavailable(f"{self.folder} is another account's: run this as that account") from None
        if not ours:
            raise DatabaseUnavailable(f"{self.folder} holds no private PostgreSQL: nothing was done")

    def _refuse_others_folder(self) -> None:
        """Refuse a folder that holds something else, which could later be mistaken for the server's."""
        found = sorted(path.name for path in self.folder.iterdir()) if self.folder.is_dir() else []
        if found and not self.is_ours:
            others = ", ".join(found[:3]) + (", …" if len(found) > 3 else "")
            raise DatabaseUnavailable(
                f"{self.folder} is not empty ({others}) and holds no private PostgreSQL: "
                "name a folder that is empty or not there yet"
            )

    @property
    def home(self) -> Path:
        """The real folder of the server: below ``folder``, or elsewhere if its account can't enter that."""
        return (self.folder / "server").resolve()

    @property
    def data(self) -> Path:
        """The cluster's data directory."""
        return self.home / "data"

    @property
    def _part(self) -> Path:
        return self.home / "data.part"

    @property
    def log(self) -> Path:
        """The server's log."""
        return self.home / "server.log"

    @property
    def running(self) -> bool:
        """Whether the server accepts connections."""
        if not (self.data / "postmaster.pid").exists():
            return False
        # The pid file outlives a crash of the machine: only an answer counts.
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    @property
    def port(self) -> int:
        """The port the server listens on, or did when it last ran."""
        found = re.search(r"^port = '(\d+)'$", (self.data / "postgresql.conf").read_text(), re.MULTILINE)
        if found is None:
            raise DatabaseUnavailable(f"{self.data} is no private PostgreSQL of Callytics: remove it")
        return int(found[1])

    @property
    def bin(self) -> Path:
        """The folder of psql and the other programs."""
        return self._find_server().bin

    def superuser_conninfo(self, database: str = "postgres") -> str:
        """Return the connection string of the cluster's superuser; it holds the password."""
        return self._superuser(database).conninfo()

    def provide(self, settings: Settings) -> None:
        """Create what ``settings`` names: the roles with their passwords, the database owned by the owner.

        What exists is kept, but passwords are set again.
        """
        connection = psycopg2.connect(self.superuser_conninfo())
        try:
            # CREATE DATABASE refuses to run in a transaction.
            connection.autocommit = True
            for owner in (True, False):
                self._provide_role(connection, *settings.login(owner=owner))
            self._provide_database(connection, settings.database, settings.login(owner=True)[0])
        finally:
            connection.close()

    def _provide_role(self, connection: Any, role: str, password: str) -> None:
        # Send the verifier, not the password: the server logs the text of a statement that fails.
        verifier = encrypt_password(password, role, connection, "scram-sha-256")
        with connection.cursor() as cursor:
            cursor.execute("select 1 from pg_roles where rolname = %s", (role,))
            verb = "alter" if cursor.fetchone() else "create"
            statement = sql.SQL(verb + " role {} login password {}")
            cursor.execute(statement.format(sql.Identifier(role), sql.Literal(verifier)))

    def _provide_database(self, connection: Any, database: str, owner: str) -> None:
        with connection.cursor() as cursor:
            cursor.execute("select 1 from pg_database where datname = %s", (database,))
            if not cursor.fetchone():
                statement = sql.SQL("create database {} owner {}")
                cursor.execute(statement.format(sql.Identifier(database), sql.Identifier(owner)))

    def close_to_public(self, settings: Settings) -> None:
        """Take from everybody the database that ``settings`` names: only its owner and its user may connect."""
        connection = psycopg2.connect(self.superuser_conninfo())
        database, user = sql.Identifier(settings.database), sql.Identifier(settings.user)
        with closing(connection), connection, connection.cursor() as cursor:
            cursor.execute(sql.SQL("revoke all on database {} from public").format(database))
            cursor.execute(sql.SQL("grant connect on database {} to {}").format(database, user))

    def _superuser(self, database: str) -> Settings:
        password = (self.home / "superuser.password").read_text()
        return Settings(("127.0.0.1",), self.port, database, SUPERUSER, password)

    def _find_server(self) -> Server:
        """Return the server of the cluster's version, or for a new cluster the first one found."""
        version_file = self.data / "PG_VERSION"
        wanted = int(version_file.read_text()) if version_file.exists() else None
        for server in find_servers():
            if wanted in (None, server.version):
                return server
        version = f"of version {wanted}" if wanted else f">= {OLDEST_VERSION}"
        raise DatabaseUnavailable(
            f"no PostgreSQL server {version} on this machine: install postgresql-15, or 'callytics[embedded]'"
        )

    def _within_reach(self, server: Server) -> Server:
        """Return the server, copied into ``home`` if its account can't enter the wheel's folder."""
        if self._may("-x", server.bin / "postgres"):
            return server
        copy = self.home / "wheel"
        if not copy.exists():
            self._copy_wheel(server.bin.parent.parent, copy)
        return Server(copy / server.bin.relative_to(server.bin.parents[2]), server.version)

    def _copy_wheel(self, package: Path, copy: Path) -> None:
        # Under its name once it is whole: the next start would use half a copy.
        part = copy.with_name("wheel.part")
        _delete([part])
        # The programs find their libraries by a relative path, so the copies keep their places.
        libraries = package.with_name(f"{WHEEL}.libs")
        shutil.copytree(package, part / package.name)
        if libraries.exists():
            shutil.copytree(libraries, part / libraries.name)
        for path in (part, *part.rglob("*")):
            self._hand_over(path)
        part.rename(copy)

    def _make_folder(self) -> None:
        """Create ``folder``, marked as ours."""
        # Open to pass through: when root starts it, the server runs as another account.
        self.folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        # First of all, so that the next start recognises the folder if this one is killed.
        (self.folder / MARKER).write_text(MARKER_TEXT)

    def _make_home(self) -> None:
        """Create ``home``, owned by the account that the server runs as; in a start's turn, as it may be moved."""
        server = self.folder / "server"
        if self.home.is_dir():
            return
        if server.is_symlink():
            server.unlink()
        server.mkdir(mode=0o700)
        self._hand_over(server)
        if not self._may("-w", server):
            # For example below /root, which the account can't enter, whoever owns the last folder.
            server.rmdir()
            elsewhere = Path(tempfile.mkdtemp(prefix="callytics-postgres-", dir="/var/tmp"))
            self._hand_over(elsewhere)
            server.symlink_to(elsewhere)

    def _hand_over(self, path: Path) -> None:
        if self._account:
            os.chown(path, self._account.pw_uid, self._account.pw_gid)

    def _may(self, test: str, path: Path) -> bool:
        """Whether the server's account passes a test of test(1), such as -x, on a path."""
        return subprocess.run(["test", test, path], **self._as_account()).returncode == 0

    def _initialise(self, server: Server, turn: TextIO) -> None:
        password_file = self.home / "superuser.password"
        # The mode before the content.
        password_file.touch(mode=0o600)
        password_file.write_text(secrets.token_urlsafe(32))
        self._hand_over(password_file)
        # Under its name once it is whole: of a start that was killed half a cluster is left.
        _delete([self._part])
        try:
            self._initdb(server, password_file, "C.UTF-8", turn)
        except DatabaseUnavailable:
            # Not every C library knows C.UTF-8; initdb has cleaned up after itself.
            self._initdb(server, password_file, "C", turn)
        self._part.rename(self.data)

    def _initdb(self, server: Server, password_file: Path, locale: str, turn: TextIO) -> None:
        self._run(
            server,
            *("initdb", "-D", self._part, "-U", SUPERUSER, "--pwfile", password_file),
            *("--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", locale, "--data-checksums"),
            # A cluster for trials is not worth the wait until a thousand new files are on the disk.
            *("--no-sync", "--no-instructions"),
            keep=[turn.fileno()],
        )

    def _configure(self, port: int) -> None:
        """Replace postgresql.conf: the whole file is ours."""
        options = CONFIGURATION | self.options | {"port": str(port)}
        lines = [f"{name} = '{value.replace(chr(39), chr(39) * 2)}'\n" for name, value in options.items()]
        (self.data / "postgresql.conf").write_text("".join(lines))

    def _choose_port(self) -> int:
        if self._wanted_port:
            return self._wanted_port
        try:
            previous = self.port
        except (OSError, DatabaseUnavailable):
            previous = 0
        return previous if previous and _is_free(previous) else _free_port()

    def _run(self, server: Server, program: str, *arguments: str | Path, keep: Collection[int] = ()) -> None:
        """Run one of the server's programs; raise DatabaseUnavailable with its error message if it fails."""
        with tempfile.TemporaryFile("w+") as output:
            # Not a pipe: the server that pg_ctl starts would inherit it, and reading it would never end.
            command = [server.bin / program, *arguments]
            completed = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, pass_fds=keep, **self._as_account()
            )
            if completed.returncode:
                output.seek(0)
                raise DatabaseUnavailable(f"{program} failed: {self._complaint(output.read())}")

    def _complaint(self, output: str) -> str:
        """Return the first error in the server's log, or else in ``output``."""
        log = self.log.read_text(errors="replace") if self.log.exists() else ""
        told = r"^.*?(?:FATAL|LOG|error): +(.*(?:invalid|could not|must|still in use).*)$"
        found = re.search(told, log + output, re.M)
        return found[1] if found else output.strip() or "no reason given"

    def _as_account(self) -> dict[str, Any]:
        """Return the arguments to run a program as the account, in a folder it may enter, with messages in English."""
        # The caller's PGPORT or PGDATA would lead the programs to another server.
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_"))}
        how: dict[str, Any] = {"cwd": "/", "env": environment | {"LC_ALL": "C"}}
        if self._account:
            # subprocess changes the user but keeps root's supplementary groups unless told.
            how |= {"user": self._account.pw_uid, "group": self._account.pw_gid, "extra_groups": []}
        return how


def start_private(folder: Path) -> None:
    """Start a private server in ``folder`` with the roles and the database that its ``.env`` names.

    Writes a new ``.env`` if there is none or the port has changed; psql can connect with its variables, too.
    """
    server = EmbeddedPostgres(folder)
    try:
        server.start()
    except OSError as error:
        raise DatabaseUnavailable(f"{folder} can't hold a server ({error.strerror}): choose another") from None
    with server.turn():
        env_file = folder / ".env"
        # One without a word is of a start that was killed.
        if not env_file.exists() or not env_file.stat().st_size or Settings.load({}, env_file).port != server.port:
            env_file.unlink(missing_ok=True)
            # The old port was taken. New passwords come with it, which `provide` sets below.
            create_env_file(env_file, _private_env(server.port))
        settings = Settings.load({}, env_file)
        server.provide(settings)
        server.close_to_public(settings)


def _private_env(port: int) -> str:
    password, owner_password, key = (secrets.token_urlsafe(32) for _ in range(3))
    text = env_text(password, owner_password, jwt_secret_key=key, host="127.0.0.1", port=port)
    return f"""{text}
# For psql.
PGHOST=127.0.0.1
PGPORT={port}
PGDATABASE=callytics
PGUSER=callytics_user
PGPASSWORD='{password}'
"""


def _delete(paths: Iterable[Path]) -> None:
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _rmdir_if_empty(folder: Path) -> None:
    # Behind a link stands a folder of somebody's, who wants it to stay.
    if folder.is_dir() and not folder.is_symlink() and not any(folder.iterdir()):
        folder.rmdir()


def _unprivileged_account() -> pwd.struct_passwd:
    """Return the account for a server that root starts: PostgreSQL refuses to run as root."""
    # Debian's account for it, if there is one: it may already own such files.
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise DatabaseUnavailable("PostgreSQL does not run as root and there is no account nobody: log in as a user")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As the server binds: a port whose former connections linger (TIME_WAIT) counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _free_port() -> int:
    with socket.socket() as probe:
        # Another program may still take it before the server does; pg_ctl then says so.
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
