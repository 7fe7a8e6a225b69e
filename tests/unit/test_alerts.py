"""The alerts as promtool sees them: each condition fires, says what is wrong and goes away; the manual has them all."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from deploy.operations.alerting import paced
from tests.support.manual import MANUAL, text_of
from tests.support.needs import lacking
from tests.support.places import REPOSITORY

FILE = REPOSITORY / "deploy/templates/alerts.yml"
(GROUP,) = yaml.safe_load(FILE.read_text())["groups"]
RULES = GROUP["rules"]
SEVERITIES = {rule["alert"]: rule["labels"]["severity"] for rule in RULES}
MOST = 15
# Every condition lasts for longer than the longest that has to, and everything is well for as long afterwards.
MINUTES, FIRES_AT, GONE_AT = 100, "95m", "200m"
# A time so long ago for promtool, whose clock begins with 1970.
LONG_AGO, NEVER_OLD = "-10000000", "1000000"


@dataclass(frozen=True)
class Case:
    """A condition: series as they are when it holds and when not, and what the alert then says."""

    bad: dict[str, str]
    good: dict[str, str]
    summary: str
    labels: dict[str, str] = field(default_factory=dict)


def one(metric: str, bad: object, good: object, summary: str, **labels: str) -> Case:
    """Return a condition of a single metric."""
    labels = {"instance": "db", **labels}
    series = metric + "{" + ", ".join(f'{name}="{value}"' for name, value in labels.items()) + "}"
    return Case({series: str(bad)}, {series: str(good)}, summary, labels)


DB = 'instance="db"'
DOWN = "PostgreSQL on db does not answer, or no standby confirms what it stores"
NONE_LEADS = "Of the database's hosts none leads, or several do"
LEADS, LEADS_2 = 'callytics_standby{instance="db"}', 'callytics_standby{instance="db2"}'
TIMELINE = 'callytics_timeline{instance="db"}'
FREE, SIZE = ('node_filesystem_avail_bytes{instance="db", mountpoint="/srv", fstype="ext4"}',
              'node_filesystem_size_bytes{instance="db", mountpoint="/srv", fstype="ext4"}')  # fmt: skip
OK_, FAILED = ('callytics_http_requests_total{instance="db", status="200"}',
               'callytics_http_requests_total{instance="db", status="500"}')  # fmt: skip
DISK = "The disk {} of db is nearly full"
SCHEMA = "The database on db lacks next month's partitions, or has an invalid index"
BACKUP = "There is no recent backup of db that was verified"
DRILL = "The newest backup of db was not restored for trial, or not as it was"
STANDBY, SLOT = "Standby s1 of db is behind or not there", "Slot s1 of db is behind or not there"
ETCD = "etcd on db has no leader, takes nothing, or is not reached: nobody can take over"
IDS = "Transaction ids on db: 50% are used up"
SESSION = "A transaction on db stays open, or locks others out"
SERVICE = "The service on db does not run, or answers with errors"
ROLE = 'callytics_role_connections{instance="db", role="r"}'
ROWS = 'callytics_table_rows{instance="db", relation="t"}'
UP = {'callytics_database_up{instance="db"}': "1"}
CASES = {
    "DatabaseDown": {
        "no answer": one("callytics_database_up", 0, 1, DOWN),
        "nobody confirms": one("callytics_standbys_confirming", 0, 1, DOWN),
        "none leads": Case({LEADS: "1", LEADS_2: "1"}, {LEADS: "1", LEADS_2: "0"}, NONE_LEADS),
        "two lead": Case({LEADS: "0", LEADS_2: "0"}, {LEADS: "1", LEADS_2: "0"}, NONE_LEADS),
    },
    "NotWatched": {
        "a target is down": one("up", 0, 1, "db: nobody knows how node is", job="node"),
        "a file is old": one(
            "node_textfile_mtime_seconds", LONG_AGO, NEVER_OLD, "db: nobody knows how node is",
            job="node", file="/var/lib/prometheus/node-exporter/callytics.prom",
        ),
        "a file can't be read": one("node_textfile_scrape_error", 1, 0, "db: nobody knows how node is", job="node"),
        "a part is untold": one("callytics_untold", 1, 0, "db: nobody knows how wal is", part="wal"),
        "nothing is there": Case({"absent_before": "1"}, UP, "nobody knows how the database is"),
        "a route takes nothing": one(
            "alertmanager_notifications_failed_total", "0+1", "100+0", "db: alerts could not be sent by webhook",
            job="alertmanager", integration="webhook",
        ),
    },
    "ServiceDown": {
        "it does not run": one(
            "node_systemd_unit_state", 0, 1, SERVICE, name="callytics.service", state="active"
        ),
        "errors": Case({OK_: "0+80", FAILED: "0+20"}, {OK_: "8000+80", FAILED: "2000+0"}, SERVICE, {"instance": "db"}),
    },
    "UnitFailed": {
        "a timer's": one(
            "node_systemd_unit_state", 1, 0, "callytics-partitions.service on db has failed",
            name="callytics-partitions.service", state="failed",
        ),
        "etcd does not run": one(
            "node_systemd_unit_state", 0, 1, "callytics-etcd.service on db has failed",
            name="callytics-etcd.service", state="active",
        ),
        "etcd has no leader, or no room": one("callytics_etcd_healthy", 0, 1, ETCD),
        "Patroni goes on without etcd": one("callytics_failsafe", 1, 0, ETCD),
    },
    "DiskFull": {
        "room": Case({FREE: "9", SIZE: "100"}, {FREE: "11", SIZE: "100"}, DISK.format("/srv"),
                     {"instance": "db", "mountpoint": "/srv", "fstype": "ext4"}),
        "files": Case(
            {FREE.replace("avail_bytes", "files_free"): "4", SIZE.replace("size_bytes", "files"): "100"},
            {FREE.replace("avail_bytes", "files_free"): "6", SIZE.replace("size_bytes", "files"): "100"},
            DISK.format("/srv"), {"instance": "db", "mountpoint": "/srv", "fstype": "ext4"},
        ),
        "the WAL's": Case(
            {f"callytics_backup_wal_free_bytes{{{DB}}}": "20", f"callytics_backup_wal_bytes{{{DB}}}": "30"},
            {f"callytics_backup_wal_free_bytes{{{DB}}}": "40", f"callytics_backup_wal_bytes{{{DB}}}": "30"},
            DISK.format("of the WAL"), {"instance": "db"},
        ),
    },
    "ArchivingFails": {
        "it failed": one("callytics_archive_failing", 1, 0, "WAL of db is not archived"),
        "it waits": one("callytics_archive_waiting_seconds", 181, 179, "WAL of db is not archived"),
    },
    "BackupOld": {
        "old": one("callytics_backup_newest_timestamp_seconds", LONG_AGO, NEVER_OLD, BACKUP),
        "none": one("callytics_backup_backups", 0, 1, BACKUP),
        "not verified": one("callytics_backup_verified_timestamp_seconds", LONG_AGO, NEVER_OLD, BACKUP),
    },
    "DrillFailed": {
        "failed": one("callytics_backup_drill_passed", 0, 1, DRILL),
        "not tried": one("callytics_backup_drill_timestamp_seconds", LONG_AGO, NEVER_OLD, DRILL),
    },
    "ReplicationBehind": {
        "a standby is behind": one(
            "callytics_standby_behind_bytes", 2 * 1024**3, 0, STANDBY, standby_name="s1"
        ),
        "it does not stream": one(
            "callytics_standby_streaming", 0, 1, STANDBY, standby_name="s1"
        ),
        "a slot is not read": one("callytics_slot_active", 0, 1, SLOT, slot="s1"),
        "it does not follow": one("callytics_standby_follows", 0, 1, "db is behind or not there"),
        "another timeline": Case(
            {TIMELINE: "3", TIMELINE.replace("db", "db2"): "4"}, {TIMELINE: "4", TIMELINE.replace("db", "db2"): "4"},
            "one of the database's hosts is behind or not there",
        ),
        "a slot lost WAL": one("callytics_slot_lost", 1, 0, SLOT, slot="s1"),
        "a slot keeps WAL": one(
            "callytics_slot_held_bytes", 2 * 1024**3, 0, SLOT, slot="s1"
        ),
    },
    "SessionInTheWay": {
        "a transaction": one("callytics_longest_transaction_seconds", 3601, 3599, SESSION),
        "a lock": one("callytics_longest_lock_wait_seconds", 61, 59, SESSION),
    },
    "ConnectionsUsed": {
        "the server's": Case(
            {f"callytics_connections{{{DB}}}": "95", f"callytics_connections_limit{{{DB}}}": "100"},
            {f"callytics_connections{{{DB}}}": "89", f"callytics_connections_limit{{{DB}}}": "100"},
            "95% of the connections on db are taken", {"instance": "db"},
        ),
        "a role's": Case(
            {ROLE: "10", ROLE.replace("{", "_limit{"): "10"}, {ROLE: "9", ROLE.replace("{", "_limit{"): "10"},
            "100% of the connections of r on db are taken", {"instance": "db", "role": "r"},
        ),
    },
    "DeadRows": {
        "a third": Case(
            {ROWS.replace("_rows", "_dead_rows"): "60000", ROWS: "90000"},
            {ROWS.replace("_rows", "_dead_rows"): "60000", ROWS: "900000"},
            "t on db has 60k dead rows", {"instance": "db", "relation": "t"},
        ),
    },
    "RunningOut": {
        "a sequence": one("callytics_sequence_used_ratio", 0.9, 0.7, "s on db: 90% are used up", sequence="s"),
        "transaction ids": one("callytics_transaction_ids_used_ratio", 0.5, 0.1, IDS),
        "multixact ids": one("callytics_multixact_ids_used_ratio", 0.5, 0.1, IDS),
        "etcd's room": one(
            "callytics_etcd_used_ratio", 0.9, 0.7, "etcd's quota on db: 90% are used up", resource="etcd's quota"
        ),
    },
    "SchemaIncomplete": {
        "no months": one("callytics_partitions_ahead_months", 0, 1, SCHEMA),
        "an index": one("callytics_invalid_indexes", 1, 0, SCHEMA),
    },
    "CertificateExpires": {
        "soon": one(
            "callytics_certificate_expires_timestamp_seconds", 5700 + 864_000, 1e8,
            "The certificate of Patroni on db ends in 10 days", certificate="Patroni",
        ),
    },
}  # fmt: skip
PAIRS = [(alert, condition) for alert, conditions in CASES.items() for condition in conditions]


def steps(value: str) -> str:
    return value if "+" in value else f"{value}+0"


def document(alert: str, case: Case, rules: Path) -> str:
    """Return promtool's test of the rules in a file: all is bad for a while, then good."""
    after = f"x{MINUTES + 20}"
    series = [
        {"series": name, "values": f"{steps(value)}x{MINUTES} {steps(case.good.get(name, '0'))}{after}"}
        for name, value in case.bad.items()
    ]
    new = {name: value for name, value in case.good.items() if name not in case.bad}
    series += [{"series": name, "values": f"_x{MINUTES} {steps(value)}{after}"} for name, value in new.items()]
    others = {name: value for name, value in UP.items() if name not in {**case.bad, **case.good}}
    series += [{"series": name, "values": f"{value}+0x{2 * MINUTES + 20}"} for name, value in others.items()]
    said = {
        "exp_labels": {"severity": SEVERITIES[alert], **case.labels},
        "exp_annotations": {"summary": case.summary},
    }
    times = [{"eval_time": FIRES_AT, "alertname": alert, "exp_alerts": [said]},
             {"eval_time": GONE_AT, "alertname": alert, "exp_alerts": []}]  # fmt: skip
    test = {"interval": "1m", "input_series": series, "alert_rule_test": times}
    return json.dumps({"rule_files": [str(rules)], "evaluation_interval": "1m", "tests": [test]})


@pytest.fixture(scope="module")
def promtool() -> str:
    found = shutil.which("promtool")
    return found or lacking("no promtool: install Debian's package prometheus")


@pytest.mark.parametrize(("alert", "condition"), PAIRS, ids=[f"{alert}: {condition}" for alert, condition in PAIRS])
def test_it_fires_and_goes_away(promtool: str, tmp_path: Path, alert: str, condition: str) -> None:
    # Alone: promtool would evaluate all the others for every minute, too, which takes ten times as long.
    rules, test = tmp_path / "rules.yml", tmp_path / "test.yml"
    rules.write_text(json.dumps({"groups": [{**GROUP, "rules": [rule for rule in RULES if rule["alert"] == alert]}]}))
    test.write_text(document(alert, CASES[alert][condition], rules))
    answer = subprocess.run([promtool, "test", "rules", test], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_promtool_reads_all_rules_together(promtool: str) -> None:
    answer = subprocess.run([promtool, "check", "rules", FILE], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert f"{len(RULES)} rules found" in answer.stdout


def test_every_alert_has_its_conditions_tested() -> None:
    """As many cases as the rule has parts."""
    parts = {rule["alert"]: len(re.findall(r"^or |\bor\b", rule["expr"])) + 1 for rule in RULES}
    tested = {alert: len(conditions) for alert, conditions in CASES.items()}
    # Two parts of DiskFull are about the WAL's disk.
    assert {**tested, "DiskFull": tested["DiskFull"] + 1} == parts
    assert len(parts) <= MOST


@pytest.mark.parametrize("page", [MANUAL / "monitoring.md", MANUAL / "ko/monitoring.md"], ids=["English", "Korean"])
def test_every_alert_has_its_paragraph_in_the_manual(page: Path) -> None:
    sections = re.findall(r"^### (\w+)\n\n(.+?)(?=\n#|\Z)", text_of(page), re.MULTILINE | re.DOTALL)
    assert [name for name, _text in sections] == [rule["alert"] for rule in RULES]
    assert all(len(text) > 100 for _name, text in sections)


def test_times_are_divided_for_tests_and_nothing_else() -> None:
    text = "expr: a[15m] / b[5m] > 5m\n    for: 1h\n    for: 30s\n"
    assert paced(text, 1) == text
    assert paced(text, 60) == "expr: a[15s] / b[6s] > 5m\n    for: 60s\n    for: 1s\n"
