"""Make a cluster of three hosts fail in every way, and count what was stored and is gone.

    python benchmarks/failover.py [--fault WORDS] [--repeat 3] [--json FILE]
    python benchmarks/failover.py --random [--minutes 10] [--seed N] [--repeat 3]
    python benchmarks/failover.py --table FILE [FILE]

As root on Linux: boots four bare Debian 12 hosts on this machine with tests/infra/lab.py and runs `pyinfra -y
inventory.py deploy/site.py` on them. A writer through the service's own pool and one through plain libpq then store a
row every 10 ms each, and each answer is kept outside the cluster, while it is made to fail and is put right again.
Every row that was acknowledged has to be there once, afterwards. ``--fault`` takes those whose name holds the words. A
fault that could not be had is told at the end, and the next one is tried. ``--table`` prints that of earlier runs.

``--random`` has four clients append to lists and read them in serializable transactions while faults come at random,
and judges the history as Elle does: lost, doubled and refused appends, reads that diverge, transactions that no order
explains, and reads that lacked what was acknowledged before. The same seed draws the same faults. With ``--repeat`` it
comes after the matrix, in the same cluster.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.infra.chance import disturbed
from tests.infra.cluster import Cluster
from tests.infra.failing import HEALED_SECONDS, Result, failed
from tests.infra.fault import Fault
from tests.infra.faults import FAULTS
from tests.infra.lab import Lab, lacks

COLUMNS = (
    "fault",
    "stored",
    "missing",
    "doubled",
    "unknown (there)",
    "stale reads: pool, standbys",
    "gap in writing s: pool, libpq",
    "gap in reading s: standbys, libpq",
    "another leads",
    "then all follow s",
    "found",
)
HEAD = f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}"


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def total(results: list[Result], name: str) -> int:
    """Return a figure's sum over results."""
    return sum(getattr(one, name) for one in results)


def line(results: list[Result]) -> str:
    """Return a row of the table: sums of rows, medians of seconds."""

    def median(name: str) -> str:
        return f"{statistics.median(getattr(one, name) for one in results):.1f}"

    person = next(fault.person for fault in FAULTS if fault.name == results[0].fault)
    healed = [one.healed for one in results if one.healed is not None]
    moved = sum(one.timelines[0] != one.timelines[1] for one in results)
    cells = (
        results[0].fault,
        f"{total(results, 'stored'):,}",
        f"**{total(results, 'missing')}**",
        f"{total(results, 'doubled')}",
        f"{total(results, 'unknown')} ({total(results, 'unknown_there')})",
        f"{total(results, 'stale')}, {total(results, 'late')}",
        f"{median('pool_gap')}, {median('plain_gap')}",
        f"{median('served_gap')}, {median('read_gap')}",
        "yes" if moved == len(results) else "no" if not moved else f"{moved} of {len(results)}",
        (f"{person}: " if person else "")
        + (f"{statistics.median(healed):.0f}" if len(healed) == len(results) else "no"),
        "; ".join(dict.fromkeys(found for one in results for found in one.found)),
    )
    return f"| {' | '.join(cells)} |"


def matrix(cluster: Cluster, words: str, repeat: int, file: Path | None) -> list[Result]:
    """Print the table, a row as soon as it is known; end early where the cluster can't be made well again."""
    results: list[Result] = []
    say(HEAD)
    for fault in FAULTS:
        if words.lower() not in fault.name.lower():
            continue
        for _ in range(repeat):
            results.append(tried(cluster, fault))
            if file:
                file.write_text(json.dumps([one.as_dict() for one in results], indent=2))
            if results[-1].broken and not cluster.put_right(HEALED_SECONDS):
                return results
        if found := [one for one in results if one.fault == fault.name and not one.broken]:
            say(line(found))
    return results


def tried(cluster: Cluster, fault: Fault) -> Result:
    """Return what a fault did, or why it could not be had; say on stderr how long that took."""
    began = time.monotonic()
    try:
        result = failed(cluster, fault)
    except Exception as error:
        said = getattr(error, "stderr", "")
        result = Result(fault.name, broken=f"{error!r} {said}", seconds=time.monotonic() - began)
    sys.stderr.write(f"{result.seconds:4.0f} s  {fault.name} {result.broken}\n")
    return result


def judged(results: list[Result]) -> int:
    """Say what all rows come to; return 1 where anything that was told was wrong, or a fault could not be had."""
    stored, missing, doubled, unknown, there, stale = (
        total(results, name) for name in ("stored", "missing", "doubled", "unknown", "unknown_there", "stale")
    )
    say(
        f"\n{stored:,} rows acknowledged, {missing} missing, {doubled} doubled; of {unknown} that were sent and not "
        f"answered {there} were there; {stale} stale reads; {sum(one.seconds for one in results):.0f} s"
    )
    for one in results:
        if one.broken:
            say(f"broken: {one.fault}: {one.broken}")
    return int(not all(one.sound for one in results))


def at_random(cluster: Cluster, seed: int, minutes: float) -> int:
    """Print what came and what became of it; return 1 where a history is not sound, or a fault could not be had."""
    say(f"\nseed {seed}")
    verdict, had = disturbed(cluster, seed, minutes, say)
    say(f"{'faults':<14} {len(had)}")
    for name, found in vars(verdict).items():
        say(f"{name:<14} {len(found) if isinstance(found, list) else found}")
    return int(not verdict.sound or any(had))


def table(files: list[Path]) -> None:
    """Print the table of earlier runs."""
    results = [Result(**one) for file in files for one in json.loads(file.read_text())]
    say(HEAD)
    for fault in FAULTS:
        if found := [one for one in results if one.fault == fault.name and not one.broken]:
            say(line(found))
    sys.exit(judged(results))


def arguments() -> argparse.Namespace:
    """Return what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fault", default="", metavar="WORDS")
    parser.add_argument("--repeat", type=int)
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--table", type=Path, nargs="+", metavar="FILE")
    parser.add_argument("--random", action="store_true")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    if options.repeat is None:
        options.repeat = 0 if options.random else 3
    return options


def main() -> None:
    """Make a cluster, and have it fail."""
    options = arguments()
    if options.table:
        table(options.table)
    if reason := lacks():
        sys.exit(reason)
    with Lab(f"failover{os.getpid()}", in_memory=True) as lab, tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        cluster = Cluster.made(lab, Path(folder))
        run = cluster.deployment.first_run
        if run is None or run.exit_code:
            sys.exit(run.output[-3000:] if run else "no run")
        say(f"a cluster after {time.monotonic() - began:.0f} s, {os.cpu_count()} cores\n")
        wrong = judged(matrix(cluster, options.fault, options.repeat, options.json)) if options.repeat else 0
        if options.random:
            wrong |= at_random(cluster, options.seed, options.minutes)
        sys.exit(wrong)


if __name__ == "__main__":
    main()
