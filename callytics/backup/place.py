"""Where the backups of this host are: what deploy/backup.py has written down, and the account that may use it."""

from __future__ import annotations

import os
import pwd
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path

from callytics.exceptions import BackupError

DEFAULT = Path("/etc/callytics/backup.toml")
PATRONI = "patroni.service"
MISSING = (
    "this host has no backups that Callytics has set up: run 'pyinfra inventory.py deploy/backup.py', or back up with "
    "pg_dump as the manual's page on operations shows"
)


@dataclass(frozen=True)
class Place:
    """A database's cluster, its stanza of pgBackRest, and the folder of trial restores and of the state."""

    stanza: str
    database: str
    port: int
    socket: str
    data: str
    binaries: str
    account: str
    unit: str
    folder: str
    owner: str = "callytics_owner"
    repository_host: str = ""
    pgbackrest_config: str = ""

    @classmethod
    def load(cls, path: Path = DEFAULT) -> Place:
        """Read the file; raises BackupError with what to do where there is none, or one of another version."""
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise BackupError(MISSING) from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError):
            values = {}
        known = {field.name for field in fields(cls)}
        if not {"stanza", "database", "port", "socket", "data", "binaries", "account", "unit", "folder"} <= set(values):
            raise BackupError(f"{path} is not complete: run 'pyinfra inventory.py deploy/backup.py' again")
        return cls(**{name: value for name, value in values.items() if name in known})

    @property
    def is_member(self) -> bool:
        """Whether the database is one of a cluster's three, which Patroni starts and stops."""
        return self.unit == PATRONI

    @property
    def state(self) -> Path:
        """The file that tells programs how the backups are."""
        return Path(self.folder, "state.json")

    @property
    def metrics(self) -> Path:
        """The same for Prometheus's textfile collector."""
        return Path(self.folder, "callytics_backup.prom")

    def program(self, name: str) -> str:
        """Return the path of one of PostgreSQL's programs, of the version that the cluster has."""
        return str(Path(self.binaries, name))

    def become_account(self) -> None:
        """Give root's rights up for those of PostgreSQL's account, for good; raises BackupError for anybody else."""
        account = self.entry()
        if os.geteuid() == 0 != account.pw_uid:
            os.initgroups(account.pw_name, account.pw_gid)
            os.setgid(account.pw_gid)
            os.setuid(account.pw_uid)
            os.environ["HOME"] = account.pw_dir
        if os.geteuid() != account.pw_uid:
            raise BackupError(f"backups belong to root and {self.account}: run the command with sudo")
        # Whoever started this may be in a folder that the account must not enter.
        os.chdir("/")

    @contextmanager
    def as_account(self) -> Iterator[None]:
        """Be PostgreSQL's account for a while, as its socket asks who is there; root is root again afterwards."""
        account = self.entry()
        if os.geteuid() != 0 or account.pw_uid == 0:
            yield
            return
        os.setegid(account.pw_gid)
        os.seteuid(account.pw_uid)
        try:
            yield
        finally:
            os.seteuid(0)
            os.setegid(0)

    def entry(self) -> pwd.struct_passwd:
        """Return what the system knows of the account; raises BackupError where there is none."""
        try:
            return pwd.getpwnam(self.account)
        except KeyError:
            raise BackupError(f"this host has no account {self.account}: is PostgreSQL installed?") from None
