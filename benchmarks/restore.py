"""Lose a database's host under load and restore it to a chosen second on a new one, from another host's repository.

    python benchmarks/restore.py [--seconds 120] [--writers 4] [--gibibytes 0]

As root on Linux: boots bare Debian 12 hosts on this machine with tests/infra/lab.py, one for the database and one for
its backups. Writers note every row whose commit was acknowledged. The database's host is destroyed with its files; a
new one is provisioned by the same command and restored to a second that was chosen before. Every row acknowledged
before that second must be there, and none that was begun after it. Printed are the time until the database is back
(RTO) and how old the newest acknowledged row was that the archive lacked (RPO). `--gibibytes` fills the database first.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import psycopg2

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.infra.deployment import Deployment
from tests.infra.lab import NETWORK, Lab, LabHost, base_system, lacks

LOST = "lost"
PAYLOAD = "x" * 2000
# Four more writers than anybody has rows: each counts in its own range.
RANGE = 10**12
MAKE = "create table written (id bigint primary key, payload text not null)"
FILL = "insert into written select -n, repeat(md5(n::text), 60) from generate_series(%s::bigint, %s) as n"
ROWS = "select id from written where id >= 0"
ROWS_A_GIBIBYTE = 480_000


@dataclass
class Writers:
    """Rows whose commit was acknowledged, with the clock before and after each commit."""

    conninfo: str
    acknowledged: list[tuple[int, float, float]] = field(default_factory=list)
    stopped: threading.Event = field(default_factory=threading.Event)

    def write(self, number: int) -> None:
        """Insert row after row until told to stop, or the server is gone."""
        try:
            connection = psycopg2.connect(self.conninfo)
            connection.autocommit = True
            with connection.cursor() as cursor:
                for row in range(number * RANGE, (number + 1) * RANGE):
                    began = time.time()
                    cursor.execute("insert into written values (%s, %s)", (row, PAYLOAD))
                    self.acknowledged.append((row, began, time.time()))
                    if self.stopped.is_set():
                        return
        except psycopg2.Error:
            return

    @contextmanager
    def at_work(self, many: int) -> Iterator[None]:
        """Run so many of them for as long as the block lasts."""
        threads = [threading.Thread(target=self.write, args=(number,), daemon=True) for number in range(many)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self.stopped.set()
            for thread in threads:
                thread.join(timeout=30)


@dataclass
class Outcome:
    """What was lost and how long it took; seconds, and rows."""

    acknowledged: int = 0
    due: int = 0
    missing: list[int] = field(default_factory=list)
    too_young: list[int] = field(default_factory=list)
    rpo: float = 0.0
    provisioned: float = 0.0
    restored: float = 0.0
    backup_seconds: float = 0.0
    size: str = ""
    said: str = ""

    @property
    def proved(self) -> bool:
        """Whether every row was there that had to be, and no other; nothing proves nothing."""
        return self.due > 0 and not self.missing and not self.too_young


def prepare(folder: Path, database: LabHost, repository: LabHost, **settings: str) -> Deployment:
    """Write the .env of a database whose backups are on another host, and where this machine may write."""
    deployment = Deployment.prepare(folder, database, database)
    deployment.set(
        BACKUP_HOST=repository.address,
        DATABASE_LISTEN=database.address,
        DATABASE_CLIENTS=NETWORK.format("0/24"),
        **settings,
    )
    return deployment


def conninfo(deployment: Deployment) -> str:
    """Return how this machine reaches the database, as the owner of the tables."""
    words = {
        "host": deployment.database.address,
        "dbname": "callytics",
        "user": "callytics_owner",
        "password": deployment.password("callytics_owner"),
        "sslmode": "require",
        "connect_timeout": "5",
        # A host that is destroyed says nothing.
        "tcp_user_timeout": "5000",
    }
    return " ".join(
        "{}='{}'".format(name, value.replace("\\", r"\\").replace("'", r"\'")) for name, value in words.items()
    )


def fill(deployment: Deployment, gibibytes: float) -> None:
    """Make the table, and so much in it."""
    connection = psycopg2.connect(conninfo(deployment))
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(MAKE)
        if gibibytes:
            cursor.execute(FILL, (1, int(gibibytes * ROWS_A_GIBIBYTE)))
    connection.close()


def back_up(repository: LabHost) -> float:
    """Have the repository's host back up now, as its timer would; returns the seconds."""
    began = time.monotonic()
    repository.run("systemctl start callytics-backup-full.service")
    return time.monotonic() - began


def archived(deployment: Deployment) -> None:
    """Wait until what is committed now is in the repository, which takes no longer than a drill's RPO."""
    file = deployment.superuser("select pg_walfile_name(pg_current_wal_insert_lsn())")
    deadline = time.monotonic() + 180
    while deployment.superuser("select coalesce(last_archived_wal, '') from pg_stat_archiver")[:24] < file:
        if time.monotonic() > deadline:
            sys.exit("WAL is not archived")
        time.sleep(0.5)


def measure(lab: Lab, folder: Path, seconds: float, writers: int, gibibytes: float, **settings: str) -> Outcome:
    """Do all of it, with what else .env is to say; what was not as it must be is in the outcome."""
    outcome = Outcome()
    # A name of its own: the lab of a test run has other hosts that must not be destroyed.
    repository, database = lab.host("repository"), lab.host(LOST)
    deployment = prepare(folder, database, repository, **settings)
    deployment.run()
    fill(deployment, gibibytes)
    outcome.backup_seconds = back_up(repository)
    outcome.size = deployment.superuser("select pg_size_pretty(pg_database_size('callytics'))")
    work = Writers(conninfo(deployment))
    with work.at_work(writers):
        time.sleep(seconds)
        # The clock of all hosts is this machine's.
        chosen = time.time()
        time.sleep(1)
        archived(deployment)
        time.sleep(2)
        destroyed = time.time()
        lab.down(LOST)
    outcome.acknowledged = len(work.acknowledged)

    began = time.monotonic()
    new = lab.host(LOST)
    deployment = rehoused(deployment, new)
    run = deployment.run()
    outcome.said = run.output
    outcome.provisioned = time.monotonic() - began
    newest = rows_of_a_copy(new)
    lost = [acknowledged for row, _, acknowledged in work.acknowledged if row not in newest]
    outcome.rpo = destroyed - min(lost) if lost else 0.0

    began = time.monotonic()
    moment = datetime.fromtimestamp(chosen, UTC)
    new.run(f"callytics backup restore --yes --quiet --to {moment.isoformat()}")
    outcome.restored = time.monotonic() - began
    there = {int(row) for row in deployment.superuser(ROWS).split()}
    due = {row for row, _, acknowledged in work.acknowledged if acknowledged < chosen}
    young = {row for row, started, _ in work.acknowledged if started > chosen}
    outcome.due, outcome.missing, outcome.too_young = len(due), sorted(due - there), sorted(young & there)
    again = deployment.run()
    outcome.said += again.output
    return outcome


def rehoused(deployment: Deployment, database: LabHost) -> Deployment:
    """Return the same installation with the database on a new host, whose address may be another."""
    moved = Deployment(deployment.checkout, database, database)
    moved.set(DATABASE_HOSTS=database.address, APP_HOSTS=database.address, DATABASE_LISTEN=database.address)
    return moved


def rows_of_a_copy(host: LabHost) -> set[int]:
    """Return the rows of everything that was archived, restored beside the new database."""
    copy = "/var/lib/postgresql/copy"
    host.run(f"callytics backup restore --quiet --into {copy}")
    as_postgres = "cd / && runuser -u postgres --"
    control = f"{as_postgres} /usr/lib/postgresql/15/bin/pg_ctl -D {copy} -w"
    host.run(f"{control} -o '-k {copy} -p 5499' -l {copy}/log start >/dev/null")
    psql = f"{as_postgres} psql -XqAt -h {copy} -p 5499 -d callytics -f -"
    found = {int(row) for row in host.run(psql, input=ROWS).stdout.split()}
    host.run(f"{control} -m fast stop && rm -r {copy}")
    return found


def main() -> None:
    """Print the figures; end with 1 if a row is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--writers", type=int, default=4)
    parser.add_argument("--gibibytes", type=float, default=0)
    options = parser.parse_args()
    if reason := lacks():
        sys.exit(reason)
    base_system()
    with Lab(f"restore{os.getpid()}") as lab, tempfile.TemporaryDirectory() as folder:
        outcome = measure(lab, Path(folder), options.seconds, options.writers, options.gibibytes)
    sys.stdout.write(
        f"database before the load {outcome.size}, backed up in {outcome.backup_seconds:.1f} s\n"
        f"{outcome.acknowledged:,} rows acknowledged by {options.writers} writers, {outcome.due:,} before that second\n"
        f"missing {len(outcome.missing):,}, younger than the second {len(outcome.too_young):,}\n"
        f"RPO {outcome.rpo:.1f} s: the oldest acknowledged row that the archive lacked when the host was destroyed\n"
        f"RTO {outcome.provisioned + outcome.restored:.1f} s: a bare host provisioned in {outcome.provisioned:.1f} s, "
        f"restored in {outcome.restored:.1f} s\n"
    )
    sys.exit(0 if outcome.proved else "rows are missing, or too many are there")


if __name__ == "__main__":
    main()
