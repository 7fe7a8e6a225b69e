"""The faults of the matrix: each stands for its siblings."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.infra import clocks, inflight
from tests.infra.cluster import CALLYTICS, Cluster, ask, cut, mended, power_off, power_on, room
from tests.infra.fault import Fault, Scene
from tests.infra.lab import LabHost

ETCD = "{ 2379, 2380 }"
# What ends a wait for standbys without its row being undone.
CANCEL = """
select count(pg_cancel_backend(pid)) from pg_stat_activity
where wait_event = 'SyncRep' and usename = 'callytics_user'
"""
ROWS = "select count(*) filter (where writer = 'pool'), count(*) filter (where writer = 'plain') from failover.ledger"


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


def _cancel_waits(scene: Scene) -> None:
    """Have rows committed that no standby has, and lose whoever has them."""
    _stop_both(scene)
    cancelled = 0
    for _ in range(5):
        time.sleep(1)
        cancelled += int(ask(scene.leader, CANCEL))
    assert cancelled, "nobody waited for a standby"
    power_off(scene.leader)
    _start_both(scene)


@contextmanager
def _lowered(cluster: Cluster, found: list[str]) -> Iterator[None]:
    """Have the application's role wait for no standby, which the program has to notice."""
    ask(cluster.leader, "alter role callytics_user set synchronous_commit = local")
    try:
        said = cluster.deployment.app.run(f"{CALLYTICS} --env-file /etc/callytics/app.env doctor", check=False).stdout
        assert "synchronous_commit" in said, f"doctor does not notice it: {said}"
        found.append("doctor names it")
        yield
    finally:
        ask(cluster.leader, "alter role callytics_user reset synchronous_commit")


def _stop_both_unnoticed(scene: Scene) -> None:
    _stop_both(scene)
    before, after = (ask(scene.leader, f"select pg_sleep({seconds}); {ROWS}").split()[-1] for seconds in (1, 5))
    (pool, plain), (pool_after, plain_after) = before.split("|"), after.split("|")
    assert plain != plain_after, "the role waits for standbys, so that nothing is proven"
    assert pool == pool_after, "the pool's rows were acknowledged by one host alone"
    scene.found.append("libpq stores on one host alone, the pool waits")


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


def _cut_from_members(scene: Scene) -> None:
    """Cut a primary off that has written more since its last checkpoint than Patroni has a server keep by itself."""
    ask(scene.leader, "select pg_logical_emit_message(false, 'much', ''), pg_switch_wal();\n" * 12)
    others = scene.others()
    cut(scene.leader, {"input": f"ip saddr {others} drop", "output": f"ip daddr {others} drop"})


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
    Fault(
        "primary cut off from the other members, not from clients",
        _cut_from_members,
        lambda scene: mended(scene.leader),
        least=30,
    ),
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
    Fault(
        "etcd's data of all members lost",
        lambda scene: scene.everybody("systemctl stop callytics-etcd && rm -rf /var/lib/etcd/callytics/member"),
        lambda scene: scene.cluster.deployment.run("deploy/etcd.py"),
        least=10,
        person="deploy/etcd.py",
    ),
    Fault("both standbys stopped, 20 s", _stop_both, _start_both, least=20, most=20),
    Fault(
        "both standbys stopped, waits for them cancelled, primary off",
        _cancel_waits,
        lambda scene: power_on(scene.leader),
        least=10,
    ),
    Fault(
        "synchronous_commit lowered for the role, both standbys stopped, 20 s",
        _stop_both_unnoticed,
        _start_both,
        least=20,
        most=20,
        around=_lowered,
    ),
    Fault(
        "clock of the primary an hour ahead, then behind, 20 s each",
        clocks.jumps,
        clocks.right,
        around=clocks.own_clock,
    ),
    Fault("disk of the primary full", _fill, _emptied, least=10),
    Fault("switchover while callytics import runs", inflight.while_importing, around=inflight.an_import),
    Fault("switchover while callytics migrate runs", inflight.while_migrating, around=inflight.migrations),
    Fault("rolling restart", _rolling),
)
