"""What the pages on operations and platforms tell an administrator to run does what they say."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from callytics.schema.migrate import migrate
from callytics.settings import Settings
from callytics.trial.embedded import EmbeddedPostgres
from callytics.trial.servers import find_servers
from tests.support.commands import environment, invoke
from tests.support.filling import MONTHLY
from tests.support.manual import blocks, page, section
from tests.support.needs import lacking
from tests.support.samples import write_sample
from tests.support.servers import execute, private_server, settings_for, superuser


@pytest.fixture
def folder(tmp_path: Path, database: Settings) -> Path:
    """A folder with the .env of a database, and a sample file that was imported from there."""
    write_env(tmp_path, database)
    file = tmp_path / "Callytics_new.sqlite"
    write_sample(file, generation=2, calls=20, seed=1)
    imported = invoke(database, "import", "--snapshots", tmp_path / "callytics-imports", file)
    assert imported.exit_code == 0, imported.output
    return tmp_path


def write_env(folder: Path, settings: Settings) -> None:
    lines = [f"{name}={shlex.quote(value)}\n" for name, value in environment(settings).items()]
    (folder / ".env").write_text("".join(lines), encoding="utf-8")


def run(commands: str, folder: Path, **variables: str) -> str:
    """Run commands in one shell, which ends at the first that fails, with the programs of the server's version."""
    programs = next(find_servers()).bin
    if not shutil.which("pg_dump", path=str(programs)):
        lacking(f"{programs} has no pg_dump: install postgresql-client-15")
    env = {"PATH": f"{Path(sys.executable).parent}:{programs}:{os.environ['PATH']}", "LANG": "C.UTF-8"} | variables
    done = subprocess.run(["sh", "-euc", commands], cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_dump_is_restored_and_every_value_verified(
    folder: Path, database: Settings, server: EmbeddedPostgres
) -> None:
    dump, restore = blocks(section(page("operations"), "Back up without pgBackRest"), "sh")
    restored = replace(database, database="callytics_restored")
    server.provide(restored)
    try:
        # The database is there; what the doctor says of this server is another test's.
        restore = re.sub(r"^sudo .*\n|^.* callytics doctor\n", "", restore, flags=re.MULTILINE)
        # A shell reads every password from .env, python-dotenv no ' in one.
        run(f"{dump}rm .env\n{restore}", folder, **environment(database))
        count = "select count(*) from utterances"
        assert execute(restored, count) == execute(database, count) != [(0,)]
        assert migrate(restored, report=lambda line: None) == []
    finally:
        superuser(server, "drop database {} with (force)", restored.database)


def test_rows_that_the_application_added_are_counted(folder: Path, database: Settings) -> None:
    [statement] = blocks(section(page("operations"), "Go back"), "sql")
    assert execute(database, statement) == [(0,)]
    execute(database, "insert into audio_files (file_path, file_name) values ('/new.wav', 'new.wav')")
    assert execute(database, statement) == [(1,)]


def test_months_to_come_are_created(folder: Path, database: Settings) -> None:
    [commands] = blocks(section(page("operations"), "Partitions of the months to come"), "sh")
    # A shell reads every password from it, python-dotenv no ' in one.
    (folder / ".env").unlink()
    run(commands, folder, **environment(database))
    ahead = "select to_char(current_date + interval '3 months', '_YYYY_MM')"
    found = f"select count(*) from pg_inherits where right(inhrelid::regclass::text, 8) = ({ahead})"
    assert execute(database, found) == [(len(MONTHLY),)]


@pytest.mark.slow
def test_a_server_without_superuser_is_set_up_as_shown(tmp_path: Path) -> None:
    """By a role that may create roles and databases, which is all that managed servers give."""
    with private_server(tmp_path / "server") as server:
        superuser(server, "create role {} login createrole createdb password 'secret'", "chief")
        settings = settings_for(server, "callytics")
        settings = replace(settings, password="application", owner_password="owner")
        write_env(tmp_path, settings)
        [commands] = blocks(section(page("platforms"), "Managed PostgreSQL"), "sh")
        commands = commands.replace("YOUR_ADMIN", "chief").replace("sslmode=require", "sslmode=disable")
        run(f"export PGPASSWORD=secret PGPORT={server.port}\n{commands}", tmp_path)
        migrate(settings, report=lambda line: None)
        write_sample(tmp_path / "calls.sqlite", generation=2, calls=5, seed=1)
        imported = invoke(settings, "import", "--snapshots", tmp_path / "snapshots", tmp_path / "calls.sqlite")
        assert imported.exit_code == 0, imported.output
