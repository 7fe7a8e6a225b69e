"""How fast the import is beside pgloader and beside psql's \\copy of text that was exported before.

    python benchmarks/import_speed.py [--rows N | --installation --calls N] [--runs N] [--json FILE] [--keep FOLDER]

Makes a generation 3 audio database with N segments and N transcriptions, and a private PostgreSQL with the settings
that deploy/ gives a host of this machine's size (fsync on). Every contender fills a database of its own, one after
the other, and leaves the same behind: rows, primary keys, the schema's secondary indexes, foreign keys, monthly
partitions, statistics. As root on Debian, pgloader and psql are installed where they are missing.

The index for searching transcripts costs as much as all the rest and would be built alike by all: it is taken out of
every contender's database beforehand and measured on its own, in one build and side by side over the partitions.

With --installation it is both databases of an installation with so many calls, all their tables, and the indexes for
searching in all of them; pgloader makes its own tables, and brings neither JSON nor search.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import click
import psycopg2
from audio import TABLES, export, write_file
from contenders import AS_IT_COMES, AS_USERS_HAVE_IT, CONTENDERS, INSTALLATION, OURS, PEERS, Bench
from databases import SEARCH_INDEX, end_state, fresh_database
from installation import export as export_installation
from installation import tables_of, write_installation
from machine import install_programs, memory_bytes, versions
from processes import Usage, cpu_seconds

from callytics.importer import Options
from callytics.importer.plan.graph import Kind, Plan
from callytics.importer.plan.workers import Worker, WorkerPool
from callytics.importer.target.catalogue import Target
from callytics.settings import Settings
from callytics.trial.embedded import EmbeddedPostgres
from deploy.tuning import postgres_settings


@dataclass
class Measured:
    """Medians are of these: one contender's runs, in seconds and bytes."""

    name: str
    wall: list[float] = field(default_factory=list)
    client_cpu: list[float] = field(default_factory=list)
    server_cpu: list[float] = field(default_factory=list)
    peak_bytes: list[int] = field(default_factory=list)
    steps: list[dict[str, float]] = field(default_factory=list)


def measure(bench: Bench, contender: str, expected: dict[str, Any]) -> tuple[dict[str, Usage], float]:
    """Run a contender in a fresh database; returns its steps and the server's CPU seconds meanwhile."""
    with fresh_database(bench, contender) as database:
        _checkpoint(bench)
        postmaster = int((bench.server.data / "postmaster.pid").read_text().split()[0])
        before = cpu_seconds(postmaster)
        steps = {step.name: step.usage for step in CONTENDERS[contender](bench, database)}
        # A server process counts once the postmaster has noticed that it ended.
        time.sleep(0.2)
        server_cpu = cpu_seconds(postmaster) - before
        if contender in (AS_IT_COMES, AS_USERS_HAVE_IT):
            return steps, server_cpu
        found = end_state(bench, database)
        for part in expected or found:
            if expected and found[part] != expected[part]:
                raise SystemExit(f"{contender} left other {part} behind: {found[part]} instead of {expected[part]}")
        expected.update(found)
        return steps, server_cpu


def _checkpoint(bench: Bench) -> None:
    """Begin with nothing left to write, so that no contender pays for the one before."""
    with closing(psycopg2.connect(bench.server.superuser_conninfo())) as connection:
        connection.autocommit = True
        connection.cursor().execute("checkpoint")


def measure_all(bench: Bench, runs: int, only: tuple[str, ...]) -> list[Measured]:
    """Run every contender in turn, and all of that so many times: what else happens on the machine hits them alike."""
    all_names = INSTALLATION if bench.search else CONTENDERS
    names = [name for name in all_names if not only or any(word in name for word in only)]
    results = {name: Measured(name) for name in names}
    expected: dict[str, Any] = {}
    for run in range(runs):
        for name, result in results.items():
            steps, server_cpu = measure(bench, name, expected)
            result.wall.append(sum(usage.wall for usage in steps.values()))
            result.client_cpu.append(sum(usage.cpu for usage in steps.values()))
            result.server_cpu.append(server_cpu)
            result.peak_bytes.append(max(usage.peak_bytes for usage in steps.values()))
            result.steps.append({step: round(usage.wall, 2) for step, usage in steps.items()})
            click.echo(f"run {run + 1}: {name}: {result.wall[-1]:.1f} s {result.steps[-1]}", err=True)
    return list(results.values())


def search_index(bench: Bench) -> dict[str, float]:
    """Return the seconds that the transcript search index takes: in one build, and as the import builds it."""
    seconds: dict[str, float] = {}
    with fresh_database(bench, AS_USERS_HAVE_IT) as database:
        settings = bench.settings(database)
        with closing(psycopg2.connect(settings.conninfo())) as connection, connection.cursor() as cursor:
            target = Target(connection)
            definition = next(row[3] for row in target.definitions(["transcriptions"]) if row[2] == SEARCH_INDEX)
            cursor.execute(f"drop index {SEARCH_INDEX}")
            connection.commit()
            list(CONTENDERS[OURS[1]](bench, database))
            for name, jobs in (("in one build", 1), ("side by side over the partitions", os.cpu_count() or 1)):
                began = time.monotonic()
                _build(settings, definition, target.leaves("transcriptions") if jobs > 1 else [], jobs)
                seconds[name] = time.monotonic() - began
                cursor.execute(f"drop index {SEARCH_INDEX}")
                connection.commit()
    return seconds


def _build(settings: Settings, definition: str, leaves: list[str], jobs: int) -> None:
    """Build an index as the import does: the partitions' shares by so many workers, then the whole."""
    plan = Plan()
    shares = [plan.add(Kind.SEARCH_SHARE, "transcriptions", subject=leaf) for leaf in leaves]
    plan.add(Kind.SEARCH, "transcriptions", waits=shares)

    def share(worker: Worker, leaf: str) -> None:
        worker.target.restore_share(leaf, definition)
        worker.connection.commit()

    def whole(worker: Worker, _: None) -> None:
        worker.target.restore_index("transcriptions", SEARCH_INDEX, definition)
        worker.connection.commit()

    actions = {Kind.SEARCH_SHARE: share, Kind.SEARCH: whole}
    WorkerPool(settings, Options(jobs=jobs), lambda *_: None, plan, actions).run()


def table(results: list[Measured], seconds: dict[str, float]) -> str:
    """Return the results as Markdown."""
    medians = {result.name: statistics.median(result.wall) for result in results}
    lines = [
        "| | wall s (lowest, highest) | CPU s client + server | peak MiB of the client | "
        + " | ".join(f"× {peer}" for peer in PEERS)
        + " |",
        "|---|---|---|---|" + "---|" * len(PEERS),
    ]
    for result in results:
        wall = f"{medians[result.name]:.1f} ({min(result.wall):.1f}, {max(result.wall):.1f})"
        cpu = f"{statistics.median(result.client_cpu):.1f} + {statistics.median(result.server_cpu):.1f}"
        peak = f"{statistics.median(result.peak_bytes) / 2**20:,.0f}"
        ratios = [f"{medians[peer] / medians[result.name]:.1f}" if peer in medians else "" for peer in PEERS]
        lines.append(f"| {result.name} | {wall} | {cpu} | {peak} | {' | '.join(ratios)} |")
    lines += [f"| transcript search index, {name} | {value:.1f} | | | | |" for name, value in seconds.items()]
    return "\n".join(lines)


@click.command(help=__doc__)
@click.option("--rows", default=1_000_000, show_default=True, help="Segments, and as many transcriptions.")
@click.option("--installation", is_flag=True, help="Both databases with all tables and the search indexes.")
@click.option("--calls", default=12_000, show_default=True, help="Calls of the installation; 146 rows each.")
@click.option("--runs", default=3, show_default=True, help="Runs of every contender.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the figures there, too.")
@click.option("--keep", type=click.Path(file_okay=False, path_type=Path), help="Make the data there and keep it.")
@click.option("--only", multiple=True, help="Measure contenders whose name holds this word only.")
def main(
    rows: int,
    installation: bool,
    calls: int,
    runs: int,
    json_file: Path | None,
    keep: Path | None,
    only: tuple[str, ...],
) -> None:
    install_programs()
    with tempfile.TemporaryDirectory(prefix="callytics-speed-", dir="/var/tmp") as scratch:
        folder = Path(scratch)
        stock = (keep or folder).absolute()
        stock.mkdir(parents=True, exist_ok=True)
        options = postgres_settings(memory_bytes=memory_bytes(), cores=os.cpu_count() or 1)
        make = (lambda: _installation(stock, calls)) if installation else (lambda: _audio(stock, rows))
        files, tables, exported = make()
        with EmbeddedPostgres(folder / "server", options=options) as server:
            bench = Bench(server, files, tables, exported, folder, search=installation)
            results = measure_all(bench, runs, only)
            seconds = {} if only or installation else search_index(bench)
    what = f"{calls:,} calls" if installation else f"{rows:,} segments and as many transcriptions"
    click.echo(f"{what}, {', '.join(f'{k} {v}' for k, v in versions().items())}\n")
    click.echo(table(results, seconds))
    if json_file:
        report = {"what": what, "versions": versions(), "search_index": seconds}
        json_file.write_text(json.dumps(report | {"contenders": [asdict(result) for result in results]}, indent=1))


def _audio(stock: Path, rows: int) -> tuple[tuple[Path, ...], tuple[str, ...], Path]:
    """Return the audio file, its tables, and the folder of these as text; made where they are not there yet."""
    file, exported = stock / f"audio-{rows}.sqlite", stock / f"text-{rows}"
    if not file.exists():
        write_file(file, rows)
        export(file, exported)
    return (file,), TABLES, exported


def _installation(stock: Path, calls: int) -> tuple[tuple[Path, ...], tuple[str, ...], Path]:
    """Return the same of an installation."""
    files, exported = write_installation(stock / f"installation-{calls}", calls), stock / f"csv-{calls}"
    if not exported.exists():
        export_installation(files, exported)
    return tuple(files), tables_of(files), exported


if __name__ == "__main__":
    main()
