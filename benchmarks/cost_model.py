"""What an import and a sync cost a row and a byte: what `callytics inspect` estimates from.

    python benchmarks/cost_model.py [--calls 200 --calls 3000] [--update]

Imports a small and a larger generation 3 installation, each into a private PostgreSQL of its own, and synchronises them
after a row a table, and after a tenth of all rows, was changed. Measured is CPU time of client and server, which other
work on the machine changes little; how much of two cores is busy is measured only where nothing else runs, and stays as
it is otherwise. So do the costs of a table and of space, a compromise between files of all generations and sizes, which
tests/postgres/importing/test_costs.py holds to real imports. ``--update`` writes callytics/importer/costs.toml.
"""

from __future__ import annotations

import os
import platform
import random
import subprocess
import sys
import tempfile
import time
import tomllib
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import click
import psycopg2
from contenders import PASSWORD, USER
from cut_over import NOW, change, files
from processes import cpu_seconds

from callytics.importer.costs import MEASURED
from callytics.schema.migrate import migrate
from callytics.settings import Settings
from callytics.trial.embedded import EmbeddedPostgres
from callytics.trial.sample import write_sample
from tests.support.commands import environment

# Of generation 3.
TABLES = 38
# With more other work than this, how much of the cores is busy tells nothing of us.
QUIET_LOAD = 0.5


@dataclass(frozen=True)
class Taken:
    """CPU seconds of client and server, and seconds."""

    cpu: float
    seconds: float


@dataclass(frozen=True)
class Measured:
    """What an installation took: its import, and syncs after a row a table and after many rows were changed."""

    rows: int
    size_bytes: int
    target_bytes: int
    imported: Taken
    few: Taken
    many: Taken
    changed: int


def run(server: EmbeddedPostgres, settings: Settings, folder: Path, *arguments: str) -> Taken:
    """Run a command on the installation, a sync until its "cut over now"."""
    before, began = server_cpu(server), time.perf_counter()
    command = [sys.executable, "-m", "callytics.cli", *arguments, *map(str, files(folder))]
    env = {**os.environ, **environment(settings)}
    with subprocess.Popen(command, cwd=folder, env=env, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
        assert process.stderr
        cpu, seconds = 0.0, None
        for line in process.stderr:
            if NOW in line.decode():
                seconds, cpu = time.perf_counter() - began, cpu_seconds(process.pid) + server_cpu(server) - before
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        own = usage.ru_utime + usage.ru_stime
    if process.returncode:
        raise SystemExit(f"callytics {arguments[0]} ended with {process.returncode}")
    if seconds is not None:
        return Taken(cpu, seconds)
    return Taken(own + server_cpu(server) - before, time.perf_counter() - began)


def server_cpu(server: EmbeddedPostgres) -> float:
    """Return the CPU time that a server has taken, with all of its sessions."""
    return cpu_seconds(int((server.data / "postmaster.pid").read_text().split()[0]))


def measure(folder: Path, calls: int) -> Measured:
    """Import an installation of a size, and synchronise it twice."""
    server = EmbeddedPostgres(folder / "server")
    with server:
        settings = Settings(("127.0.0.1",), server.port, "callytics", USER, PASSWORD)
        server.provide(settings)
        migrate(settings, report=lambda line: None)
        rows = sum(write_sample(folder / "sample", generation=3, calls=calls, seed=1).values())
        before = database_bytes(settings)
        imported = run(server, settings, folder, "import", "--yes", "--quiet")
        grown = database_bytes(settings) - before
        chance, syncs = random.Random(1), []
        for part in (0.0, 0.1):
            changed = sum(change(file, part, chance) for file in files(folder))
            syncs.append(run(server, settings, folder, "sync"))
    server.remove()
    return Measured(rows, sum(file.stat().st_size for file in files(folder)), grown, imported, *syncs, changed)


def database_bytes(settings: Settings) -> int:
    """Return the bytes that the database takes on disk."""
    with closing(psycopg2.connect(settings.conninfo())) as connection, connection.cursor() as cursor:
        cursor.execute("select pg_database_size(current_database())")
        return int(cursor.fetchone()[0])  # type: ignore[index]


def written(small: Measured, large: Measured, busy: tuple[float, float]) -> str:
    """Return the file of constants: lines through what both installations took."""
    row = (large.imported.cpu - small.imported.cpu) / (large.rows - small.rows)
    byte = max(0.0, (large.few.cpu - small.few.cpu) / (large.size_bytes - small.size_bytes))
    changed = max(0.0, (large.many.cpu - large.few.cpu) / large.changed)
    known = tomllib.loads(MEASURED.read_text(encoding="utf-8"))
    return f"""\
# What imports and syncs of this version take: 'python benchmarks/cost_model.py --update' writes this file.
measured = "{datetime.now(UTC):%Y-%m-%d}: {os.cpu_count()} cores, Python {platform.python_version()}"

# CPU seconds of client and server together, which other work changes little.
[import]
start_seconds = {max(0.0, small.imported.cpu - row * small.rows - TABLES * known["import"]["table_seconds"]):.2f}
# What is prepared, dropped, built again and analysed for a table, whatever is in it.
table_seconds = {known["import"]["table_seconds"]}
row_seconds = {row:.3g}
# Of all cores, as many as two are kept busy, and so much of these.
busy_cores = {busy[0]:.2f}

# Until "cut over now". Rows are those that differ, bytes those of the files.
[sync]
start_seconds = {max(0.0, small.few.cpu - byte * small.size_bytes):.2f}
row_seconds = {changed:.3g}
byte_seconds = {byte:.3g}
busy_cores = {busy[1]:.2f}

# Tables and indexes in PostgreSQL: a compromise between files of 5 and of 3,000 calls, of all generations.
[space]
table_bytes = {known["space"]["table_bytes"]}
row_bytes = {known["space"]["row_bytes"]}
bytes_per_byte = {known["space"]["bytes_per_byte"]}

# What a row is on average: of one that is half as wide, half of this counts as a row and half as bytes.
[row]
bytes = {large.size_bytes / large.rows:.0f}
"""


def busy_cores(large: Measured, quiet: bool) -> tuple[float, float]:
    """Return how many cores an import and a sync keep busy: as measured, or as they are on record."""
    known = tomllib.loads(MEASURED.read_text(encoding="utf-8"))
    if not quiet:
        click.echo("other work runs here: how much of two cores is busy stays as it is", err=True)
        return known["import"]["busy_cores"], known["sync"]["busy_cores"]
    return tuple(max(1.0, one.cpu / one.seconds) for one in (large.imported, large.few))  # type: ignore[return-value]


@click.command(help=__doc__)
@click.option("--calls", default=(200, 3000), multiple=True, show_default=True, help="Calls; 146 rows each.")
@click.option("--update", is_flag=True, help="Write callytics/importer/costs.toml.")
def main(calls: tuple[int, ...], update: bool) -> None:
    quiet = os.getloadavg()[0] < QUIET_LOAD
    with tempfile.TemporaryDirectory(dir="/var/tmp") as place:
        found = []
        for size in (min(calls), max(calls)):
            folder = Path(place) / str(size)
            folder.mkdir()
            found.append(measure(folder, size))
            click.echo(str(found[-1]), err=True)
    text = written(*found, busy_cores(found[-1], quiet))
    MEASURED.write_text(text, encoding="utf-8") if update else click.echo(text)


if __name__ == "__main__":
    main()
