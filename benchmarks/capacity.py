"""What one host carries: bytes a call in the database, calls stored a second, and pages read a second.

    python benchmarks/capacity.py [--calls 2000 --calls 12000] [--seconds 10] [--json FILE]

For each size a generation 3 sample is imported into a private PostgreSQL with the settings that deploy/ gives a host of
this size, fsync on, and asked through a `callytics serve` of one process. The clients run beside it on the same cores,
so a client elsewhere gets more. A stored call is as long as the sample's: 27 segments, each with its transcription.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import click
import httpx2 as httpx
import psycopg2
from contenders import PASSWORD, USER
from machine import memory_bytes, versions
from search import provide

from callytics.agents import AgentAccounts, Grant
from callytics.postgres import PostgreSQLManager
from callytics.settings import Settings
from callytics.trial.embedded import EmbeddedPostgres
from deploy.tuning import postgres_settings
from tests.support.agents import KIM
from tests.support.agents import PASSWORD as AGENT_PASSWORD
from tests.support.serving import RECORDING, Served, served

SEGMENTS = 27
CLIENTS = (1, 4, 16)
READS = {
    "newest calls": "/calls?limit=50",
    "one call": "/analyses/{call}",
    "search, frequent word": "/transcripts?search=네&limit=50",
    "search, rare word": "/transcripts?search=위약금&limit=50",
}
SIZES = """
with parts as (
    select t.relname as name, coalesce(p.relid, t.oid) as part
    from pg_class as t
    left join lateral pg_partition_tree(t.oid) as p on true
    where t.relnamespace = 'public'::regnamespace and t.relkind in ('r', 'p') and not t.relispartition
)
select name, sum(pg_table_size(part))::bigint, sum(pg_indexes_size(part))::bigint
from parts
group by name
having sum(pg_total_relation_size(part)) > 1000000
order by sum(pg_total_relation_size(part)) desc
"""


def sizes(settings: Settings) -> list[tuple[str, int, int]]:
    """Return the tables of more than a megabyte with the bytes of their rows and of their indexes."""
    with closing(psycopg2.connect(settings.conninfo())) as connection, connection.cursor() as cursor:
        cursor.execute(SIZES)
        return cursor.fetchall()


def analysis(number: int) -> dict[str, Any]:
    """Return a call of its own, as long as those of the sample."""
    recording = RECORDING["audio_file"] | {"file_path": f"/srv/calls/capacity/{os.getpid()}-{number}.wav"}
    segments = [
        {
            "speaker_id": f"SPEAKER_0{at % 2}",
            "speaker_type": ("agent", "customer")[at % 2],
            "start_time": at * 4.0,
            "end_time": at * 4.0 + 3.5,
            "confidence": 0.97,
        }
        for at in range(SEGMENTS)
    ]
    said = [
        {
            "text": f"네, 고객님. {number}번 요금 문의를 확인해 드리겠습니다. 잠시만 기다려 주세요.",
            "start_time": segment["start_time"],
            "end_time": segment["end_time"],
            "segment_index": at,
        }
        for at, segment in enumerate(segments)
    ]
    return {"audio_file": recording, "segments": segments, "transcriptions": said}


async def asked(
    service: Served, headers: dict[str, str], clients: int, seconds: float, request: Callable[[], dict[str, Any]]
) -> dict[str, float]:
    """Ask with so many clients at once, and return answers a second and their median and 99th percentile in ms."""
    times: list[float] = []
    ends = time.monotonic() + seconds

    async def client() -> None:
        async with httpx.AsyncClient(base_url=service.url, headers=headers, timeout=60) as one:
            while time.monotonic() < ends:
                begun = time.perf_counter()
                (await one.request(**request())).raise_for_status()
                times.append(time.perf_counter() - begun)

    begun = time.monotonic()
    await asyncio.gather(*(client() for _ in range(clients)))
    return {
        "a_second": len(times) / (time.monotonic() - begun),
        "median_ms": statistics.median(times) * 1000,
        "p99_ms": statistics.quantiles(times, n=100)[98] * 1000 if len(times) > 1 else times[0] * 1000,
    }


def measure(settings: Settings, folder: Path, seconds: float) -> dict[str, dict[str, float]]:
    """Return what the service stores and reads, for each kind of request and number of clients."""
    with PostgreSQLManager(settings) as postgres:
        grants = (Grant("audio_upload", "write"), Grant("analysis_view", "read"))
        profile = replace(KIM, email=None, employee_id="capacity")
        AgentAccounts(postgres).add_agent("capacity", AGENT_PASSWORD, profile, grants)
        newest = postgres.execute_query("select max(id) from audio_files", fetch="val")
    numbers = count(1)
    with served(settings, folder / "service.log") as service:
        headers = service.log_in("capacity")
        requests: dict[str, Callable[[], dict[str, Any]]] = {
            name: lambda path=path: {"method": "GET", "url": path.format(call=newest)}  # type: ignore[misc]
            for name, path in READS.items()
        }
        requests["store a call"] = lambda: {"method": "POST", "url": "/analyses", "json": analysis(next(numbers))}
        return {
            f"{name}, {clients} at once": asyncio.run(asked(service, headers, clients, seconds, request))
            for name, request in requests.items()
            for clients in CLIENTS
        }


def measured(calls: int, seconds: float) -> dict[str, Any]:
    """Return the figures of a database with so many calls."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        folder = Path(name)
        options = postgres_settings(memory_bytes=memory_bytes(), cores=os.cpu_count() or 1)
        server = EmbeddedPostgres(folder / "server", options=options)
        with server:
            settings = Settings(("127.0.0.1",), server.port, "callytics", USER, PASSWORD)
            provide(server, settings, folder, calls)
            figures = {"calls": calls, "tables": sizes(settings), "requests": measure(settings, folder, seconds)}
        server.remove()
    return figures


@click.command(help=__doc__)
@click.option("--calls", multiple=True, type=int, default=(2_000, 12_000), show_default=True, help="Calls of a sample.")
@click.option("--seconds", default=10.0, show_default=True, help="How long each kind of request is asked.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the figures there, too.")
def main(calls: tuple[int, ...], seconds: float, json_file: Path | None) -> None:
    figures = [measured(one, seconds) for one in calls]
    for one in figures:
        click.echo(f"| {one['calls']:,} calls: table | rows, bytes a call | indexes, bytes a call |\n|---|---:|---:|")
        for table, rows, indexes in one["tables"]:
            click.echo(f"| `{table}` | {rows / one['calls']:,.0f} | {indexes / one['calls']:,.0f} |")
        total = sum(rows + indexes for _, rows, indexes in one["tables"])
        click.echo(f"| together {total / one['calls']:,.0f} | | |\n")
        click.echo("| request | a second | median ms | p99 ms |\n|---|---:|---:|---:|")
        for name, taken in one["requests"].items():
            click.echo(f"| {name} | {taken['a_second']:,.0f} | {taken['median_ms']:.0f} | {taken['p99_ms']:.0f} |")
        click.echo()
    if json_file:
        json_file.write_text(json.dumps({"versions": versions(), "figures": figures}, indent=1))


if __name__ == "__main__":
    main()
