"""Clients that store, repeat and read for minutes while the database is restarted: nothing may be lost or doubled.

    python benchmarks/soak.py [--minutes 10] [--clients 50] [--every 60] [--seed N]

A service of this script's own stands on a private PostgreSQL, which is stopped, or killed, and started again every
minute. Each client stores analyses with an Idempotency-Key, sends one again until it is answered, repeats some that
were answered already, and reads. At the end the database is asked what is there. Exits with 1 where an acknowledged
analysis is missing or is there twice, where a repetition got another answer, where a status was none that the API
promises, or where the process's memory went on growing.
"""

from __future__ import annotations

import asyncio
import random
import sys
import tempfile
import time
import uuid
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import click
import httpx2 as httpx

REPOSITORY = Path(__file__).parents[1]
sys.path.insert(0, str(REPOSITORY))

from callytics.agents import AgentAccounts, Grant  # noqa: E402
from callytics.postgres import PostgreSQLManager  # noqa: E402
from callytics.trial.embedded import EmbeddedPostgres  # noqa: E402
from tests.support.agents import KIM, PASSWORD  # noqa: E402
from tests.support.faults import kill_server  # noqa: E402
from tests.support.servers import migrated, private_server  # noqa: E402
from tests.support.serving import RECORDING, Served, served  # noqa: E402

# What a client is promised while the database goes away and comes back; 409 is a request of the same key under way.
PROMISED = {200, 201, 409, 503}
PAUSE_SECONDS = 0.2
MEMORY_SECONDS = 5.0
# Of the middle of the run, after caches have filled.
MOST_GROWTH = 1.1
STORED = """
select file_path, array_agg(id order by id) as ids from audio_files where file_path like '/soak/%%' group by file_path
"""


@dataclass
class Soak:
    """What the clients did and saw."""

    service: Served
    server: EmbeddedPostgres
    seed: int
    acknowledged: dict[str, int] = field(default_factory=dict)
    sent: int = 0
    repeated: int = 0
    restarts: int = 0
    answers: Counter[object] = field(default_factory=Counter)
    broken: Counter[str] = field(default_factory=Counter)
    memory: list[int] = field(default_factory=list)

    async def run(self, clients: int, minutes: float, every: float) -> None:
        """Let all of it go on for some minutes."""
        token = self.service.log_in("soak")
        until = time.monotonic() + minutes * 60
        await asyncio.gather(
            self.restart(until, every),
            self.watch(until),
            *(self.client(number, until, token) for number in range(clients)),
        )

    async def client(self, number: int, until: float, token: dict[str, str]) -> None:
        """Store, repeat and read until the time is over."""
        chance = random.Random(f"{self.seed} {number}")
        stored: list[tuple[str, str]] = []
        async with httpx.AsyncClient(base_url=self.service.url, headers=token, timeout=60) as client:
            while time.monotonic() < until:
                key = f"{number}-{uuid.UUID(int=chance.getrandbits(128))}"
                await self.store(client, key, f"/soak/{key}.wav")
                stored.append((key, f"/soak/{key}.wav"))
                if chance.random() < 0.2:
                    self.repeated += 1
                    await self.store(client, *chance.choice(stored))
                with suppress(httpx.TransportError):
                    await self.ask(client, "GET", chance.choice(("/calls", "/health/live", "/transcripts?search=soak")))
                await asyncio.sleep(chance.random() * PAUSE_SECONDS)

    async def store(self, client: httpx.AsyncClient, key: str, path: str) -> None:
        """Send an analysis until it is acknowledged, however long the database is away."""
        body: dict[str, Any] = {"audio_file": RECORDING["audio_file"] | {"file_path": path}}
        self.sent += 1
        while True:
            try:
                answer = await self.ask(client, "POST", "/analyses", json=body, headers={"Idempotency-Key": key})
            except httpx.TransportError as error:
                self.answers[type(error).__name__] += 1
                answer = None
            if answer is not None and answer.status_code == 201:
                break
            await asyncio.sleep(PAUSE_SECONDS)
        call = answer.json()["audio_file_id"]
        if self.acknowledged.setdefault(path, call) != call:
            self.broken["a repetition got another answer"] += 1

    async def ask(self, client: httpx.AsyncClient, method: str, path: str, **more: Any) -> httpx.Response:
        """Send a request and count its answer."""
        answer = await client.request(method, path, **more)
        self.answers[answer.status_code] += 1
        if answer.status_code not in PROMISED:
            self.broken[f"{method} {path} was answered {answer.status_code}"] += 1
        return answer

    async def restart(self, until: float, every: float) -> None:
        """Stop the server, or every second time kill it, and start it again."""
        while time.monotonic() + every < until:
            await asyncio.sleep(every)
            await asyncio.to_thread(self.server.stop if self.restarts % 2 else lambda: kill_server(self.server))
            await asyncio.sleep(1)
            await asyncio.to_thread(self.server.start)
            self.restarts += 1

    async def watch(self, until: float) -> None:
        """Note the memory of the process from time to time."""
        while time.monotonic() < until:
            status = Path(f"/proc/{self.service.process.pid}/status").read_text()
            self.memory.append(int(status.partition("VmRSS:")[2].split()[0]) // 1024)
            await asyncio.sleep(MEMORY_SECONDS)

    def judge(self, postgres: PostgreSQLManager) -> None:
        """Compare what was acknowledged with what is there."""
        there = {row["file_path"]: row["ids"] for row in postgres.execute_query(STORED)}
        self.broken["acknowledged, but not there"] += len(self.acknowledged.keys() - there.keys())
        self.broken["there twice"] += sum(len(ids) > 1 for ids in there.values())
        self.broken["there under another id"] += sum(
            there.get(path, [call])[0] != call for path, call in self.acknowledged.items()
        )
        third = len(self.memory) // 3
        if self.growth() > MOST_GROWTH:
            self.broken[f"memory grew from {median(self.memory[third : 2 * third])} MiB"] += 1

    def growth(self) -> float:
        """Return the memory of the last third of the run in relation to that of the second."""
        third = max(len(self.memory) // 3, 1)
        return float(median(self.memory[-third:]) / median(self.memory[third : 2 * third] or self.memory))


@click.command()
@click.option("--minutes", default=10.0, show_default=True)
@click.option("--clients", default=50, show_default=True)
@click.option("--every", default=60.0, show_default=True, help="Seconds between restarts of the database.")
@click.option("--seed", default=1, show_default=True)
def main(minutes: float, clients: int, every: float, seed: int) -> None:
    """Print what happened; exit 1 where something was lost, doubled or grew."""
    # With its defaults: what is acknowledged is on disk.
    with tempfile.TemporaryDirectory() as name, private_server(Path(name) / "server", {}) as server:
        settings = migrated(server, "callytics")
        with PostgreSQLManager(settings) as postgres:
            AgentAccounts(postgres).add_agent("soak", PASSWORD, KIM, (Grant("admin", "admin"),))
        with served(settings, Path(name) / "log") as service:
            soak = Soak(service, server, seed)
            asyncio.run(soak.run(clients, minutes, every))
        with PostgreSQLManager(settings) as postgres:
            soak.judge(postgres)
    click.echo(f"{minutes:g} minutes, {clients} clients, {soak.restarts} restarts of the database, seed {seed}")
    click.echo(f"stored {len(soak.acknowledged)} of {soak.sent - soak.repeated}, repeated {soak.repeated}")
    click.echo(f"answers {dict(sorted(soak.answers.items(), key=str))}")
    click.echo(f"memory MiB {soak.memory[0]} first, {max(soak.memory)} most, growth at the end × {soak.growth():.2f}")
    broken = {what: number for what, number in soak.broken.items() if number}
    for what, number in broken.items():
        click.echo(f"BROKEN: {what}: {number}", err=True)
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()
