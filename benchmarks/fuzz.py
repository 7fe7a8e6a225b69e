"""What odd SQLite files do to the importer: drawn without end, each tried with every command, some of them killed.

    python benchmarks/fuzz.py [--minutes N] [--seed N] [--keep FOLDER]

Each seed stands for a few files; what is found is printed with its seed, by which the same files are drawn again, and
the file is kept. Exit code 1 where anything was found. The server is private and this script's own.
"""

from __future__ import annotations

import random
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import click
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded

REPOSITORY = Path(__file__).parents[1]
sys.path.insert(0, str(REPOSITORY))

from callytics.settings import Settings  # noqa: E402
from tests.support.odd_files import OddFile  # noqa: E402
from tests.support.odd_strategies import odd_files  # noqa: E402
from tests.support.odd_trials import OddTrial, write_ordinary  # noqa: E402
from tests.support.servers import Databases, migrated, private_server, superuser  # noqa: E402

FILES_A_SEED = 12
PROGRESS_SECONDS = 30
KILLED = 4
"""Of so many imports one is killed in its middle, and goes on."""
KILL_SECONDS = 0.8, 3.0


@dataclass
class Fuzzing:
    """The files that were tried so far, and what was found."""

    databases: Databases
    template: Settings
    folder: Path
    keep: Path
    ends: float
    files: int = 0
    findings: int = 0
    told: float = field(default_factory=time.monotonic)
    database: Settings | None = None

    def try_seed(self, seed: int) -> None:
        """Try the files that a seed stands for, each once."""
        seen: set[OddFile] = set()

        @seeded(seed)
        @settings(
            max_examples=FILES_A_SEED,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(odd_files())
        def each(odd: OddFile) -> None:
            # Hypothesis draws some of them again.
            if odd not in seen and time.monotonic() < self.ends:
                seen.add(odd)
                self.try_file(odd, seed, len(seen))

        each()

    def try_file(self, odd: OddFile, seed: int, number: int) -> None:
        """Try a file and print what is wrong."""
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        database = self.database or self.databases.copy(self.template)
        trial = OddTrial(database, folder, self.folder / "ordinary.sqlite", thorough=number % 3 == 1)
        if number % KILLED == 0:
            trial.killed = random.Random(seed + number).uniform(*KILL_SECONDS)
        try:
            found = trial.run(odd, after=number % 4 == 0, small=number % 5 != 0)
        except Exception as error:
            found = [*trial.found, f"the trial itself ended: {error!r}"]
        # A fresh one each time would take a third of the time.
        self.database = database if not found and OddTrial.leaves_ids(database) else None
        if self.database is None:
            superuser(self.databases.server, "drop database {} with (force)", database.database)
        self.files += 1
        self.findings += bool(found)
        if found:
            kept = self.keep / f"{seed}-{number}"
            shutil.rmtree(kept, ignore_errors=True)
            shutil.copytree(folder, kept, ignore=lambda _, names: [name for name in names if "odd" not in name])
            click.echo(f"seed {seed}, file {number} ({kept / 'odd.sqlite'}):")
            for what in found:
                click.echo(f"    {what}")
        shutil.rmtree(folder)
        self.tell(seed)

    def tell(self, seed: int) -> None:
        """Print now and then how far this is."""
        if time.monotonic() - self.told > PROGRESS_SECONDS:
            self.told = time.monotonic()
            click.echo(f"{self.files} files, {self.findings} with findings, at seed {seed}", err=True)


@click.command()
@click.option("--minutes", default=10.0, show_default=True, help="How long.")
@click.option("--seed", type=int, help="Where to begin.  [default: the time]")
@click.option("--seeds", type=int, help="How many seeds at most.")
@click.option("--keep", type=click.Path(file_okay=False, path_type=Path), default="fuzz-findings", show_default=True)
def main(minutes: float, seed: int | None, seeds: int | None, keep: Path) -> None:
    """Print what is found; exit 1 if anything was."""
    first = int(time.time()) if seed is None else seed
    keep = keep.absolute()
    click.echo(f"from seed {first}")
    with tempfile.TemporaryDirectory() as name, private_server(Path(name) / "server") as server:
        folder = Path(name) / "files"
        folder.mkdir()
        write_ordinary(folder / "ordinary.sqlite")
        template = migrated(server, "template_callytics")
        fuzzing = Fuzzing(Databases(server), template, folder, keep, time.monotonic() + 60 * minutes)
        for number in numbers(first, seeds):
            if time.monotonic() >= fuzzing.ends:
                break
            fuzzing.try_seed(number)
    click.echo(f"{fuzzing.files} files, {fuzzing.findings} with findings")
    sys.exit(fuzzing.findings > 0)


def numbers(first: int, most: int | None) -> Iterator[int]:
    """Yield seeds from the first one on."""
    number = first
    while most is None or number < first + most:
        yield number
        number += 1


if __name__ == "__main__":
    main()
