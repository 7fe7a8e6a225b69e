"""The role blocks of the manual, as they stand there, and what comes after them: the doctor has nothing to say."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import psycopg2
import pytest

from callytics.settings import Settings
from callytics.trial.embedded import EmbeddedPostgres
from callytics.trial.sample import write_sample
from callytics.trial.servers import find_servers
from tests.support.agents import PASSWORD
from tests.support.commands import invoke, with_programs
from tests.support.manual import blocks, console, page, section
from tests.support.places import REPOSITORY
from tests.support.servers import execute, private_server, settings_for, superuser
from tests.support.serving import RECORDING, served
from tests.support.terminal import follow, typed

pytestmark = pytest.mark.slow

PASSWORDS = {"POSTGRES_OWNER_PASSWORD": "the owners own", "POSTGRES_PASSWORD": "the application"}
PERSON = (
    "--last-name Kim --first-name Minsu --department Service --position agent --permission audio_upload:write"
    " --password-stdin"
)
# What a server of a provider gives to whoever rents it.
ADMIN = "create role admin login createrole createdb password 'admin'"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    with private_server(tmp_path / "server") as embedded:
        yield embedded


def statements(name: str) -> list[str]:
    """Return the statements of a page's role block, with the passwords that the shell would put in."""
    text = (REPOSITORY / "docs" / name).read_text(encoding="utf-8")
    (block,) = re.findall(r"<<SQL\n((?:set log_[^\n]*\n)?create role.*?)\nSQL\n", text, flags=re.DOTALL)
    for variable, password in PASSWORDS.items():
        block = block.replace(f"${variable}", password)
    return [statement for statement in block.splitlines() if statement]


def parameters(page: str) -> list[str]:
    """Return what a page says to set where the provider keeps the server's parameters."""
    text = (REPOSITORY / "docs" / page).read_text(encoding="utf-8")
    (block,) = re.findall(r"```ini\n(log_.*?)\n```", text, flags=re.DOTALL)
    return block.splitlines()


def settings_of(server: EmbeddedPostgres) -> Settings:
    return replace(
        settings_for(server, "callytics"),
        user="callytics_user",
        password=PASSWORDS["POSTGRES_PASSWORD"],
        owner_user="callytics_owner",
        owner_password=PASSWORDS["POSTGRES_OWNER_PASSWORD"],
    )


@pytest.mark.parametrize("name", ["quickstart.md", "platforms.md", "ko/quickstart.md", "ko/platforms.md"])
def test_after_the_documented_steps_the_doctor_has_nothing_to_say(
    name: str, server: EmbeddedPostgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the roles and the database are made by a role without superuser, as at a provider's."""
    monkeypatch.chdir(tmp_path)
    login: dict[str, str] = {}
    if name.endswith("platforms.md"):
        superuser(server, ADMIN)
        login = {"user": "admin", "password": "admin"}
        for parameter in parameters(name):
            superuser(server, f"alter system set {parameter}")
        superuser(server, "select pg_reload_conf()")
    with closing(psycopg2.connect(server.superuser_conninfo(), **login)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            for statement in statements(name):
                cursor.execute(statement)
    settings = settings_of(server)
    write_sample(tmp_path / "file.sqlite", generation=2, calls=3, seed=1)
    for command in ("migrate", "import --yes file.sqlite", "verify file.sqlite"):
        result = invoke(settings, *command.split())
        assert result.exit_code == 0, result.output
    examined = invoke(settings, "doctor", "--json")
    # How the cluster was made, and how fast these tests let it forget, is no step of the manual.
    findings = json.loads(examined.stdout)["findings"]
    found = [one for one in findings if one["level"] != "ok" and one["check"] != "settings"]
    assert [(one["check"], one["what"], one["fix"]) for one in found] == []
    words = "고객이 한 말"
    with pytest.raises(psycopg2.IntegrityError):
        execute(settings, "insert into utterances (text, audio_file_id) values (%s, -1)", words, owner=False)
    log = server.log.read_text(encoding="utf-8", errors="replace")
    assert [secret for secret in (words, *PASSWORDS.values()) if secret in log] == []
    assert "violates foreign key" in log


@pytest.fixture
def rented(server: EmbeddedPostgres, tmp_path: Path) -> dict[str, str]:
    """The variables of a shell at a provider's server: a role that may create roles and databases, and no superuser."""
    superuser(server, ADMIN)
    for parameter in parameters("platforms.md"):
        superuser(server, f"alter system set {parameter}")
    superuser(server, "select pg_reload_conf()")
    folder = next(found.bin for found in find_servers() if (found.bin / "psql").exists())
    variables = with_programs()
    return variables | {"PATH": f"{variables['PATH']}:{folder}", "PGPASSWORD": "admin", "HOME": str(tmp_path)}


def at_a_providers(server: EmbeddedPostgres, folder: Path, variables: dict[str, str]) -> None:
    """Do what the page tells, word for word but for the role's name; the tests' server has no certificate."""
    assert typed("callytics env init", folder=folder, variables=variables)[0] == 0
    settings = (folder / ".env").read_text(encoding="utf-8")
    settings = re.sub(r"^(POSTGRES_PORT)=.*$", rf"\1={server.port}", settings, flags=re.MULTILINE)
    (folder / ".env").write_text(settings.replace("POSTGRES_HOST=localhost", "POSTGRES_HOST=127.0.0.1"))
    (block,) = blocks(section(page("platforms"), "Managed PostgreSQL"), "sh")
    block = block.replace("YOUR_ADMIN", "admin").replace("sslmode=require", "sslmode=prefer")
    code, seen = typed(block, folder=folder, variables=variables)
    assert code == 0, seen.text


def test_a_providers_role_gets_from_the_first_step_to_the_service(
    server: EmbeddedPostgres, checkout: Path, rented: dict[str, str]
) -> None:
    """The quick start as it stands, then what operations need day by day, then the API."""
    at_a_providers(server, checkout, rented)
    commands = [one for one in console(page("quickstart")) if one[0] != "callytics env init"]
    follow(commands, checkout, rented)
    kept = "callytics grants --check", "callytics partitions ahead", "callytics undo --yes 1"
    for command in (f"printf '{PASSWORD}\\n' | callytics agent add minsu {PERSON}", *kept):
        code, seen = typed(command, folder=checkout, variables=rented)
        assert code == 0, seen.text
    with served(Settings.load(env_file=checkout / ".env"), checkout / "serve.log") as service:
        assert service.client.get("/health").json()["status"] == "healthy"
        answer = service.client.post("/analyses", json=RECORDING, headers=service.log_in("minsu"))
        assert answer.status_code == 201, answer.text
