"""How long an import takes, phase by phase, and the space it needs: what `callytics inspect` estimates from.

    python benchmarks/import_time.py [--calls N] [--runs N]

Makes a generation 3 sample, and for each run a private PostgreSQL, so that nothing else on the machine is touched.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import click
import psycopg2

from callytics.embedded import EmbeddedPostgres
from callytics.importer.runs import Options, import_files
from callytics.migrate import migrate
from callytics.sample import write_sample
from callytics.settings import Settings


@dataclass
class Stopwatch:
    """Notes when each phase is first heard of; used as the import's progress."""

    began: dict[str, float] = field(default_factory=dict)

    def __call__(self, what: str, done: int, total: int) -> None:
        self.began.setdefault(what.split()[0], time.monotonic())


@click.command()
@click.option("--calls", default=8000, show_default=True, help="Calls in the sample; a call is about 145 rows.")
@click.option("--runs", default=3, show_default=True, help="Imports, each into a fresh PostgreSQL.")
def main(calls: int, runs: int) -> None:
    """Print rows, bytes and the median of the runs' durations."""
    with tempfile.TemporaryDirectory() as folder:
        sample = Path(folder) / "sample"
        rows = sum(write_sample(sample, generation=3, calls=calls, seed=1).values())
        files = sorted(sample.iterdir())
        source_bytes = sum(file.stat().st_size for file in files)
        measured = [one_import(Path(folder) / f"run-{number}", files) for number in range(runs)]
    seconds = statistics.median(duration for duration, _ in measured)
    target_bytes = measured[0][1]
    click.echo(f"{rows:,} rows, {source_bytes / 1e6:,.1f} MB of SQLite")
    click.echo(f"import and verification: median {seconds:.1f} s of {runs} runs, {rows / seconds:,.0f} rows/s")
    click.echo(
        f"PostgreSQL grew by {target_bytes / 1e6:,.1f} MB, {target_bytes / source_bytes:.2f} times the SQLite files"
    )


def one_import(folder: Path, files: list[Path]) -> tuple[float, int]:
    """Import into a fresh server; returns seconds and the bytes by which the database grew."""
    server = EmbeddedPostgres(folder / "server")
    with server:
        settings = Settings(("127.0.0.1",), server.port, "callytics", "callytics_user", "benchmark-user")
        server.provide(settings)
        migrate(settings, report=lambda line: None)
        before = database_size(settings)
        watch = Stopwatch()
        began = time.monotonic()
        outcome = import_files(settings, files, Options(folder / "snapshots"), watch)
        ended = time.monotonic()
        if outcome.exit_code:
            raise SystemExit(f"the import ended with {outcome.status}")
        phases = [*watch.began.items(), ("end", ended)]
        parts = (f"{name} {after - start:.1f} s" for (name, start), (_, after) in pairwise(phases))
        click.echo(f"{ended - began:6.1f} s: snapshot and plan {phases[0][1] - began:.1f} s, {', '.join(parts)}")
        return ended - began, database_size(settings) - before


def database_size(settings: Settings) -> int:
    """Return the bytes that the database takes on disk."""
    with closing(psycopg2.connect(settings.conninfo())) as connection, connection.cursor() as cursor:
        cursor.execute("select pg_database_size(current_database())")
        return int(cursor.fetchone()[0])  # type: ignore[index]


if __name__ == "__main__":
    main()
