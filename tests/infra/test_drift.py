"""What somebody changed by hand is shown by a dry run, put right by the next run, and then it is quiet again.

Everything is changed at once: a dry run, a repair and a third run serve all cases.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from tests.infra.connections import ask, info
from tests.infra.deployment import Deployment, Run
from tests.infra.service import get

HBA = "/etc/postgresql/15/main/pg_hba.conf"


@dataclass(frozen=True)
class Drift:
    """A change by hand, the operation that takes it back, and a question whose answer tells whether it did."""

    operation: str
    question: str
    sql: str = ""
    command: str = ""
    on_app: bool = False


def sql(statement: str) -> str:
    return f'cd / && runuser -u postgres -- psql -XqAt -d callytics -c "{statement}"'


DRIFTS = {
    "a line in pg_hba.conf": Drift(
        "Write pg_hba.conf",
        f"sha256sum {HBA}",
        command=f"echo 'host all all 0.0.0.0/0 trust' >>{HBA}; systemctl reload postgresql@15-main",
    ),
    "a mode of pg_hba.conf": Drift("Write pg_hba.conf", f"stat -c '%U %G %a' {HBA}", command=f"chmod 666 {HBA}"),
    "a setting by ALTER SYSTEM": Drift(
        "Take back settings",
        sql("show log_connections"),
        sql="alter system set log_connections = off; select pg_reload_conf()",
    ),
    "a setting by ALTER SYSTEM that waits for a restart": Drift(
        "Take back settings",
        sql("select setting, pending_restart from pg_settings where name = 'max_connections'"),
        sql="alter system set max_connections = 33; select pg_reload_conf()",
    ),
    "a line in our settings": Drift(
        "Write PostgreSQL's settings",
        "sha256sum /etc/postgresql/15/main/conf.d/callytics.conf; " + sql("show ssl_min_protocol_version"),
        command="echo \"ssl_min_protocol_version = 'TLSv1'\" >>/etc/postgresql/15/main/conf.d/callytics.conf",
    ),
    "a superuser": Drift(
        "Make the roles as declared",
        sql("select rolsuper from pg_roles where rolname = 'callytics_user'"),
        sql="alter role callytics_user superuser",
    ),
    "a membership": Drift(
        "Make the roles as declared",
        sql("select pg_has_role('callytics_user', 'pg_execute_server_program', 'member')"),
        sql="grant pg_execute_server_program to callytics_user",
    ),
    "a limit of a role": Drift(
        "Make the roles as declared",
        sql("select rolconnlimit, rolconfig from pg_roles where rolname = 'callytics_readonly'"),
        sql="alter role callytics_readonly connection limit -1; alter role callytics_readonly reset all",
    ),
    "a password": Drift(
        "Make the roles as declared",
        # The verifier's salt is new, its password must be the old one: see below.
        sql("select rolpassword is not null from pg_authid where rolname = 'callytics_readonly'"),
        sql="alter role callytics_readonly password 'by hand'",
    ),
    "a grant that was dropped": Drift(
        "Give the roles their privileges",
        sql("select has_table_privilege('callytics_user', 'audio_files', 'select')"),
        sql="revoke select on audio_files from callytics_user",
    ),
    "a grant too many": Drift(
        "Give the roles their privileges",
        sql("select has_table_privilege('callytics_monitor', 'utterances', 'select')"),
        sql="grant select on utterances to callytics_monitor",
    ),
    "a grant to everybody": Drift(
        "Give the roles their privileges",
        sql("select relacl::text ~ '[{,]=' from pg_class where relname = 'topics'"),
        sql="grant all on topics to public",
    ),
    "a database for everybody": Drift(
        "Let only these roles connect",
        sql("select datacl::text ~ '[{,]=' from pg_database where datname = 'callytics'"),
        sql="grant connect on database callytics to public",
    ),
    "a schema for everybody": Drift(
        "Close the schema public",
        sql("select nspacl::text ~ '[{,]=' from pg_namespace where nspname = 'public'"),
        sql="grant create on schema public to public",
    ),
    "settings that everybody reads": Drift(
        "Write the administrator's settings",
        "stat -c '%U %G %a' /etc/callytics/admin.env",
        command="chmod 644 /etc/callytics/admin.env",
        on_app=True,
    ),
    "settings that somebody edited": Drift(
        "Write the application's settings",
        "sha256sum /etc/callytics/app.env",
        command="sed -i s/verify-full/prefer/ /etc/callytics/app.env",
        on_app=True,
    ),
    "a timer that was stopped": Drift(
        "Run the partitions' timer",
        "systemctl is-active callytics-partitions.timer; systemctl is-enabled callytics-partitions.timer",
        command="systemctl disable --now callytics-partitions.timer",
        on_app=True,
    ),
    "a program of an older deployment": Drift(
        "Remove the program that made partitions before",
        "ls /opt/callytics",
        command="echo 'raise SystemExit' >/opt/callytics/keep_partitions_ahead.py",
        on_app=True,
    ),
    "a service that was stopped": Drift(
        "Run the application's service",
        "systemctl is-active callytics.service; systemctl is-enabled callytics.service",
        command="systemctl disable --now callytics.service",
        on_app=True,
    ),
    "a service that may do more": Drift(
        "Write callytics.service",
        "sha256sum /etc/systemd/system/callytics.service; systemctl show -p ProtectHome -p NoNewPrivileges callytics",
        command="cd /etc/systemd/system && sed -i '/^NoNewPrivileges/d; s/^ProtectHome=yes/ProtectHome=no/' "
        "callytics.service && systemctl daemon-reload",
        on_app=True,
    ),
    "WAL that goes nowhere": Drift(
        "Let PostgreSQL archive its WAL",
        "sha256sum /etc/postgresql/15/main/conf.d/callytics-backup.conf; " + sql("show archive_command"),
        command="echo \"archive_command = '/bin/true'\" >>/etc/postgresql/15/main/conf.d/callytics-backup.conf; "
        "systemctl reload postgresql@15-main",
    ),
    "a key of the backups that everybody reads": Drift(
        "Write the repository's key",
        "stat -c '%U %G %a' /etc/pgbackrest/conf.d/callytics.conf; sha256sum /etc/pgbackrest/conf.d/callytics.conf",
        command="chmod 644 /etc/pgbackrest/conf.d/callytics.conf",
    ),
    "a timer of the backups that was stopped": Drift(
        "Run the timer of callytics-backup-diff",
        "systemctl is-active callytics-backup-diff.timer; systemctl is-enabled callytics-backup-diff.timer",
        command="systemctl disable --now callytics-backup-diff.timer",
    ),
    "an alert that somebody took out": Drift(
        "Write the alerts",
        "sha256sum /etc/callytics/monitoring/alerts.yml",
        command="sed -i '/DiskFull/,/nearly full/d' /etc/callytics/monitoring/alerts.yml",
    ),
    "a Prometheus for everybody": Drift(
        "Write how prometheus runs",
        "sha256sum /etc/systemd/system/prometheus.service.d/callytics.conf; systemctl show -p ExecStart prometheus "
        "| grep -o 'listen-address=[^ ]*'",
        command="cd /etc/systemd/system && sed -i s/address=127.0.0.1/address=0.0.0.0/ "
        "prometheus.service.d/callytics.conf && systemctl daemon-reload && systemctl restart prometheus",
    ),
    "metrics that nobody writes": Drift(
        "Run the metrics' timer",
        "systemctl is-active callytics-metrics.timer; systemctl is-enabled callytics-metrics.timer",
        command="systemctl disable --now callytics-metrics.timer",
    ),
    "a server's key that everybody reads": Drift(
        "Install the server's certificate",
        "stat -c '%U %a' /etc/postgresql/15/main/server.key; sha256sum /etc/postgresql/15/main/server.key",
        # The server would refuse to start with it.
        command="chmod 644 /etc/postgresql/15/main/server.key",
    ),
}
Answers = dict[str, str]


@dataclass
class Story:
    """What was seen before, while and after everything had drifted."""

    before: Answers
    drifted: Answers
    dry: Run
    after_dry: Answers
    repair: Run
    after: Answers
    third: Run


def answers(deployment: Deployment) -> Answers:
    hosts = {name: deployment.app if drift.on_app else deployment.database for name, drift in DRIFTS.items()}
    return {name: hosts[name].run(drift.question, check=False).stdout for name, drift in DRIFTS.items()}


@pytest.fixture(scope="module")
def story(apart: Deployment) -> Story:
    """Everything drifts and is put right."""
    apart.run()
    before = answers(apart)
    for drift in DRIFTS.values():
        if drift.sql:
            for statement in drift.sql.split("; "):
                apart.superuser(statement)
        else:
            (apart.app if drift.on_app else apart.database).run(drift.command)
    drifted = answers(apart)
    dry = apart.run(dry=True, check=False)
    after_dry = answers(apart)
    repair = apart.run(check=False)
    return Story(before, drifted, dry, after_dry, repair, answers(apart), apart.run(check=False))


@pytest.mark.parametrize("name", DRIFTS)
def test_a_dry_run_shows_what_drifted(story: Story, name: str) -> None:
    assert story.dry.exit_code == 0, story.dry.output
    operation = DRIFTS[name].operation
    assert [changed for changed in story.dry.changed if changed.startswith(operation)], story.dry.changed


def test_a_dry_run_changes_nothing(story: Story) -> None:
    assert story.after_dry == story.drifted


@pytest.mark.parametrize("name", DRIFTS)
def test_the_next_run_puts_it_right(story: Story, name: str) -> None:
    assert story.repair.exit_code == 0, story.repair.output
    assert story.before[name].strip()
    assert story.after[name] == story.before[name]


def test_what_did_not_drift_is_left_alone(story: Story) -> None:
    """The repair touches what it must, and lets the server know."""
    expected = {drift.operation for drift in DRIFTS.values()}
    expected |= {
        "Let PostgreSQL know who may come",
        "Let PostgreSQL read its cert",
        "Run PostgreSQL with these settings",
        "Run PostgreSQL with archiving",
        "Make systemd know the application's units",
        "Make systemd know what monitors",
        "Run prometheus with its files",
    }
    assert not [name for name in story.repair.changed if not name.startswith(tuple(expected))]


def test_the_third_run_changes_nothing(story: Story) -> None:
    assert story.third.exit_code == 0, story.third.output
    assert story.third.seen
    assert not story.third.changed


@pytest.mark.parametrize("role", ["callytics_readonly", "callytics_user"])
def test_the_declared_password_enters_again(story: Story, apart: Deployment, role: str) -> None:
    connection = info(apart, role, apart.database.address, sslmode="require")
    [answer] = ask(apart.app, (connection, "select current_user::text"))
    assert answer.rows == [[role]], answer.error


@pytest.fixture(scope="module")
def new_password(apart: Deployment, story: Story) -> tuple[str, Run]:
    """The application's password before it was changed, and the run that changed it."""
    old = apart.password("callytics_user")
    apart.set(POSTGRES_PASSWORD="another " + old)
    return old, apart.run(check=False)


def test_a_new_password_changes_what_uses_it(new_password: tuple[str, Run]) -> None:
    """The role, the two files that name it and the service that reads one of them, and nothing else."""
    _old, run = new_password
    assert run.exit_code == 0, run.output
    assert set(run.changed) == {
        "Make the roles as declared",
        "Write the application's settings",
        "Write the administrator's settings",
        "Run the application's service with its files as they are",
    }


def test_the_service_uses_the_new_password(new_password: tuple[str, Run], apart: Deployment) -> None:
    assert get(apart.app, "/health")[0] == 200


def test_the_new_password_enters_and_the_old_one_does_not(new_password: tuple[str, Run], apart: Deployment) -> None:
    old, _run = new_password
    question = "select current_user::text"
    connections = [
        info(apart, "callytics_user", apart.database.address, sslmode="require"),
        info(apart, "callytics_user", apart.database.address, password=old, sslmode="require"),
    ]
    new_answer, old_answer = ask(apart.app, *((connection, question) for connection in connections))
    assert new_answer.rows == [["callytics_user"]], new_answer.error
    assert "password authentication failed" in old_answer.error


def test_the_application_s_files_have_the_new_password(new_password: tuple[str, Run], apart: Deployment) -> None:
    """As the application's own account reads them."""
    doctor = "cd / && runuser -u callytics -- callytics --env-file /etc/callytics/app.env doctor"
    assert "password" not in apart.app.run(doctor, check=False).stderr
    assert apart.app.run("systemctl start callytics-partitions.service").returncode == 0


def test_no_output_shows_either_password(new_password: tuple[str, Run], apart: Deployment) -> None:
    old, run = new_password
    assert old not in run.output
    assert apart.password("callytics_user") not in run.output


def test_a_new_password_is_no_change_the_second_time(new_password: tuple[str, Run], apart: Deployment) -> None:
    run = apart.run()
    assert run.seen
    assert not run.changed
