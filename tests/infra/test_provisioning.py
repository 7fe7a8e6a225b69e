"""One command makes a database of a bare machine; the second time it has nothing to do; a reboot changes nothing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from deploy import policy
from deploy.operations.cluster.psql import read_query
from deploy.operations.failover import adopting
from tests.infra.connections import ask, info
from tests.infra.deployment import ROLES, SITE, Deployment, Run
from tests.infra.lab import Lab, LabHost, until
from tests.infra.service import wait_for_health
from tests.support.places import REPOSITORY

BOTH = ["alone", "apart"]
# The chapters that can be run; the others are values, and the function that computes sizes.
CHAPTERS = sorted(
    path.name
    for path in (REPOSITORY / "deploy").glob("*.py")
    if path.name not in {"__init__.py", "site.py", "tuning.py", "environment.py", "policy.py", "upgrade.py"}
)


@pytest.fixture(params=BOTH)
def deployment(request: pytest.FixtureRequest) -> Deployment:
    """Each way to install."""
    deployment: Deployment = request.getfixturevalue(request.param)
    return deployment


def assert_nothing_changed(run: Run) -> None:
    """The proof is the run's own account: it saw a host, nothing failed and nothing was done."""
    assert run.exit_code == 0, run.output
    assert run.seen, run.output
    assert not run.failed
    assert not run.changed


def assert_works(deployment: Deployment) -> None:
    """The application's role reads the migrated schema over TLS."""
    options = {"sslmode": "verify-full", "sslrootcert": "/etc/callytics/ca.crt"}
    address = "localhost" if deployment.app == deployment.database else deployment.database.address
    connection = info(deployment, "callytics_user", address, **options)
    [answer] = ask(deployment.app, (connection, "select count(*) >= 0 from audio_files"))
    assert answer.rows == [[True]], answer.error


def test_the_first_run_makes_a_database(deployment: Deployment) -> None:
    run = deployment.first_run
    assert run is not None
    assert run.seen
    assert not run.failed
    assert_works(deployment)


def test_a_host_as_it_was_made_answers_as_a_member_of_three_does(alone: Deployment) -> None:
    """What else its own files said would be brought along when it becomes one."""
    found = alone.document(read_query("own_settings"))
    answers, more = found["answers"], found["more"]
    assert {"timezone", "lc_messages"} <= answers.keys()
    assert {name: said for name, said in answers.items() if policy.CLUSTER_SERVER.get(name) != said} == {}
    assert not more.keys() - adopting.PATRONIS
    assert found["locales"] == ["C.UTF-8"]
    # Others ask, too, when this is written already: then the file before it counts no more.
    file = "/etc/postgresql/15/main/conf.d/adopted.conf"
    alone.database.run(f"echo \"timezone = '{answers['timezone']}'\" >{file}")
    try:
        assert alone.document(read_query("own_settings")) == found
    finally:
        alone.database.run(f"rm {file}")


def test_no_output_shows_a_password(deployment: Deployment) -> None:
    assert deployment.first_run is not None
    shown = deployment.first_run.output
    secrets = [deployment.password(role) for role in ROLES] + ["SCRAM-SHA-256$", "PRIVATE KEY"]
    assert not [secret for secret in secrets if secret in shown]


def test_no_log_has_a_password(deployment: Deployment) -> None:
    """Neither as text nor as the verifier that the role was given."""
    log = deployment.database.run("journalctl --no-pager -o cat; cat /var/log/postgresql/*.log").stdout
    assert "database system is ready to accept connections" in log
    secrets = [deployment.password(role) for role in ROLES] + ["SCRAM-SHA-256$"]
    assert not [secret for secret in secrets if secret in log]


def test_nothing_secret_is_left_behind(deployment: Deployment) -> None:
    """What was uploaded on the way has gone from /tmp."""
    for host in {deployment.database, deployment.app}:
        found = host.run("grep -rlE 'POSTGRES_|PRIVATE KEY|SCRAM-SHA' /tmp /var/tmp", check=False).stdout
        assert found == ""


def test_the_second_run_changes_nothing(deployment: Deployment) -> None:
    assert_nothing_changed(deployment.run())


def test_a_dry_run_after_it_finds_nothing(deployment: Deployment) -> None:
    assert_nothing_changed(deployment.run(dry=True))


def test_every_chapter_of_the_table_of_contents_is_a_file_and_no_other() -> None:
    assert sorted(re.findall(r'local\.include\(.*"(\w+\.py)"', Path(REPOSITORY, SITE).read_text())) == CHAPTERS


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_each_file_runs_alone(apart: Deployment, chapter: str) -> None:
    """After a whole run it has nothing to do, wherever it is called from."""
    assert_nothing_changed(apart.run(f"deploy/{chapter}"))


def test_an_administrator_who_is_not_root_only_needs_sudo(alone: Deployment) -> None:
    """The same operations, and the same proof that there was nothing to do."""
    alone.database.run(
        "useradd --create-home --shell /bin/bash admin && cp -r /root/.ssh /home/admin/ && chown -R admin: /home/admin "
        "&& echo 'admin ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/admin && chmod 440 /etc/sudoers.d/admin"
    )
    alone.set(SSH_USER="admin")
    run = alone.run(check=False)
    alone.set(SSH_USER="root")
    assert_nothing_changed(run)


def test_a_run_that_reaches_no_host_fails(apart: Deployment, tmp_path: Path) -> None:
    """Nobody takes silence for success."""
    nowhere = Deployment.prepare(tmp_path / "nowhere", apart.database, apart.app)
    nowhere.set(DATABASE_HOSTS="10.77.0.250", APP_HOSTS="10.77.0.250")
    run = nowhere.run(check=False)
    assert run.exit_code != 0
    assert not run.changed


@pytest.mark.parametrize("password", ["", "change_me", "your-password", "1234"])
def test_a_placeholder_for_a_password_is_refused(apart: Deployment, tmp_path: Path, password: str) -> None:
    """Before anything is done, with the variable's name and without its value."""
    careless = Deployment.prepare(tmp_path / "careless", apart.database, apart.app)
    careless.set(POSTGRES_PASSWORD=password)
    run = careless.run(check=False)
    assert run.exit_code != 0
    assert not run.changed
    assert "POSTGRES_PASSWORD" in run.output


@pytest.mark.slow
def test_everything_comes_back_after_a_reboot(lab: Lab, deployment: Deployment) -> None:
    """By itself: no run of pyinfra is needed, nor does the next one find anything to do."""
    for host in {deployment.database, deployment.app}:
        lab.reboot(host)
    wait_for_postgres(deployment.database)
    assert_works(deployment)
    wait_for_health(deployment.app)
    assert deployment.app.run("systemctl is-active callytics-partitions.timer").stdout == "active\n"
    for host in {deployment.database, deployment.app}:
        assert host.run("systemctl --failed --no-legend").stdout == ""
    assert_nothing_changed(deployment.run())


def wait_for_postgres(host: LabHost) -> None:
    ready = f"pg_isready -q -h {host.address} || pg_isready -q"
    assert until(lambda: host.run(ready, check=False).returncode == 0, 30), "PostgreSQL did not come back"
