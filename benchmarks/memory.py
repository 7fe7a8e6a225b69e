"""How much memory an import takes, whatever the size of the file.

    python benchmarks/memory.py [--rows N …] [--jobs N] [--json FILE]

For every size, makes a generation 3 audio database with so many segments and transcriptions together, imports it
into a private PostgreSQL by `callytics import`, with verification, and prints the largest resident set that the
process ever had (VmHWM). Databases and files are removed as soon as they are measured; a size for which there is not
enough room is refused.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import sys
import tempfile
from contextlib import closing
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import click
import psycopg2
from audio import write_file
from contenders import PASSWORD, USER
from machine import memory_bytes, versions
from processes import run_watched

from callytics.schema.migrate import migrate
from callytics.settings import Settings
from callytics.trial.embedded import EmbeddedPostgres
from deploy.tuning import postgres_settings

MOST_MIB, MOST_DIFFERENCE = 200, 0.2
BASE_ROWS = 100_000
"""Segments of the sample that larger files repeat, with other ids and paths."""
ROOM_A_ROW = 1_200
"""Bytes of disk for a row: the file, its snapshot, tables, indexes and WAL."""
TIMEOUT_SECONDS = 3600.0
CHILD = (
    "import atexit, re; from pathlib import Path; from callytics.cli import main; "
    "atexit.register(lambda: print(re.search(r'VmHWM:\\s+(\\d+)', Path('/proc/self/status').read_text())[1])); main()"
)
COPIES = {
    "audio_files": ("id", "file_path"),
    "audio_metrics": ("id", "audio_file_id"),
    "processing_logs": ("id", "audio_file_id"),
    "speaker_segments": ("id", "audio_file_id"),
    "transcriptions": ("id", "audio_file_id", "speaker_segment_id"),
}
"""The columns in which a copy of a row differs from the row; the first is its id."""


def write_large_file(path: Path, rows: int) -> None:
    """Write a file with `rows` segments and transcriptions together, the same sample again and again."""
    base = min(rows // 2, BASE_ROWS)
    write_file(path, base)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("pragma journal_mode = off")
        connection.execute("pragma synchronous = off")
        for copy in range(1, rows // 2 // base):
            connection.execute("begin")
            for table, columns in COPIES.items():
                connection.execute(_copy_statement(connection, table, columns, copy * base))
            connection.execute("commit")


def _copy_statement(connection: sqlite3.Connection, table: str, other: tuple[str, ...], shift: int) -> str:
    columns = [name for _, name, *_ in connection.execute(f"pragma table_info({table})")]
    values = ", ".join(
        f"{name} || '#{shift}'" if name == "file_path" else f"{name} + {shift}" if name in other else name
        for name in columns
    )
    first = BASE_ROWS if shift >= BASE_ROWS else shift
    return f"insert into {table} select {values} from {table} where id <= {first} order by id"  # noqa: S608


def measure(folder: Path, rows: int, jobs: int) -> dict[str, float]:
    """Import so many rows into a fresh server; returns the peak in MiB and the seconds."""
    file = folder / "audio.sqlite"
    options = postgres_settings(memory_bytes=memory_bytes(), cores=os.cpu_count() or 1)
    server = EmbeddedPostgres(folder / "server", options=options)
    try:
        write_large_file(file, rows)
        with server:
            settings = Settings(("127.0.0.1",), server.port, "callytics", USER, PASSWORD)
            server.provide(settings)
            migrate(settings, report=lambda line: None)
            environment = {
                "POSTGRES_HOST": "127.0.0.1",
                "POSTGRES_PORT": str(server.port),
                "POSTGRES_DB": settings.database,
                "POSTGRES_USER": USER,
                "POSTGRES_PASSWORD": PASSWORD,
            }
            command = [sys.executable, "-c", CHILD, "--env-file", os.devnull, "import", "--quiet", "--yes"]
            arguments = ["--jobs", str(jobs), "--snapshots", folder / "snapshots", file]
            usage, output = run_watched([*command, *arguments], timeout=TIMEOUT_SECONDS, environment=environment)
            # Writing gigabytes takes longer than a server is given to stop.
            with closing(psycopg2.connect(server.superuser_conninfo())) as connection:
                connection.autocommit = True
                connection.cursor().execute("checkpoint")
    finally:
        server.remove()
        shutil.rmtree(folder / "snapshots", ignore_errors=True)
        file.unlink(missing_ok=True)
    return {"rows": rows, "peak_mib": int(output.split()[-1]) / 1024, "seconds": round(usage.wall, 1)}


@click.command(help=__doc__)
@click.option("--rows", "sizes", multiple=True, type=int, default=(1_000_000, 5_000_000, 20_000_000), show_default=True)
@click.option("--jobs", default=2, show_default=True, help="Tables side by side.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the figures there, too.")
def main(sizes: tuple[int, ...], jobs: int, json_file: Path | None) -> None:
    with tempfile.TemporaryDirectory(prefix="callytics-memory-", dir="/var/tmp") as folder:
        if max(sizes) * ROOM_A_ROW > shutil.disk_usage(folder).free:
            raise SystemExit(f"{max(sizes):,} rows take {max(sizes) * ROOM_A_ROW / 1e9:,.0f} GB of {folder}'s disk")
        measured = []
        for rows in sizes:
            measured.append(measure(Path(folder), rows, jobs))
            click.echo(f"{rows:,} rows: {measured[-1]['peak_mib']:.0f} MiB, {measured[-1]['seconds']} s", err=True)
    peaks = [one["peak_mib"] for one in measured]
    difference = max(peaks) / min(peaks) - 1
    click.echo("| rows | peak MiB | seconds |\n|---|---|---|")
    for one in measured:
        click.echo(f"| {one['rows']:,} | {one['peak_mib']:.0f} | {one['seconds']:.0f} |")
    click.echo(f"\nbetween the least and the most: {difference:.1%}")
    if json_file:
        json_file.write_text(json.dumps({"versions": versions(), "jobs": jobs, "sizes": measured}, indent=1))
    if difference > MOST_DIFFERENCE or max(peaks) > MOST_MIB:
        raise SystemExit(f"more than {MOST_MIB} MiB, or more than {MOST_DIFFERENCE:.0%} apart")


if __name__ == "__main__":
    main()
