"""Whether an import survives: killed at random moments, hundreds of times, and compared with a clean one each time.

    python benchmarks/faults.py [--kills N] [--seed N] [--calls N] [--minutes N]

Most kills are SIGKILL of the import with all its threads; each tenth is SIGKILL of the whole PostgreSQL server, each
tenth ends all its sessions. After up to three of them the same command is run once more, and must leave exactly what
an import that nobody disturbed leaves: schema, indexes, constraints, every value, next ids, and records. The server is
private and this script's own.

Each second import is disturbed once and then taken back instead, by `undo`, which is killed as well: the same undo
once more must leave what was there before, and the file can be imported after that.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from subprocess import Popen, TimeoutExpired

import click

REPOSITORY = Path(__file__).parents[1]
sys.path.insert(0, str(REPOSITORY))

from callytics.schema.migrate import migrate  # noqa: E402
from callytics.settings import Settings  # noqa: E402
from callytics.trial.embedded import EmbeddedPostgres  # noqa: E402
from tests.support.faults import (  # noqa: E402
    SECONDS,
    STATEMENTS,
    Attempt,
    Site,
    delays,
    differences,
    kill,
    kill_server,
    lost,
    terminate_sessions,
    write_calls,
)
from tests.support.servers import Databases, superuser  # noqa: E402

FAULTS = ("import",) * 8 + ("server", "sessions")
STRUCK = {"undo": "undo killed", "import": "import killed", "server": "server killed", "sessions": "sessions ended"}
FAULTS_AN_IMPORT = 3
UNDO_SECONDS = 1.5
"""About as long as an undo takes here."""
UNDONE = 2
"""Of so many imports one is taken back, if it was cut off."""


@click.command()
@click.option("--kills", default=100, show_default=True, help="Faults that hit.")
@click.option("--seed", type=int, help="What the moments are drawn from.  [default: the time]")
@click.option("--calls", default=600, show_default=True, help="Calls in the file; a call is about 25 rows.")
@click.option("--minutes", default=20.0, show_default=True, help="Give up after.")
def main(kills: int, seed: int | None, calls: int, minutes: float) -> None:
    """Print the faults by phase; exit 1 with what differs where an import was not what it should be."""
    seed = int(time.time()) if seed is None else seed
    click.echo(f"seed {seed}, {calls} calls")
    hits: Counter[tuple[str, str]] = Counter()
    began = time.monotonic()
    imports = undone = 0
    with private_site() as site:
        file = write_calls(site.folder / "calls.sqlite", calls)
        clean = site.attempt(file)
        duration = clean.duration()
        expected, given = clean.state(), clean.contents()
        if missing := lost(site.template, expected):
            raise SystemExit("\n".join(["an import that nobody disturbed lost:", *missing]))
        click.echo(f"an import that nobody disturbs takes {duration:.1f} s")
        rng = random.Random(seed)
        moments = delays(rng, duration)
        while hits.total() < kills and time.monotonic() - began < 60 * minutes:
            attempt = site.attempt(file)
            imports += 1
            before, given_up = attempt.contents(), rng.randrange(UNDONE) == 0
            # Once is enough for one that is given up: most that are disturbed again end before that.
            harm(attempt, site, rng, moments, hits, 1 if given_up else FAULTS_AN_IMPORT)
            if given_up and attempt.phase not in ("snapshot", "done"):
                undone += 1
                take_back(attempt, rng, hits)
                compare_undone(attempt, before, given, seed)
            else:
                compare(attempt, expected, seed)
            superuser(site.server, "drop database {} with (force)", attempt.settings.database)
    for (fault, phase), number in sorted(hits.items()):
        click.echo(f"{number:4} × {STRUCK[fault]}, next to be done: {phase}")
    click.echo(
        f"{hits.total()} faults in {imports} imports, all recovered by the same command: no row twice, none lost, "
        f"nothing missing; {undone} of them were taken back, and nothing was left; {time.monotonic() - began:.0f} s"
    )
    if hits.total() < kills:
        raise SystemExit(f"only {hits.total()} of {kills} faults in {minutes:g} minutes")


@contextmanager
def private_site() -> Iterator[Site]:
    """Yield a server of our own, which may be killed, with a migrated template."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # The machine survives, so what was written needs no disk; what was committed must be written.
        server = EmbeddedPostgres(folder / "server", options={"fsync": "off", "full_page_writes": "off"})
        try:
            with server:
                template = Settings(
                    *(("127.0.0.1",), server.port, "template_callytics", "callytics_user", "benchmark-user"),
                    owner_user="callytics_owner",
                    owner_password="benchmark-owner",
                )
                server.provide(template)
                migrate(template, report=lambda line: None)
                yield Site(server, template, folder, Databases(server))
        finally:
            server.remove()


def harm(
    attempt: Attempt,
    site: Site,
    rng: random.Random,
    moments: Iterator[float],
    hits: Counter[tuple[str, str]],
    most: int,
) -> None:
    """Disturb an import up to so many times."""
    for _ in range(most):
        fault = rng.choice(FAULTS)
        process = attempt.start()
        attempt.connected(process)
        # At half of the moments it goes on until the server is in the middle of something.
        statement = rng.choice([*STATEMENTS, *[""] * len(STATEMENTS)])
        delay = next(moments) * (rng.random() if statement else 1.0)
        if not strike(fault, attempt, site, process, delay, statement):
            return
        hits[fault, attempt.phase] += 1


def strike(fault: str, attempt: Attempt, site: Site, process: Popen[str], delay: float, statement: str) -> bool:
    """Let a fault happen after a delay, in the middle of a statement if one is named; False if the import ended."""
    with suppress(TimeoutExpired):
        process.wait(delay)
    if statement:
        attempt.at_work(process, statement)
    if fault == "import":
        return kill(process, 0.0)
    if process.poll() is not None:
        process.communicate()
        return False
    if fault == "server":
        kill_server(site.server)
        site.server.start()
    else:
        terminate_sessions(attempt.settings)
    process.communicate(timeout=SECONDS)
    return process.returncode == 1


def take_back(attempt: Attempt, rng: random.Random, hits: Counter[tuple[str, str]]) -> None:
    """Begin to undo an unfinished import, and kill that up to three times."""
    for _ in range(FAULTS_AN_IMPORT):
        process = attempt.start_undo()
        attempt.connected(process)
        if not kill(process, rng.uniform(0.0, UNDO_SECONDS)):
            return
        hits["undo", attempt.phase] += 1


def compare_undone(attempt: Attempt, before: dict[str, object], given: dict[str, object], seed: int) -> None:
    """Undo once more and import again; end the program where either does not leave what it should."""
    try:
        if attempt.phase != "snapshot":
            attempt.undone()
        found = [*differences(before, attempt.contents()), *attempt.left_behind()]
        attempt.finish()
        found += differences(given, attempt.contents())
    except AssertionError as error:
        raise SystemExit(f"seed {seed}: undo, or the import after it, failed: {error}") from None
    if found:
        raise SystemExit("\n".join([f"seed {seed}: not what an undo leaves, or a clean import:", *found[:40]]))


def compare(attempt: Attempt, expected: dict[str, object], seed: int) -> None:
    """Run the same command once more, and end the program where it does not leave what it should."""
    try:
        attempt.finish()
    except AssertionError as error:
        raise SystemExit(f"seed {seed}: the same command failed: {error}") from None
    if found := [*differences(expected, attempt.state()), *attempt.left_behind()]:
        raise SystemExit("\n".join([f"seed {seed}: not what a clean import leaves:", *found[:40]]))


if __name__ == "__main__":
    main()
