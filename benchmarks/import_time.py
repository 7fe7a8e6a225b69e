"""How long an import takes, phase by phase, and the space it needs: what `callytics inspect` estimates from.

    python benchmarks/import_time.py [--calls N] [--runs N]

Makes a generation 3 sample, and for each run a private PostgreSQL, so that nothing else on the machine is touched.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from contextlib import closing
from pathlib import Path

import click
import psycopg2

from callytics.importer import Options, import_files
from callytics.schema.migrate import migrate
from callytics.settings import Settings
from callytics.trial.embedded import EmbeddedPostgres
from callytics.trial.sample import write_sample

PHASES = """
select step, extract(epoch from max(finished_at) - min(started_at))::float8
from (
    select step, started_at, finished_at from imports.steps
    union all select 'load', started_at, loaded_at from imports.tables
) s
where step <> 'resume'
group by step order by min(started_at)
"""


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
        began = time.monotonic()
        outcome = import_files(settings, files, Options(folder / "snapshots"), lambda *_: None)
        ended = time.monotonic()
        if outcome.exit_code:
            raise SystemExit(f"the import ended with {outcome.status}")
        click.echo(f"{ended - began:6.1f} s: {phases(settings)}")
        return ended - began, database_size(settings) - before


def phases(settings: Settings) -> str:
    """Return how long each phase took, from its first step to its last; they overlap."""
    with closing(psycopg2.connect(settings.conninfo())) as connection, connection.cursor() as cursor:
        cursor.execute(PHASES)
        return ", ".join(f"{step} {seconds:.1f} s" for step, seconds in cursor.fetchall())


def database_size(settings: Settings) -> int:
    """Return the bytes that the database takes on disk."""
    with closing(psycopg2.connect(settings.conninfo())) as connection, connection.cursor() as cursor:
        cursor.execute("select pg_database_size(current_database())")
        return int(cursor.fetchone()[0])  # type: ignore[index]


if __name__ == "__main__":
    main()
