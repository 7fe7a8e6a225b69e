"""What a new container runs, run on a real PostgreSQL: the script that makes its roles, and who enters afterwards."""

from __future__ import annotations

import os
import re
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import psycopg2
import pytest
from ruamel.yaml import YAML

from callytics.exceptions import DatabaseUnavailable
from callytics.postgres import connect
from callytics.schema.doctor import doctor
from callytics.schema.migrate import migrate
from callytics.settings import Settings
from callytics.trial.embedded import EmbeddedPostgres
from deploy.policy import ROLES
from tests.support.needs import need_postgres_15
from tests.support.places import REPOSITORY

pytestmark = pytest.mark.slow

COMPOSE: dict[str, Any] = YAML(typ="safe").load((REPOSITORY / "docker-compose.yml").read_text())
POSTGRES = COMPOSE["services"]["postgres"]
# As PostgreSQL has them before the script and the command say otherwise.
TALKATIVE = {"log_min_error_statement": "error", "log_error_verbosity": "default"}
AWKWARD = 'p @/%"\\$HOME # 비밀'


@dataclass(frozen=True)
class Container:
    """A server as the container's becomes, with the values of .env."""

    server: EmbeddedPostgres
    env: dict[str, str]
    first_log: str

    def settings(self, user: str, password: str, database: str | None = None) -> Settings:
        return Settings(
            ("127.0.0.1",), self.server.port, database or self.env["POSTGRES_DB"], user, password, sslmode="disable"
        )

    @property
    def application(self) -> Settings:
        login = self.settings(self.env["POSTGRES_USER"], self.env["POSTGRES_PASSWORD"])
        owner, password = self.env["POSTGRES_OWNER_USER"], self.env["POSTGRES_OWNER_PASSWORD"]
        return replace(login, owner_user=owner, owner_password=password)


def filled_in(value: str, env: dict[str, str]) -> str:
    """Fill in variables as Compose does; the ones that are required must be there."""
    return re.sub(r"\$\{(\w+)(?::-([^}]*)|:\?[^}]*)}", lambda found: env.get(found[1]) or found[2] or "", value)


@pytest.fixture(scope="module")
def container(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    need_postgres_15()
    env = {
        "POSTGRES_DB": "calls of the centre",
        "POSTGRES_USER": "callytics_user",
        "POSTGRES_PASSWORD": AWKWARD,
        "POSTGRES_OWNER_USER": "callytics_owner",
        "POSTGRES_OWNER_PASSWORD": "owner's" + AWKWARD,
        "POSTGRES_READONLY_PASSWORD": secrets.token_urlsafe(),
    }
    server = EmbeddedPostgres(tmp_path_factory.mktemp("container"), options=TALKATIVE)
    try:
        with server:
            initialise(server, env)
            log = server.log.read_text(errors="replace")
        bring_access_rules(server)
        with server:
            yield Container(server, env, log)
    finally:
        server.remove()


def initialise(server: EmbeddedPostgres, env: dict[str, str]) -> None:
    """Run the script as the image's entry point does, with the environment that the compose file gives it."""
    variables = {name: filled_in(value, env) for name, value in POSTGRES["environment"].items()}
    password = (server.home / "superuser.password").read_text()
    (target,) = (REPOSITORY / config["file"] for name, config in COMPOSE["configs"].items() if name == "initdb")
    login = {"PGHOST": "127.0.0.1", "PGPORT": str(server.port), "PGUSER": "postgres", "PGPASSWORD": password}
    command = [server.bin / "psql", "-v", "ON_ERROR_STOP=1", "--no-password", "--no-psqlrc", "--dbname", "postgres"]
    environment = os.environ | variables | login | {"PGCLIENTENCODING": "UTF8"}
    ran = subprocess.run([*command, "-f", target], env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr


def bring_access_rules(server: EmbeddedPostgres) -> None:
    """Put pg_hba.conf where the server's account can read it, and set what the container's command sets."""
    (rules,) = (REPOSITORY / config["file"] for name, config in COMPOSE["configs"].items() if name == "pg_hba")
    copy = server.data / "container_hba.conf"
    copy.write_text(rules.read_text())
    options = dict(option.split("=", 1) for option in POSTGRES["command"][1:] if option != "-c")
    server.options = TALKATIVE | options | {"hba_file": str(copy)}


def ask(settings: Settings, statement: str, *, owner: bool = False) -> Any:
    with closing(connect(settings, owner=owner)) as connection, connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchall()


@pytest.mark.quick
def test_rules_and_command_agree_on_the_file() -> None:
    targets = {config["source"]: config["target"] for config in POSTGRES["configs"]}
    assert f"hba_file={targets['pg_hba']}" in POSTGRES["command"]
    # The entry point of the image runs what lies there, by its ending.
    assert re.fullmatch(r"/docker-entrypoint-initdb\.d/\w+\.sql", targets["initdb"])


def test_owner_migrates_and_doctor_has_nothing_to_say_about_roles_and_log(container: Container) -> None:
    migrate(container.application, report=lambda line: None)
    ours = ("schema", "roles", "ddl", "dml", "readonly", "public", "server", "log")
    ill = [
        finding
        for finding in doctor.examine(container.application).findings
        if finding.level != "ok" and finding.check in ours
    ]
    assert ill == []


def test_database_is_the_owner_s_in_utf_8(container: Container) -> None:
    statement = (
        "select datdba::regrole::text, pg_encoding_to_char(encoding), datcollate, current_setting('timezone')"
        " from pg_database where datname = current_database()"
    )
    assert ask(container.application, statement) == [("callytics_owner", "UTF8", "C.UTF-8", "UTC")]


def test_roles_have_the_settings_of_hosts(container: Container) -> None:
    query = "select rolname, rolconfig from pg_roles where rolname like 'callytics_%'"
    found = {role: dict(one.split("=", 1) for one in settings) for role, settings in ask(container.application, query)}
    assert found == {role: declared["settings"] for role, declared in ROLES.items()}


def test_application_can_t_make_a_table(container: Container) -> None:
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        ask(container.application, "create table mine ()")


@pytest.mark.parametrize("role", ["callytics_user", "callytics_owner", "callytics_readonly"])
@pytest.mark.parametrize("database", ["postgres", "template1"])
def test_no_role_enters_another_database(container: Container, role: str, database: str) -> None:
    passwords = {
        "callytics_user": container.env["POSTGRES_PASSWORD"],
        "callytics_owner": container.env["POSTGRES_OWNER_PASSWORD"],
        "callytics_readonly": container.env["POSTGRES_READONLY_PASSWORD"],
    }
    with pytest.raises(DatabaseUnavailable, match="permission denied"):
        connect(container.settings(role, passwords[role], database))


def test_superuser_does_not_enter_by_tcp(container: Container) -> None:
    password = (container.server.home / "superuser.password").read_text()
    with pytest.raises(DatabaseUnavailable, match="rejects connection"):
        connect(container.settings("postgres", password, "postgres"))


@pytest.mark.parametrize("password", ["wrong", ""])
@pytest.mark.parametrize("role", ["callytics_user", "callytics_owner", "callytics_readonly"])
def test_wrong_password_does_not_enter(container: Container, role: str, password: str) -> None:
    with pytest.raises(DatabaseUnavailable, match="password"):
        connect(container.settings(role, password))


def test_role_without_a_password_does_not_enter(container: Container) -> None:
    """The monitor was given none."""
    for password in ("", "x"):
        with pytest.raises(DatabaseUnavailable, match="password"):
            connect(container.settings("callytics_monitor", password))


def test_reader_reads_and_does_not_write(container: Container) -> None:
    migrate(container.application, report=lambda line: None)
    reader = container.settings("callytics_readonly", container.env["POSTGRES_READONLY_PASSWORD"])
    assert ask(reader, "select id from topics") == [(1,)]
    with pytest.raises(psycopg2.Error):
        ask(reader, "insert into topics (name) values ('x') returning id")
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        ask(reader, "set transaction read write; insert into topics (name) values ('x') returning id")


def test_no_password_is_in_the_log(container: Container) -> None:
    log = container.first_log + container.server.log.read_text(errors="replace")
    assert [name for name, value in container.env.items() if "PASSWORD" in name and value in log] == []
