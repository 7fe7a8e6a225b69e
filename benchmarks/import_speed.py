"""How fast the import is beside pgloader and beside psql's \\copy of text that was exported before.

    python benchmarks/import_speed.py [--rows N] [--runs N] [--json FILE] [--keep FOLDER]

Makes a generation 3 audio database with N segments and N transcriptions, and a private PostgreSQL with the settings
that deploy/ gives a host of this machine's size (fsync on). Every contender fills a database of its own, one after
the other, and leaves the same behind: rows, primary keys, the schema's secondary indexes, foreign keys, monthly
partitions, statistics. As root on Debian, pgloader and psql are installed where they are missing.

The index for searching transcripts costs as much as all the rest and would be built alike by all: it is taken out of
every contender's database beforehand and measured on its own, in one build and side by side over the partitions.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import click
import psycopg2
from processes import Usage, cpu_seconds, run_watched

from callytics.importer import Options
from callytics.importer.plan.graph import Kind, Plan
from callytics.importer.plan.workers import Worker, WorkerPool
from callytics.importer.target.catalogue import Target
from callytics.schema.migrate import migrate
from callytics.settings import Settings
from callytics.trial.embedded import EmbeddedPostgres
from callytics.trial.sample import write_sample
from deploy.tuning import postgres_settings

SEGMENTS_A_CALL = 26.5
"""What `callytics.trial.sample` makes on average, a little less: what is too much is cut off."""
TABLES = ("audio_files", "audio_metrics", "processing_logs", "speaker_segments", "transcriptions")
PARTITIONED = ("processing_logs", "transcriptions")
SEARCH_INDEX = "transcriptions_text_content_search_idx"
TIMEOUT_SECONDS = 1800.0
USER, PASSWORD = "callytics_user", "benchmark-user"


@dataclass(frozen=True)
class Bench:
    """What all contenders share: the server, the file, the text exported from it, and a folder to work in."""

    server: EmbeddedPostgres
    file: Path
    exported: Path
    folder: Path

    def settings(self, database: str) -> Settings:
        return Settings(("127.0.0.1",), self.server.port, database, USER, PASSWORD)

    def environment(self, database: str) -> dict[str, str]:
        """Return the environment by which psql, pgloader and callytics find a database."""
        settings = {"HOST": "127.0.0.1", "PORT": str(self.server.port), "USER": USER, "PASSWORD": PASSWORD}
        ours = {f"POSTGRES_{name}": value for name, value in settings.items()} | {"POSTGRES_DB": database}
        return ours | {f"PG{name}": value for name, value in settings.items()} | {"PGDATABASE": database}


@dataclass
class Measured:
    """Medians are of these: one contender's runs, in seconds and bytes."""

    name: str
    wall: list[float] = field(default_factory=list)
    client_cpu: list[float] = field(default_factory=list)
    server_cpu: list[float] = field(default_factory=list)
    peak_bytes: list[int] = field(default_factory=list)
    steps: list[dict[str, float]] = field(default_factory=list)


# --- the contenders -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Step:
    """A part of a contender's work that is timed by itself."""

    name: str
    usage: Usage


def ours(bench: Bench, database: str, *, verify: bool) -> Iterator[Step]:
    """`callytics import`; without verification by a limit that commands do not offer."""
    arguments = ["--env-file", os.devnull, "import", "--quiet", "--yes", "--snapshots", bench.folder / database]
    code = f"from callytics.cli import main; from callytics.importer import Limits; main(Limits(verify={verify}))"
    command = [sys.executable, "-c", code, *arguments, bench.file]
    yield Step("import", run_watched(command, timeout=TIMEOUT_SECONDS, environment=bench.environment(database))[0])
    shutil.rmtree(bench.folder / database)


def text_copy(bench: Bench, database: str, *, sessions: int) -> Iterator[Step]:
    """psql's \\copy of the tables, then the indexes and keys, by as many sessions side by side."""
    copies = [f"\\copy {table} from '{bench.exported / table}.txt'" for table in (*TABLES[:3], *TABLES[3:])]
    halves = [copies] if sessions == 1 else [copies[:4], copies[4:]]
    yield Step("load", psql(bench, database, halves))
    yield from builds(bench, database, sessions)


def pgloader(bench: Bench, database: str) -> Iterator[Step]:
    """pgloader into tables that stand there with keys and partitions, then the same indexes and foreign keys."""
    yield Step("load", _pgloader(bench, database, "data only, truncate, reset no sequences"))
    yield from builds(bench, database, 1)


def pgloader_alone(bench: Bench, database: str) -> Iterator[Step]:
    """pgloader as it comes: it makes its own tables, with the source's indexes and foreign keys, unpartitioned."""
    yield Step("load", _pgloader(bench, database, "include drop, create tables, create indexes, reset sequences"))


def _pgloader(bench: Bench, database: str, how: str) -> Usage:
    command_file = bench.folder / "pgloader.load"
    place = f"postgresql://{USER}:{PASSWORD}@127.0.0.1:{bench.server.port}/{database}"
    command_file.write_text(
        f"load database from sqlite://{bench.file} into {place} with {how}, workers = 4, concurrency = 2\n"
        "set timezone to 'UTC', maintenance_work_mem to '256MB';\n"
    )
    usage, output = run_watched(
        ["pgloader", "--root-dir", bench.folder / "pgloader", command_file], timeout=TIMEOUT_SECONDS
    )
    if "ERROR" in output or "FATAL" in output:
        raise SystemExit(f"pgloader lost rows:\n{output}")
    return usage


def builds(bench: Bench, database: str, sessions: int) -> Iterator[Step]:
    """What brings a loaded database to the common end state."""
    recorded = json.loads((bench.folder / "definitions.json").read_text())
    indexes = [definition for kind, _, _, definition in recorded if kind == "index"]
    keys = [
        f"alter table {table} add constraint {name} {definition}"
        for kind, table, name, definition in recorded
        if kind == "foreign key"
    ]
    statistics_of = [f"analyze {table}" for table in TABLES]
    for name, statements in (("analyze", statistics_of), ("indexes", indexes), ("foreign keys", keys)):
        # Each session has one of the two large tables.
        halves = [statements[half::sessions] for half in range(sessions)]
        yield Step(name, psql(bench, database, halves))


def psql(bench: Bench, database: str, sessions: Iterable[list[str]]) -> Usage:
    """Run statements by psql, one session a list, side by side."""
    scripts = []
    for number, statements in enumerate(sessions):
        script = bench.folder / f"script-{number}.sql"
        lines = ["set timezone = 'UTC';", *(f"{line}{'' if line.startswith(chr(92)) else ';'}" for line in statements)]
        script.write_text("\n".join(lines) + "\n")
        scripts.append(f"psql -X -q -v ON_ERROR_STOP=1 -f {script}")
    command = ["sh", "-c", " & ".join(scripts[1:]) + f"{' & ' if scripts[1:] else ''}{scripts[0]} && wait"]
    return run_watched(command, timeout=TIMEOUT_SECONDS, environment=bench.environment(database))[0]


AS_IT_COMES = "pgloader as it comes"
OURS = ("callytics import, every value verified", "callytics import, verification left out")
AS_USERS_HAVE_IT = "callytics import, verified, search index included"
CONTENDERS: dict[str, Callable[[Bench, str], Iterator[Step]]] = {
    "callytics import, every value verified": lambda bench, database: ours(bench, database, verify=True),
    "callytics import, verification left out": lambda bench, database: ours(bench, database, verify=False),
    AS_USERS_HAVE_IT: lambda bench, database: ours(bench, database, verify=True),
    "psql \\copy of exported text": lambda bench, database: text_copy(bench, database, sessions=1),
    "psql \\copy, two sessions": lambda bench, database: text_copy(bench, database, sessions=2),
    "pgloader": pgloader,
    "pgloader as it comes": pgloader_alone,
}
PEERS = ("pgloader", "psql \\copy of exported text")


# --- a database for each ---------------------------------------------------------------------------------------------


@contextmanager
def fresh_database(bench: Bench, contender: str) -> Iterator[str]:
    """Yield a database: migrated and without the search index; for strangers also partitioned and without the rest."""
    database = "measured"
    settings = bench.settings(database)
    bench.server.provide(settings)
    try:
        if contender != AS_IT_COMES:
            migrate(settings, report=lambda line: None)
            with closing(psycopg2.connect(settings.conninfo())) as connection:
                _prepare(bench, connection, contender)
                connection.commit()
        yield database
    finally:
        with closing(psycopg2.connect(bench.server.superuser_conninfo())) as connection:
            connection.autocommit = True
            connection.cursor().execute(f"drop database {database} with (force)")


def _prepare(bench: Bench, connection: Any, contender: str) -> None:
    target = Target(connection)
    if contender == AS_USERS_HAVE_IT:
        return
    if contender in OURS:
        target.defer("index", "transcriptions", SEARCH_INDEX)
        return
    for table in PARTITIONED:
        target.ensure_months(table, months(bench.file, table))
    definitions = target.definitions(TABLES)
    for kind, table, name, _ in definitions:
        target.defer(kind, table, name)
    definitions = [definition for definition in definitions if definition[2] != SEARCH_INDEX]
    (bench.folder / "definitions.json").write_text(json.dumps(definitions))


def months(file: Path, table: str) -> list[str]:
    """Return the months (`2024-05`) of a table's rows."""
    with closing(sqlite3.connect(file)) as connection:
        query = f"select distinct substr(created_at, 1, 7) from {table}"  # noqa: S608
        return [month for (month,) in connection.execute(query)]


def end_state(bench: Bench, database: str) -> dict[str, Any]:
    """Return what a contender must leave behind: rows, indexes, keys and partitions, none of them invalid."""
    queries = {
        "tables": "select relid::regclass::text from unnest(%s::text[]) name, pg_partition_tree(name::regclass)",
        "indexes": "select regexp_replace(pg_get_indexdef(indexrelid), 'INDEX \\S+ ON', 'INDEX ON') from pg_index "
        "where indrelid = any (select relid from unnest(%s::text[]) name, pg_partition_tree(name::regclass)) "
        "and indisvalid",
        "constraints": "select conrelid::regclass::text || ' ' || pg_get_constraintdef(oid) from pg_constraint "
        "where conrelid = any (select relid from unnest(%s::text[]) name, pg_partition_tree(name::regclass))",
    }
    with closing(psycopg2.connect(bench.settings(database).conninfo())) as connection, connection.cursor() as cursor:
        state: dict[str, Any] = {}
        for name, query in queries.items():
            cursor.execute(query, (list(TABLES),))
            state[name] = sorted(value for (value,) in cursor)
        for table in TABLES:
            cursor.execute(f"select count(*) from {table}")  # noqa: S608
            state[f"rows of {table}"] = cursor.fetchone()[0]  # type: ignore[index]
        return state


# --- measuring -------------------------------------------------------------------------------------------------------


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
    names = [name for name in CONTENDERS if not only or any(word in name for word in only)]
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


# --- what it is made of ----------------------------------------------------------------------------------------------


def write_file(path: Path, rows: int) -> None:
    """Write the audio database with so many segments and transcriptions."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        write_sample(Path(folder) / "sample", generation=3, calls=int(rows / SEGMENTS_A_CALL) + 10, seed=1)
        with closing(sqlite3.connect(Path(folder) / "sample" / "audio_analysis.sqlite")) as connection:
            for table in ("transcriptions", "speaker_segments"):
                connection.execute(f"delete from {table} where id > {rows}")  # noqa: S608
                found = connection.execute(f"select count(*) from {table}").fetchone()[0]  # noqa: S608
                if found != rows:
                    raise SystemExit(f"the sample has {found:,} rows of {table}: SEGMENTS_A_CALL is too high")
            connection.commit()
            connection.execute("vacuum")
        (Path(folder) / "sample" / "audio_analysis.sqlite").rename(path)


def export(file: Path, folder: Path) -> None:
    """Write every table as COPY's text."""
    folder.mkdir(exist_ok=True)
    with closing(sqlite3.connect(file)) as connection:
        for table in TABLES:
            with (folder / f"{table}.txt").open("w", encoding="utf-8") as text:
                for row in connection.execute(f"select * from {table} order by id"):  # noqa: S608
                    text.write("\t".join(map(_copy_text, row)) + "\n")


def _copy_text(value: Any) -> str:
    if not isinstance(value, str):
        return "\\N" if value is None else repr(value)
    return value.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")


def install_programs() -> None:
    """Install pgloader and psql where they are missing and this is root on Debian."""
    lacking = [program for program in ("pgloader", "psql") if not shutil.which(program)]
    if lacking and os.geteuid() == 0 and shutil.which("apt-get"):
        packages = [{"psql": "postgresql-client-15"}.get(program, program) for program in lacking]
        run_watched(["apt-get", "install", "-qq", "--no-install-recommends", *packages], timeout=600)
        lacking = [program for program in lacking if not shutil.which(program)]
    if lacking:
        raise SystemExit(f"{' and '.join(lacking)} missing: install them first")


def memory_bytes() -> int:
    """Return this machine's memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def versions() -> dict[str, str]:
    """Return what was measured, and on what."""
    postgres, _ = _printed(["psql", "--version"])
    loader, _ = _printed(["pgloader", "--version"])
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": f"{os.cpu_count()} cores, {memory_bytes() / 2**30:.0f} GiB",
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "postgresql": postgres,
        "pgloader": loader,
    }


def _printed(command: list[str]) -> tuple[str, Usage]:
    usage, output = run_watched(command, timeout=60)
    return output.splitlines()[0], usage


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
@click.option("--runs", default=3, show_default=True, help="Runs of every contender.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the figures there, too.")
@click.option("--keep", type=click.Path(file_okay=False, path_type=Path), help="Make the data there and keep it.")
@click.option("--only", multiple=True, help="Measure contenders whose name holds this word only.")
def main(rows: int, runs: int, json_file: Path | None, keep: Path | None, only: tuple[str, ...]) -> None:
    install_programs()
    with tempfile.TemporaryDirectory(prefix="callytics-speed-", dir="/var/tmp") as scratch:
        folder = Path(scratch)
        stock = (keep or folder).absolute()
        stock.mkdir(parents=True, exist_ok=True)
        file, exported = stock / f"audio-{rows}.sqlite", stock / f"text-{rows}"
        if not file.exists():
            write_file(file, rows)
            export(file, exported)
        options = postgres_settings(memory_bytes=memory_bytes(), cores=os.cpu_count() or 1)
        with EmbeddedPostgres(folder / "server", options=options) as server:
            bench = Bench(server, file, exported, folder)
            results = measure_all(bench, runs, only)
            seconds = {} if only else search_index(bench)
    click.echo(
        f"{rows:,} segments and as many transcriptions, {', '.join(f'{k} {v}' for k, v in versions().items())}\n"
    )
    click.echo(table(results, seconds))
    if json_file:
        report = {"rows": rows, "versions": versions(), "search_index": seconds}
        json_file.write_text(json.dumps(report | {"contenders": [asdict(result) for result in results]}, indent=1))


if __name__ == "__main__":
    main()
