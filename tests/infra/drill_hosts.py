"""Two application hosts, and a third that monitors them: what needs more hosts and minutes than the tests have.

The two are upgraded: one after the other, all or none, while clients of both keep asking. The new version is this
checkout with a migration, and with a service that ends where the file BROKEN is. scripts/drill runs this.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.infra.deployment import Deployment, Run
from tests.infra.lab import Lab, LabHost
from tests.infra.service import get, shown, wait_for, wait_for_health
from tests.infra.upgrading import SWITCH, UPGRADE, Asked, applied, client, pull

BROKEN = "/etc/callytics/broken"
TLS = "/etc/callytics/monitoring/tls"
THEN = "Switch to this version after the first host"
RETURN = "Go back where another host has failed"
MONITORING = ("deploy/monitoring.py", "--data=monitoring_pace=60")
BACKUPS = "ls -d /var/lib/pgbackrest/backup/callytics/2*"


@dataclass
class Site:
    """Two application hosts, the database beside the first."""

    deployment: Deployment
    second: LabHost
    asked: tuple[Asked, Asked] | None = None

    @property
    def first(self) -> LabHost:
        return self.deployment.app

    @property
    def releases(self) -> tuple[str, str]:
        """What the hosts use."""
        first, second = (
            host.run("readlink /opt/callytics/current").stdout.strip() for host in (self.first, self.second)
        )
        return first, second

    @property
    def healthy(self) -> bool:
        return all(get(host, "/health")[0] == 200 for host in (self.first, self.second))

    def upgrade(self) -> Run:
        """Run the upgrade while two clients ask."""
        with client(self.first) as first, client(self.second) as second:
            run = self.deployment.run(UPGRADE, check=False)
        print(run.output)  # noqa: T201
        self.asked = (first, second)
        return run

    def never_both_away(self) -> bool:
        """Tell whether no moment of the last run had both clients without an answer."""
        assert self.asked is not None
        first, second = (asked.away for asked in self.asked)
        return not any(begin < until and since < end for begin, end in first for since, until in second)

    def new(self, number: int = 0, *, returns: bool = True) -> None:
        """Make the checkout another version, with a migration of this number, if any."""
        checkout = self.deployment.checkout
        server, migrations = checkout / "callytics/api/server.py", checkout / "migrations"
        serves = "    check_schema(settings)\n    app ="
        text = server.read_text()
        assert serves in text
        ends = f'    if os.path.exists("{BROKEN}"):\n        raise SystemExit(7)\n'
        server.write_text(f"{text.replace(serves, ends + serves)}# Version {number}.\n")
        if number:
            last = max(path.stem for path in migrations.glob("*.sql") if ".rollback" not in path.name)
            (migrations / f"{number}.nothing.sql").write_text(f"-- Made by a test.\n-- depends: {last}\nselect 1;\n")
            if returns:
                (migrations / f"{number}.nothing.rollback.sql").write_text("select 1;\n")


@pytest.fixture(scope="module")
def site(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Site:
    first, second = lab.host("first"), lab.host("second")
    deployment = Deployment.prepare(tmp_path_factory.mktemp("site"), first, first)
    deployment.set(APP_HOSTS=f"{first.address},{second.address}")
    deployment.run()
    first.run("systemctl start callytics-backup-full.service")
    site = Site(deployment, second)
    assert site.healthy
    return site


@pytest.fixture(scope="module")
def watcher(site: Site, lab: Lab) -> LabHost:
    """A third host that Prometheus has moved to, with alerts that fire at once."""
    host = lab.host("watcher")
    site.deployment.set(MONITORING_HOST=host.address, ALERT_WEBHOOK="http://127.0.0.1:9999/a-token")
    site.deployment.run(*MONITORING)
    return host


def fetched(host: LabHost, url: str, *, certified: bool = False) -> str:
    """Fetch what a host gets from an address, with the certificate of monitoring or none; empty if nothing comes."""
    program = f"""
import ssl, urllib.request
context = ssl._create_unverified_context()
if {certified}:
    context = ssl.create_default_context(cafile="{TLS}/ca.crt")
    context.load_cert_chain("{TLS}/server.crt", "{TLS}/server.key")
print(urllib.request.urlopen("{url}", timeout=10, context=context).read().decode())
"""
    return host.run("python3 -", input=program, check=False).stdout


def prometheus(watcher: LabHost, path: str) -> Any:
    """Ask Prometheus on its host; None while it does not answer."""
    answer = fetched(watcher, f"http://127.0.0.1:9090/api/v1/{path}")
    return json.loads(answer)["data"] if answer else None


def targets(watcher: LabHost) -> dict[str, set[str]]:
    """Return the health of what is asked, by host."""
    found: dict[str, set[str]] = {}
    for one in (prometheus(watcher, "targets") or {"activeTargets": []})["activeTargets"]:
        found.setdefault(one["labels"]["instance"], set()).add(one["health"])
    return found


def firing(watcher: LabHost) -> set[tuple[str, str]]:
    """Return which alerts fire for which hosts."""
    alerts = [one for one in (prometheus(watcher, "alerts") or {"alerts": []})["alerts"] if one["state"] == "firing"]
    return {(one["labels"]["alertname"], one["labels"].get("instance", "")) for one in alerts}


def database_up(watcher: LabHost) -> dict[str, str]:
    """Return what Prometheus knows of the database, by host."""
    found = prometheus(watcher, "query?query=callytics_database_up") or {"result": []}
    return {one["metric"]["instance"]: one["value"][1] for one in found["result"]}


def listening(host: LabHost) -> list[str]:
    """Return where anything of the monitoring listens."""
    ports = " or ".join(f"sport = :{port}" for port in (9090, 9093, 9094, 9100))
    return sorted(line.split()[3] for line in host.run(f"ss -Hltn '{ports}'").stdout.splitlines())


def test_a_host_of_its_own_watches_the_others(site: Site, watcher: LabHost) -> None:
    hosts = {site.first.address, site.second.address, watcher.address}
    wait_for(lambda: targets(watcher) == {host: {"up"} for host in hosts}, "not all hosts are watched")
    wait_for(lambda: not firing(watcher), "an alert fires as it is deployed")
    wait_for(lambda: database_up(watcher) == {site.first.address: "1"}, "nobody knows how the database is")
    assert not site.deployment.run(*MONITORING).changed


def test_nobody_else_reaches_what_monitors(site: Site, watcher: LabHost) -> None:
    assert listening(watcher) == ["127.0.0.1:9090", "127.0.0.1:9093", "127.0.0.1:9100"]
    for host, other in ((site.first, site.second), (site.second, watcher)):
        assert listening(host) == [f"{host.address}:9100"]
        url = f"https://{host.address}:9100/metrics"
        assert fetched(other, url) == ""
        assert "node_filesystem_avail_bytes" in fetched(watcher, url, certified=True)
    # Where it was before nothing is left: not even the address that alerts were sent to.
    assert site.first.run("ls /etc/callytics/monitoring").stdout.split() == ["node-exporter.yml", "tls"]


@pytest.mark.parametrize(
    ("alert", "fault", "repair"),
    [
        ("DatabaseDown", "systemctl stop postgresql@15-main", "systemctl start postgresql@15-main"),
        ("NotWatched", "systemctl stop prometheus-node-exporter", "systemctl start prometheus-node-exporter"),
    ],
)
def test_alerts_fire_for_another_host(site: Site, watcher: LabHost, alert: str, fault: str, repair: str) -> None:
    site.first.run(fault)
    wait_for(lambda: (alert, site.first.address) in firing(watcher), f"{alert} does not fire")
    site.first.run(repair)
    wait_for(lambda: not firing(watcher), f"{alert} does not go away")


def test_monitoring_is_off_after_it_was_on_and_on_again(site: Site, watcher: LabHost) -> None:
    """The last of these tests: the host that monitors is the first again."""
    site.deployment.set(MONITORING="off")
    site.deployment.run(*MONITORING)
    for host in (site.first, site.second, watcher):
        assert listening(host) == []
        left = "systemctl list-units --all --plain --no-legend 'prometheus*' 'callytics-metrics*' | grep -v masked"
        assert host.run(left, check=False).stdout == ""
    assert not site.deployment.run(*MONITORING).changed
    site.deployment.set(MONITORING="on", MONITORING_HOST="", ALERT_WEBHOOK="")
    site.deployment.run(*MONITORING)
    hosts = {site.first.address, site.second.address}
    wait_for(lambda: targets(site.first) == {host: {"up"} for host in hosts}, "not all hosts are watched again")


@contextmanager
def broken(host: LabHost) -> Iterator[None]:
    """No new version starts on this host."""
    host.run(f"touch {BROKEN}")
    try:
        yield
    finally:
        host.run(f"rm {BROKEN}")


def test_a_second_host_that_fails_takes_all_back(site: Site) -> None:
    before, used = applied(site.deployment), site.releases
    site.new(9001)
    with broken(site.second):
        run = site.upgrade()
    pull(site.deployment.checkout)
    assert run.exit_code != 0
    assert f"{site.second.address} failed: /opt/callytics/{used[0]} is back here, too" in run.output
    assert site.releases == used
    assert applied(site.deployment) == before
    assert site.healthy
    assert site.never_both_away(), site.asked
    assert not site.deployment.run(UPGRADE).changed.keys() - {"Remove releases that are long past"}


def test_a_first_host_that_fails_leaves_the_second_alone(site: Site) -> None:
    before, used, since = applied(site.deployment), site.releases, shown(site.second, "MainPID")
    site.new(9002)
    with broken(site.first):
        run = site.upgrade()
    pull(site.deployment.checkout)
    assert run.exit_code != 0
    assert f"{used[1]} is kept: {site.first.address} failed" in run.output
    assert (site.releases, applied(site.deployment)) == (used, before)
    assert shown(site.second, "MainPID") == since
    assert site.asked is not None
    assert site.asked[1].away == []
    assert site.healthy


def test_a_host_that_is_away_is_refused(site: Site) -> None:
    run = site.deployment.run(f"--limit={site.first.address}", UPGRADE, check=False)
    assert run.exit_code != 0
    assert f"{site.second.address} cannot be upgraded with the others" in run.output


def test_without_a_migration_the_others_stay_as_they_are(site: Site) -> None:
    used = site.releases
    site.new()
    with broken(site.second):
        run = site.upgrade()
    assert run.exit_code != 0
    first, second = site.releases
    assert second == used[1]
    assert first != used[0]
    assert site.healthy
    assert site.never_both_away(), site.asked
    # The repair, and the same command.
    site.deployment.run(UPGRADE)
    assert site.releases == (first, first)
    assert not site.deployment.run(UPGRADE).changed


def test_without_a_way_back_it_is_said_what_each_host_has(site: Site) -> None:
    used, backups = site.releases, site.first.run(BACKUPS).stdout.split()
    pull(site.deployment.checkout)
    site.new(9003, returns=False)
    assert "UPGRADE_ONE_WAY=yes" in site.deployment.run(UPGRADE, check=False).output
    site.deployment.set(UPGRADE_ONE_WAY="yes")
    with broken(site.first):
        run = site.upgrade()
    assert run.exit_code != 0
    assert len(site.first.run(BACKUPS).stdout.split()) == len(backups) + 1
    assert f"{used[1]} is kept: {site.first.address} failed. If the database has 9003.nothing by now" in run.output
    assert "9003.nothing can't be rolled back" in run.output
    assert get(site.second, "/health")[0] == 200
    # The repair, and the same command: all is of one version again.
    run = site.deployment.run(UPGRADE)
    assert site.releases[0] == site.releases[1] != used[1]
    wait_for_health(site.first)
    assert site.healthy
    assert not site.deployment.run(UPGRADE).changed


def test_the_hosts_are_upgraded_one_after_the_other(site: Site) -> None:
    """The last test: it leaves the database of a version that does not exist."""
    site.new(9004)
    run = site.upgrade()
    assert run.exit_code == 0, run.output
    assert run.changed[SWITCH] == [site.first.address]
    assert run.changed[THEN] == [site.second.address]
    assert RETURN not in run.changed
    assert site.releases[0] == site.releases[1]
    assert site.asked is not None
    assert site.asked[0].away, "the first was never away"
    assert site.asked[0].away[-1][1] <= site.asked[1].away[0][0], "both were away"
    print(f"gaps {site.asked[0].gap:.1f} and {site.asked[1].gap:.1f} s")  # noqa: T201
    assert Path(site.deployment.checkout, "migrations/9004.nothing.sql").exists()
    assert not site.deployment.run(UPGRADE).changed
