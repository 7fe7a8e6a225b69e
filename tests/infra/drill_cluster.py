"""A cluster's alerts, each by its fault, and the loss of all three hosts at once; scripts/drill runs this."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from tests.infra.cluster import CALLYTICS, NAMES, Cluster, ask
from tests.infra.lab import Lab, until
from tests.infra.service import wait_for_health
from tests.infra.store import SECRET, store
from tests.infra.watching import FAULTS, Fault, fires, quiet

PACED = "--data=monitoring_pace=60"
ROWS = 1000


@pytest.fixture(scope="module")
def cluster(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    """The cluster after the first run; monitoring is turned on later, by its own file."""
    cluster = Cluster.made(lab, tmp_path_factory.mktemp("cluster"))
    cluster.deployment.set(MONITORING="on")
    cluster.deployment.run("deploy/monitoring.py", PACED)
    return cluster


def test_nothing_fires_while_all_is_well(cluster: Cluster) -> None:
    assert until(partial(quiet, cluster), 60)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_it_fires_by_its_fault_and_goes_away_after_the_repair(cluster: Cluster, fault: Fault) -> None:
    fault.happens(cluster)
    try:
        assert until(partial(fires, cluster, fault), 120)
    finally:
        fault.repair(cluster)
    assert until(partial(quiet, cluster), 180)
    assert cluster.healed(60) is not None


def test_a_store_keeps_the_backups_of_whoever_leads(cluster: Cluster, tmp_path: Path) -> None:
    with store(tmp_path, cluster.members.values()) as settings, into(cluster, settings):
        assert not cluster.deployment.run("deploy/backup.py").failed
        leader, *_ = members = [cluster.leader, *cluster.standbys()]
        for member in members:
            member.run("systemctl start callytics-backup-full.service; systemctl start callytics-backup-watch.service")
            assert json.loads(member.run("callytics backup check --json").stdout)["wrong"] == []
        assert json.loads(leader.run("callytics backup drill --json --quiet").stdout)["passed"]
        said = "journalctl --no-pager -o cat -u callytics-backup-full.service"
        assert all("Skipped due to 'exec-condition'" in member.run(said).stdout for member in cluster.standbys())
        assert not cluster.deployment.run("deploy/backup.py").changed
        assert not any(SECRET in member.run("journalctl --no-pager -o cat").stdout for member in members)


@contextmanager
def into(cluster: Cluster, settings: dict[str, str]) -> Iterator[None]:
    """Have backups go into a store, and to their host again."""
    host, app = cluster.deployment.env["BACKUP_HOST"], cluster.deployment.app
    app.run("systemctl stop 'callytics-backup-*.timer'")
    cluster.deployment.set(BACKUP_HOST="", **settings)
    try:
        yield
    finally:
        cluster.deployment.set(**dict.fromkeys(settings, "") | {"BACKUP_HOST": host})
        cluster.deployment.run("deploy/backup.py")
        app.run("systemctl start callytics-backup-full.service; systemctl start callytics-backup-full.timer")


def test_three_empty_hosts_and_the_repository_are_the_cluster_again(cluster: Cluster, lab: Lab) -> None:
    """The last test: by the commands of the manual."""
    app = cluster.deployment.app
    app.run("systemctl start callytics-backup-full.service")
    ask(cluster.leader, f"create table public.probe as select generate_series(1, {ROWS}) as id")
    written = ask(cluster.leader, "select pg_walfile_name(pg_current_wal_lsn())")
    ask(cluster.leader, "select pg_switch_wal()")
    archived = f"select last_archived_wal >= '{written}' from pg_stat_archiver"
    assert until(lambda: ask(cluster.leader, archived) == "t", 120)
    lab.down(*NAMES)
    with ThreadPoolExecutor() as executor:
        members = {one.address: one for one in executor.map(lab.host, NAMES)}
    again = Cluster(cluster.deployment, members)
    again.deployment.set(DATABASE_HOSTS=",".join(members))
    refused = again.deployment.run(PACED, "deploy/site.py", check=False)
    assert "CLUSTER_ANEW=yes" in refused.output
    assert not refused.changed
    assert not any((member.root / "etc/postgresql").exists() for member in members.values())
    again.deployment.set(CLUSTER_ANEW="yes")
    began = time.monotonic()
    again.deployment.run(PACED, "deploy/site.py")
    provisioned = time.monotonic()
    app.run("systemctl stop callytics.service")
    leader, others = again.leader, again.standbys()
    for member in others:
        member.run("systemctl stop patroni")
    leader.run("callytics backup restore --yes --quiet")
    for member in others:
        member.run("rm -r /var/lib/postgresql/15/main && systemctl start patroni")
    app.run("systemctl start callytics-backup-full && systemctl start callytics.service")
    assert again.healed(180) is not None
    wait_for_health(app)
    print(f"provisioned after {provisioned - began:.0f} s, back after {time.monotonic() - began:.0f} s")  # noqa: T201
    assert {ask(member, "select count(*) from public.probe") for member in members.values()} == {str(ROWS)}
    assert leader.run(f"{CALLYTICS} backup check --json").stdout.find('"wrong": []') >= 0
    run = again.deployment.run(PACED, "deploy/site.py")
    assert not run.failed
