"""The ways in which a cluster is made to fail, and what becomes of what was stored meanwhile."""

from __future__ import annotations

import itertools
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.infra.cluster import CALLYTICS, Cluster, ask, cut, mended, power_off, power_on, room
from tests.infra.lab import LabHost

ETCD = "{ 2379, 2380 }"
LEDGER = "drop table if exists public.ledger; create table public.ledger (writer text, id bigint); "
GRANT = "grant select, insert on public.ledger to callytics_user"
KINDS = ("pool", "plain", "reader")
WRITERS = KINDS[:2]
OUTCOMES = ("stored", "unknown", "refused")
BEFORE_SECONDS, AFTER_SECONDS, HEALED_SECONDS = 3.0, 3.0, 150.0


@dataclass
class Scene:
    """A cluster as it is when a fault begins."""

    cluster: Cluster
    leader: LabHost
    standbys: list[LabHost]

    def others(self) -> str:
        """Return the standbys' addresses, as nftables takes a set."""
        return f"{{ {', '.join(one.address for one in self.standbys)} }}"

    def everybody(self, command: str) -> None:
        """Run a command on all members."""
        for member in self.cluster.members.values():
            member.run(command)


Step = Callable[[Scene], object]


@dataclass(frozen=True)
class Fault:
    """How to make a cluster fail and how to end that; it lasts ``least`` seconds and ``most``.

    Between the two it lasts until both writers have stored something again. ``person`` is what somebody has to do
    besides, where the cluster does not heal by itself.
    """

    name: str
    inflict: Step
    heal: Step = lambda _scene: None
    least: float = 1.0
    most: float = 60.0
    person: str = ""


def _switchover(scene: Scene) -> None:
    scene.leader.run(f"{CALLYTICS} cluster switchover --yes --quiet")


def _signal(host: LabHost, unit: str, signal: str) -> None:
    host.run(f"systemctl kill --signal={signal} --kill-whom=main {unit}")


def _postgres(host: LabHost, signal: str) -> None:
    host.run(f"kill -{signal} $(pgrep -u postgres -x postgres)")


def _lose_etcd(scene: Scene) -> None:
    scene.standbys[0].run("systemctl stop callytics-etcd && rm -rf /var/lib/etcd/callytics/member")


def _fill(scene: Scene) -> None:
    room(scene.leader, 0)
    # A table that does not fit is an error of its statement: it is the log for which there must be no room. Random, or
    # it would be as small as it is compressed.
    much = "select pg_logical_emit_message(false, 'filling', string_agg(md5(random()::text), ''))"
    query = f"{much} from generate_series(1, 500000), (select pg_switch_wal()) as next;\n"
    scene.leader.run("cd / && runuser -u postgres -- psql -XqAt -d callytics", input=query * 40, check=False)


def _emptied(scene: Scene) -> None:
    room(scene.leader, None)


def _stop_both(scene: Scene) -> None:
    for standby in scene.standbys:
        standby.run("systemctl stop patroni")


def _start_both(scene: Scene) -> None:
    for standby in scene.standbys:
        standby.run("systemctl start --no-block patroni")


def _two_off(scene: Scene) -> None:
    power_off(scene.leader)
    power_off(scene.standbys[0])


def _two_on(scene: Scene) -> None:
    power_on(scene.leader)
    power_on(scene.standbys[0])


def _rolling(scene: Scene) -> None:
    scene.leader.run(f"{CALLYTICS} cluster restart --yes --quiet {' '.join(scene.cluster.members)}")


def _all_cut(scene: Scene) -> None:
    cut(scene.leader, {"input": 'iifname != "lo" drop', "output": 'oifname != "lo" drop'})


def _cut_from_etcd(scene: Scene) -> None:
    rules = f"tcp dport {ETCD} drop\ntcp sport {ETCD} drop"
    cut(scene.leader, {"input": rules, "output": rules})


def _cut_from_standbys(scene: Scene) -> None:
    others = scene.others()
    cut(
        scene.leader,
        {"input": f"ip saddr {others} tcp dport 5432 drop", "output": f"ip daddr {others} tcp sport 5432 drop"},
    )


FAULTS = (
    Fault("switchover", _switchover),
    Fault(
        "SIGKILL of the postmaster",
        lambda scene: scene.leader.run("kill -9 $(head -1 /var/lib/postgresql/15/main/postmaster.pid)"),
    ),
    Fault("SIGKILL of Patroni", lambda scene: _signal(scene.leader, "patroni", "KILL"), least=8),
    Fault(
        "SIGSTOP of Patroni, 60 s",
        lambda scene: _signal(scene.leader, "patroni", "STOP"),
        lambda scene: _signal(scene.leader, "patroni", "CONT"),
        least=60,
    ),
    Fault(
        "SIGSTOP of PostgreSQL, 60 s",
        lambda scene: _postgres(scene.leader, "STOP"),
        lambda scene: _postgres(scene.leader, "CONT"),
        least=60,
    ),
    Fault(
        "power-off of the primary", lambda scene: power_off(scene.leader), lambda scene: power_on(scene.leader), least=5
    ),
    Fault(
        "power-off of a standby",
        lambda scene: power_off(scene.standbys[0]),
        lambda scene: power_on(scene.standbys[0]),
        least=15,
    ),
    Fault("power-off of two members, 30 s", _two_off, _two_on, least=30, most=30),
    Fault("primary cut off from everyone", _all_cut, lambda scene: mended(scene.leader), least=5),
    Fault("primary cut off from etcd only, 40 s", _cut_from_etcd, lambda scene: mended(scene.leader), least=40),
    Fault(
        "primary cut off from standbys' replication only, 40 s",
        _cut_from_standbys,
        lambda scene: mended(scene.leader),
        least=40,
        most=40,
    ),
    Fault(
        "primary hears nothing, and can send",
        lambda scene: cut(scene.leader, {"input": 'iifname != "lo" drop'}),
        lambda scene: mended(scene.leader),
        least=5,
    ),
    Fault(
        "all etcd stopped, 30 s",
        lambda scene: scene.everybody("systemctl stop callytics-etcd"),
        lambda scene: scene.everybody("systemctl start --no-block callytics-etcd"),
        least=30,
    ),
    Fault(
        "etcd's data of one member lost",
        _lose_etcd,
        lambda scene: scene.cluster.deployment.run("deploy/etcd.py"),
        least=10,
        person="deploy/etcd.py",
    ),
    Fault("both standbys stopped, 20 s", _stop_both, _start_both, least=20, most=20),
    Fault("disk of the primary full", _fill, _emptied, least=10),
    Fault("rolling restart", _rolling),
)


@dataclass(frozen=True)
class Answers:
    """What one writer, or the reader, was told, as this machine keeps it: a moment, an id and an outcome each."""

    file: Path

    def told(self) -> list[tuple[float, int, str]]:
        """Return all lines that have arrived."""
        # The last one may be half of a line.
        lines = self.file.read_bytes().decode().split("\n")[:-1]
        return [(float(at), int(number), outcome) for at, number, outcome in map(str.split, lines)]

    def ids(self, outcome: str) -> set[int]:
        """Return the ids with an outcome."""
        return {number for _, number, told in self.told() if told == outcome}

    def stored(self, since: float) -> bool:
        """Tell whether anything was stored after a moment."""
        return any(told == "stored" and at > since for at, _, told in self.told())

    def gap(self, since: float) -> float:
        """Return the longest time between two that succeeded, of those that ended after a moment."""
        moments = [at for at, _, told in self.told() if told == "stored"]
        pairs = itertools.pairwise(moments)
        return max((after - before for before, after in pairs if after > since), default=0.0)


@dataclass
class Result:
    """What a fault did: rows, seconds, who led; ``healed`` is how long after writing went on every member followed."""

    fault: str
    stored: int
    missing: int
    doubled: int
    unknown: int
    unknown_there: int
    refused_there: int
    pool_gap: float
    plain_gap: float
    read_gap: float
    timelines: tuple[int, int]
    healed: float | None

    def as_dict(self) -> dict[str, Any]:
        """Return it, for JSON."""
        return asdict(self)


@contextmanager
def writing(cluster: Cluster, folder: Path) -> Iterator[dict[str, Answers]]:
    """Have the writers and the reader at work on the application's host; what they are told is kept here."""
    app, answers = cluster.deployment.app, {kind: Answers(folder / kind) for kind in KINDS}
    app.run("cat >/root/ledger.py", input=Path(__file__).with_name("ledger.py").read_text())
    processes = [_started(app, kind, answers[kind].file) for kind in KINDS]
    try:
        yield answers
    finally:
        for process in processes:
            assert process.stdin is not None
            process.stdin.close()
            process.wait(60)
        for answer in answers.values():
            with answer.file.open("rb") as written:
                os.fsync(written.fileno())


def _started(app: LabHost, kind: str, file: Path) -> subprocess.Popen[bytes]:
    command = f"/opt/callytics/current/bin/python /root/ledger.py {kind} /etc/callytics/app.env"
    with file.open("wb") as output:
        return subprocess.Popen(
            ["ssh", "-F", str(app.ssh_config), app.name, "--", command], stdin=subprocess.PIPE, stdout=output
        )


def failed(cluster: Cluster, fault: Fault) -> Result:
    """Have a cluster that is well fail while it is written to, put that right, and look what became of each row."""
    assert cluster.healed(HEALED_SECONDS) is not None, cluster.health()
    scene = Scene(cluster, cluster.leader, cluster.standbys())
    before = _timeline(scene.leader)
    ask(scene.leader, LEDGER + GRANT)
    with tempfile.TemporaryDirectory() as folder, writing(cluster, Path(folder)) as answers:
        _until(lambda: all(answer.stored(0) for answer in answers.values()), 30)
        time.sleep(BEFORE_SECONDS)
        began = time.monotonic()
        fault.inflict(scene)
        # What inflicts it may itself take until all is well again.
        time.sleep(max(0.0, began + fault.least - time.monotonic()))
        _until(
            lambda: all(answers[kind].stored(began + 0.5) for kind in WRITERS), began + fault.most - time.monotonic()
        )
        fault.heal(scene)
        _until(lambda: all(answers[kind].stored(time.monotonic() - 1) for kind in WRITERS), HEALED_SECONDS)
        healed = cluster.healed(HEALED_SECONDS)
        time.sleep(AFTER_SECONDS)
        return _judged(cluster, fault, answers, began, (before, _timeline(cluster.leader)), healed)


def _judged(
    cluster: Cluster,
    fault: Fault,
    answers: dict[str, Answers],
    began: float,
    timelines: tuple[int, int],
    healed: float | None,
) -> Result:
    ids = {outcome: {(kind, one) for kind in WRITERS for one in answers[kind].ids(outcome)} for outcome in OUTCOMES}
    rows = ask(cluster.leader, "select writer, id, count(*) from public.ledger group by 1, 2").splitlines()
    there = {(writer, int(number)): int(count) for writer, number, count in (row.split("|") for row in rows)}
    return Result(
        fault.name,
        stored=len(ids["stored"]),
        missing=len(ids["stored"] - there.keys()),
        doubled=sum(count > 1 for count in there.values()),
        unknown=len(ids["unknown"]),
        unknown_there=len(ids["unknown"] & there.keys()),
        refused_there=len(ids["refused"] & there.keys()),
        pool_gap=answers["pool"].gap(began),
        plain_gap=answers["plain"].gap(began),
        read_gap=answers["reader"].gap(began),
        timelines=timelines,
        healed=healed,
    )


def _timeline(leader: LabHost) -> int:
    return int(ask(leader, "select ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int"))


def _until(done: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True
