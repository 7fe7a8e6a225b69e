"""Without any host named, the machine itself is provisioned: a bare Debian, a checkout and one command."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.infra.deployment import copy_checkout
from tests.infra.lab import Lab, LabHost
from tests.infra.stock import from_afar

pytestmark = pytest.mark.slow

PYINFRA = "cd /root/callytics && .venv/bin/pyinfra -y"


@pytest.fixture(scope="module")
def machine(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> LabHost:
    """A machine whose administrator has fetched the checkout and installed what deploys it."""
    host, folder = lab.host("default"), tmp_path_factory.mktemp("default")
    copy_checkout(folder)
    upload(folder, host)
    host.run("apt-get update -qq && apt-get install -qq -y python3-venv")
    from_afar(host)
    host.run("cd /root/callytics && python3 -m venv .venv && .venv/bin/pip install -q '.[deploy]'")
    host.run("cd /root/callytics && .venv/bin/callytics env init")
    return host


def upload(folder: Path, host: LabHost) -> None:
    archive = subprocess.run(["tar", "-C", str(folder), "-c", "."], check=True, capture_output=True).stdout
    host.run("mkdir /root/callytics && tar -C /root/callytics -x", input=archive, text=False)


@pytest.fixture(scope="module")
def provisioned(machine: LabHost) -> LabHost:
    """The same machine after the one command."""
    answer = machine.run(f"{PYINFRA} inventory.py deploy/site.py", check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return machine


def test_one_command_makes_a_database_of_this_machine(provisioned: LabHost) -> None:
    doctor = provisioned.run("cd / && callytics --env-file /etc/callytics/admin.env doctor", check=False)
    assert doctor.returncode == 0, doctor.stdout + doctor.stderr


def test_the_application_can_count_its_files(provisioned: LabHost) -> None:
    """SELECT COUNT(*) FROM audio_files, with the settings that the application has."""
    question = "set -a; . /etc/callytics/app.env; export PGPASSWORD=$POSTGRES_PASSWORD PGSSLMODE PGSSLROOTCERT"
    psql = 'psql -XAt -h localhost -U "$POSTGRES_USER" -d "$POSTGRES_DB" -c "select count(*) from audio_files"'
    assert provisioned.run(f"{question}; {psql}").stdout == "0\n"


def test_the_service_says_how_it_is(provisioned: LabHost) -> None:
    assert json.loads(provisioned.run("curl -fsS http://localhost:8000/health").stdout)["status"] == "healthy"


def test_the_key_that_signs_logins_is_env_s(provisioned: LabHost) -> None:
    """Where .env has one, none is made."""
    key = "grep ^JWT_SECRET_KEY="
    ours = provisioned.run(f"{key} /root/callytics/.env").stdout
    assert ours
    assert provisioned.run(f"{key} /etc/callytics/app.env").stdout == ours
    assert provisioned.run("ls /root/callytics/.deploy").stdout.split() == ["backup_key", "tls", "wheels"]


def test_the_second_run_changes_nothing(provisioned: LabHost) -> None:
    answer = provisioned.run(f"{PYINFRA} --json inventory.py deploy/site.py")
    results = json.loads(answer.stdout.splitlines()[-1])["results"]
    assert results["totals"]["hosts"] > 0
    assert results["totals"]["success"] == results["totals"]["error"] == 0


def test_nothing_listens_for_others(provisioned: LabHost) -> None:
    listening = provisioned.run("ss -Hltn 'sport = :5432'").stdout.splitlines()
    assert listening
    assert {line.split()[3] for line in listening} <= {"127.0.0.1:5432", "[::1]:5432"}


def test_a_mistyped_limit_is_no_success(provisioned: LabHost) -> None:
    """pyinfra itself succeeds when it reached no host."""
    answer = provisioned.run(f"{PYINFRA} --limit nobody inventory.py deploy/site.py", check=False)
    assert answer.returncode != 0
