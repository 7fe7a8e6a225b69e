"""What a cluster comes back from by one command of the manual, with all that was stored; scripts/drill runs this."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytest

from tests.infra import expiry, left
from tests.infra.cluster import CALLYTICS, Cluster, ask
from tests.infra.failing import failed
from tests.infra.fault import Fault
from tests.infra.lab import Lab, LabHost, until
from tests.infra.watching import PATRONICTL

LEAST_WAL = "-p wal_keep_size=32MB -p max_slot_wal_keep_size=64MB"
USUAL_WAL = "-p wal_keep_size=1GB -p max_slot_wal_keep_size=null"


@pytest.fixture(scope="module")
def cluster(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    """The cluster after the first run."""
    cluster = Cluster.made(lab, tmp_path_factory.mktemp("cluster"))
    assert cluster.healed(60) is not None
    return cluster


@contextmanager
def slot_lost(cluster: Cluster) -> Iterator[LabHost]:
    """Yield a standby that is off and lacks WAL that the leader has no more: its slot was lost, and made anew."""
    leader, standby = cluster.leader, cluster.standbys()[0]
    agree = f"{PATRONICTL} edit-config --force --quiet"
    leader.run(f"{agree} {LEAST_WAL}")
    assert until(lambda: ask(leader, "show max_slot_wal_keep_size") == "64MB", 30)
    standby.run("systemctl stop patroni")
    try:
        needed = ask(leader, "select pg_walfile_name(pg_current_wal_lsn())")
        ask(leader, "select pg_logical_emit_message(false, 'much', ''), pg_switch_wal();\n" * 20)
        there = f"select count(*) from pg_ls_waldir() where name = '{needed}'"
        assert until(partial(_gone, leader, there), 60)
        yield standby
    finally:
        standby.run("systemctl start patroni")
        leader.run(f"{agree} {USUAL_WAL}")


def _gone(leader: LabHost, there: str) -> bool:
    # Each checkpoint removes what the one before needed.
    return (
        ask(leader, f"select pg_logical_emit_message(false, 'x', ''), pg_switch_wal(); checkpoint; {there}")[-1] == "0"
    )


def test_a_standby_that_was_away_for_too_long_reads_the_repository_by_itself(cluster: Cluster) -> None:
    with slot_lost(cluster) as standby:
        standby.run("systemctl start patroni")
        assert cluster.healed(90) is not None


def test_a_standby_that_finds_its_wal_nowhere_is_copied_by_the_command_that_is_named(cluster: Cluster) -> None:
    app = cluster.deployment.app
    with slot_lost(cluster) as standby:
        app.run("systemctl stop pgbackrest")
        try:
            standby.run("systemctl start patroni")
            reinit = f"callytics cluster reinit {standby.address}"
            assert until(lambda: reinit in str(cluster.status(cluster.leader)["faults"]), 60)
            assert cluster.healed(30) is None
            done = cluster.leader.run(f"{CALLYTICS.rpartition('/')[0]}/{reinit} --yes --quiet", check=False)
            assert done.returncode == 0, done.stdout + done.stderr
        finally:
            app.run("systemctl start pgbackrest")
        assert cluster.healed(60) is not None


@pytest.mark.parametrize("fault", [*expiry.FAULTS, left.FAULT], ids=lambda fault: fault.name)
def test_a_deployment_brings_it_back_with_all_that_was_acknowledged(cluster: Cluster, fault: Fault) -> None:
    result = failed(cluster, fault)
    assert result.sound, result
    assert result.healed is not None
    assert fault is not expiry.RENEWED or result.pool_gap < 5
