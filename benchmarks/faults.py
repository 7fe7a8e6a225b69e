"""Whether an import survives: killed at random moments, hundreds of times, and compared with a clean one each time.

    python benchmarks/faults.py [--kills N] [--seed N] [--calls N] [--minutes N]

Most kills are SIGKILL of the import with all its threads; each tenth is SIGKILL of the whole PostgreSQL server, each
tenth ends all its sessions. After up to three of them the same command is run once more, and must leave exactly what
an import that nobody disturbed leaves: schema, indexes, constraints, every value, next ids, and records. The server is
private and this script's own.

A third of the imports is disturbed once and then taken back instead, by `undo`, which is killed as well: the same undo
once more must leave what was there before, and the file can be imported after that. Another third is caught up with a
later copy of the file afterwards, by a `sync` that is disturbed in the same ways, before it writes and while it proves:
the same sync once more must leave what one leaves that nobody disturbs.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
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
    change_calls,
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
STRUCK = {"undo": "undo killed", "import": "command killed", "server": "server killed", "sessions": "sessions ended"}
FAULTS_AN_IMPORT = 3
UNDO_SECONDS = 1.5
"""About as long as an undo takes here."""
ENDINGS = ("gone on with", "taken back", "caught up")


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
    endings: Counter[str] = Counter()
    began = time.monotonic()
    with private_site() as site:
        trial = Trial(site, calls, seed, hits)
        click.echo(f"an import that nobody disturbs takes {trial.duration:.1f} s, a sync {trial.sync_duration:.1f} s")
        while hits.total() < kills and time.monotonic() - began < 60 * minutes:
            endings[trial.run()] += 1
    for (fault, phase), number in sorted(hits.items()):
        click.echo(f"{number:4} × {STRUCK[fault]}, next to be done: {phase}")
    click.echo(
        f"{hits.total()} faults in {endings.total()} imports, all recovered by the same command: no row twice, none "
        f"lost, nothing missing; {endings['taken back']} of them were taken back, and nothing was left; "
        f"{endings['caught up']} were caught up with a later copy; {time.monotonic() - began:.0f} s"
    )
    if hits.total() < kills:
        raise SystemExit(f"only {hits.total()} of {kills} faults in {minutes:g} minutes")


class Trial:
    """A file and a later copy of it, what undisturbed commands leave of them, and disturbed ones."""

    def __init__(self, site: Site, calls: int, seed: int, hits: Counter[tuple[str, str]]) -> None:
        self.site, self.seed, self.hits = site, seed, hits
        self.file = write_calls(site.folder / "calls.sqlite", calls)
        self.later = change_calls(self.file, site.folder / "later.sqlite")
        clean = site.attempt(self.file)
        self.duration = clean.duration()
        self.expected, self.given = clean.state(), clean.contents()
        if missing := lost(site.template, self.expected):
            raise SystemExit("\n".join(["an import that nobody disturbed lost:", *missing]))
        began = time.monotonic()
        clean.caught_up(self.later)
        self.sync_duration = time.monotonic() - began
        self.caught_up = clean.contents()
        self.rng = random.Random(seed)
        self.moments = delays(self.rng, self.duration)
        self.sync_moments = delays(self.rng, self.sync_duration)

    def run(self) -> str:
        """Disturb an import in a database of its own and end it in one of the ways; returns in which."""
        attempt = self.site.attempt(self.file)
        before, ending = attempt.contents(), self.rng.choice(ENDINGS)
        # Once is enough for one that is given up: most that are disturbed again end before that.
        self._harm(attempt, attempt.start, self.moments, 1 if ending == "taken back" else FAULTS_AN_IMPORT)
        if ending == "taken back" and attempt.phase not in ("snapshot", "done"):
            self._take_back(attempt)
            self._compare_undone(attempt, before)
        else:
            ending = "caught up" if ending == "caught up" else "gone on with"
            self._compare(attempt, attempt.finish, attempt.state, self.expected)
        if ending == "caught up":
            self._harm(attempt, lambda: attempt.start_sync(self.later), self.sync_moments, FAULTS_AN_IMPORT)
            self._compare(attempt, lambda: attempt.caught_up(self.later), attempt.contents, self.caught_up)
        superuser(self.site.server, "drop database {} with (force)", attempt.settings.database)
        return ending

    def _harm(self, attempt: Attempt, start: Callable[[], Popen[str]], moments: Iterator[float], most: int) -> None:
        """Disturb a command up to so many times."""
        for _ in range(most):
            fault = self.rng.choice(FAULTS)
            process = start()
            attempt.connected(process)
            # At half of the moments it goes on until the server is in the middle of something.
            statement = self.rng.choice([*STATEMENTS, *[""] * len(STATEMENTS)])
            delay = next(moments) * (self.rng.random() if statement else 1.0)
            if not strike(fault, attempt, self.site, process, delay, statement):
                return
            self.hits[fault, phase(attempt)] += 1

    def _take_back(self, attempt: Attempt) -> None:
        """Begin to undo an unfinished import, and kill that up to three times."""
        for _ in range(FAULTS_AN_IMPORT):
            process = attempt.start_undo()
            attempt.connected(process)
            if not kill(process, self.rng.uniform(0.0, UNDO_SECONDS)):
                return
            self.hits["undo", attempt.phase] += 1

    def _compare_undone(self, attempt: Attempt, before: dict[str, object]) -> None:
        """Undo once more and import again; end the program where either does not leave what it should."""
        try:
            if attempt.phase != "snapshot":
                attempt.undone()
            found = [*differences(before, attempt.contents()), *attempt.left_behind()]
            attempt.finish()
            found += differences(self.given, attempt.contents())
        except AssertionError as error:
            raise SystemExit(f"seed {self.seed}: undo, or the import after it, failed: {error}") from None
        if found:
            raise SystemExit("\n".join([f"seed {self.seed}: not what an undo leaves, or a clean import:", *found[:40]]))

    def _compare(
        self,
        attempt: Attempt,
        finish: Callable[[], object],
        state: Callable[[], dict[str, object]],
        expected: dict[str, object],
    ) -> None:
        """Run the same command once more, and end the program where it does not leave what it should."""
        try:
            finish()
        except AssertionError as error:
            raise SystemExit(f"seed {self.seed}: the same command failed: {error}") from None
        if found := [*differences(expected, state()), *attempt.left_behind()]:
            raise SystemExit("\n".join([f"seed {self.seed}: not what a command leaves in peace:", *found[:40]]))


def phase(attempt: Attempt) -> str:
    """Return what is to be done next, of an import or of the sync after it."""
    if (found := attempt.phase) != "done":
        return found
    return "the sync's proof" if attempt.changes_written else "done, or the sync's changes"


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


if __name__ == "__main__":
    main()
