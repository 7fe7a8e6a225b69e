"""Each alert fires by its fault on a real host, and goes away after the repair.

The rules are the ones that are deployed, with their times divided by a number: nothing else differs. All faults that do
not hide each other happen at once.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from urllib.parse import quote

import pytest
import yaml

from tests.infra.deployment import Deployment
from tests.infra.lab import LabHost, until
from tests.support.places import REPOSITORY

PACE = 60
SECRET = "a-token-of-the-webhook"
RULES = yaml.safe_load((REPOSITORY / "deploy/templates/alerts.yml").read_text())["groups"][0]["rules"]
DASHBOARD = json.loads((REPOSITORY / "deploy/dashboard.json").read_text())
PSQL = "cd / && runuser -u postgres -- psql -XqAt -d callytics"
STATUS = "callytics --env-file /etc/callytics/admin.env status"
CERTIFICATE = "/etc/postgresql/15/main/server.crt"
# Whoever listens where alerts are sent, and writes them down.
LISTENER = """
import http.server
class Listener(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass
    def do_POST(self):
        with open("/run/alerts", "ab") as file:
            file.write(self.rfile.read(int(self.headers["content-length"])) + b"\\n")
        self.send_response(200)
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", 9999), Listener).serve_forever()
"""

# A mail server of Python 3.11's own, which Debian 12 has.
MAILBOX = """
import asyncore, smtpd
class Mailbox(smtpd.SMTPServer):
    def process_message(self, peer, sender, recipients, data, **_):
        with open("/run/mails", "ab") as file:
            file.write(f"{sender} to {' '.join(recipients)}\\n".encode() + data + b"\\n")
Mailbox(("127.0.0.1", 2525), None)
asyncore.loop()
"""
MAIL = {
    "ALERT_EMAIL": "first@example.com,second@example.com",
    "ALERT_SMTP": "127.0.0.1:2525",
    "ALERT_SMTP_FROM": "callytics@example.com",
    "ALERT_SMTP_TLS": "off",
}


@dataclass(frozen=True)
class Fault:
    """What goes wrong on the host, and what somebody does about it."""

    happens: str
    repair: str


def session(unit: str, sql: str) -> str:
    """Return the command of a session that stays."""
    return f'systemd-run --quiet --collect --unit={unit} --uid=postgres psql -Xd callytics -c "{sql}"'


# What happens at once. Before it, a trial restore has failed.
FAULTS = {
    "ArchivingFails": Fault(
        f"mv /var/lib/pgbackrest /var/lib/pgbackrest.away; {PSQL} -c 'select pg_switch_wal()'",
        f"mv /var/lib/pgbackrest.away /var/lib/pgbackrest; {PSQL} -c 'select pg_switch_wal()'",
    ),
    # The repository is gone: that is both.
    "BackupOld": Fault("systemctl start callytics-backup-watch || true", "true"),
    "CertificateExpires": Fault(
        f"cp -p {CERTIFICATE} /root/good.crt; openssl req -x509 -new -days 5 -subj /CN=short -out {CERTIFICATE} "
        "-key /etc/postgresql/15/main/server.key",
        f"cp -p /root/good.crt {CERTIFICATE}",
    ),
    # Whoever has just asked the service has left it at least one.
    "ConnectionsUsed": Fault(
        f"curl -sS -o /dev/null http://127.0.0.1:8000/health; {PSQL} -c 'alter role callytics_user connection limit 1'",
        f"{PSQL} -c 'alter role callytics_user connection limit 23'",
    ),
    "DeadRows": Fault(
        f"{PSQL} -c 'create table dead with (autovacuum_enabled = off) as select generate_series(1, 100000) as id' "
        "-c 'delete from dead where id > 20000'",
        f"{PSQL} -c 'drop table dead'",
    ),
    "DiskFull": Fault(
        "mount -t tmpfs -o size=10M tmpfs /srv && head -c 9900000 /dev/zero >/srv/file", "rm /srv/file; umount /srv"
    ),
    "ReplicationBehind": Fault(
        f"{PSQL} -c \"select pg_create_physical_replication_slot('nobody', true)\"",
        f"{PSQL} -c \"select pg_drop_replication_slot('nobody')\"",
    ),
    "RunningOut": Fault(
        f"{PSQL} -c 'create sequence short maxvalue 100' -c \"select setval('short', 90)\" "
        "-c 'grant select on sequence short to callytics_monitor'",
        f"{PSQL} -c 'drop sequence short'",
    ),
    "SchemaIncomplete": Fault(
        f"{PSQL} -c 'create table twice as select 1 as id from generate_series(1, 2)' "
        "-c 'create unique index concurrently broken on twice (id)'; true",
        f"{PSQL} -c 'drop table twice'",
    ),
    "SessionInTheWay": Fault(
        f"{session('holder', 'select pg_advisory_lock(7), pg_sleep(600)')}; sleep 1; "
        f"{session('waiter', 'select pg_advisory_lock(7)')}",
        # Ending the clients would not do: the server goes on with what they have asked.
        f"{PSQL} -c \"select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and objid = 7\"",
    ),
    "UnitFailed": Fault(
        "systemd-run --quiet --unit=callytics-probe false; sleep 1", "systemctl reset-failed callytics-probe"
    ),
}
# These hide others, and have their turn alone.
ALONE = {
    ("DatabaseDown", "ServiceDown"): Fault(
        "systemctl stop callytics postgresql@15-main", "systemctl start postgresql@15-main callytics"
    ),
    ("NotWatched",): Fault("systemctl stop prometheus-node-exporter", "systemctl start prometheus-node-exporter"),
}
# Asked for in test_cluster.py, and their alerts in drill_cluster.py.
OF_THREE_HOSTS = {
    "callytics_etcd_healthy",
    "callytics_etcd_used_ratio",
    "callytics_failsafe",
    "callytics_standby_follows",
    "callytics_standbys_confirming",
}
ALERTS = sorted({*FAULTS, "DrillFailed", *(alert for alerts in ALONE for alert in alerts)})


@dataclass
class Story:
    """What was seen: alerts before all of it, those that fired, those that went, and what was live meanwhile."""

    host: LabHost
    before: set[str] = field(default_factory=set)
    fired: set[str] = field(default_factory=set)
    gone: set[str] = field(default_factory=set)
    live: set[str] = field(default_factory=set)
    empty: list[str] = field(default_factory=list)
    status: str = ""
    unsent: str = ""
    messages: dict[str, set[str]] = field(default_factory=dict)
    mails: str = ""


def prometheus(host: LabHost, path: str) -> Any:
    """Ask Prometheus on its host."""
    answer = json.loads(host.run(f"curl -sS --max-time 10 'http://127.0.0.1:9090/api/v1/{path}'").stdout)
    assert answer["status"] == "success", answer
    return answer["data"]


def answers(host: LabHost, query: str) -> bool:
    return bool(prometheus(host, f"query?query={quote(query)}")["result"])


def firing(host: LabHost) -> set[str]:
    alerts = prometheus(host, "alerts")["alerts"]
    return {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}


def tell(host: LabHost) -> None:
    """Do at once what two timers do each minute."""
    host.run("systemctl start callytics-backup-watch; systemctl start callytics-metrics", check=False)


def spoil_the_record(deployment: Deployment, by: int) -> None:
    """Let the record of the newest backup say that there were other rows: no restore can pass."""
    deployment.superuser(
        f"update backups.ledger set tables = jsonb_set(tables, '{{public.topics,0}}', to_jsonb((tables #>> "
        f"'{{public.topics,0}}')::bigint + {by})) where tables is not null"
    )


def all_at_once(deployment: Deployment, story: Story) -> None:
    host = story.host
    host.run("systemctl start callytics-backup-full; callytics backup now --quiet && callytics backup check --verify")
    spoil_the_record(deployment, 1)
    host.run("callytics backup drill --quiet", check=False)
    for fault in FAULTS.values():
        host.run(fault.happens)
    wanted = {*FAULTS, "DrillFailed"}
    until(partial(all_of_them_fire, wanted, story), 120)
    story.empty = [query for query in queries() if not until(partial(answers, host, query), 15)]
    story.live = set(prometheus(host, "label/__name__/values"))
    story.status = host.run(STATUS, check=False).stdout
    for fault in FAULTS.values():
        host.run(fault.repair, check=False)
    spoil_the_record(deployment, -1)
    host.run("callytics backup drill --quiet", check=False)
    until(partial(none_of_them_fires, wanted, story), 60)
    story.gone |= story.fired - firing(host)


def all_of_them_fire(alerts: set[str], story: Story) -> bool:
    tell(story.host)
    story.fired |= firing(story.host) & alerts
    return alerts <= story.fired


def none_of_them_fires(alerts: set[str], story: Story) -> bool:
    tell(story.host)
    return not firing(story.host) & alerts


def one_after_another(story: Story) -> None:
    for alerts, fault in ALONE.items():
        story.host.run(fault.happens)
        until(partial(all_of_them_fire, {*alerts}, story), 60)
        story.host.run(fault.repair)
        until(partial(none_of_them_fires, {*alerts}, story), 60)
        story.gone |= {*alerts} - firing(story.host)


@pytest.fixture(scope="module")
def story(alone: Deployment) -> Iterator[Story]:
    """Everything happens, and is put right."""
    alone.set(ALERT_WEBHOOK=f"http://127.0.0.1:9999/{SECRET}", **MAIL)
    alone.run("deploy/monitoring.py", f"--data=monitoring_pace={PACE}")
    host = alone.database
    host.run("cat >/run/listener.py", input=LISTENER)
    host.run("cat >/run/mailbox.py", input=MAILBOX)
    # A receiver of WAL is what the rules on standbys are about.
    host.run("cd /etc/postgresql/15/main && cp -p pg_hba.conf /root/pg_hba.conf && "
             "echo 'local replication postgres peer' >>pg_hba.conf && systemctl reload postgresql@15-main && "
             "install -d -o postgres /var/tmp/wal && systemd-run --quiet --collect --unit=receiver --uid=postgres "
             "/usr/lib/postgresql/15/bin/pg_receivewal -D /var/tmp/wal -h /var/run/postgresql")  # fmt: skip
    story = Story(host)
    tell(host)
    until(lambda: not firing(host), 30)
    story.before = firing(host)
    # Nobody listens yet: what Alertmanager then says must not hold the address.
    host.run("amtool --alertmanager.url=http://127.0.0.1:9093 alert add alertname=Unheard instance=here")
    until(lambda: unsent(host) == {"email", "webhook"}, 60)
    story.unsent = host.run(STATUS, check=False).stdout
    host.run("systemd-run --quiet --collect --unit=listener python3 /run/listener.py; "
             "systemd-run --quiet --collect --unit=mailbox python3 /run/mailbox.py")  # fmt: skip
    until(lambda: not unsent(host), 60)
    all_at_once(alone, story)
    one_after_another(story)
    # Without a repository nobody knew how old the newest backup is.
    story.empty = [query for query in story.empty if not until(partial(answers, host, query), 15)]
    until(lambda: set(sent(host)) >= {"firing", "resolved"} and sent(host)["resolved"] >= story.gone, 30)
    story.messages = sent(host)
    story.mails = host.run("cat /run/mails", check=False).stdout
    yield story
    host.run("systemctl stop listener mailbox receiver; rm -rf /var/tmp/wal; "
             "cp -p /root/pg_hba.conf /etc/postgresql/15/main/ && systemctl reload postgresql@15-main")  # fmt: skip
    alone.set(ALERT_WEBHOOK="", **dict.fromkeys(MAIL, ""))
    alone.run("deploy/monitoring.py")


def unsent(host: LabHost) -> set[str]:
    """Return by what alerts could not be sent, as an alert tells."""
    labels = [alert["labels"] for alert in prometheus(host, "alerts")["alerts"] if alert["state"] == "firing"]
    return {one["integration"] for one in labels if "integration" in one}


def sent(host: LabHost) -> dict[str, set[str]]:
    """Return the alerts that arrived at the webhook, by what was said of them."""
    found: dict[str, set[str]] = {}
    for line in filter(None, host.run("cat /run/alerts", check=False).stdout.splitlines()):
        for alert in json.loads(line)["alerts"]:
            found.setdefault(alert["status"], set()).add(alert["labels"]["alertname"])
    return found


def queries() -> list[str]:
    """Return every query of the dashboard, with the variables that its user would choose."""
    panels = [panel for panel in DASHBOARD["panels"] if "targets" in panel]
    return [
        target["expr"].replace("$__rate_interval", "5m").replace("$instance", ".*")
        for panel in panels
        for target in panel["targets"]
    ]


def test_every_alert_has_its_tests(request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]) -> None:
    """The list of alerts and of the tests that make them fire, on a host and with promtool."""
    assert sorted(rule["alert"] for rule in RULES) == ALERTS
    assert len(ALERTS) <= 15
    ids = [item.nodeid for item in request.session.items]
    here = {alert: [one for one in ids if one.endswith(f"[{alert}]")] for alert in ALERTS}
    with capsys.disabled():
        print(*(f"{alert}: {' '.join(tests)}" for alert, tests in here.items()), sep="\n")  # noqa: T201
    assert all(len([one for one in tests if "test_monitoring" in one]) >= 2 for tests in here.values())


def test_nothing_fires_on_a_host_as_it_is_deployed(story: Story) -> None:
    assert story.before == set()


@pytest.mark.parametrize("alert", ALERTS)
def test_it_fires_by_its_fault(story: Story, alert: str) -> None:
    assert alert in story.fired


@pytest.mark.parametrize("alert", ALERTS)
def test_it_goes_away_after_the_repair(story: Story, alert: str) -> None:
    assert alert in story.gone


def test_every_metric_that_a_rule_names_exists_live(story: Story) -> None:
    words = {name for rule in RULES for name in re.findall(r"\b(?:alertmanager|callytics|node)_\w+", rule["expr"])}
    assert len(words) > 30
    assert words - story.live == OF_THREE_HOSTS


def test_every_query_of_the_dashboard_has_an_answer(story: Story) -> None:
    assert story.empty == []


def test_status_tells_the_alerts(story: Story) -> None:
    assert "ReplicationBehind: Slot nobody of" in story.status


def test_people_are_told_and_told_when_it_is_over(story: Story) -> None:
    assert story.messages["firing"] >= set(FAULTS)
    assert story.messages["resolved"] >= set(FAULTS)


def test_a_route_that_takes_nothing_is_told_where_alerts_are_shown(story: Story) -> None:
    """Whoever was to be told is the last to know."""
    for route in ("email", "webhook"):
        assert f": alerts could not be sent by {route}" in story.unsent


def test_people_are_told_by_mail(story: Story) -> None:
    for address in MAIL["ALERT_EMAIL"].split(","):
        assert f"callytics@example.com to {address}\n" in story.mails
    for status in ("FIRING", "RESOLVED"):
        subjects = " ".join(re.findall(rf"^Subject: \[{status}.*", story.mails, re.MULTILINE))
        assert {alert for alert in FAULTS if f" {alert} " in subjects} == set(FAULTS)


def test_the_webhook_is_in_no_argument_and_no_log(alone: Deployment, story: Story) -> None:
    file = "/etc/callytics/monitoring/alertmanager.yml"
    assert story.host.run(f"stat -c '%U %a' {file}; grep -c {SECRET} {file}").stdout == "prometheus 600\n1\n"
    said = story.host.run("journalctl --no-pager -o cat; ps axww").stdout
    assert "http://127.0.0.1:9999/..." in said
    assert SECRET not in said


def test_nothing_of_it_is_reached_from_elsewhere(story: Story) -> None:
    listening = story.host.run("ss -Hltn 'sport = :9090 or sport = :9093 or sport = :9094 or sport = :9100'").stdout
    assert [line.split()[3] for line in listening.splitlines()] == [
        f"127.0.0.1:{port}" for port in re.findall(r"127\.0\.0\.1:(\d+)", listening)
    ]
    assert len(listening.splitlines()) == 3


def test_monitoring_that_is_off_leaves_nothing_running(alone: Deployment, story: Story) -> None:
    """The last test. Masked, as an upgrade of Debian's packages would start them; and all of it comes back."""
    services = "prometheus prometheus-alertmanager prometheus-node-exporter"
    alone.set(MONITORING="off")
    try:
        assert alone.run("deploy/monitoring.py").changed
        host = story.host
        assert set(host.run(f"systemctl is-enabled {services}", check=False).stdout.split()) == {"masked"}
        assert host.run("ps axww -o comm,args | grep -E '[p]rometheus|[a]lertmanager'", check=False).stdout == ""
        left = "systemctl list-units --all --plain --no-legend 'prometheus*' 'callytics-metrics*' | grep -v masked"
        assert host.run(left, check=False).stdout == ""
        assert not alone.run("deploy/monitoring.py").changed
    finally:
        alone.set(MONITORING="")
        alone.run("deploy/monitoring.py")
    assert set(host.run(f"systemctl is-active {services} callytics-metrics.timer").stdout.split()) == {"active"}
