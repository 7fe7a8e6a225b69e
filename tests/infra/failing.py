"""What becomes of what was stored, and of what is read, while a cluster is made to fail."""

from __future__ import annotations

import itertools
import os
import subprocess
import tempfile
import time
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from tests.infra.cluster import Cluster, ask
from tests.infra.fault import Fault, Scene
from tests.infra.lab import LabHost, until

# Not among the program's tables, of which doctor and imports know each.
LEDGER = """
create schema if not exists failover;
grant usage on schema failover to callytics_user;
drop table if exists failover.ledger;
create table failover.ledger (writer text, id bigint);
create index on failover.ledger (writer, id);
grant select, insert on failover.ledger to callytics_user;
"""
WRITERS, NEWEST = ("pool", "plain"), ("kept", "anew")
KINDS = (*WRITERS, "reader", "served", *NEWEST)
# What POSTGRES_READ_LAG is where nobody has set it.
LAG_SECONDS = 5.0
OUTCOMES = ("stored", "unknown", "refused")
BEFORE_SECONDS, AFTER_SECONDS, HEALED_SECONDS = 1.0, 1.0, 150.0


class Told(NamedTuple):
    """An answer: when it was asked for and got, in seconds of the monotonic clock, an id, and what became of it."""

    began: float
    ended: float
    number: int
    outcome: str


@dataclass(frozen=True)
class Answers:
    """What one writer, or a reader, was told, as this machine keeps it."""

    file: Path

    def told(self) -> list[Told]:
        """Return all answers that have arrived."""
        # The last line may be half of one.
        lines = self.file.read_bytes().decode().split("\n")[:-1]
        return [
            Told(float(began), float(ended), int(number), outcome)
            for began, ended, number, outcome in map(str.split, lines)
        ]

    def ids(self, outcome: str) -> set[int]:
        """Return the ids with an outcome."""
        return {told.number for told in self.told() if told.outcome == outcome}

    def good(self) -> list[Told]:
        """Return the answers of what succeeded."""
        return [told for told in self.told() if told.outcome == "stored"]

    def stored(self, since: float) -> bool:
        """Tell whether anything was stored after a moment."""
        return any(told.ended > since for told in self.good())

    def gap(self, since: float) -> float:
        """Return the longest time between two that succeeded, of those that ended after a moment."""
        pairs = itertools.pairwise(told.ended for told in self.good())
        return max((after - before for before, after in pairs if after > since), default=0.0)

    def stale(self, written: Answers, seconds: float = 0.0) -> int:
        """Return how many have read less than was acknowledged so many seconds before they began."""
        acknowledged = written.good()
        moments = [told.ended for told in acknowledged]
        newest = [0, *(told.number for told in acknowledged)]
        return sum(told.number < newest[bisect_left(moments, told.began - seconds)] for told in self.good())


@dataclass
class Result:
    """What a fault did: rows, seconds, who led; ``healed`` is how long after writing went on every member followed.

    ``stale`` are reads where the pool writes that lacked what was acknowledged before, and ``late`` those of the
    service's standbys that lacked what was acknowledged longer before than they may lag. ``found`` is what else the
    fault has to show, and ``broken`` why it could not be judged; ``seconds`` is what all of it took.
    """

    fault: str
    stored: int = 0
    missing: int = 0
    doubled: int = 0
    unknown: int = 0
    unknown_there: int = 0
    refused_there: int = 0
    stale: int = 0
    late: int = 0
    pool_gap: float = 0.0
    plain_gap: float = 0.0
    read_gap: float = 0.0
    served_gap: float = 0.0
    timelines: tuple[int, int] = (0, 0)
    healed: float | None = None
    found: list[str] = field(default_factory=list)
    broken: str = ""
    seconds: float = 0.0

    @property
    def sound(self) -> bool:
        """Whether nothing that was told was wrong."""
        return not (self.missing or self.doubled or self.refused_there or self.stale or self.late or self.broken)

    def as_dict(self) -> dict[str, Any]:
        """Return it, for JSON."""
        return asdict(self)


@contextmanager
def writing(scene: Scene, folder: Path) -> Iterator[dict[str, Answers]]:
    """Have the writers and the readers at work on the application's host; what they are told is kept here."""
    app, answers = scene.cluster.deployment.app, {kind: Answers(folder / kind) for kind in KINDS}
    app.run("cat >/root/ledger.py", input=Path(__file__).with_name("ledger.py").read_text())
    processes = [_started(app, kind, scene.leader.address, answers[kind].file) for kind in KINDS]
    try:
        yield answers
    finally:
        for process in processes:
            assert process.stdin is not None
            process.stdin.close()
        for process in processes:
            process.wait(60)
        for answer in answers.values():
            with answer.file.open("rb") as written:
                os.fsync(written.fileno())


def _started(app: LabHost, kind: str, first: str, file: Path) -> subprocess.Popen[bytes]:
    command = f"/opt/callytics/current/bin/python /root/ledger.py {kind} /etc/callytics/app.env {first}"
    with file.open("wb") as output:
        return subprocess.Popen(
            ["ssh", "-F", str(app.ssh_config), app.name, "--", command], stdin=subprocess.PIPE, stdout=output
        )


def failed(cluster: Cluster, fault: Fault) -> Result:
    """Have a cluster that is well fail while it is written to, put that right, and look what became of each row.

    Raises AssertionError where the fault did not do what it is for, or what goes on besides did not end well.
    """
    began = time.monotonic()
    assert cluster.healed(HEALED_SECONDS) is not None, cluster.health()
    found: list[str] = []
    with fault.around(cluster, found):
        result = _while_writing(Scene.of(cluster, found), fault)
    return replace(result, found=found, seconds=time.monotonic() - began)


def _while_writing(scene: Scene, fault: Fault) -> Result:
    before = _timeline(scene.leader)
    ask(scene.leader, LEDGER)
    with tempfile.TemporaryDirectory() as folder:
        with writing(scene, Path(folder)) as answers:
            assert until(lambda: all(answer.stored(0) for answer in answers.values()), 60), "nobody can write"
            time.sleep(BEFORE_SECONDS)
            began = time.monotonic()
            healed = _inflicted(scene, fault, answers, began)
            time.sleep(AFTER_SECONDS)
        return _judged(scene, fault, answers, began, before, healed)


def _inflicted(scene: Scene, fault: Fault, answers: dict[str, Answers], began: float) -> float | None:
    fault.inflict(scene)
    # What inflicts it may itself take until all is well again.
    time.sleep(max(0.0, began + fault.least - time.monotonic()))
    left = began + fault.most - time.monotonic()
    until(lambda: all(answers[kind].stored(began + 0.5) for kind in WRITERS), left, every=0.2)
    fault.heal(scene)
    until(lambda: all(answers[kind].stored(time.monotonic() - 1) for kind in WRITERS), HEALED_SECONDS, every=0.2)
    return scene.cluster.healed(HEALED_SECONDS)


def _judged(
    scene: Scene, fault: Fault, answers: dict[str, Answers], began: float, before: int, healed: float | None
) -> Result:
    leader = scene.cluster.leader
    ids = {outcome: {(kind, one) for kind in WRITERS for one in answers[kind].ids(outcome)} for outcome in OUTCOMES}
    rows = ask(leader, "select writer, id, count(*) from failover.ledger group by 1, 2").splitlines()
    there = {(writer, int(number)): int(count) for writer, number, count in (row.split("|") for row in rows)}
    return Result(
        fault.name,
        stored=len(ids["stored"]),
        missing=len(ids["stored"] - there.keys()),
        doubled=sum(count > 1 for count in there.values()),
        unknown=len(ids["unknown"]),
        unknown_there=len(ids["unknown"] & there.keys()),
        refused_there=len(ids["refused"] & there.keys()),
        stale=sum(answers[kind].stale(answers["pool"]) for kind in NEWEST),
        late=answers["served"].stale(answers["pool"], LAG_SECONDS),
        pool_gap=answers["pool"].gap(began),
        plain_gap=answers["plain"].gap(began),
        read_gap=answers["reader"].gap(began),
        served_gap=answers["served"].gap(began),
        timelines=(before, _timeline(leader)),
        healed=healed,
    )


def _timeline(leader: LabHost) -> int:
    return int(ask(leader, "select ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int"))
