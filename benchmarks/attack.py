"""What strangers can do to the service: how long others wait for it meanwhile, and how much memory it takes.

    python benchmarks/attack.py [--seconds 10]

A service of this script's own, on a private PostgreSQL, is attacked over loopback and nothing else, each attack for
some seconds. Exits with 1 where a right login takes more than a second under attack, or the process more than 400 MiB.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from statistics import median

import click

REPOSITORY = Path(__file__).parents[1]
sys.path.insert(0, str(REPOSITORY))

from callytics.agents import AgentAccounts, Grant, Profile  # noqa: E402
from callytics.postgres import PostgreSQLManager  # noqa: E402
from tests.support.agents import KIM, PASSWORD  # noqa: E402
from tests.support.servers import migrated, private_server  # noqa: E402
from tests.support.serving import Served, served  # noqa: E402

PROMISED_LOGIN_SECONDS, PROMISED_MIB = 1.0, 400
WRONG_A_SECOND = 100
OWN_ADDRESS = "127.0.1.1"
# As large as is taken, each worse in another way: names, small objects, nesting, one text.
BODIES = {
    "many fields": json.dumps({f"k{number}": 0 for number in range(300_000)}).encode()[: 4 * 1024 * 1024 - 100] + b"}",
    "many wrong segments": b'{"segments":[' + b"{}," * 99_000 + b"{}]}",
    "empty lists": b"[" + b"[]," * 1_300_000 + b"[]]",
    "numbers": b'{"segments":[' + b"1," * 2_000_000 + b"1]}",
    "a long text": b'{"audio_file":"' + b"x" * 4_100_000 + b'"}',
}


@click.command()
@click.option("--seconds", default=10, show_default=True, help="For how long each attack goes on.")
def main(seconds: int) -> None:
    """Print what each attack did; exit 1 where it did more than is promised."""
    with tempfile.TemporaryDirectory() as name, private_server(Path(name) / "server") as server:
        settings = migrated(server, "callytics")
        with PostgreSQLManager(settings) as postgres:
            for agent in ("kim", "writer"):
                AgentAccounts(postgres).add_agent(agent, PASSWORD, person(agent), (Grant("audio_upload", "write"),))
        with served(settings, Path(name) / "log") as service:
            broken = asyncio.run(Attack(service, seconds).run())
    for line in broken:
        click.echo(f"BROKEN: {line}", err=True)
    sys.exit(1 if broken else 0)


def _median_and_most(seconds: list[float]) -> str:
    return f"{median(seconds) * 1000:.0f} / {max(seconds) * 1000:.0f} ms" if seconds else ""


def person(agent: str) -> Profile:
    """Return a profile of its own."""
    return replace(KIM, email=None, employee_id=agent)


class Attack:
    """Attacks on one service, and what was seen meanwhile."""

    def __init__(self, service: Served, seconds: int) -> None:
        self.service = service
        self.port = int(service.url.rpartition(":")[2])
        self.seconds = seconds
        self.broken: list[str] = []

    async def run(self) -> list[str]:
        """Run all attacks one after the other and return the promises that were broken."""
        _, answer, _ = await self.ask("/auth/login", login("writer", PASSWORD), address=OWN_ADDRESS)
        token = json.loads(answer)["access_token"]
        _, _, first = await self.ask("/auth/login", login("kim", PASSWORD), address=OWN_ADDRESS)
        _, _, second = await self.ask("/auth/login", login("kim", PASSWORD), address=OWN_ADDRESS)
        self.tell("at rest", None, [], [first, second])
        await self.attack("wrong logins beside right ones", self.wrong_logins, logins=True)
        for name, body in BODIES.items():
            await self.attack(f"strangers: {name}", lambda body=body: self.bodies("/auth/login", body))
            await self.attack(f"agents: {name}", lambda body=body: self.bodies("/analyses", body, token))
        await self.attack("silent connections", self.silent)
        return self.broken

    async def attack(self, name: str, attack: Callable[[], Awaitable[Counter[object]]], logins: bool = False) -> None:
        """Attack, look meanwhile how long others wait, and tell."""
        attacking = asyncio.ensure_future(attack())
        looking = [asyncio.ensure_future(self.look("/health/live"))]
        if logins:
            looking.append(asyncio.ensure_future(self.look("/auth/login", login("kim", PASSWORD), pause=0.5)))
        answers = await attacking
        waits = await asyncio.gather(*looking)
        self.tell(name, answers, *waits)
        if logins and (max(waits[1]) > PROMISED_LOGIN_SECONDS):
            self.broken.append(f"{name}: a right login took {max(waits[1]):.2f} s")

    def tell(self, name: str, answers: Counter[object] | None = None, *waits: list[float]) -> None:
        """Print a line of the table; memory is the most that there ever was."""
        status = Path(f"/proc/{self.service.process.pid}/status").read_text()
        peak = int(status.partition("VmHWM:")[2].split()[0]) // 1024
        told = " | ".join(map(_median_and_most, waits))
        click.echo(f"| {name} | {dict(sorted((answers or {}).items(), key=str))} | {told} | {peak} MiB |")
        if peak > PROMISED_MIB:
            self.broken.append(f"{name}: {peak} MiB")

    async def wrong_logins(self) -> Counter[object]:
        """Guess 100 times a second, from 250 addresses, at names that exist and names that don't."""
        guesses = []
        for number in range(self.seconds * WRONG_A_SECOND):
            name = "writer" if number % 3 else f"nobody{number}"
            address = f"127.0.0.{2 + number % 250}"
            guesses.append(asyncio.ensure_future(self.ask("/auth/login", login(name, "wrong password"), address)))
            await asyncio.sleep(1 / WRONG_A_SECOND)
        return Counter(status for status, _, _ in await asyncio.gather(*guesses))

    async def bodies(self, path: str, body: bytes, token: str = "") -> Counter[object]:
        """Send a body eight times at once, again and again."""
        answers: Counter[object] = Counter()

        async def send(number: int) -> None:
            ends = time.monotonic() + self.seconds / 2
            while time.monotonic() < ends:
                status, answer, _ = await self.ask(path, body, f"127.0.2.{number + 1}", token)
                answers[status] += 1
                if len(answer) > 10_000:
                    self.broken.append(f"an answer of {len(answer)} bytes")

        await asyncio.gather(*map(send, range(8)))
        return answers

    async def silent(self) -> Counter[object]:
        """Hold 600 connections open: a third says nothing, a third half a head, a third announces a body."""
        said = (b"", b"GET / HTTP/1.1\r\nHost: a\r\n", head("/analyses", 4_000_000, "") + b"x" * 60_000)
        opened = [await asyncio.open_connection("127.0.0.1", self.port) for _ in range(200) for _ in said]
        for (_, writer), sent in zip(opened, said * 200, strict=True):
            writer.write(sent)
        await asyncio.sleep(self.seconds + 5)
        left = Counter("closed" if reader.at_eof() or reader.exception() else "open" for reader, _ in opened)
        for _, writer in opened:
            writer.close()
        return Counter(left)

    async def look(self, path: str, body: bytes | None = None, pause: float = 0.05) -> list[float]:
        """Return how long answers took, asked for as long as an attack goes on; one that is not 200 counts as 99 s."""
        waits = []
        ends = time.monotonic() + self.seconds * (1 if body else 0.5)
        while time.monotonic() < ends:
            status, _, seconds = await self.ask(path, body, address=OWN_ADDRESS)
            waits.append(seconds if status == 200 else 99.0)
            await asyncio.sleep(pause)
        return waits

    async def ask(
        self, path: str, body: bytes | None = None, address: str = "127.0.0.1", token: str = ""
    ) -> tuple[int, bytes, float]:
        """Return an answer's status and body, and the seconds until it was there."""
        started = time.monotonic()
        async with self.connected(address) as (reader, writer):
            writer.write(head(path, None if body is None else len(body), token) + (body or b""))
            answer = b""
            with suppress(ConnectionError):
                answer = await reader.read()
        top, _, rest = answer.partition(b"\r\n\r\n")
        status = int(top.split()[1]) if top else 0
        return status, rest, time.monotonic() - started

    @asynccontextmanager
    async def connected(self, address: str) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """Lend a connection from one of this machine's own addresses."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, local_addr=(address, 0))
        try:
            yield reader, writer
        finally:
            writer.close()


def login(username: str, password: str) -> bytes:
    """Return the body of a login."""
    return json.dumps({"username": username, "password": password}).encode()


def head(path: str, size: int | None, token: str) -> bytes:
    """Return a request's head; one with a body posts it."""
    lines = [f"{'GET' if size is None else 'POST'} {path} HTTP/1.1", "Host: localhost", "Connection: close"]
    if size is not None:
        lines += [f"Content-Length: {size}", "Content-Type: application/json"]
    if token:
        lines.append(f"Authorization: Bearer {token}")
    return "\r\n".join([*lines, "", ""]).encode()


if __name__ == "__main__":
    main()
