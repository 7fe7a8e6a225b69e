"""Three bare hosts and one for the service become a cluster by the one command, and it does what it promises."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tests.infra.cluster import CALLYTICS, MEMBERS, Cluster, ask
from tests.infra.failing import failed
from tests.infra.faults import FAULTS
from tests.infra.lab import Lab, LabHost
from tests.infra.service import BASE, get, wait_for

pytestmark = pytest.mark.slow

# The short form of benchmarks/failover.py, which has all of them.
SHORT = (
    "switchover",
    "SIGKILL of the postmaster",
    "power-off of the primary",
    "primary cut off from everyone",
    "both standbys stopped, 20 s",
)


@pytest.fixture(scope="module")
def cluster(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    """The cluster after the first run."""
    return Cluster.made(lab, tmp_path_factory.mktemp("cluster"))


def test_one_command_makes_it(cluster: Cluster) -> None:
    run = cluster.deployment.first_run
    assert run is not None
    assert run.exit_code == 0, run.output[-6000:]
    assert not run.failed
    assert cluster.health()["faults"] == []
    # These hosts are containers.
    for name in cluster.members:
        assert f"[{name}] no watchdog device: callytics-fence.service ends" in run.output


def test_a_watchdog_device_is_patronis(cluster: Cluster) -> None:
    member, drop_in = cluster.leader, "/run/systemd/system/callytics-watchdog.service.d/container.conf"
    assert member.run("systemctl show -P ConditionResult callytics-watchdog.service").stdout.strip() == "no"
    # A device that nothing watches by, and as if this were no container.
    member.run("mknod /dev/watchdog c 1 3")
    member.run(f"mkdir -p {Path(drop_in).parent} && printf '[Unit]\nConditionVirtualization=\n' >{drop_in}")
    try:
        member.run("systemctl daemon-reload && systemctl start callytics-watchdog.service")
        assert member.run("stat -c %U:%G /dev/watchdog").stdout.strip() == "postgres:postgres"
    finally:
        member.run(f"systemctl stop callytics-watchdog.service; rm -f /dev/watchdog {drop_in}; systemctl daemon-reload")


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


def test_a_member_shows_and_leads_the_cluster(cluster: Cluster) -> None:
    leader, standby = cluster.leader, cluster.standbys()[0]
    before = cluster.status(standby)
    assert (before["ok"], before["leader"], before["hosts"]) == (True, leader.address, 3)
    assert [member["synchronous"] for member in before["members"]].count(True) == 2
    refused = leader.run(f"{CALLYTICS} cluster reinit {leader.address} --yes", check=False)
    assert (refused.returncode, "its data are what the others copy" in refused.stderr) == (1, True)
    for what in (f"switchover --to {standby.address}", f"reinit {leader.address}", f"restart {standby.address}"):
        done = leader.run(f"{CALLYTICS} cluster {what} --yes --quiet", check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    assert cluster.status(leader)["leader"] == standby.address
    made = "journalctl -u patroni -o cat --no-pager | grep -o 'replica has been created using .*' | tail -1"
    assert leader.run(made).stdout.strip().endswith("basebackup")


def test_the_applications_host_shows_the_cluster_by_its_databases(cluster: Cluster) -> None:
    seen = cluster.deployment.app.run(f"{CALLYTICS} --env-file /etc/callytics/app.env cluster status --json")
    assert json.loads(seen.stdout)["leader"] == cluster.leader.address


def test_reads_go_to_standbys_and_go_on_without_one(cluster: Cluster) -> None:
    app, (standby, other) = cluster.deployment.app, cluster.standbys()
    asked = calls_as_an_agent(app)

    def noted() -> None:
        """Members that led before note only with their next checkpoint, once they have the leader's, where they are."""
        for member in (cluster.leader, standby, other):
            ask(member, "checkpoint")

    def ready(*members: LabHost) -> bool:
        assert app.run(asked).stdout == "200"
        found = [one["state"] == "ready" for one in get(app, "/health")[2]["standbys"]]
        # They are tried in the order of their addresses, not in that in which they were booted.
        return found == [cluster.members[address] in members for address in sorted(cluster.members)]

    wait_for(lambda: noted() or ready(standby, other), "the standbys are not read from")
    standby.run("systemctl stop patroni")
    try:
        wait_for(lambda: ready(other), "the other standby is not read from")
    finally:
        standby.run("systemctl start patroni")
    wait_for(lambda: ready(standby, other), "the standby that came back is not read from")
    assert cluster.healed(60) is not None


def calls_as_an_agent(app: LabHost) -> str:
    """Make an agent who reads, and return the command by which one asks for calls and prints the status."""
    password = "correct horse battery staple 7!"
    profile = "--last-name Kim --first-name Minsu --department Sales --position Agent --permission analysis_view:read"
    app.run(f"{CALLYTICS} --env-file /etc/callytics/admin.env agent add kim {profile} --password-stdin", input=password)
    post = f"curl -s -H 'Content-Type: application/json' -d @- {BASE}/auth/login"
    login = json.loads(app.run(post, input=json.dumps({"username": "kim", "password": password})).stdout)
    headers = f"-H 'Authorization: Bearer {login['access_token']}'"
    return f"curl -s -m 10 -o /dev/null -w '%{{http_code}}' {headers} {BASE}/calls"


def test_after_a_switchover_a_run_changes_nothing_either_nor_does_another_order(cluster: Cluster) -> None:
    listed = ",".join(reversed(cluster.members))
    cluster.deployment.set(DATABASE_HOSTS=listed, POSTGRES_READ_HOST=listed)
    run = cluster.deployment.run(check=False)
    assert (run.exit_code, run.changed, run.failed) == (0, {}, {}), run.output[-6000:]


def test_etcd_that_lost_all_that_it_kept_begins_anew(cluster: Cluster) -> None:
    """Patroni took it for an old one, and went on without it for ever."""
    leader = cluster.leader
    for member in cluster.members.values():
        member.run("systemctl stop callytics-etcd && rm -r /var/lib/etcd/callytics/member")
    # Its start, which Restart= repeats.
    began = leader.run("systemctl start callytics-etcd", check=False)
    assert began.returncode == 1
    cluster.deployment.run("deploy/etcd.py")
    wait_for(lambda: bool(cluster.status(leader)["ok"]), "the members do not take the new etcd for theirs")
    # Each sees that for itself, within a loop.
    members = cluster.members.values()
    wait_for(lambda: {told(one)["callytics_failsafe"] for one in members} == {"0.0"}, "members stay in failsafe mode")
    assert cluster.leader.address == leader.address
    assert ask(leader, "show synchronous_standby_names").startswith("ANY 1 (")


def told(member: LabHost) -> dict[str, str]:
    """Return the figures that a member tells monitoring."""
    asked = f"cd / && runuser -u postgres -- {CALLYTICS.split()[-1]} metrics --socket /var/run/postgresql"
    return dict(line.rsplit(" ", 1) for line in member.run(asked).stdout.splitlines() if not line.startswith("#"))


def test_each_member_tells_monitoring_what_it_is(cluster: Cluster) -> None:
    leader, *standbys = map(told, (cluster.leader, *cluster.standbys()))
    assert (leader["callytics_standby"], leader["callytics_standbys_confirming"]) == ("0.0", "2.0")
    assert "callytics_standby_follows" not in leader
    for found in (leader, *standbys):
        assert (found["callytics_etcd_healthy"], found["callytics_failsafe"]) == ("1.0", "0.0")
        assert 0 < float(found['callytics_etcd_used_ratio{resource="etcd\'s quota"}']) < 0.1
        ends = 'callytics_certificate_expires_timestamp_seconds{{certificate="{}"}}'
        for name in ("PostgreSQL", "etcd", "Patroni", "pgBackRest"):
            assert float(found[ends.format(name)]) > time.time()
    for found in standbys:
        assert (found["callytics_standby"], found["callytics_standby_follows"]) == ("1.0", "1.0")
        assert found["callytics_timeline"] == leader["callytics_timeline"]
        # Nobody reads the slots that a standby keeps for the others.
        assert not [name for name in found if name.startswith(("callytics_slot", "callytics_archive"))]


def test_whoever_leads_is_backed_up_and_proves_it(cluster: Cluster) -> None:
    leader, (standby, _) = cluster.leader, cluster.standbys()
    cluster.deployment.app.run("systemctl start callytics-backup-full.service")
    leader.run("systemctl start callytics-backup-watch.service")
    for member in (leader, standby):
        assert json.loads(member.run("callytics backup check --json").stdout)["wrong"] == []
        found = json.loads(member.run("callytics backup drill --json --quiet").stdout)
        assert (found["passed"], found["tables"] > 40) == (True, True), found
    # By a timer on each, of which one does it.
    standby.run("systemctl start callytics-backup-drill.service")
    said = "journalctl --no-pager -o cat -u callytics-backup-drill.service"
    assert "Skipped due to 'exec-condition'" in standby.run(said).stdout


def test_all_of_them_go_back_to_a_second(cluster: Cluster) -> None:
    """Rows of after it are gone from every member, and nothing is stored until a second member has what is there."""
    leader, others = cluster.leader, cluster.standbys()
    ask(leader, "create table public.probe (id int); insert into public.probe values (1)")
    ask(leader, "select pg_sleep(1.1)")
    moment = ask(leader, "select to_char(now() at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"UTC\"')")
    ask(leader, "select pg_sleep(2); insert into public.probe values (2)")
    restore = f"callytics backup restore --to {moment} --yes --quiet"
    refused = leader.run(restore, check=False)
    assert (refused.returncode, "would take the lead meanwhile" in refused.stderr) == (1, True)
    for member in others:
        assert "restore on that member" in member.run(restore, check=False).stderr
        member.run("systemctl stop patroni")
    done = leader.run(restore, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for member in others:
        member.run("rm -r /var/lib/postgresql/15/main && systemctl start patroni")
    assert cluster.healed(120) is not None
    assert cluster.leader.address == leader.address
    assert {ask(member, "select array_agg(id) from public.probe") for member in cluster.members.values()} == {"{1}"}
    ask(leader, "drop table public.probe")
    leader.run("rm -r /var/lib/postgresql/15/main.before-*")
    cluster.deployment.app.run("systemctl start callytics-backup-full.service")


def test_a_patroni_that_leads_and_hangs_is_ended(cluster: Cluster) -> None:
    """Its server would go on as if it led."""
    leader, asked = cluster.leader, "systemctl show -P MainPID patroni"
    former = leader.run(asked).stdout
    leader.run("systemctl kill --kill-whom=main --signal=STOP patroni")
    wait_for(lambda: leader.run(asked).stdout not in (former, "0\n"), "it hangs for ever")
    assert "Patroni leads and hangs, not at work for 1" in leader.run("journalctl -o cat -u callytics-fence").stdout
    assert cluster.healed(150) is not None, cluster.health()


@pytest.mark.parametrize("name", SHORT)
def test_what_was_acknowledged_outlives(cluster: Cluster, name: str) -> None:
    """Through the service's pool and plain libpq: each row is there once, and what was refused is not."""
    result = failed(cluster, next(fault for fault in FAULTS if fault.name == name))
    assert result.sound, result
    assert result.stored > 100
    # Twice what was measured, where other tests have the processors.
    assert max(result.pool_gap, result.plain_gap) < 60
    assert result.healed is not None
