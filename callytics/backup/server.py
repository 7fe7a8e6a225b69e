"""A restored cluster as a server of its own: private socket, no port, no archiving, recovered as far as it is told."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2
from psycopg2.extensions import connection as Connection

from callytics.backup import timelines
from callytics.backup.ledger import SQL
from callytics.backup.pgbackrest import command
from callytics.backup.place import Place
from callytics.exceptions import BackupError

PORT = 5432
POLL_SECONDS = 0.2
# Standby queries are refused unless these are at least what the primary had: pg_controldata knows.
LIKE_THE_PRIMARY = {
    "max_connections setting": "max_connections",
    "max_worker_processes setting": "max_worker_processes",
    "max_wal_senders setting": "max_wal_senders",
    "max_prepared_xacts setting": "max_prepared_transactions",
    "max_locks_per_xact setting": "max_locks_per_transaction",
}
TOO_SHORT = "recovery ended before configured recovery target was reached"
# A log of our own, without anybody's words.
QUIET = {
    "logging_collector": "off",
    "log_destination": "stderr",
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "log_statement": "none",
}


class RecoveryEnded(BackupError):
    """The archive ends before the moment that recovery was to reach."""


class Server:
    """A server on a restored data folder; ``folder`` holds its socket, log and empty settings, for its owner alone."""

    def __init__(self, place: Place, data: Path, folder: Path, *, archives: bool = False) -> None:
        self.place = place
        self.data = data
        self.folder = folder
        self.archives = archives
        self.process: subprocess.Popen[bytes] | None = None
        self._timeline: str | None = None

    @property
    def socket(self) -> str:
        """The folder of the socket."""
        return str(self.folder)

    @property
    def log(self) -> Path:
        """The server's log."""
        return self.folder / "log"

    def start(self, **settings: str) -> None:
        """Start it with ``settings``, which win over every file; it is not ready yet."""
        self.folder.mkdir(mode=0o700, exist_ok=True)
        (self.folder / "postgresql.conf").write_text("")
        (self.folder / "pg_hba.conf").write_text("local all all trust\n")
        (self.folder / "pg_ident.conf").write_text("")
        for name in ("", "postgresql.conf", "pg_hba.conf", "pg_ident.conf"):
            self._give(self.folder / name)
        # An older log would tell of another start.
        self.log.unlink(missing_ok=True)
        with self.log.open("wb") as log:
            self._give(self.log)
            self.process = subprocess.Popen(
                [self.place.program("postgres"), "-D", str(self.data), *self._options(settings)],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                cwd="/",
                **self._account(),
            )

    def wait(self, query: str, wanted: bool) -> None:
        """Wait until a query of ledger.sql answers what is wanted.

        Raises RecoveryEnded or BackupError, with the server's own words, if it has ended before.
        """
        assert self.process is not None
        while self.process.poll() is None:
            if self._answer(query) is wanted:
                return
            time.sleep(POLL_SECONDS)
        said = self.log.read_text(errors="replace")
        if TOO_SHORT in said:
            raise RecoveryEnded(f"{TOO_SHORT}: choose an earlier time")
        raise BackupError(f"the restored cluster does not start: {_last_error(said)}")

    def forget_archive(self) -> None:
        """Take back the ``restore_command`` that pgBackRest wrote: it would stay for good."""
        with closing(self._connect()) as connection:
            # ALTER SYSTEM can't run in a transaction.
            connection.autocommit = True
            SQL.run(connection, "forget_restore_command")

    def stop(self) -> None:
        """Stop it, at once if it does not stop by itself; nothing happens if it does not run."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(timeout=120)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait(timeout=60)

    def _options(self, settings: dict[str, str]) -> list[str]:
        own = {
            "config_file": str(self.folder / "postgresql.conf"),
            "hba_file": str(self.folder / "pg_hba.conf"),
            "ident_file": str(self.folder / "pg_ident.conf"),
            "listen_addresses": "",
            "port": str(PORT),
            "unix_socket_directories": self.socket,
            "shared_preload_libraries": "",
            "session_preload_libraries": "",
            "ssl": "off",
            "hot_standby": "on",
            # A cluster that takes the old one's place keeps for the archive what it writes before its real start.
            "archive_mode": "on" if self.archives else "off",
            "archive_command": "",
            "restore_command": self._restore_command(),
            "recovery_target_timeline": self._its_timeline(),
            **QUIET,
            **self._like_the_primary(),
            **settings,
        }
        return [word for name, value in own.items() for word in ("-c", f"{name}={value}")]

    def _its_timeline(self) -> str:
        # Asked once: it is the same for every start of what was restored.
        self._timeline = self._timeline or timelines.newest(self.data, self._archived)
        return self._timeline

    def _archived(self, name: str) -> str | None:
        """Return a small file of the archive, None where there is none."""
        file = self.folder / name
        fetch = self._restore_command().replace("%f", name).replace("%p", str(file))
        done = subprocess.run(["sh", "-c", fetch], stdin=subprocess.DEVNULL, capture_output=True, check=False, cwd="/",
                              **self._account())  # fmt: skip
        return file.read_text() if done.returncode == 0 and file.exists() else None

    def _restore_command(self) -> str:
        """Return the command that fetches a WAL file.

        Not asynchronous: that would wait for the lock that pushing WAL holds, and recovery would take a file that does
        not come for the end of the archive. For the same reason, errors end the server: only code 1 means "none".
        """
        lock = f"--lock-path={self.folder}"
        words = command(self.place, f"--pg1-path={self.data}", lock, "--no-archive-async", "--log-level-file=off")
        return f'{" ".join(words)} archive-get %f "%p"; code=$?; [ $code -le 1 ] || exit 200; exit $code'

    def _like_the_primary(self) -> dict[str, str]:
        said = subprocess.run(
            [self.place.program("pg_controldata"), str(self.data)],
            capture_output=True,
            text=True,
            check=True,
            env={"LC_ALL": "C"},
            cwd="/",
        ).stdout
        known = dict(line.split(":", 1) for line in said.splitlines() if ":" in line)
        return {setting: known[name].strip() for name, setting in LIKE_THE_PRIMARY.items() if name in known}

    def _answer(self, query: str) -> bool | None:
        try:
            connection = self._connect()
        except psycopg2.OperationalError:
            # Not yet: whether it ever will is told by the process.
            return None
        try:
            return bool(SQL.value(connection, query))
        except psycopg2.OperationalError:
            return None
        finally:
            connection.close()

    def _connect(self) -> Connection:
        return psycopg2.connect(
            host=self.socket, port=PORT, dbname=self.place.database, user=self.place.account, connect_timeout=5
        )

    def _account(self) -> dict[str, Any]:
        entry = self.place.entry()
        same = os.geteuid() == entry.pw_uid
        return {} if same else {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}

    def _give(self, path: Path) -> None:
        entry = self.place.entry()
        os.chown(path, entry.pw_uid, entry.pw_gid)
        path.chmod(0o700 if path.is_dir() else 0o600)


def remove(place: Place, data: Path, *folders: Path) -> None:
    """Stop whatever server runs on ``data`` and delete the folders; also what a killed run has left."""
    if (data / "postmaster.pid").exists():
        stop: Callable[[str], Any] = lambda mode: subprocess.run(  # noqa: E731
            [place.program("pg_ctl"), "-D", str(data), "-m", mode, "-w", "-t", "60", "stop"],
            capture_output=True,
            check=False,
            cwd="/",
        )
        stop("immediate")
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=not folder.exists())


def _last_error(log: str) -> str:
    found = [line for line in log.splitlines() if "FATAL" in line or "PANIC" in line]
    return (found or log.splitlines() or ["its log is empty"])[-1].strip()
