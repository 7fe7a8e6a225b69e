"""Make a cluster of three hosts fail in every way, and count what was stored and is gone.

    python benchmarks/failover.py [--fault WORDS] [--repeat 3] [--json FILE]
    python benchmarks/failover.py --random [--minutes 10] [--seed N]

As root on Linux: boots four bare Debian 12 hosts on this machine with tests/infra/lab.py and runs `pyinfra -y
inventory.py deploy/site.py` on them. A writer through the service's own pool and one through plain libpq then store a
row every 10 ms each, and each answer is kept outside the cluster, while it is made to fail and is put right again.
Every row that was acknowledged has to be there once, afterwards. ``--fault`` takes those whose name holds the words.

``--random`` has four clients append to lists and read them in serializable transactions while faults come at random,
and judges the history as Elle does: lost, doubled and refused appends, reads that diverge, transactions that no order
explains, and reads that lacked what was acknowledged before. The same seed draws the same faults.
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
from tests.infra.failing import FAULTS, Result, failed
from tests.infra.lab import Lab, lacks

HEAD = (
    "| fault | stored | missing | doubled | unknown (there) | gap in writing s: pool, libpq | gap in reading s "
    "| another leads | then all follow s |\n|---|---|---|---|---|---|---|---|---|\n"
)


def line(results: list[Result]) -> str:
    """Return a row of the table: sums of rows, medians of seconds."""

    def median(name: str) -> str:
        return f"{statistics.median(getattr(one, name) for one in results):.1f}"

    def total(name: str) -> int:
        return sum(getattr(one, name) for one in results)

    person = next(fault.person for fault in FAULTS if fault.name == results[0].fault)
    healed = [one.healed for one in results if one.healed is not None]
    moved = sum(one.timelines[0] != one.timelines[1] for one in results)
    cells = (
        results[0].fault,
        f"{total('stored'):,}",
        f"**{total('missing')}**",
        f"{total('doubled')}",
        f"{total('unknown')} ({total('unknown_there')})",
        f"{median('pool_gap')}, {median('plain_gap')}",
        median("read_gap"),
        "yes" if moved == len(results) else "no" if not moved else f"{moved} of {len(results)}",
        (f"{person}: " if person else "")
        + (f"{statistics.median(healed):.0f}" if len(healed) == len(results) else "no"),
    )
    return f"| {' | '.join(cells)} |\n"


def matrix(cluster: Cluster, words: str, repeat: int, file: Path | None) -> int:
    """Print the table, a row as soon as it is known; return 1 where anything that was stored is gone."""
    results: list[Result] = []
    sys.stdout.write(HEAD)
    for fault in FAULTS:
        if words.lower() not in fault.name.lower():
            continue
        found = [failed(cluster, fault) for _ in range(repeat)]
        results += found
        sys.stdout.write(line(found))
        sys.stdout.flush()
        if file:
            file.write_text(json.dumps([one.as_dict() for one in results], indent=2))
    return int(any(one.missing or one.doubled or one.refused_there for one in results))


def at_random(cluster: Cluster, seed: int, minutes: float) -> int:
    """Print what came and what became of it; return 1 where a history is not sound."""

    def say(text: str) -> None:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()

    say(f"seed {seed}")
    verdict = disturbed(cluster, seed, minutes, say)
    for name, found in vars(verdict).items():
        say(f"{name:<14} {len(found) if isinstance(found, list) else found}")
    return int(not verdict.sound)


def main() -> None:
    """Make a cluster, and have it fail."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fault", default="", metavar="WORDS")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--random", action="store_true")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    if reason := lacks():
        sys.exit(reason)
    with Lab(f"failover{os.getpid()}", in_memory=True) as lab, tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        cluster = Cluster.made(lab, Path(folder))
        run = cluster.deployment.first_run
        if run is None or run.exit_code:
            sys.exit(run.output[-3000:] if run else "no run")
        sys.stdout.write(f"a cluster after {time.monotonic() - began:.0f} s, {os.cpu_count()} cores\n\n")
        if options.random:
            sys.exit(at_random(cluster, options.seed, options.minutes))
        sys.exit(matrix(cluster, options.fault, options.repeat, options.json))


if __name__ == "__main__":
    main()
