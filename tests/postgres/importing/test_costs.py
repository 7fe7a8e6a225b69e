"""What `inspect` estimates is what a real run takes, within a factor of two."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from callytics.importer.costs import costs_of
from callytics.trial.embedded import EmbeddedPostgres
from callytics.trial.sample import write_sample
from tests.support.installation import Installation

TICKS = os.sysconf("SC_CLK_TCK")
CALLS = 150
FACTOR = 2.0
AUDIO, QUALITY = "audio_analysis.sqlite", "consultation_quality.sqlite"


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
def test_an_import_takes_what_inspect_says(installation: Installation, server: EmbeddedPostgres) -> None:
    """CPU time, of which other work on the machine changes little: on one core that is how long it takes."""
    rows = sum(write_sample(installation.folder / "sample", generation=3, calls=CALLS, seed=4).values())
    files = sorted((installation.folder / "sample").iterdir())
    bytes_before = installation.one("select pg_database_size(current_database())")
    costs = costs_of(rows, sum(file.stat().st_size for file in files), cores=1)
    seconds = cpu_of(installation, server, "import", "--yes", "--quiet", *map(str, files))
    grown = installation.one("select pg_database_size(current_database())") - bytes_before
    print(f"estimated {costs}, taken {seconds:.1f} s, {grown:,} bytes")  # noqa: T201
    assert 1 / FACTOR < costs.seconds / seconds < FACTOR
    assert 1 / FACTOR < costs.target_bytes / grown < FACTOR


def test_more_cores_are_faster_and_more_rows_slower() -> None:
    """Estimates follow what costs; a downtime depends on what has changed, and hardly on what is there."""
    one, two, many = (costs_of(1_000_000, 200_000_000, cores) for cores in (1, 2, 64))
    assert one.seconds > two.seconds == many.seconds > costs_of(1_000, 200_000, 2).seconds > 0.5
    assert two.downtime_seconds < two.seconds / 3
    few = costs_of(1_000_000, 200_000_000, 2, changed=0.0001)
    assert few.downtime_seconds < two.downtime_seconds
    assert few.target_bytes == two.target_bytes == many.target_bytes > 200_000_000
