"""docker-compose.yml holds to its specification, and to what hosts hold to; tests/infra/test_docker.py runs it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from ruamel.yaml import YAML

from callytics import cli, settings
from tests.support.places import REPOSITORY

COMPOSE_FILE = REPOSITORY / "docker-compose.yml"
TEXT = COMPOSE_FILE.read_text()
COMPOSE: dict[str, Any] = YAML(typ="safe").load(TEXT)
SERVICES = COMPOSE["services"]
OF_THE_COMPOSE_FILE = {"CALLYTICS_SOURCES", "BACKUP_KEEP_DAYS", "ALERT_WEBHOOK", "PROMETHEUS_PORT"}


def test_compose_file_holds_to_the_specification() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", COMPOSE_FILE]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_specification_would_tell() -> None:
    """A schema that accepts everything proves nothing."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", "-"]
    wrong = TEXT.replace("healthcheck:", "health_check:")
    assert subprocess.run(command, input=wrong, text=True, capture_output=True, check=False).returncode == 1


def test_no_secret_has_a_default() -> None:
    """Without a password or key, or with an empty one, nothing starts."""
    variables = re.findall(r"\$\{(\w*(?:PASSWORD|KEY))(:?[-?+][^}]*)?}", TEXT)
    optional = {"POSTGRES_READONLY_PASSWORD", "POSTGRES_MONITOR_PASSWORD"}
    assert {name for name, _ in variables} == set(settings.SECRETS)
    for name, rest in variables:
        assert rest == ":-" if name in optional else rest.startswith(":?is not set"), name


@pytest.mark.parametrize("name", sorted(set(re.findall(r"\$\{(\w+)", TEXT)) - OF_THE_COMPOSE_FILE))
def test_variables_are_those_of_the_settings(name: str) -> None:
    assert name in (*settings.REQUIRED, *settings.OPTIONAL)


def test_defaults_are_those_of_env_init() -> None:
    written = dict(re.findall(r"^#?(\w+)=(\S*)$", settings.env_text("p", "o"), re.MULTILINE))
    for name, default in set(re.findall(r"\$\{(\w+):-([^}]+)}", TEXT)) - {
        ("CALLYTICS_SOURCES", "."),
        ("PROMETHEUS_PORT", "9090"),
    }:
        assert default == written[name]


def test_env_init_writes_all_that_is_required(tmp_path: Path) -> None:
    settings.init(tmp_path / ".env")
    values, problems = settings.read({}, tmp_path / ".env")
    required = set(re.findall(r"\$\{(\w+):\?", TEXT))
    assert [name for name in required if not values[name]] == problems == []
    assert len({values[name] for name in required}) == len(required)


def test_a_mere_copy_of_the_example_does_not_start() -> None:
    values, _problems = settings.read({}, REPOSITORY / ".env.example")
    missing = {name for name in re.findall(r"\$\{(\w+):\?", TEXT) if not values[name]}
    assert missing == {"POSTGRES_SUPERUSER_PASSWORD", "JWT_SECRET_KEY"}


def test_plain_up_starts_postgresql_alone() -> None:
    assert [name for name, service in SERVICES.items() if not service.get("profiles")] == ["postgres"]


def test_postgresql_is_reached_from_this_machine_only() -> None:
    assert SERVICES["postgres"]["ports"] == ["127.0.0.1:${POSTGRES_PORT:-5432}:5432"]


def test_data_outlives_the_container() -> None:
    assert "postgres:/var/lib/postgresql/data" in SERVICES["postgres"]["volumes"]
    assert "postgres" in COMPOSE["volumes"]


def test_health_is_asked_by_tcp() -> None:
    """The server that initialises the container listens on its socket, and is not what others wait for."""
    assert "--host 127.0.0.1" in SERVICES["postgres"]["healthcheck"]["test"][1]


@pytest.mark.parametrize("name", ["migrate", "import", "partitions", "api", "metrics", "prometheus", "alertmanager"])
def test_command_runs_without_rights(name: str) -> None:
    service = SERVICES[name]
    assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
    assert service["security_opt"] == ["no-new-privileges:true"]


def test_backups_run_without_rights() -> None:
    """And not as root, whose files the image's account could not remove."""
    service = SERVICES["backup"]
    assert (service["user"], service["cap_drop"]) == ("postgres", ["ALL"])
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "backups" in COMPOSE["volumes"]


def test_command_has_no_other_passwords() -> None:
    """The superuser's stays with the server."""
    for name in ("migrate", "import", "partitions", "backup", "api"):
        assert "SUPERUSER" not in str(SERVICES[name])
    assert "OWNER" not in str(SERVICES["api"])
    assert "OWNER" not in str(SERVICES["partitions"])
    assert "JWT" not in str(SERVICES["import"])


def test_who_watches_sees_no_call() -> None:
    """As the monitor's role, whose password is the only one that it has."""
    variables = SERVICES["metrics"]["environment"]
    assert variables["POSTGRES_USER"] == "callytics_monitor"
    assert [name for name in variables if "PASSWORD" in name] == ["POSTGRES_PASSWORD"]
    assert not re.search("PASSWORD|KEY", str(SERVICES["prometheus"]) + str(SERVICES["alertmanager"]))
    assert SERVICES["prometheus"]["ports"] == ["127.0.0.1:${PROMETHEUS_PORT:-9090}:9090"]


def test_alerts_are_those_of_hosts() -> None:
    assert COMPOSE["configs"]["alerts"]["file"] == "deploy/templates/alerts.yml"


@pytest.mark.parametrize("name", ["migrate", "partitions", "api", "metrics"])
def test_what_a_service_runs_is_a_command(name: str) -> None:
    """One that was renamed would be missed by cron only, at night."""
    words = [word for word in SERVICES[name]["command"] if word.isalpha()]
    shown = CliRunner().invoke(cli.cli, [*words, "--help"])
    assert (shown.exit_code, shown.stdout.splitlines()[0].split()[2:-1]) == (0, words)


def test_months_to_come_are_made_without_migrating() -> None:
    """What cron starts waits for the server and changes no table's definition but for new partitions."""
    assert list(SERVICES["partitions"]["depends_on"]) == ["postgres"]


@pytest.mark.parametrize("name", sorted(name for name in SERVICES if SERVICES[name].get("profiles")))
def test_what_a_service_depends_on_is_in_its_profiles(name: str) -> None:
    """Compose starts nothing of another profile, and says no more than that it is not there."""
    for needed in SERVICES[name].get("depends_on", []):
        profiles = SERVICES[needed].get("profiles", SERVICES[name]["profiles"])
        assert set(SERVICES[name]["profiles"]) <= set(profiles)


def test_service_is_reached_from_this_machine_only() -> None:
    assert SERVICES["api"]["ports"] == ["127.0.0.1:${API_PORT:-8000}:8000"]
    assert SERVICES["api"]["command"][-2:] == ["--port", dict(dockerfile())["EXPOSE"]]


def test_service_starts_when_the_tables_are_there() -> None:
    conditions = {name: needed["condition"] for name, needed in SERVICES["api"]["depends_on"].items()}
    assert conditions == {"postgres": "service_healthy", "migrate": "service_completed_successfully"}


@pytest.mark.parametrize(("status", "healthy"), [(200, True), (503, False)])
def test_service_is_healthy_as_it_says_itself(status: int, healthy: bool) -> None:
    """The command asks /health, and takes its status for an answer."""
    _cmd, _python, option, program = SERVICES["api"]["healthcheck"]["test"]
    asked: list[str] = []

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_arguments: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        here = program.replace(":8000", f":{server.server_port}")
        answer = subprocess.run([sys.executable, option, here], capture_output=True, check=False)
        thread.join()
    assert (answer.returncode == 0) is healthy
    assert asked == ["/health"]


def test_variables_of_the_service_are_those_it_reads() -> None:
    """What a .env says of it reaches it, but for where it listens."""
    ours = {name for name in settings.OPTIONAL if name.startswith(("JWT", "MAX_", "ACCOUNT", "CORS"))}
    assert ours <= set(SERVICES["api"]["environment"])


def test_files_that_are_mounted_are_there() -> None:
    for config in COMPOSE["configs"].values():
        assert (REPOSITORY / config["file"]).is_file()


def dockerfile() -> list[tuple[str, str]]:
    text = (REPOSITORY / SERVICES["migrate"]["build"]["dockerfile"]).read_text().replace("\\\n", " ")
    lines = (line for line in text.splitlines() if line and not line.startswith("#"))
    return [(line.partition(" ")[0], line.partition(" ")[2]) for line in lines]


def test_image_runs_as_a_user_of_its_own() -> None:
    instructions = dict(dockerfile())
    assert instructions["USER"] == "callytics"
    assert "--uid 10001" in instructions["RUN"]


def test_image_and_compose_file_start_the_same_program() -> None:
    entry_point = YAML(typ="safe").load(dict(dockerfile())["ENTRYPOINT"])
    assert SERVICES["import"]["entrypoint"][: len(entry_point)] == entry_point


def let_into_the_image(folder: Path) -> None:
    """Copy what .dockerignore lets through."""
    lines = [line for line in (REPOSITORY / ".dockerignore").read_text().splitlines() if line[:1] not in ("", "#")]
    assert lines[0] == "*"
    left_out = [line.removeprefix("**/") for line in lines if line.startswith("**/")]
    for name in (line[1:] for line in lines if line.startswith("!")):
        source = REPOSITORY / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns(*left_out))
        else:
            shutil.copy(source, folder / name)


@pytest.mark.slow
def test_image_holds_the_whole_package(tmp_path: Path) -> None:
    """What pip builds in the image is what it builds here: every query and migration is in it, no .env is."""
    source = tmp_path / "source"
    source.mkdir()
    let_into_the_image(source)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", tmp_path, source]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    packed = set(zipfile.ZipFile(wheel).namelist())
    ours = {
        path.relative_to(REPOSITORY).as_posix().replace("migrations/", "callytics/migrations/", 1)
        for folder in ("callytics", "migrations")
        for path in (REPOSITORY / folder).rglob("*")
        if path.suffix in (".py", ".sql", ".toml")
    }
    assert ours <= packed
    assert not [name for name in packed if ".env" in name]
