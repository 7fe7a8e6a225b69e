"""The application's service: it runs as little as it can, survives its database, and has no secret to show."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.infra.deployment import Deployment
from tests.infra.service import BASE, UNIT, get, shown, wait_for, wait_for_health

SERVER = "postgresql@15-main.service"
RESTART = "Run the application's service with its files as they are"


@contextmanager
def without_database(deployment: Deployment) -> Iterator[None]:
    """PostgreSQL stands still meanwhile."""
    deployment.database.run(f"systemctl stop {SERVER}")
    try:
        yield
    finally:
        deployment.database.run(f"systemctl start {SERVER}")


@pytest.fixture(params=["alone", "apart"])
def deployment(request: pytest.FixtureRequest) -> Deployment:
    """Each way to install."""
    deployment: Deployment = request.getfixturevalue(request.param)
    return deployment


def test_it_runs_from_boot_on(deployment: Deployment) -> None:
    assert deployment.app.run(f"systemctl is-active {UNIT}; systemctl is-enabled {UNIT}").stdout == "active\nenabled\n"


def test_it_is_healthy(deployment: Deployment) -> None:
    status, seconds, health = get(deployment.app, "/health")
    assert status == 200, health
    assert health["status"] == "healthy"
    assert health["database_version"].startswith("15.")
    assert seconds < 2


def test_it_starts_after_a_database_of_the_same_host(alone: Deployment) -> None:
    assert SERVER in shown(alone.app, "After").split()


def test_its_exposure_is_small(alone: Deployment) -> None:
    """As systemd counts it: from 0, nothing, to 10, everything."""
    answer = alone.app.run(f"systemd-analyze security --no-pager {UNIT}").stdout
    [exposure] = re.findall(rf"Overall exposure level for {re.escape(UNIT)}: ([\d.]+)", answer)
    assert float(exposure) < 1.5, answer


def test_it_listens_on_this_machine_only(deployment: Deployment) -> None:
    lines = deployment.app.run("ss -Hltn 'sport = :8000'").stdout.splitlines()
    assert [line.split()[3] for line in lines] == ["127.0.0.1:8000"]


def test_its_process_is_the_application_s_account_without_rights(alone: Deployment) -> None:
    process = shown(alone.app, "MainPID")
    status = alone.app.run(
        f"stat -c %U /proc/{process}; grep -E '^(CapPrm|CapBnd|NoNewPrivs|Seccomp):' /proc/{process}/status"
    )
    owner, *lines = status.stdout.splitlines()
    assert owner == "callytics"
    assert dict(line.split() for line in lines) == {
        "CapPrm:": "0" * 16,
        "CapBnd:": "0" * 16,
        "NoNewPrivs:": "1",
        "Seccomp:": "2",
    }


@pytest.mark.parametrize(
    "question",
    [
        "systemctl show callytics.service callytics-partitions.service; systemctl cat 'callytics*'",
        "ps -efww",
        "cat /proc/$(systemctl show --value -p MainPID callytics.service)/environ",
        "journalctl --no-pager -o json",
    ],
)
def test_no_secret_is_shown(deployment: Deployment, question: str) -> None:
    """Neither a password nor the key that signs logins is anywhere but in the files that are for them."""
    deployment.app.run("systemctl start callytics-partitions.service")
    answer = deployment.app.run(question).stdout
    assert answer
    settings = deployment.app.run("cat /etc/callytics/admin.env").stdout
    secrets = dict(re.findall(r"^(\w*(?:PASSWORD|KEY))='(.*)'$", settings, re.MULTILINE))
    assert {"POSTGRES_PASSWORD", "POSTGRES_OWNER_PASSWORD", "JWT_SECRET_KEY"} <= set(secrets)
    assert not [name for name, secret in secrets.items() if secret in answer or json.dumps(secret)[1:-1] in answer]


@pytest.mark.parametrize("job", ["partitions", "freeze"])
def test_what_maintains_the_months_gets_along_with_its_bounds(deployment: Deployment, job: str) -> None:
    """It reads the settings, reaches the database and does its work within what its unit allows."""
    ended = deployment.app.run(f"systemctl start callytics-{job}.service", check=False)
    said = deployment.app.run(f"journalctl --no-pager -n 20 -u callytics-{job}.service").stdout
    assert ended.returncode == 0, said


def test_it_says_so_while_the_database_is_away_and_is_well_again_by_itself(deployment: Deployment) -> None:
    """It is the same process all the time."""
    process = shown(deployment.app, "MainPID")
    with without_database(deployment):
        for _ in range(2):
            status, seconds, answer = get(deployment.app, "/health")
            assert status == 503, answer
            assert seconds < 2
        assert get(deployment.app, "/health/live")[0] == 200
    wait_for_health(deployment.app)
    assert shown(deployment.app, "MainPID") == process


def test_a_database_that_comes_later_is_waited_for(alone: Deployment) -> None:
    """The service does not start without one, and is started until it does."""
    with without_database(alone):
        alone.app.run(f"systemctl restart {UNIT}", check=False)
        wait_for(lambda: int(shown(alone.app, "NRestarts")) >= 2, "nobody tries again")
        wait_for(lambda: shown(alone.app, "ExecMainStatus") == "1", "it does not end by itself")
        assert get(alone.app, "/health/live")[0] == 0
    wait_for_health(alone.app)


def test_a_service_that_was_killed_comes_back(alone: Deployment) -> None:
    process = shown(alone.app, "MainPID")
    alone.app.run(f"systemctl kill --signal=KILL {UNIT}")
    wait_for(lambda: shown(alone.app, "MainPID") not in ("0", process), "it stays away")
    wait_for_health(alone.app)


def test_it_ends_in_good_order(alone: Deployment) -> None:
    begin = time.monotonic()
    alone.app.run(f"systemctl stop {UNIT}")
    assert time.monotonic() - begin < 15
    assert shown(alone.app, "Result") == "success"
    alone.app.run(f"systemctl start {UNIT}")
    assert get(alone.app, "/health")[0] == 200


def test_it_verifies_a_database_on_another_host(apart: Deployment) -> None:
    """Every connection of its pool is by TLS, and its settings ask for the server's proof."""
    sessions = apart.document(
        "select json_agg(distinct jsonb_build_array(host(a.client_addr), s.ssl, s.version >= 'TLSv1.2')) "
        "from pg_stat_activity as a join pg_stat_ssl as s using (pid) where a.usename = 'callytics_user'"
    )
    assert sessions == [[apart.app.address, True, True]]
    assert "POSTGRES_SSLMODE='verify-full'" in apart.app.run("cat /etc/callytics/app.env").stdout


def test_an_agent_made_on_the_host_logs_in(deployment: Deployment) -> None:
    """With the password, and with no other."""
    profile = "--last-name Kim --first-name Minsu --department Sales --position Agent"
    add = f"callytics --env-file /etc/callytics/admin.env agent add kim {profile} --password-stdin"
    password = "correct horse battery staple 7!"
    deployment.app.run(f"cd / && {add}", input=password + "\n")
    post = f"curl -s -o /dev/null -w '%{{http_code}}' -H 'Content-Type: application/json' -d @- {BASE}/auth/login"
    for given, status in ((password, "200"), ("another one", "401")):
        body = json.dumps({"username": "kim", "password": given})
        assert deployment.app.run(post, input=body).stdout == status


def test_the_key_is_made_once_and_kept_on_the_control_machine(deployment: Deployment) -> None:
    """Where .env has none; every application host has it from there."""
    kept = deployment.checkout / ".deploy" / "jwt_secret_key"
    assert kept.stat().st_mode & 0o077 == 0
    assert f"JWT_SECRET_KEY='{kept.read_text().strip()}'\n" in deployment.app.run("cat /etc/callytics/app.env").stdout
    assert len(kept.read_text()) > 40


def test_a_restart_that_a_killed_run_left_out_is_made_up_for(alone: Deployment) -> None:
    """What decides is when the service started, and when its files were written: here, new code was installed."""
    process = shown(alone.app, "MainPID")
    alone.app.run("touch /opt/callytics/current/installed")
    assert set(alone.run("deploy/app.py").changed) == {RESTART}
    assert shown(alone.app, "MainPID") != process
    assert get(alone.app, "/health")[0] == 200
    assert not alone.run("deploy/app.py").changed


def test_a_key_in_env_wins(alone: Deployment) -> None:
    """It changes the files that hold it and the service that uses it."""
    alone.set(JWT_SECRET_KEY="a key of thirty-two bytes or more, as an administrator chose it")
    expected = {"Write the application's settings", "Write the administrator's settings", RESTART}
    assert set(alone.run("deploy/app.py").changed) == expected
    assert "administrator chose" in alone.app.run("cat /etc/callytics/app.env").stdout
    alone.set(JWT_SECRET_KEY="")
    assert set(alone.run("deploy/app.py").changed) == expected
