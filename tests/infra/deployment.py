"""An installation as its administrator has it: a checkout with its .env, and hosts that pyinfra provisions over SSH."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dotenv import dotenv_values

from tests.infra.lab import LabHost
from tests.support.places import REPOSITORY

SITE = "deploy/site.py"
ROLES = {
    "callytics_owner": "POSTGRES_OWNER_PASSWORD",
    "callytics_user": "POSTGRES_PASSWORD",
    "callytics_readonly": "POSTGRES_READONLY_PASSWORD",
    "callytics_monitor": "POSTGRES_MONITOR_PASSWORD",
}
# Passwords of real installations are random; these hold what shells, URLs and configuration files could stumble over.
AWKWARD = 'a@/%"$# :&?*;`~ü비밀'
PREFIXES = ("POSTGRES_", "PG", "DATABASE_", "APP_", "SSH_", "DEPLOY_", "PYINFRA_", "CALLYTICS_")


@dataclass(frozen=True)
class Run:
    """What one run of pyinfra said: ``changed`` in the order of the operations, each with its hosts."""

    exit_code: int
    changed: dict[str, list[str]]
    failed: dict[str, list[str]]
    hosts: int
    output: str

    @property
    def seen(self) -> bool:
        """Whether it reached a host: a run that reached none ends well, too."""
        return self.hosts > 0


@dataclass
class Deployment:
    """The checkout of one installation and its two hosts, which may be the same."""

    checkout: Path
    database: LabHost
    app: LabHost
    first_run: Run | None = field(default=None)

    @classmethod
    def prepare(cls, folder: Path, database: LabHost, app: LabHost) -> Deployment:
        """Copy this checkout into ``folder`` and write the .env of an installation on these hosts."""
        copy_checkout(folder)
        deployment = cls(folder, database, app)
        deployment.set(
            DATABASE_HOSTS=database.address,
            APP_HOSTS=app.address,
            SSH_USER="root",
            SSH_KEY=str(database.ssh_key),
            SSH_KNOWN_HOSTS=str(database.known_hosts),
            **{variable: f"{role} {AWKWARD}" for role, variable in ROLES.items()},
        )
        return deployment

    @property
    def env(self) -> dict[str, str]:
        """What .env says."""
        values = dotenv_values(self.checkout / ".env", interpolate=False)
        return {name: value or "" for name, value in values.items()}

    def set(self, **values: str) -> None:
        """Write variables into .env, as an administrator would with an editor."""
        kept = self.env if (self.checkout / ".env").exists() else {}
        file = self.checkout / ".env"
        file.touch(0o600)
        file.write_text("".join(f"{name}='{value}'\n" for name, value in (kept | values).items()))

    def password(self, role: str) -> str:
        return self.env.get(ROLES.get(role, ""), "no role of ours")

    def run(self, *files: str, dry: bool = False, check: bool = True) -> Run:
        """Run ``pyinfra -y inventory.py FILE…`` in the checkout; everything of ``deploy/`` without a file."""
        process = subprocess.run(self._command("--dry" if dry else "-y", "--json", *files), **self._surroundings())
        if check and process.returncode != 0:
            raise AssertionError(f"pyinfra ended with {process.returncode}\n{process.stdout}\n{process.stderr}")
        return read_run(process)

    def start(self, *files: str) -> subprocess.Popen[str]:
        """Start a run to be killed."""
        surroundings = self._surroundings() | {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        surroundings.pop("capture_output")
        return subprocess.Popen(self._command("-y", *files), **surroundings, start_new_session=True)

    def superuser(self, sql: str, database: str = "callytics") -> str:
        """Run SQL on the database host as the superuser, by local peer."""
        psql = ["psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-d", database]
        return self.database.run("cd / && runuser -u postgres --", *psql, input=sql).stdout.strip()

    def document(self, sql: str, database: str = "callytics") -> Any:
        """Return the one JSON document that a query of the superuser answers with."""
        return json.loads(self.superuser(sql, database) or "null")

    def _command(self, *arguments: str) -> list[str]:
        files = [argument for argument in arguments if not argument.startswith("-")]
        options = [argument for argument in arguments if argument.startswith("-")]
        return [str(Path(sys.executable).with_name("pyinfra")), *options, "inventory.py", *(files or [SITE])]

    def _surroundings(self) -> dict[str, Any]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith(PREFIXES)}
        return {
            "cwd": self.checkout,
            "env": environment,
            "text": True,
            "capture_output": True,
            "stdin": subprocess.DEVNULL,
        }


def read_run(process: subprocess.CompletedProcess[str]) -> Run:
    """Read pyinfra's own account of a run: the plan of a dry one, the results of a real one."""
    try:
        account = json.loads(process.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        return Run(process.returncode, {}, {}, 0, process.stdout + process.stderr)
    output = process.stdout + process.stderr
    # A plan has no hosts, nor have results of no operations; who was reached is in the story on stderr.
    hosts = process.stderr.count("] Connected")
    if account["results"] is None:
        changed = {promise(op): op["hosts_with_change"] for op in account["plan"] if op["hosts_with_change"]}
        return Run(process.returncode, changed, {}, hosts, output)
    operations = account["results"]["operations"]
    changed = {promise(op): op["success"] for op in operations if op["success"]}
    failed = {promise(op): op["error"] for op in operations if op["error"]}
    return Run(process.returncode, changed, failed, hosts, output)


def promise(operation: dict[str, Any]) -> str:
    """Return an operation's name without the file that it stands in."""
    name: str = operation["name"]
    return name.rpartition(" | ")[2]


def copy_checkout(folder: Path) -> None:
    """Copy what is, or would be, under version control."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY,
        check=True,
        capture_output=True,
    )
    for name in map(os.fsdecode, listing.stdout.split(b"\0")):
        source = REPOSITORY / name
        if name and source.is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, folder / name)


def conninfo(**values: str) -> str:
    """Return a libpq connection string."""
    return " ".join(
        "{}='{}'".format(name, value.replace("\\", r"\\").replace("'", r"\'")) for name, value in values.items()
    )
