"""What Prometheus's and Alertmanager's files say, as their own programs read them."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("pyinfra", reason="the deployment's tests need pyinfra: pip install '.[deploy]'")

from pyinfra.api import HiddenValue

from deploy.operations import alerting
from tests.support.needs import lacking
from tests.support.places import REPOSITORY

# What a person would type there: quotes of YAML and of JSON.
PASSWORD = '%$ {{ x }} # : "quoted" `비밀`'


def data(**changes: object) -> SimpleNamespace:
    usual = {
        "monitoring_pace": 1,
        "monitoring_host": "db1",
        "monitoring_hosts": ["db1", "fd00::21"],
        "monitoring_services": {"db1": "127.0.0.1:8000"},
        "alert_webhook": HiddenValue("https://example.com/hook?a=b#c"),
        "alert_webhook_token": HiddenValue(PASSWORD),
        "alert_email": ["a@example.com", "b@example.com"],
        "alert_smtp": "mail.example.com:587",
        "alert_smtp_from": "c@example.com",
        "alert_smtp_user": "c",
        "alert_smtp_password": HiddenValue(PASSWORD),
        "alert_smtp_tls": True,
    }
    return SimpleNamespace(**usual | changes)


def check(tool: str, *arguments: str | Path) -> str:
    program = shutil.which(tool)
    if program is None:
        lacking(f"no {tool}: install Debian's packages prometheus and prometheus-alertmanager")
    answer = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer.stdout


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of the files, with certificates that nobody looks into."""
    (tmp_path / "tls").mkdir()
    for name in ("ca.crt", "server.crt", "server.key"):
        (tmp_path / "tls" / name).touch()
    shutil.copy(REPOSITORY / "deploy/templates/alerts.yml", tmp_path)
    return tmp_path


@pytest.mark.parametrize("pace", [1, 60])
def test_prometheus_reads_its_file_and_the_rules(folder: Path, pace: int) -> None:
    file = folder / "prometheus.yml"
    file.write_text(alerting.prometheus(data(monitoring_pace=pace), str(folder)))
    assert "15 rules found" in check("promtool", "check", "config", file)


def test_every_host_is_asked_and_others_than_its_own_by_tls(folder: Path) -> None:
    jobs = {job["job_name"]: job for job in json.loads(alerting.prometheus(data(), str(folder)))["scrape_configs"]}
    assert jobs["node"]["static_configs"] == [{"targets": ["127.0.0.1:9100"], "labels": {"instance": "db1"}}]
    assert jobs["hosts"]["static_configs"] == [{"targets": ["[fd00::21]:9100"], "labels": {"instance": "fd00::21"}}]
    assert jobs["hosts"]["scheme"] == "https"
    assert jobs["callytics"]["static_configs"][0]["targets"] == ["127.0.0.1:8000"]


def test_alertmanager_reads_its_file_and_gets_every_character_of_a_password(folder: Path) -> None:
    file = folder / "alertmanager.yml"
    file.write_text(alerting.alertmanager(data())().unmask())
    assert "1 receivers" in check("amtool", "check-config", file)
    (receiver,) = json.loads(file.read_text())["receivers"]
    assert receiver["webhook_configs"][0]["http_config"]["authorization"]["credentials"] == PASSWORD
    assert [one["auth_password"] for one in receiver["email_configs"]] == [PASSWORD, PASSWORD]


def test_alertmanager_may_have_nobody_to_tell(folder: Path) -> None:
    file = folder / "alertmanager.yml"
    nobody = {"alert_webhook": None, "alert_email": [], "alert_smtp_user": "", "alert_smtp_password": None}
    file.write_text(alerting.alertmanager(data(**nobody))().unmask())
    assert "1 receivers" in check("amtool", "check-config", file)
