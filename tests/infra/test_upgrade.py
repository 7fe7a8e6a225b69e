"""The last release becomes this version on a host with data, while a client keeps asking; a bad one goes back."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from callytics import __version__
from tests.infra.deployment import Deployment, Run
from tests.infra.lab import Lab, LabHost
from tests.infra.service import get, wait_for_health
from tests.infra.stock import from_afar
from tests.infra.upgrading import SWITCH, UPGRADE, Asked, applied, client, pull
from tests.support.needs import lacking
from tests.support.places import REPOSITORY

pytestmark = pytest.mark.slow

# A restart: the old process ends, the new one loads and connects. The machine that runs the tests may be busy.
LONGEST_GAP = 25.0
TABLES = ("audio_files", "utterances", "consultation_analysis", "communication_quality")


def git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=REPOSITORY, check=True, capture_output=True, text=True).stdout


def last_release() -> str:
    """Return the commit of the last release: its tag, or what brought this version's heading into the changelog."""
    tags = git("tag", "--list", "v*", "--sort=-v:refname", "--merged").split()
    if tags:
        return tags[0]
    found = git("log", "-1", "--format=%H", "-G", rf"^## {re.escape(__version__)}", "--", "CHANGELOG.md").strip()
    if not found or git("rev-parse", "--is-shallow-repository").strip() == "true":
        lacking(f"the history does not reach back to {__version__}: git fetch --unshallow --tags")
    return found


def check_out(commit: str, folder: Path) -> None:
    """Write a commit's files into ``folder``."""
    packed = subprocess.run(["git", "archive", commit], cwd=REPOSITORY, check=True, capture_output=True).stdout
    subprocess.run(["tar", "-x", "-C", str(folder)], input=packed, check=True)


@dataclass
class Installation:
    """An installation of the last release with data, and what was so before anything was upgraded."""

    deployment: Deployment
    rows: dict[str, str]
    migrations: str

    @property
    def host(self) -> LabHost:
        return self.deployment.app

    def upgrade(self) -> tuple[Run, Asked]:
        """Run the upgrade while a client keeps asking."""
        with client(self.host) as asked:
            run = self.deployment.run(UPGRADE, check=False)
            wait_for_health(self.host)
        print(f"longest gap between two good answers: {asked.gap:.1f} s, answers {asked.answers}")  # noqa: T201
        return run, asked

    def used(self) -> str:
        return self.host.run("readlink /opt/callytics/current").stdout.strip()


def counted(deployment: Deployment) -> dict[str, str]:
    return {table: deployment.superuser(f"select count(*) from {table}") for table in TABLES}


@pytest.fixture(scope="module")
def installation(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """The last release, provisioned by its own deploy/, with calls."""
    folder = tmp_path_factory.mktemp("installation")
    commit = last_release()
    host = lab.host("upgraded")
    # What the last release asks for may be something else.
    from_afar(host)
    deployment = Deployment.prepare(folder, host, host)
    for path in folder.iterdir():
        if path.name != ".env":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    check_out(commit, folder)
    deployment.run()
    callytics = "cd /root && umask 077 && callytics --env-file /etc/callytics/admin.env"
    host.run(f"{callytics} sample --generation 2 --calls 30 --seed 5 /root/calls.sqlite")
    host.run(f"{callytics} import --yes --snapshots /root/imports /root/calls.sqlite")
    pull(folder)
    wait_for_health(host)
    return Installation(deployment, counted(deployment), applied(deployment))


def test_without_a_backup_nothing_is_done(installation: Installation) -> None:
    run = installation.deployment.run(UPGRADE, check=False)
    assert run.exit_code != 0
    assert "there is no backup to return to" in run.output
    assert not run.changed
    installation.deployment.set(BACKUP_REPOSITORY="off")


def test_a_dry_run_says_what_would_be(installation: Installation) -> None:
    run = installation.deployment.run(UPGRADE, dry=True)
    assert SWITCH in run.changed
    assert re.search(r"From the older layout to releases/[\w.-]+, with \d+ migrations \(0058\.", run.output), run.output
    assert not installation.host.run("ls /opt/callytics/releases", check=False).stdout
    assert applied(installation.deployment) == installation.migrations


def kill_during_the_switch(installation: Installation) -> bool:
    """Kill the run and what it does on the host, as a power cut would; tell whether it came so far."""
    process = installation.deployment.start(UPGRADE)
    assert process.stdout is not None
    reached = False
    for line in process.stdout:
        if line.startswith("--> Starting") and SWITCH in line:
            reached = True
            break
    journal = "test -f /opt/callytics/switching.json"
    deadline = time.monotonic() + 30
    while reached and installation.host.run(journal, check=False).returncode != 0 and time.monotonic() < deadline:
        time.sleep(0.1)
    # The pattern does not match the shell that asks, which would end first of all.
    installation.host.run("kill -9 $(pgrep -f '[p]ython3 /opt/callytics/switch_release.py' | sort -rn)")
    os.killpg(process.pid, signal.SIGKILL)
    process.stdout.close()
    process.wait()
    return reached and installation.host.run(journal, check=False).returncode == 0


@pytest.fixture(scope="module")
def upgraded(installation: Installation) -> tuple[Run, Asked]:
    """An upgrade that was killed in the middle, and the run that completes it."""
    assert kill_during_the_switch(installation)
    return installation.upgrade()


def test_the_run_after_a_killed_one_upgrades(upgraded: tuple[Run, Asked], installation: Installation) -> None:
    run, _asked = upgraded
    assert run.exit_code == 0, run.output
    assert SWITCH in run.changed
    assert installation.used().startswith(f"releases/{__version__}-")
    assert installation.host.run("ls /opt/callytics/switching.json", check=False).stdout == ""
    assert installation.host.run("/opt/callytics/bin/python -V").stdout, "the release before is kept"


def test_the_client_met_a_short_gap(upgraded: tuple[Run, Asked]) -> None:
    _run, asked = upgraded
    assert asked.gap < LONGEST_GAP, asked


def test_the_data_is_there(upgraded: tuple[Run, Asked], installation: Installation) -> None:
    assert counted(installation.deployment) == installation.rows
    assert applied(installation.deployment).startswith(installation.migrations)
    assert applied(installation.deployment) != installation.migrations
    doctor = installation.host.run("cd / && callytics --env-file /etc/callytics/admin.env doctor", check=False)
    assert doctor.returncode == 0, doctor.stdout


def test_the_second_run_changes_nothing(upgraded: tuple[Run, Asked], installation: Installation) -> None:
    run = installation.deployment.run(UPGRADE)
    assert run.seen
    assert not run.changed


def broken(checkout: Path, *, service: bool) -> None:
    """Make a new version whose migrations work and whose service does not start, or the other way round."""
    migrations = checkout / "migrations"
    last = max(path.stem for path in migrations.glob("*.sql") if ".rollback" not in path.name)
    (migrations / "9000.topics.sql").write_text(
        f"-- Made by a test.\n-- depends: {last}\ninsert into topics (id, name) values (9000, 'of a bad version');\n"
    )
    (migrations / "9000.topics.rollback.sql").write_text("delete from topics where id = 9000;\n")
    if service:
        server = checkout / "callytics/api/server.py"
        server.write_text(server.read_text().replace("    check_schema(settings)\n", "    raise SystemExit(7)\n", 1))
    else:
        text = "-- Made by a test.\n-- depends: 9000.topics\ninsert into topics (id, name) values (9000, 'again');\n"
        (migrations / "9001.topics.sql").write_text(text)
        (migrations / "9001.topics.rollback.sql").write_text("select 1;\n")


@pytest.mark.parametrize("service", [True, False], ids=["the service does not start", "a migration fails"])
def test_a_bad_version_goes_back_by_itself(
    upgraded: tuple[Run, Asked], installation: Installation, service: bool
) -> None:
    used, before = installation.used(), applied(installation.deployment)
    broken(installation.deployment.checkout, service=service)
    try:
        run, asked = installation.upgrade()
    finally:
        pull(installation.deployment.checkout)
    assert run.exit_code != 0
    assert "is back, and the database as it was" in run.output
    assert installation.used() == used
    assert applied(installation.deployment) == before
    assert installation.deployment.superuser("select count(*) from topics where id = 9000") == "0"
    assert get(installation.host, "/health")[0] == 200
    # Two restarts, each tried by systemd for as long as it takes to say that it failed.
    assert asked.gap < (2 * LONGEST_GAP if service else 1.0), asked


def test_what_cannot_go_back_is_refused(upgraded: tuple[Run, Asked], installation: Installation) -> None:
    before = applied(installation.deployment)
    broken(installation.deployment.checkout, service=True)
    (installation.deployment.checkout / "migrations/9000.topics.rollback.sql").unlink()
    try:
        run = installation.deployment.run(UPGRADE, check=False)
    finally:
        pull(installation.deployment.checkout)
    assert run.exit_code != 0
    assert "9000.topics can't be rolled back" in run.output
    assert "UPGRADE_ONE_WAY=yes" in run.output
    assert applied(installation.deployment) == before


def test_after_that_the_next_run_has_nothing_left_to_do(installation: Installation) -> None:
    """But for the bad releases, which are more than are kept."""
    installation.deployment.run(UPGRADE)
    run = installation.deployment.run(UPGRADE)
    assert not run.changed
    assert len(installation.host.run("ls -d /opt/callytics/releases/*").stdout.split()) == 2
    assert installation.host.run("ls /opt/callytics/bin", check=False).stdout == "", "the older layout has gone"


def versions(host: LabHost) -> list[str]:
    """Return the versions of PostgreSQL that apt knows, the newest first."""
    madison = host.run("apt-cache madison postgresql-15").stdout
    found: list[Any] = [line.split("|")[1].strip() for line in madison.splitlines() if "Sources" not in line]
    return list(dict.fromkeys(found))


def test_a_minor_version_of_postgresql_comes_with_a_short_gap(
    upgraded: tuple[Run, Asked], installation: Installation
) -> None:
    new, *older = versions(installation.host)
    if not older:
        lacking("Debian's sources have one version of PostgreSQL 15 only")
    packages = " ".join(f"{name}={older[0]}" for name in ("postgresql-15", "postgresql-client-15"))
    options = "-y --allow-downgrades --allow-change-held-packages"
    installation.host.run(f"DEBIAN_FRONTEND=noninteractive apt-get install {options} {packages}")
    wait_for_health(installation.host)
    before = installation.deployment.superuser("show server_version")
    run, asked = installation.upgrade()
    assert run.exit_code == 0, run.output
    assert set(run.changed) >= {"Bring PostgreSQL to its newest minor version"}
    after = installation.deployment.superuser("show server_version")
    assert before != after
    assert new.startswith(after.split()[0])
    assert asked.gap < LONGEST_GAP, asked
    assert "postgresql-15" in installation.host.run("apt-mark showhold").stdout
    assert counted(installation.deployment) == installation.rows
