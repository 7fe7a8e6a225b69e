"""Three bare hosts and one for the service become a cluster by the one command, and it does what it promises."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest

from tests.infra.deployment import Deployment
from tests.infra.lab import Lab, LabHost
from tests.infra.service import get

pytestmark = pytest.mark.slow

NAMES = ("one", "two", "three")
MEMBERS = "cd / && /opt/patroni/bin/python -I /etc/patroni/members.py"


@dataclass
class Cluster:
    """An installation on four hosts."""

    deployment: Deployment
    members: dict[str, LabHost]

    def health(self) -> dict[str, Any]:
        """Return what the members say of each other."""
        answer: dict[str, Any] = json.loads(next(iter(self.members.values())).run(f"{MEMBERS} health").stdout)
        return answer

    @property
    def leader(self) -> LabHost:
        """Return the member that leads."""
        return self.members[self.health()["leader"]]


@pytest.fixture(scope="module")
def cluster(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    """The cluster after the first run."""
    with ThreadPoolExecutor() as executor:
        *members, app = executor.map(lab.host, (*NAMES, "service"))
    deployment = Deployment.prepare(tmp_path_factory.mktemp("cluster"), members[0], app)
    deployment.set(DATABASE_HOSTS=",".join(one.address for one in members), BACKUP_REPOSITORY="off", MONITORING="off")
    deployment.first_run = deployment.run(check=False)
    return Cluster(deployment, {one.address: one for one in members})


def ask(member: LabHost, query: str, database: str = "callytics") -> str:
    return member.run(
        "cd / && runuser -u postgres --", "psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-d", database, input=query
    ).stdout.strip()


def test_one_command_makes_it(cluster: Cluster) -> None:
    run = cluster.deployment.first_run
    assert run is not None
    assert run.exit_code == 0, run.output[-6000:]
    assert not run.failed
    assert cluster.health()["faults"] == []


def test_the_service_stores_on_the_one_that_leads(cluster: Cluster) -> None:
    assert get(cluster.deployment.app, "/health")[0] == 200


def test_every_commit_waits_for_a_standby(cluster: Cluster) -> None:
    leader = cluster.leader
    assert ask(leader, "show synchronous_standby_names").startswith("ANY 1 (")
    assert ask(leader, "select count(*) from pg_stat_replication where sync_state = 'quorum'") == "2"
    encrypted = "select bool_and(s.ssl) from pg_stat_replication as r join pg_stat_ssl as s using (pid)"
    assert ask(leader, encrypted) == "t"


def test_data_checksums_are_on_everywhere(cluster: Cluster) -> None:
    assert {ask(member, "show data_checksums") for member in cluster.members.values()} == {"on"}


def test_the_second_run_changes_nothing(cluster: Cluster) -> None:
    run = cluster.deployment.run(check=False)
    assert (run.exit_code, run.changed, run.failed) == (0, {}, {}), run.output[-6000:]
    assert run.hosts == 4


def test_another_member_leads_when_asked_and_nothing_is_lost(cluster: Cluster) -> None:
    former = cluster.leader
    ask(former, "create table public.notes (id int); insert into public.notes values (1)")
    former.run(f"{MEMBERS} switchover")
    assert cluster.leader.address != former.address
    assert ask(cluster.leader, "select id from public.notes") == "1"
    ask(cluster.leader, "drop table public.notes")


def test_after_a_switchover_a_run_changes_nothing_either(cluster: Cluster) -> None:
    run = cluster.deployment.run(check=False)
    assert (run.exit_code, run.changed, run.failed) == (0, {}, {}), run.output[-6000:]
