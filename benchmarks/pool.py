"""How the pool compares with asyncpg's and with psycopg_pool: queries per second, and a million rows by COPY.

    pip install -r benchmarks/pool-requirements.txt
    python benchmarks/pool.py [--rows N] [--rounds N] [--seconds S] [--json FILE]

Starts a private PostgreSQL of its own. Every contender runs the same statement, a row of a table of calls by its key,
in autocommit, through its pool of 20 connections, from 1, 10 and 50 callers at once; then each fills the same table
with the same rows. Contenders take turns, round by round, in processes of their own; figures are medians of the rounds.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import click
import psycopg2

from callytics.postgres import PostgreSQLManager
from callytics.settings import Settings
from callytics.trial.embedded import EmbeddedPostgres

CALLERS = (1, 10, 50)
POOL_MIN, POOL_MAX = 5, 20
CALLS = 10_000
SECRET = "benchmark"
SCHEMA = """
CREATE TABLE calls (id bigint PRIMARY KEY, file_name text, duration_seconds double precision, created_at timestamptz);
INSERT INTO calls SELECT n, 'call_' || n || '.wav', n * 0.5, '2026-01-01'::timestamptz + n * interval '1 minute'
FROM generate_series(1, {calls}) AS n;
CREATE TABLE segments (
    audio_file_id bigint NOT NULL, speaker text, start_time double precision, end_time double precision,
    text_content text, confidence double precision, created_at timestamptz);
VACUUM ANALYZE calls;
"""
COLUMNS = ("audio_file_id", "speaker", "start_time", "end_time", "text_content", "confidence", "created_at")
# Of a small host; nothing else differs from PostgreSQL's defaults, fsync is on.
OPTIONS = {"max_connections": "60", "shared_buffers": "256MB", "max_wal_size": "4GB"}
NEEDED = "pip install -r benchmarks/pool-requirements.txt"

Ask = Callable[[int], Any]
AskLater = Callable[[int], Awaitable[Any]]


@dataclass(frozen=True)
class Place:
    """Where the database is."""

    port: int

    @property
    def settings(self) -> Settings:
        return Settings(("127.0.0.1",), self.port, "benchmark", "callytics_user", SECRET, POOL_MIN, POOL_MAX)

    @property
    def url(self) -> str:
        return f"postgresql://callytics_user:{SECRET}@127.0.0.1:{self.port}/benchmark"


def measure_threads(ask: Ask, callers: int, seconds: float) -> float:
    """Return how many questions a second so many threads get answered."""
    counts = [0] * callers
    stop = threading.Event()
    barrier = threading.Barrier(callers + 1)

    def work(number: int) -> None:
        pick = random.Random(number).randrange
        barrier.wait()
        done = 0
        while not stop.is_set():
            ask(1 + pick(CALLS))
            done += 1
        counts[number] = done

    threads = [threading.Thread(target=work, args=(number,)) for number in range(callers)]
    for thread in threads:
        thread.start()
    barrier.wait()
    began = time.perf_counter()
    time.sleep(seconds)
    stop.set()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.perf_counter() - began)


async def measure_tasks(ask: AskLater, callers: int, seconds: float) -> float:
    """Return how many questions a second so many tasks get answered."""
    began = time.perf_counter()
    deadline = began + seconds

    async def work(number: int) -> int:
        pick = random.Random(number).randrange
        done = 0
        while time.perf_counter() < deadline:
            await ask(1 + pick(CALLS))
            done += 1
        return done

    counts = await asyncio.gather(*map(work, range(callers)))
    return sum(counts) / (time.perf_counter() - began)


OURS = "SELECT id, file_name, duration_seconds, created_at FROM calls WHERE id = %s"
NUMBERED = OURS.replace("%s", "$1")


def queries_ours_threads(place: Place, callers: int, seconds: float) -> float:
    with PostgreSQLManager(place.settings) as manager:

        def ask(key: int) -> None:
            assert manager.execute_query(OURS, (key,), fetch="one")["id"] == key  # type: ignore[index]

        return warm_threads(ask, callers, seconds)


def warm_threads(ask: Ask, callers: int, seconds: float) -> float:
    measure_threads(ask, callers, 0.5)
    return measure_threads(ask, callers, seconds)


async def warm_tasks(ask: AskLater, callers: int, seconds: float) -> float:
    await measure_tasks(ask, callers, 0.5)
    return await measure_tasks(ask, callers, seconds)


async def queries_ours_tasks(place: Place, callers: int, seconds: float) -> float:
    async with PostgreSQLManager(place.settings) as manager:

        async def ask(key: int) -> None:
            row = await manager.aexecute_query(OURS, (key,), fetch="one")
            assert row is not None
            assert row["id"] == key

        return await warm_tasks(ask, callers, seconds)


async def queries_asyncpg(place: Place, callers: int, seconds: float) -> float:
    import asyncpg

    async with asyncpg.create_pool(place.url, min_size=POOL_MIN, max_size=POOL_MAX) as pool:

        async def ask(key: int) -> None:
            row = dict(await pool.fetchrow(NUMBERED, key))
            assert row["id"] == key

        return await warm_tasks(ask, callers, seconds)


def queries_psycopg_threads(place: Place, callers: int, seconds: float) -> float:
    from psycopg.rows import dict_row
    from psycopg_pool import ConnectionPool

    how = {"autocommit": True, "row_factory": dict_row}
    with ConnectionPool(place.url, min_size=POOL_MIN, max_size=POOL_MAX, kwargs=how) as pool:

        def ask(key: int) -> None:
            with pool.connection() as connection:
                assert connection.execute(OURS, (key,)).fetchone()["id"] == key

        return warm_threads(ask, callers, seconds)


async def queries_psycopg_tasks(place: Place, callers: int, seconds: float) -> float:
    from psycopg.rows import dict_row
    from psycopg_pool import AsyncConnectionPool

    how = {"autocommit": True, "row_factory": dict_row}
    async with AsyncConnectionPool(place.url, min_size=POOL_MIN, max_size=POOL_MAX, kwargs=how) as pool:

        async def ask(key: int) -> None:
            async with pool.connection() as connection:
                row = await (await connection.execute(OURS, (key,))).fetchone()
                assert row["id"] == key

        return await warm_tasks(ask, callers, seconds)


QUERIES: dict[str, Callable[[Place, int, float], Any]] = {
    "callytics, threads": queries_ours_threads,
    "callytics, tasks": queries_ours_tasks,
    "asyncpg pool": queries_asyncpg,
    "psycopg_pool, threads": queries_psycopg_threads,
    "psycopg_pool, tasks": queries_psycopg_tasks,
}


def make_rows(number: int) -> list[tuple[Any, ...]]:
    """Return rows of a transcript: what a caller of bulk insert has in memory."""
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    words = ["네, 고객님.", "무엇을 도와드릴까요?", 'I\'d like to "cancel",\nplease.', "주문 번호가 어떻게 되시나요?"]
    return [
        (
            n // 25 + 1,
            "agent" if n % 2 else "customer",
            n * 0.37,
            n * 0.37 + 3.21,
            f"{words[n % 4]} {n}" if n % 50 else None,
            n % 97 / 97,
            begin + timedelta(milliseconds=n),
        )
        for n in range(number)
    ]


def bulk_ours(place: Place, rows: list[tuple[Any, ...]]) -> float:
    with PostgreSQLManager(place.settings) as manager:
        began = time.perf_counter()
        manager.bulk_insert("segments", COLUMNS, rows)
        return time.perf_counter() - began


async def bulk_asyncpg(place: Place, rows: list[tuple[Any, ...]]) -> float:
    import asyncpg

    async with asyncpg.create_pool(place.url, min_size=1, max_size=1) as pool, pool.acquire() as connection:
        began = time.perf_counter()
        await connection.copy_records_to_table("segments", records=rows, columns=COLUMNS)
        return time.perf_counter() - began


def bulk_psycopg(place: Place, rows: list[tuple[Any, ...]]) -> float:
    from psycopg_pool import ConnectionPool

    with ConnectionPool(place.url, min_size=1, max_size=1) as pool, pool.connection() as connection:
        began = time.perf_counter()
        with connection.cursor().copy(f"COPY segments ({', '.join(COLUMNS)}) FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)
        connection.commit()
        return time.perf_counter() - began


BULK: dict[str, Callable[[Place, list[tuple[Any, ...]]], Any]] = {
    "callytics bulk_insert": bulk_ours,
    "asyncpg copy_records_to_table": bulk_asyncpg,
    "psycopg copy.write_row": bulk_psycopg,
}


@dataclass(frozen=True)
class Task:
    """One figure to measure: who, and queries from so many callers or, with none, the rows in bulk."""

    contender: str
    callers: int = 0

    @property
    def name(self) -> str:
        return f"{self.callers} at once" if self.callers else "rows"


def tasks() -> list[Task]:
    """Return everything to measure in a round, contenders beside each other."""
    asked = [Task(contender, callers) for callers in CALLERS for contender in QUERIES]
    return asked + [Task(contender) for contender in BULK]


def measure(task: Task, place: Place, rows: int, seconds: float) -> float:
    """Return queries or rows a second."""
    if task.callers:
        return float(result(QUERIES[task.contender](place, task.callers, seconds)))
    made = make_rows(rows)
    # What was made is not the contenders' to look through.
    gc.collect()
    gc.freeze()
    return rows / float(result(BULK[task.contender](place, made)))


def result(found: Any) -> Any:
    return asyncio.run(found) if asyncio.iscoroutine(found) else found


def run_apart(task: Task, place: Place, rows: int, seconds: float) -> float:
    """Measure in a process of its own, the table emptied before."""
    execute(place, "TRUNCATE segments", "CHECKPOINT")
    command = [sys.executable, __file__, "--one", json.dumps([task.contender, task.callers, place.port])]
    command += ["--rows", str(rows), "--seconds", str(seconds)]
    completed = subprocess.run(command, capture_output=True, text=True, timeout=600)
    if completed.returncode:
        raise SystemExit(completed.stderr)
    if task.contender in BULK:
        check_rows(place, rows)
    return float(completed.stdout)


def execute(place: Place, *statements: str) -> list[tuple[Any, ...]]:
    """Run statements one by one and return the last one's rows."""
    connection = psycopg2.connect(place.url)
    connection.autocommit = True
    try:
        with connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []
    finally:
        connection.close()


def check_rows(place: Place, rows: int) -> None:
    """All contenders must have stored the same."""
    total = "SELECT count(*), count(text_content), sum(audio_file_id), max(created_at)::text FROM segments"
    (found,) = execute(place, total)
    made = make_rows(rows)
    expected = (rows, sum(row[4] is not None for row in made), sum(row[0] for row in made))
    assert found[:3] == expected, (found, expected)


def measure_all(place: Place, rows: int, rounds: int, seconds: float) -> dict[Task, list[float]]:
    """Return every task's figures, round after round; the order turns."""
    figures: dict[Task, list[float]] = {task: [] for task in tasks()}
    for number in range(rounds):
        order = tasks()
        random.Random(number).shuffle(order)
        for task in order:
            figures[task].append(run_apart(task, place, rows, seconds))
            click.echo(f"round {number + 1}: {task.contender}, {task.name}: {figures[task][-1]:,.0f}/s", err=True)
    return figures


def table(figures: dict[Task, list[float]]) -> Iterator[str]:
    """Yield the medians as Markdown, ours with their ratio to the best of the others of their kind."""
    yield f"| queries a second | {' | '.join(f'{callers} at once' for callers in CALLERS)} |"
    yield "|---|" + "---:|" * len(CALLERS)
    for contender in QUERIES:
        cells = [cell(figures, Task(contender, callers)) for callers in CALLERS]
        yield f"| {contender} | {' | '.join(cells)} |"
    yield ""
    yield "| rows in bulk | rows a second |"
    yield "|---|---:|"
    for contender in BULK:
        yield f"| {contender} | {cell(figures, Task(contender))} |"


def cell(figures: dict[Task, list[float]], task: Task) -> str:
    median = statistics.median(figures[task])
    if not task.contender.startswith("callytics"):
        return f"{median:,.0f}"
    # Threads beside threads: what serves threads alone need not take turns with tasks.
    kind = task.contender.endswith(", threads")
    same = [t for t in figures if t.callers == task.callers and t.contender.endswith(", threads") is kind]
    others = [t for t in same if not t.contender.startswith("callytics")]
    return f"{median:,.0f} ({median / max(statistics.median(figures[other]) for other in others):.2f})"


def as_json(figures: dict[Task, list[float]], rows: int) -> dict[str, Any]:
    return {
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "rows": rows,
        "figures": [
            {"contender": task.contender, "task": task.name, "per_second": found, "median": statistics.median(found)}
            for task, found in figures.items()
        ],
    }


@click.command()
@click.option("--rows", default=1_000_000, show_default=True)
@click.option("--rounds", default=5, show_default=True)
@click.option("--seconds", default=2.0, show_default=True, help="How long each figure of queries is measured.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write every figure there.")
@click.option("--one", hidden=True)
def main(rows: int, rounds: int, seconds: float, json_file: Path | None, one: str | None) -> None:
    """Measure, and print two tables; a ratio in brackets is to the best of the others, of threads or of tasks."""
    if one:
        contender, callers, port = json.loads(one)
        click.echo(str(measure(Task(contender, callers), Place(port), rows, seconds)))
        return
    missing = [name for name in ("asyncpg", "psycopg", "psycopg_pool") if find_spec(name) is None]
    if missing:
        raise click.ClickException(f"{', '.join(missing)} not installed: {NEEDED}")
    with tempfile.TemporaryDirectory(prefix="callytics-benchmark-") as folder:
        server = EmbeddedPostgres(Path(folder) / "server", options=OPTIONS)
        try:
            with server:
                place = Place(server.port)
                prepare(server, place)
                figures = measure_all(place, rows, rounds, seconds)
        finally:
            server.remove()
    click.echo("\n".join(table(figures)))
    if json_file:
        json_file.write_text(json.dumps(as_json(figures, rows), indent=2))


def prepare(server: EmbeddedPostgres, place: Place) -> None:
    """Make the database and its tables."""
    server.provide(place.settings)
    execute(place, *filter(str.strip, SCHEMA.format(calls=CALLS).split(";")))
    superuser = psycopg2.connect(server.superuser_conninfo())
    superuser.autocommit = True
    with superuser.cursor() as cursor:
        cursor.execute("GRANT pg_checkpoint TO callytics_user")
    superuser.close()


if __name__ == "__main__":
    main()
