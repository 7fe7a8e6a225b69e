"""docker-compose.yml in an engine: from nothing to calls that are served, through an outage, and back from a dump."""

from __future__ import annotations

import json
import re
import stat
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from ruamel.yaml import YAML

from callytics import cli, settings
from tests.infra.engine import Engine, engine, lacks
from tests.infra.lab import until
from tests.support.needs import lacking
from tests.support.network import free_port
from tests.support.places import REPOSITORY

pytestmark = pytest.mark.slow

COMPOSE_FILE = REPOSITORY / "docker-compose.yml"
CALLS = 20


def translated() -> dict[str, Any]:
    """Return the compose file in the words of docker-compose 1.29, which knows neither a name nor configs of files."""
    composed: dict[str, Any] = YAML(typ="safe").load(COMPOSE_FILE.read_text())
    del composed["name"]
    files = {name: REPOSITORY / config["file"] for name, config in composed.pop("configs").items()}
    for service in composed["services"].values():
        mounts = [f"{files[one['source']]}:{one['target']}:ro" for one in service.pop("configs", [])]
        service["volumes"] = [*service.get("volumes", []), *mounts]
    return composed


@dataclass
class Composed:
    """The project of docker-compose.yml with its .env, in an engine."""

    engine: Engine
    folder: Path

    @property
    def env(self) -> dict[str, str]:
        found, problems = settings.read({}, self.folder / ".env")
        # A password that compose takes as it is, and a shell would not.
        assert [problem for problem in problems if problem.level == "error"] == []
        return {name: value for name, value in found.items() if value}

    def compose(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run docker-compose as the manual says."""
        file, env = str(self.folder / "compose.json"), str(self.folder / ".env")
        command = ["docker-compose", "--project-name", "callytics", "--file", file, "--env-file", env, *arguments]
        answer = subprocess.run(
            command, env=self.engine.environment, cwd=self.folder, capture_output=True, text=True, check=False
        )
        assert answer.returncode == 0 or not check, answer.stdout + answer.stderr
        return answer

    def run(self, service: str, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a service once."""
        return self.compose("run", "--rm", "-T", service, *arguments, check=check)

    def state(self, service: str) -> str:
        """Return a service's health as the engine sees it."""
        container = self.compose("ps", "--quiet", service).stdout.strip()
        return self.engine.docker("inspect", "--format", "{{.State.Health.Status}}", container).stdout.strip()

    def psql(self, sql: str) -> str:
        """Ask as the superuser, from inside the container."""
        options = ["psql", "-XqAt", "-d", self.env["POSTGRES_DB"], "-c", sql]
        return self.compose("exec", "-T", "--user", "postgres", "postgres", *options).stdout.strip()

    def prometheus(self, path: str) -> Any:
        """Ask Prometheus on this machine's port; nothing while it does not answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.env['PROMETHEUS_PORT']}{path}", timeout=10) as answer:
                return json.load(answer)["data"]
        except OSError:
            return None

    def asked(self, query: str) -> dict[str, str]:
        """Return the values of a metric by job."""
        found = self.prometheus(f"/api/v1/query?query={query}") or {"result": []}
        return {one["metric"]["job"]: one["value"][1] for one in found["result"]}

    def alerts(self) -> set[str]:
        """Return which alerts fire, or will."""
        found = self.prometheus("/api/v1/alerts")
        return {one["labels"]["alertname"] for one in found["alerts"]} if found else set()

    def health(self) -> int:
        """Ask the API's port on this machine; 0 for no answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.env['API_PORT']}/health", timeout=10) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0


def wait_for(condition: Callable[[], bool], failure: str) -> None:
    assert until(condition, 90), failure


@pytest.fixture(scope="module")
def running_engine() -> Iterator[Engine]:
    """An engine with the images that docker-compose.yml names, and ours built of this checkout."""
    if reason := lacks():
        lacking(reason)
    with engine() as running:
        running.make_bases()
        running.build()
        yield running


@pytest.fixture(scope="module")
def project(running_engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Composed:
    """What its user has: the compose file, a .env from env init, and a file to import."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "compose.json").write_text(json.dumps(translated()))
    settings.init(folder / ".env")
    ports = {name: free_port() for name in ("POSTGRES_PORT", "API_PORT", "PROMETHEUS_PORT")}
    ours = ports | {"CALLYTICS_SOURCES": folder / "sources", "POSTGRES_MONITOR_PASSWORD": "the monitor's $password"}
    text = re.sub(r"(?m)^#?(POSTGRES_PORT|API_PORT)=.*\n", "", (folder / ".env").read_text())
    (folder / ".env").write_text(text + "".join(f"{name}={value}\n" for name, value in ours.items()))
    (folder / "sources").mkdir(mode=0o755)
    arguments = ["sample", "--generation", "2", "--calls", str(CALLS), str(folder / "sources/calls.sqlite")]
    made = CliRunner().invoke(cli.cli, arguments)
    assert made.exit_code == 0, made.output
    (folder / "sources/calls.sqlite").chmod(0o644)
    for path in (folder, *folder.parents[:2]):
        # No right is taken: one of them may be /tmp.
        path.chmod(stat.S_IMODE(path.stat().st_mode) | 0o755)
    return Composed(running_engine, folder)


@pytest.fixture(scope="module")
def postgres(project: Composed) -> Composed:
    """PostgreSQL, healthy."""
    project.compose("up", "--detach", "postgres")
    wait_for(lambda: project.state("postgres") == "healthy", "PostgreSQL does not get healthy")
    return project


@pytest.fixture(scope="module")
def imported(postgres: Composed) -> subprocess.CompletedProcess[str]:
    """An import, before which the service migrate has run by itself."""
    return postgres.run("import", "calls.sqlite", "--yes")


@pytest.fixture(scope="module")
def served(postgres: Composed, imported: subprocess.CompletedProcess[str]) -> Composed:
    """The API, healthy."""
    postgres.compose("--profile", "api", "up", "--detach", "api")
    wait_for(lambda: postgres.state("api") == "healthy", "the API does not get healthy")
    return postgres


def test_nothing_starts_without_a_password(project: Composed) -> None:
    empty = project.folder / "empty.env"
    empty.write_text("")
    file = str(project.folder / "compose.json")
    command = ["docker-compose", "--file", file, "--env-file", str(empty), "config"]
    refused = subprocess.run(command, env=project.engine.environment, capture_output=True, text=True, check=False)
    assert refused.returncode != 0
    assert "is not set" in refused.stderr


def test_postgresql_has_the_roles_and_checksums(postgres: Composed) -> None:
    assert postgres.psql("show data_checksums") == "on"
    roles = postgres.psql("select string_agg(rolname, ' ' order by rolname) from pg_roles where rolname ~ '^callytics'")
    assert roles == "callytics_monitor callytics_owner callytics_readonly callytics_user"


def test_migrate_says_that_all_is_applied_the_second_time(
    postgres: Composed, imported: subprocess.CompletedProcess[str]
) -> None:
    assert "Every migration is applied already" in postgres.run("migrate").stdout


def test_a_file_is_imported_and_verified(imported: subprocess.CompletedProcess[str], postgres: Composed) -> None:
    assert "Verified: all values" in imported.stdout, imported.stdout
    assert int(postgres.psql("select count(*) from audio_files")) == CALLS


def test_the_months_to_come_are_made(postgres: Composed, imported: subprocess.CompletedProcess[str]) -> None:
    assert postgres.run("partitions").returncode == 0


def test_the_api_answers_on_this_machine(served: Composed) -> None:
    assert served.health() == 200


def test_the_api_says_503_while_postgresql_restarts_and_comes_back(served: Composed) -> None:
    container = served.compose("ps", "--quiet", "api").stdout
    served.compose("stop", "postgres")
    wait_for(lambda: served.health() == 503, "the API does not notice")
    served.compose("start", "postgres")
    wait_for(lambda: served.health() == 200, "the API does not come back")
    assert served.compose("ps", "--quiet", "api").stdout == container


def test_no_log_has_a_secret_or_what_was_said(served: Composed) -> None:
    logs = served.compose("logs", "--no-color").stdout
    assert "database system is ready to accept connections" in logs
    secrets = [value for name, value in served.env.items() if name.endswith(("PASSWORD", "KEY"))]
    assert len(secrets) >= 4
    said = json.loads(served.psql("select json_agg(text) from utterances where length(text) > 12"))
    assert said
    assert not [one for one in (*secrets, *said) if one in logs]


def test_prometheus_watches_the_database_and_the_api_with_the_alerts_of_hosts(served: Composed) -> None:
    served.compose("--profile", "monitoring", "up", "--detach", "prometheus")
    wait_for(lambda: served.asked("up") == {"database": "1", "callytics": "1"}, "a target is not up")
    assert served.asked("callytics_database_up") == {"database": "1"}
    assert set(served.asked("callytics_untold").values()) == {"0"}
    served.compose("stop", "metrics")
    wait_for(lambda: "NotWatched" in served.alerts(), "nobody notices that nobody watches")
    served.compose("start", "metrics")
    wait_for(lambda: "NotWatched" not in served.alerts(), "the alert stays")


def test_a_dump_brings_lost_rows_back(served: Composed) -> None:
    """By the service backup, whose dump is whole or not there."""
    before = served.psql("select count(*), md5(string_agg(text, '' order by id)) from utterances")
    name = served.run("backup").stdout.split()[-1]
    assert re.fullmatch(r"callytics-\d{8}T\d{6}Z\.dump", name)
    served.psql("delete from utterances")
    partitions = served.psql("select string_agg(relid::text, ' ') from pg_partition_tree('utterances') where isleaf")
    tables = [word for partition in partitions.split() for word in ("--table", partition)]
    options = ["--data-only", "--exit-on-error", "--dbname", served.env["POSTGRES_DB"], *tables]
    served.run("backup", "pg_restore", *options, name)
    assert served.psql("select count(*), md5(string_agg(text, '' order by id)) from utterances") == before


def test_a_dump_that_fails_leaves_none(served: Composed) -> None:
    listed = served.run("backup", "ls").stdout
    options = ["run", "--rm", "-T", "-e", "PGPASSWORD=wrong", "backup"]
    assert served.compose(*options, check=False).returncode != 0
    assert served.run("backup", "ls", "-A").stdout.split() == listed.split()


def test_data_outlives_the_containers(served: Composed) -> None:
    """The last test: everything is taken down and brought up again."""
    before = served.psql("select count(*) from utterances")
    served.compose("down")
    served.compose("up", "--detach", "postgres")
    wait_for(lambda: served.state("postgres") == "healthy", "PostgreSQL does not get healthy")
    assert served.psql("select count(*) from utterances") == before
