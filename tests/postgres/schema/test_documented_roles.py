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
from tests.support.commands import invoke
from tests.support.places import REPOSITORY
from tests.support.servers import execute, private_server, settings_for, superuser

pytestmark = pytest.mark.slow

PASSWORDS = {"POSTGRES_OWNER_PASSWORD": "the owners own", "POSTGRES_PASSWORD": "the application"}
# What a server of a provider gives to whoever rents it.
ADMIN = "create role admin login createrole createdb password 'admin'"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    with private_server(tmp_path / "server") as embedded:
        yield embedded


def statements(page: str) -> list[str]:
    """Return the statements of a page's role block, with the passwords that the shell would put in."""
    text = (REPOSITORY / "docs" / page).read_text(encoding="utf-8")
    (block,) = re.findall(r"<<SQL\n((?:set log_[^\n]*\n)?create role.*?)\nSQL\n", text, flags=re.DOTALL)
    for name, password in PASSWORDS.items():
        block = block.replace(f"${name}", password)
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


@pytest.mark.parametrize("page", ["quickstart.md", "platforms.md", "ko/quickstart.md", "ko/platforms.md"])
def test_after_the_documented_steps_the_doctor_has_nothing_to_say(
    page: str, server: EmbeddedPostgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the roles and the database are made by a role without superuser, as at a provider's."""
    monkeypatch.chdir(tmp_path)
    login: dict[str, str] = {}
    if page.endswith("platforms.md"):
        superuser(server, ADMIN)
        login = {"user": "admin", "password": "admin"}
        for parameter in parameters(page):
            superuser(server, f"alter system set {parameter}")
        superuser(server, "select pg_reload_conf()")
    with closing(psycopg2.connect(server.superuser_conninfo(), **login)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            for statement in statements(page):
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
