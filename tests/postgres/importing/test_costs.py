"""What `inspect` estimates is what a real run takes, within a factor of one and a half, however small.

Where other tests run on the same cores, caches are lost and a run takes up to twice the CPU time: only then is two the
factor.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from callytics.importer.costs import costs_of
from callytics.trial.embedded import EmbeddedPostgres
from callytics.trial.sample import write_sample
from tests.support.installation import Installation

TICKS = os.sysconf("SC_CLK_TCK")
FACTOR, BUSY_FACTOR = 1.5, 2.5


def cpu_of_server(server: EmbeddedPostgres) -> float:
    """Return the CPU seconds of the server, with those of all sessions that have ended."""
    pid = (server.data / "postmaster.pid").read_text().split()[0]
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / TICKS


def cpu_of(office: Installation, server: EmbeddedPostgres, *arguments: str) -> float:
    """Run a command to its end and return the CPU seconds of it and of the server."""
    before = cpu_of_server(server)
    with office.start(*arguments) as process:
        for stream in (process.stdout, process.stderr):
            assert stream
            stream.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_utime + usage.ru_stime + cpu_of_server(server) - before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("generation", "calls"), [(1, 5), (1, 300), (2, 5), (2, 100), (3, 20), (3, 150)], ids=lambda number: str(number)
)
def test_an_import_takes_what_inspect_says(
    generation: int, calls: int, installation: Installation, server: EmbeddedPostgres
) -> None:
    """CPU time, of which other work on the machine changes little: on one core that is how long it takes."""
    place = installation.folder / "sample"
    rows = write_sample(place, generation=generation, calls=calls, seed=4)
    files = sorted(place.iterdir()) if place.is_dir() else [place]
    size = sum(file.stat().st_size for file in files)
    bytes_before = installation.one("select pg_database_size(current_database())")
    costs = costs_of(sum(rows.values()), size, len(rows), cores=1)
    seconds = cpu_of(installation, server, "import", "--yes", "--quiet", *map(str, files))
    grown = installation.one("select pg_database_size(current_database())") - bytes_before
    print(f"estimated {costs}, taken {seconds:.2f} s, {grown:,} bytes")  # noqa: T201
    assert 1 / FACTOR < costs.target_bytes / grown < FACTOR
    assert 1 / (BUSY_FACTOR if os.getloadavg()[0] > 1 else FACTOR) < costs.seconds / seconds < FACTOR


def test_more_cores_are_faster_and_more_rows_slower() -> None:
    """Estimates follow what costs; a downtime depends on what has changed, and hardly on what is there."""
    one, two, many = (costs_of(1_000_000, 200_000_000, 8, cores) for cores in (1, 2, 64))
    assert one.seconds > two.seconds == many.seconds > costs_of(1_000, 200_000, 8, 2).seconds > 0.5
    assert two.downtime_seconds < two.seconds / 3
    few = costs_of(1_000_000, 200_000_000, 8, 2, changed=0.0001)
    assert few.downtime_seconds < two.downtime_seconds
    assert few.target_bytes == two.target_bytes == many.target_bytes > 200_000_000
