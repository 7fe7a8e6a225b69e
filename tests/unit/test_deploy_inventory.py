"""What the environment makes of the inventory, as pyinfra's own command shows it; no host is connected to."""

from __future__ import annotations

import ast
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import NamedTemporaryFile
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("pyinfra", reason="the deployment's tests need pyinfra: pip install '.[deploy]'")

from callytics import settings
from deploy import environment
from deploy.operations.pgbackrest import jobs_of
from tests.support.places import REPOSITORY

CHAPTERS = sorted(
    path
    for path in (REPOSITORY / "deploy").glob("*.py")
    if path.stem not in ("site", "tuning", "environment", "policy", "upgrade")
)
SECRETS = {
    "POSTGRES_PASSWORD": "user-secret",
    "POSTGRES_OWNER_PASSWORD": "owner-secret",
    "POSTGRES_READONLY_PASSWORD": "readonly-secret",
    "POSTGRES_MONITOR_PASSWORD": "monitor-secret",
    "JWT_SECRET_KEY": "signing-secret of thirty-two bytes",
}
APART = {"DATABASE_HOSTS": "10.0.0.11", "APP_HOSTS": "10.0.0.21, 10.0.0.22"}


# To start pyinfra, to look for its plugins and to end it takes ten times as long as what it is asked here: each run is
# a fork of a process that has done the first two and leaves the third out.
FORKS = """
import atexit, json, os, sys
from functools import cache
from pyinfra.api import connectors
from pyinfra_cli.main import main

connectors.entry_points = cache(connectors.entry_points)
connectors.get_all_connectors()
for line in sys.stdin:
    arguments, variables, files = json.loads(line)
    child = os.fork()
    if not child:
        os.environ.clear()
        os.environ.update(variables)
        for descriptor, file in enumerate(files):
            os.dup2(os.open(file, os.O_RDWR), descriptor)
        sys.argv = ["pyinfra", *arguments]
        try:
            main()
        except SystemExit as end:
            atexit._run_exitfuncs()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(end.code or 0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
started: list[subprocess.Popen[str]] = []


@pytest.fixture(scope="module", autouse=True)
def _pyinfra() -> Iterator[None]:
    variables = {"PATH": os.environ["PATH"], "HOME": "/nonexistent"}
    command = [sys.executable, "-c", FORKS]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, cwd=REPOSITORY, env=variables, text=True, **pipes) as process:  # type: ignore[call-overload]
        started.append(process)
        yield
        started.clear()


def pyinfra(*arguments: str, **environment: str | None) -> subprocess.CompletedProcess[str]:
    """Run pyinfra in the checkout, with passwords and these variables; None takes one out."""
    variables = {**SECRETS, "CALLYTICS_ENV_FILE": os.devnull, "PATH": os.environ["PATH"], "HOME": "/nonexistent"}
    variables |= environment  # type: ignore[arg-type]
    given = {name: value for name, value in variables.items() if value is not None}
    (process,) = started
    assert process.stdin is not None
    assert process.stdout is not None
    with NamedTemporaryFile("r") as stdout, NamedTemporaryFile("r") as stderr:
        request = json.dumps([arguments, given, [os.devnull, stdout.name, stderr.name]])
        print(request, file=process.stdin, flush=True)
        code = int(process.stdout.readline())
        return subprocess.CompletedProcess(arguments, code, stdout.read(), stderr.read())


def inventory(**environment: str | None) -> dict[str, Any]:
    """Return every host's data and groups by its name."""
    shown = pyinfra("--json", "inventory.py", "debug-inventory", **environment)
    assert shown.returncode == 0, shown.stderr
    return {host["name"]: {**host["data"], "groups": host["groups"]} for host in json.loads(shown.stdout)}


def refusal(**environment: str | None) -> str:
    """Return why the inventory is refused."""
    shown = pyinfra("inventory.py", "debug-inventory", **environment)
    assert shown.returncode == 1
    return shown.stderr + shown.stdout


def test_this_machine_is_both_by_default() -> None:
    (host,) = inventory().items()
    assert host[0] == "@local"
    assert {"database", "app"} <= set(host[1]["groups"])
    assert host[1]["postgres_listen"] == []


def test_every_database_refuses_all_but_the_application_hosts() -> None:
    hosts = inventory(**APART)
    database = hosts["10.0.0.11"]
    assert database["postgres_listen"] == ["10.0.0.11"]
    sources = {entry["role"]: entry["sources"] for entry in database["postgres_access"]}
    assert sources["callytics_user"] == ["127.0.0.1/32", "::1/128", "10.0.0.21/32", "10.0.0.22/32"]
    assert sources["callytics_monitor"] == ["127.0.0.1/32", "::1/128"]
    assert "app" not in database["groups"]
    assert "postgres_roles" not in hosts["10.0.0.21"]


def test_clients_and_addresses_can_be_named() -> None:
    database = inventory(**APART, DATABASE_CLIENTS="10.0.0.0/24", DATABASE_LISTEN="192.0.2.1")["10.0.0.11"]
    assert database["postgres_listen"] == ["192.0.2.1"]
    assert "10.0.0.0/24" in database["postgres_access"][0]["sources"]


def test_the_certificate_carries_every_name_of_its_server() -> None:
    assert set(inventory(**APART)["10.0.0.11"]["tls_names"]) == {"localhost", "127.0.0.1", "::1", "10.0.0.11"}


OFF = {"BACKUP_REPOSITORY": "off", "MONITORING": "off"}
THREE = {"DATABASE_HOSTS": "10.0.0.11,10.0.0.12,10.0.0.13", "APP_HOSTS": "10.0.0.21", **OFF}
MEMBERS = ["10.0.0.11", "10.0.0.12", "10.0.0.13"]


def test_three_hosts_are_a_cluster_and_one_is_none() -> None:
    hosts = inventory(**THREE)
    assert [name for name, one in hosts.items() if "cluster" in one["groups"]] == MEMBERS
    assert {hosts[name]["cluster_member"] for name in MEMBERS} == set(MEMBERS)
    assert hosts["10.0.0.21"]["app_database_hosts"] == MEMBERS
    assert hosts["10.0.0.21"]["app_read_hosts"] == []
    assert not any("cluster" in one["groups"] for one in inventory(**APART).values())


def test_the_service_reads_where_it_is_told_to() -> None:
    app = inventory(**THREE, POSTGRES_READ_HOST=THREE["DATABASE_HOSTS"], POSTGRES_READ_LAG="2")["10.0.0.21"]
    assert (app["app_read_hosts"], app["app_service_settings"]["POSTGRES_READ_LAG"]) == (MEMBERS, "2")


def test_the_order_of_the_three_and_of_clients_means_nothing() -> None:
    """What is written and proven by it would change, down to etcd's restart and another switchover."""
    members, clients = THREE["DATABASE_HOSTS"].split(","), ["192.0.2.0/24", "10.0.0.21"]

    def listed(step: int) -> str:
        names = ",".join(members[::step])
        reached = ",".join(clients[::step])
        kept = {"BACKUP_REPOSITORY": None, "BACKUP_HOST": "10.0.0.21", "MONITORING": "on", "DATABASE_CLIENTS": reached}
        return json.dumps(inventory(**{**THREE, **kept, "DATABASE_HOSTS": names, "POSTGRES_READ_HOST": names}))

    assert listed(1) == listed(-1)


def test_members_reach_each_other_and_no_host_of_its_own_has_a_line_for_them() -> None:
    hosts = inventory(**THREE)
    assert [hosts[name]["postgres_listen"] for name in MEMBERS] == [[name] for name in MEMBERS]
    sources = {entry["role"]: entry["sources"] for entry in hosts["10.0.0.12"]["postgres_access"]}
    members = ["127.0.0.1/32", "::1/128", *(f"{name}/32" for name in MEMBERS)]
    assert sources["callytics_replicator"] == sources["callytics_rewinder"] == members
    assert sources["callytics_user"] == [*members, "10.0.0.21/32"]
    alone = inventory(**APART)["10.0.0.11"]["postgres_access"]
    assert not {"callytics_replicator", "callytics_rewinder"} & {entry["role"] for entry in alone}


def test_members_beside_their_applications_reach_each_other_too() -> None:
    hosts = inventory(**{**THREE, "APP_HOSTS": THREE["DATABASE_HOSTS"]})
    sources = {entry["role"]: entry["sources"] for entry in hosts["10.0.0.12"]["postgres_access"]}
    assert sources["callytics_user"][2:] == [f"{name}/32" for name in MEMBERS]
    assert hosts["10.0.0.12"]["postgres_listen"] == ["10.0.0.12"]


IPV6 = {"DATABASE_HOSTS": "fd00::11", "APP_HOSTS": "fd00::21"}


def test_hosts_may_have_ipv6_alone() -> None:
    hosts = inventory(**IPV6)
    database = hosts["fd00::11"]
    assert database["postgres_listen"] == ["fd00::11"]
    assert "fd00::11" in database["tls_names"]
    assert "fd00::21/128" in database["postgres_access"][0]["sources"]
    assert hosts["fd00::21"]["app_database_hosts"] == ["fd00::11"]


def test_every_application_host_counts() -> None:
    """What they take together is what the database's roles share out."""
    database = inventory(**APART, POSTGRES_MAX_CONNECTIONS="30")["10.0.0.11"]
    assert (database["postgres_app_hosts"], database["postgres_app_pool"]) == (2, 30)


def test_what_env_says_of_the_service_reaches_it() -> None:
    said = {"API_PORT": "8080", "MAX_LOGIN_ATTEMPTS": "3"}
    assert inventory(**APART, **said)["10.0.0.21"]["app_service_settings"] == said


@pytest.mark.parametrize(("user", "sudo"), [("root", False), ("admin", True)])
def test_another_user_than_root_has_sudo(user: str, sudo: bool) -> None:
    assert inventory(**APART, SSH_USER=user)["10.0.0.11"]["_sudo"] is sudo


def test_no_password_is_shown() -> None:
    for options in ((), ("--json",)):
        shown = pyinfra(*options, "inventory.py", "debug-inventory")
        assert "MASKED" in shown.stdout + shown.stderr
        assert not any(secret in shown.stdout + shown.stderr for secret in SECRETS.values())


def test_the_env_file_is_read_and_the_environment_wins(tmp_path: Path) -> None:
    env_file = tmp_path / "env"
    env_file.write_text("DATABASE_HOSTS=10.0.0.11\nAPP_HOSTS=10.0.0.11\nPOSTGRES_DB='a$b'\n")
    (host,) = inventory(CALLYTICS_ENV_FILE=str(env_file), APP_HOSTS="10.0.0.11").values()
    assert host["postgres_database"] == "a$b"
    assert set(inventory(CALLYTICS_ENV_FILE=str(env_file), APP_HOSTS="10.0.0.12")) == {"10.0.0.11", "10.0.0.12"}


@pytest.mark.parametrize(
    ("environment", "reason"),
    [
        ({"POSTGRES_PASSWORD": None}, "POSTGRES_PASSWORD is not set"),
        ({"POSTGRES_OWNER_PASSWORD": "change_me"}, "POSTGRES_OWNER_PASSWORD is not set or still a placeholder"),
        ({"POSTGRES_PASSWORD": "it's"}, "POSTGRES_PASSWORD holds a quote"),
        ({"POSTGRES_USER": "me"}, "POSTGRES_USER is me"),
        ({"DATABASE_HOSTS": " , "}, "DATABASE_HOSTS names no host"),
        ({"DATABASE_HOSTS": "10.0.0.1,10.0.0.2", **OFF}, "neither could tell whether the other is gone"),
        ({"DATABASE_HOSTS": "10.0.0.1,10.0.0.2,10.0.0.3,10.0.0.4", **OFF}, "names 4 hosts: a cluster has three"),
        ({"DATABASE_HOSTS": "10.0.0.1,10.0.0.1,10.0.0.3", **OFF}, "a cluster has three different ones"),
        ({**THREE, "BACKUP_REPOSITORY": None}, "BACKUP_HOST is to keep the backups of three hosts"),
        ({**THREE, "BACKUP_REPOSITORY": None, "BACKUP_HOST": "10.0.0.12"}, "must be none of them"),
        ({**THREE, "CLUSTER_SURVIVOR": "10.0.0.9"}, "CLUSTER_SURVIVOR is 10.0.0.9, which is none of the three"),
        ({"DATABASE_HOSTS": "@local", "APP_HOSTS": "10.0.0.1"}, "mix this machine with others"),
        ({"DATABASE_HOSTS": "10.0.0.1", "APP_HOSTS": "no.such.host.invalid"}, "'no.such.host.invalid' has no address"),
        ({"DATABASE_TLS_KEY": "/dev/null"}, "set all three"),
        ({"POSTGRES_MAX_CONNECTIONS": "many"}, "POSTGRES_MAX_CONNECTIONS 'many' is not a whole number"),
        ({"JWT_SECRET_KEY": "short"}, "JWT_SECRET_KEY is shorter than 32 bytes"),
        ({"JWT_SECRET_KEY": "change_me"}, "JWT_SECRET_KEY is not set or still a placeholder"),
    ],
)
def test_what_can_not_work_is_refused(environment: dict[str, str | None], reason: str) -> None:
    assert reason in refusal(**environment)


@pytest.mark.parametrize(
    "arguments",
    [("inventory.py", "--limit", "nobody"), ("inventry.py",), ("inventory.py", "--limit", "nobody", "--json")],
)
def test_a_run_that_reaches_no_host_fails(arguments: tuple[str, ...]) -> None:
    run = pyinfra("-y", *arguments, "deploy/site.py")
    assert run.returncode == 1
    assert "no host was reached" in run.stderr


def test_placeholders_and_keys_are_judged_as_the_application_does() -> None:
    """The deployment and the package do not import each other, so each has these two rules."""
    assert environment.PLACEHOLDER == settings.PLACEHOLDER
    assert environment.KEY_BYTES == settings.JWT_SECRET_KEY_BYTES


def test_the_site_names_every_chapter_once() -> None:
    site = (REPOSITORY / "deploy" / "site.py").read_text()
    assert {path.name for path in CHAPTERS} == {line.split('"')[1] for line in site.splitlines() if "include(" in line}


OPERATIONS = ("pyinfra.operations", "deploy.operations")
# What chapters share calls operations for them.
SHARED = REPOSITORY / "deploy" / "operations" / "program.py"


@pytest.mark.parametrize("chapter", [*CHAPTERS, SHARED], ids=lambda path: path.stem)
def test_every_operation_has_a_name(chapter: Path) -> None:
    """One without shows its arguments."""
    tree = ast.parse(chapter.read_text())
    modules = {
        alias.asname or alias.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith(OPERATIONS)
        for alias in node.names
    }
    calls = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id in modules
        and node.func.attr[0].islower()
    ]
    assert calls
    assert all("name" in {keyword.arg for keyword in call.keywords} for call in calls)


def test_backups_are_on_the_database_s_host_by_default() -> None:
    (host,) = inventory().values()
    assert host["backup_on"] is True
    assert host["backup_options"] == {"repo1-type": "posix", "repo1-path": "/var/lib/pgbackrest"}
    assert "backup" not in host["groups"]


def test_backups_may_have_a_host_of_their_own() -> None:
    hosts = inventory(**APART, BACKUP_HOST="10.0.0.31")
    assert "backup" in hosts["10.0.0.31"]["groups"]
    assert hosts["10.0.0.11"]["backup_host"] == "10.0.0.31"


def test_the_service_s_host_may_keep_the_backups_of_three() -> None:
    hosts = inventory(**{**THREE, "BACKUP_REPOSITORY": None, "BACKUP_HOST": "10.0.0.21"})
    assert {"app", "backup"} <= set(hosts["10.0.0.21"]["groups"])
    assert hosts["10.0.0.13"]["backup_host"] == "10.0.0.21"
    parameters = hosts["10.0.0.13"]["cluster_parameters"]
    assert parameters["archive_mode"] == "on"
    assert "archive-push" in parameters["archive_command"]
    assert "restore_command" not in parameters


def test_a_store_may_keep_the_backups_of_three() -> None:
    hosts = inventory(**{**THREE, **STORE})
    assert {one["backup_host"] for one in hosts.values()} == {""}
    assert hosts["10.0.0.13"]["cluster_parameters"]["archive_mode"] == "on"


def backup_jobs(**values: str | None) -> dict[str, set[str]]:
    """Return which timers of the backups each host has."""
    hosts = {name: SimpleNamespace(**found) for name, found in inventory(**values).items()}
    return {name: set(jobs_of(data, name, is_database="database" in data.groups)) for name, data in hosts.items()}


REPOSITORYS, DATABASES = {"full", "diff", "verify"}, {"drill", "watch"}


def test_who_keeps_the_backups_makes_them() -> None:
    apart = backup_jobs(**APART, BACKUP_HOST="10.0.0.31")
    assert apart == {"10.0.0.11": DATABASES, "10.0.0.21": set(), "10.0.0.22": set(), "10.0.0.31": REPOSITORYS}
    assert backup_jobs(**APART)["10.0.0.11"] == REPOSITORYS | DATABASES
    assert set.union(*backup_jobs(**APART, BACKUP_REPOSITORY="off", BACKUP_HOST="10.0.0.31").values()) == set()


@pytest.mark.parametrize("before", ["10.0.0.31", "10.0.0.21"])
def test_whoever_kept_the_backups_before_a_store_does_nothing_any_more(before: str) -> None:
    """As long as it is named, so that its timers are found."""
    assert backup_jobs(**STORE, **APART, BACKUP_HOST=before) == {
        **{name: set() for name in ("10.0.0.21", "10.0.0.22", before)},
        "10.0.0.11": REPOSITORYS | DATABASES,
    }
    assert {one["backup_host"] for one in inventory(**STORE, **APART, BACKUP_HOST=before).values()} == {""}


def test_three_hosts_without_backups_archive_nothing() -> None:
    assert inventory(**THREE)["10.0.0.11"]["cluster_parameters"]["archive_mode"] == "off"


STORE = {
    "BACKUP_REPOSITORY": "s3://calls/callytics",
    "BACKUP_S3_ENDPOINT": "s3.example.com",
    "BACKUP_S3_REGION": "eu-1",
    "BACKUP_S3_KEY": "store-key",
    "BACKUP_S3_SECRET": "store-secret",
}


def test_backups_may_go_to_a_store_whose_login_is_not_shown() -> None:
    shown = pyinfra("--json", "inventory.py", "debug-inventory", **STORE)
    assert shown.returncode == 0, shown.stderr
    assert '"repo1-s3-bucket": "calls"' in shown.stdout
    assert "store-secret" not in shown.stdout


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"BACKUP_REPOSITORY": "backups"}, "neither an absolute folder nor s3://BUCKET/FOLDER nor off"),
        ({**STORE, "BACKUP_S3_SECRET": ""}, "BACKUP_S3_SECRET not set"),
        ({"BACKUP_KEEP_DAYS": "0"}, "BACKUP_KEEP_DAYS '0' is not a whole number from 1"),
        ({"BACKUP_KEY": "change_me"}, "BACKUP_KEY is not set or still a placeholder"),
        ({**APART, "BACKUP_HOST": "10.0.0.11"}, "BACKUP_HOST serves a database on another host"),
        ({**APART, "BACKUP_HOST": "10.0.0.31,10.0.0.32"}, "BACKUP_HOST names several hosts"),
    ],
)
def test_backups_that_cannot_work_are_refused(values: dict[str, str], why: str) -> None:
    assert why in refusal(**values)


def test_every_month_is_kept_by_default() -> None:
    (host,) = inventory().values()
    assert host["retention_months"] == 0


def test_a_policy_says_how_many_months_stay_and_where_others_go() -> None:
    (host,) = inventory(RETENTION_MONTHS="24", ARCHIVE_FOLDER="/srv/archives").values()
    assert (host["retention_months"], host["archive_folder"]) == (24, "/srv/archives")


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"RETENTION_MONTHS": "24", "BACKUP_REPOSITORY": "off"}, "has months dropped, and BACKUP_REPOSITORY is off"),
        ({"RETENTION_MONTHS": "0"}, "RETENTION_MONTHS '0' is not a whole number from 1"),
        ({"RETENTION_MONTHS": "1201"}, "is more than a century"),
        ({"ARCHIVE_FOLDER": "archives"}, "is not an absolute folder"),
        ({"ARCHIVE_FOLDER": "/srv/a b"}, "is not an absolute folder"),
    ],
)
def test_policies_that_cannot_work_are_refused(values: dict[str, str], why: str) -> None:
    assert why in refusal(**values)


def test_the_database_s_host_monitors_all_of_them_by_default() -> None:
    hosts = inventory(**APART)
    assert [name for name, data in hosts.items() if "monitoring" in data["groups"]] == ["10.0.0.11"]
    assert hosts["10.0.0.21"]["monitoring_host"] == "10.0.0.11"
    assert hosts["10.0.0.21"]["monitoring_hosts"] == ["10.0.0.11", "10.0.0.21", "10.0.0.22"]


def test_monitoring_may_have_a_host_of_its_own() -> None:
    hosts = inventory(**APART, MONITORING_HOST="10.0.0.41")
    assert "monitoring" in hosts["10.0.0.41"]["groups"]
    assert "monitoring" not in hosts["10.0.0.11"]["groups"]


def test_three_hosts_are_watched_from_the_first_application_s() -> None:
    hosts = inventory(**{**THREE, "MONITORING": "on"})
    assert [name for name, data in hosts.items() if "monitoring" in data["groups"]] == ["10.0.0.21"]


def test_monitoring_that_is_off_is_on_no_host() -> None:
    (host,) = inventory(MONITORING="off").values()
    assert host["monitoring_on"] is False
    assert "monitoring" not in host["groups"]
    # The one that did monitor is reached, as what runs there is to stop.
    hosts = inventory(**APART, MONITORING="off", MONITORING_HOST="10.0.0.41")
    assert list(hosts) == ["10.0.0.11", "10.0.0.21", "10.0.0.22", "10.0.0.41"]
    assert not any("monitoring" in data["groups"] for data in hosts.values())


@pytest.mark.parametrize(
    ("variables", "services"),
    [
        # On the loopback, from its own host only.
        ({}, {"@local": "127.0.0.1:8000"}),
        (APART, {}),
        ({**APART, "MONITORING_HOST": "10.0.0.21", "API_PORT": "8080"}, {"10.0.0.21": "127.0.0.1:8080"}),
        ({**APART, "API_HOST": "0.0.0.0"}, {"10.0.0.21": "10.0.0.21:8000", "10.0.0.22": "10.0.0.22:8000"}),
        ({**IPV6, "API_HOST": "::"}, {"fd00::21": "[fd00::21]:8000"}),
    ],
)
def test_services_are_asked_where_they_can_be_reached(variables: dict[str, str], services: dict[str, str]) -> None:
    assert next(iter(inventory(**variables).values()))["monitoring_services"] == services


MAIL = {"ALERT_EMAIL": "a@example.com", "ALERT_SMTP": "mail.example.com:587", "ALERT_SMTP_FROM": "c@example.com"}


def test_whom_alerts_go_to_is_not_shown() -> None:
    secrets = {"ALERT_WEBHOOK": "https://example.com/a-token", "ALERT_SMTP_PASSWORD": "mail-secret"}
    shown = pyinfra("--json", "inventory.py", "debug-inventory", **MAIL, **secrets)
    assert shown.returncode == 0, shown.stderr
    assert "mail.example.com:587" in shown.stdout
    assert "a-token" not in shown.stdout
    assert "mail-secret" not in shown.stdout


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"MONITORING": "yes"}, "MONITORING 'yes' is neither on nor off"),
        ({"MONITORING_DAYS": "0"}, "MONITORING_DAYS '0' is not a whole number from 1"),
        ({**APART, "MONITORING_HOST": "10.0.0.31,10.0.0.32"}, "MONITORING_HOST names several hosts"),
        (
            {"MONITORING_HOST": "10.0.0.41"},
            "DATABASE_HOSTS, APP_HOSTS and MONITORING_HOST mix this machine with others",
        ),
        ({"ALERT_WEBHOOK": "example.com"}, "ALERT_WEBHOOK is not an address"),
        ({"ALERT_EMAIL": "a@example.com"}, "ALERT_EMAIL needs ALERT_SMTP"),
        ({**MAIL, "ALERT_SMTP_TLS": "no"}, "ALERT_SMTP_TLS 'no' is neither on nor off"),
    ],
)
def test_monitoring_that_cannot_work_is_refused(values: dict[str, str], why: str) -> None:
    assert why in refusal(**values)


def test_what_connects_to_hosts_holds_no_packet_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also through a command, which has no socket."""
    monkeypatch.setattr(environment, "VALUES", {})
    connect = environment.connection(["10.0.0.11"])["ssh_paramiko_connect_kwargs"]["transport_factory"]
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as connected:
        connect(connected)
        assert connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert connect(SimpleNamespace(settimeout=lambda seconds: None)).sock
