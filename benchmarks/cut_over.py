"""How long a cut-over's downtime is, beside the import of the same files.

    python benchmarks/cut_over.py [--calls N …] [--parts PART …] [--runs 3] [--keep FOLDER] [--json FILE]

Makes a generation 3 installation (two files) with so many calls, imports it into a private PostgreSQL with the settings
that deploy/ gives a host of this size, and then, for each part, changes that part of the rows of every table and runs
`callytics sync`: what is measured is the time to "cut over now", of the whole process, its start included, the time of
the proof after it, and the downtime: an application that never stops trying writes to SQLite until the command is
started, and to PostgreSQL as soon as it says "cut over now". Medians of the runs. Everything must verify.
"""

from __future__ import annotations

import json
import os
import random
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import closing, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import click
import psycopg2
from contenders import PASSWORD, USER
from machine import memory_bytes, versions
from processes import cpu_seconds

from callytics.schema.migrate import migrate
from callytics.settings import Settings
from callytics.trial.embedded import EmbeddedPostgres
from callytics.trial.sample import write_sample
from deploy.tuning import postgres_settings
from tests.support.commands import environment

# Texts that no CHECK and no unique key restricts, one of which each table has that grows with the calls.
FREE = {
    *("text_content", "text", "speaker_id", "error_message", "summary", "metric_description", "description"),
    *("suggestion_text", "strengths", "result_summary", "overall_summary", "issue_description", "rationale"),
    *("context_description", "communication_style", "keyword", "additional_info", "team_description", "bio"),
}
NOW = "cut over now"
# What the application writes to PostgreSQL first.
WRITE = "insert into audio_files (file_path, file_name, processing_status) values ('/cut-over', 'first', 'processing')"
UNDO_WRITE = "delete from audio_files where file_path = '/cut-over'"


def change(file: Path, part: float, chance: random.Random) -> int:
    """Change a part of the rows of every table of a file, spread over it; returns how many."""
    changed = 0
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("pragma ignore_check_constraints = on")
        for (table,) in connection.execute("select name from sqlite_master where type = 'table'").fetchall():
            columns = {name: kind.lower() for _, name, kind, *_ in connection.execute(f"pragma table_info({table})")}
            free = [name for name, kind in columns.items() if kind == "text" and name in FREE]
            rows = connection.execute(f"select count(*) from {table}").fetchone()[0]  # noqa: S608
            if free and rows:
                numbers = chance.sample(range(1, rows + 1), max(1, round(rows * part)))
                statement = f"update {table} set {free[0]} = coalesce({free[0]}, '') || 'x' where rowid = ?"  # noqa: S608
                changed += connection.executemany(statement, ((number,) for number in numbers)).rowcount
    return changed


@dataclass(frozen=True)
class CutOver:
    """Seconds until "cut over now", of the proof after it, without an application, and of CPU time in the client."""

    seconds: float
    proof: float
    downtime: float
    cpu: float


def sync(settings: Settings, folder: Path) -> CutOver:
    """Run a sync in place of an application that writes before it, and again as soon as it may."""
    command = [sys.executable, "-m", "callytics.cli", "sync", *map(str, files(folder))]
    env = {**os.environ, **environment(settings)}
    stopped = time.perf_counter()
    with closing(sqlite3.connect(files(folder)[0])) as connection, connection:
        connection.execute("update audio_files set file_name = file_name || 'x' where id = 1")
    began = time.perf_counter()
    with subprocess.Popen(command, cwd=folder, env=env, stderr=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stderr
        written = next(time.perf_counter() for line in process.stderr if NOW in line.decode())
        cpu = cpu_seconds(process.pid)
        with closing(psycopg2.connect(settings.conninfo())) as connection, connection.cursor() as cursor:
            cursor.execute(WRITE)
            connection.commit()
            back = time.perf_counter()
            process.stderr.read()
            process.wait()
            ended = time.perf_counter()
            cursor.execute(UNDO_WRITE)
            connection.commit()
    if process.returncode:
        raise SystemExit(f"a sync ended with {process.returncode}")
    return CutOver(written - began, ended - written, back - stopped, cpu)


def files(folder: Path) -> list[Path]:
    """Return the two files of the installation."""
    return sorted((folder / "sample").iterdir())


def measure(server: EmbeddedPostgres, folder: Path, calls: int, parts: tuple[float, ...], runs: int) -> dict[str, Any]:
    """Import an installation of a size, and cut over after changes of each part of it."""
    settings = Settings(("127.0.0.1",), server.port, "callytics", USER, PASSWORD)
    server.provide(settings)
    migrate(settings, report=lambda line: None)
    if not (folder / "sample").exists():
        write_sample(folder / "sample", generation=3, calls=calls, seed=1)
    began = time.perf_counter()
    command = [sys.executable, "-m", "callytics.cli", "import", "--yes", "--quiet", *map(str, files(folder))]
    subprocess.run(command, cwd=folder, env={**os.environ, **environment(settings)}, check=True, capture_output=True)
    seconds = time.perf_counter() - began
    chance, measured = random.Random(1), []
    for part in parts:
        times = []
        for _ in range(runs):
            changed = sum(change(file, part, chance) for file in files(folder))
            times.append({"changed": changed, **asdict(sync(settings, folder))})
        medians = {name: statistics.median(one[name] for one in times) for name in times[0]}
        measured.append({"part": part, "of_import": medians["seconds"] / seconds, **medians})
    return {"calls": calls, "import_seconds": seconds, "syncs": measured}


@click.command(help=__doc__)
@click.option("--calls", default=(12_000,), multiple=True, show_default=True, help="Calls; 146 rows each.")
@click.option("--parts", default=(0.01, 0.0001, 0.0), multiple=True, show_default=True, help="Part of the rows.")
@click.option("--runs", default=3, show_default=True)
@click.option("--keep", type=click.Path(path_type=Path), help="Work, and leave everything, in this folder.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the figures there, too.")
def main(
    calls: tuple[int, ...], parts: tuple[float, ...], runs: int, keep: Path | None, json_file: Path | None
) -> None:
    found = []
    for size in calls:
        with nullcontext(keep) if keep else tempfile.TemporaryDirectory(dir="/var/tmp") as place:
            folder = Path(place)
            options = postgres_settings(memory_bytes=memory_bytes(), cores=os.cpu_count() or 1)
            server = EmbeddedPostgres(folder / "server", options=options)
            with server:
                found.append(measure(server, folder, size, parts, runs))
            if not keep:
                server.remove()
    click.echo(
        "| calls | import s | part changed | rows changed | to the cut-over s | of the import | CPU s | downtime s | "
        "proof s |"
    )
    click.echo("|---|---|---|---|---|---|---|---|---|")
    for one in found:
        for cut in one["syncs"]:
            click.echo(
                f"| {one['calls']:,} | {one['import_seconds']:.1f} | {cut['part']:.2%} | {cut['changed']:,.0f} | "
                f"{cut['seconds']:.1f} | {cut['of_import']:.2f} | {cut['cpu']:.1f} | {cut['downtime']:.1f} | "
                f"{cut['proof']:.1f} |"
            )
    if json_file:
        json_file.write_text(json.dumps({"versions": versions(), "cut_overs": found}, indent=1))


if __name__ == "__main__":
    main()
