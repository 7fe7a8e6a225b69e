"""Every command ends in the same ways, and the env commands say all there is to say."""

from __future__ import annotations

import os
import re
import signal
import stat
import subprocess
import sys
from pathlib import Path

import psycopg2
import pytest
from click.testing import CliRunner, Result

from callytics import cli
from callytics.cli import schema
from callytics.exceptions import SourceError
from tests.support.places import REPOSITORY

GOOD = "POSTGRES_HOST=db\nPOSTGRES_DB=callytics\nPOSTGRES_USER=app\nPOSTGRES_PASSWORD='Secret/%1'\n"


@pytest.fixture(autouse=True)
def _folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write_env(text: str = GOOD) -> None:
    env_file = Path(".env")
    env_file.write_text(text)
    env_file.chmod(0o600)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli.cli, arguments)


def test_env_init_then_check_is_complete() -> None:
    result = run("env", "init")
    assert (result.exit_code, result.stderr) == (0, "")
    assert (
        result.stdout
        == ".env written (mode 0600): POSTGRES_HOST is localhost, change it if PostgreSQL runs elsewhere\n"
    )
    assert stat.S_IMODE(Path(".env").stat().st_mode) == 0o600
    assert run("env", "check").stdout == "The settings are complete; 'callytics doctor' looks where they lead.\n"


def test_env_init_never_overwrites() -> None:
    write_env()
    result = run("env", "init")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "Error: .env is already there and was left as it is: edit it, or move it away first\n"
    assert Path(".env").read_text() == GOOD


def test_env_check_names_every_problem() -> None:
    write_env(
        "POSTGRES_HOST=\nPOSTGRES_PORT=abc\nPOSTGRES_USER=u\nPOSTGRES_PASSWORD=change_me\nDATABASE_URL=sqlite:///x\n"
    )
    Path(".env").chmod(0o644)
    result = run("env", "check")
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        "warning: .env is open to other accounts (mode 0644): chmod 600 .env",
        "error: POSTGRES_HOST is empty: give it a value in .env",
        "error: POSTGRES_DB is not set: put it into .env ('callytics env init' writes a file)",
        "error: POSTGRES_PASSWORD is still the placeholder from .env.example: run 'callytics env init' or set your own",
        "error: POSTGRES_PORT 'abc' is not a whole number from 1 to 65535: correct it",
        "note: DATABASE_URL still names a SQLite file and is ignored: remove it",
        "4 to correct",
    ]


def test_env_check_without_anything_names_what_is_required() -> None:
    result = run("env", "check")
    assert result.exit_code == 1
    assert result.stdout.splitlines()[0] == "note: .env is not there, only the environment counts"
    assert result.stdout.splitlines()[-1] == "4 to correct"


def test_env_file_can_lie_elsewhere(tmp_path: Path) -> None:
    elsewhere = str(tmp_path / "my.env")
    assert run("--env-file", elsewhere, "env", "init").exit_code == 0
    assert run("--env-file", elsewhere, "env", "check").exit_code == 0


def test_a_named_env_file_that_is_not_there_is_the_one_error() -> None:
    result = run("--env-file", "nope.env", "migrate")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "Error: nope.env is not there: check the path after --env-file\n"


def test_env_show_masks_passwords_and_tells_where_each_value_is_from(monkeypatch: pytest.MonkeyPatch) -> None:
    write_env(f"{GOOD}POSTGRES_OWNER_USER=\nAPI_PORT=81\n")
    monkeypatch.setenv("POSTGRES_HOST", "elsewhere")
    monkeypatch.setenv("POSTGRES_USER", "")
    monkeypatch.setenv("API_PORT", " ")
    assert run("env", "show").stdout.splitlines() == [
        "POSTGRES_HOST=elsewhere  # environment",
        "POSTGRES_DB=callytics  # .env",
        "POSTGRES_USER=app  # .env",
        "POSTGRES_PASSWORD=********  # .env",
        "POSTGRES_PORT=5432  # default",
        "POSTGRES_READ_HOST=  # not set",
        "POSTGRES_READ_LAG=5  # default",
        "POSTGRES_OWNER_USER=  # not set",
        "POSTGRES_OWNER_PASSWORD=  # not set",
        "POSTGRES_SUPERUSER_PASSWORD=  # not set",
        "POSTGRES_READONLY_PASSWORD=  # not set",
        "POSTGRES_MONITOR_PASSWORD=  # not set",
        "POSTGRES_MIN_CONNECTIONS=5  # default",
        "POSTGRES_MAX_CONNECTIONS=20  # default",
        "POSTGRES_SSLMODE=  # not set",
        "POSTGRES_SSLROOTCERT=  # not set",
        "JWT_SECRET_KEY=  # not set",
        "JWT_EXPIRE_MINUTES=480  # default",
        "SESSION_IDLE_MINUTES=30  # default",
        "MAX_LOGIN_ATTEMPTS=5  # default",
        "ACCOUNT_LOCK_MINUTES=30  # default",
        "API_HOST=127.0.0.1  # default",
        "API_PORT=81  # .env",
        "API_NAMES=  # not set",
        "CORS_ORIGINS=  # not set",
        "PROMETHEUS_URL=  # not set",
    ]


def test_the_file_that_was_named_is_the_one_that_messages_name() -> None:
    Path("my.env").write_text("POSTGRES_HOST=db\nPOSTGRES_USER=\n")
    said = run("--env-file", "my.env", "env", "check").stdout
    assert "POSTGRES_DB is not set: put it into my.env" in said
    assert "POSTGRES_USER is empty: give it a value in my.env" in said
    assert " .env" not in said
    result = run("--env-file", "my.env", "migrate")
    assert result.stderr == (
        "Error: POSTGRES_DB is not set: put it into my.env ('callytics env init' writes a file) "
        "('callytics env check' shows 2 more)\n"
    )


def test_env_check_names_variables_of_libpq_that_have_no_effect(monkeypatch: pytest.MonkeyPatch) -> None:
    write_env(f"{GOOD}PGPASSWORD=x\nPGSSLMODE=require\n")
    monkeypatch.setenv("PGHOST", "elsewhere")
    monkeypatch.setenv("PGHOSTADDR", "192.0.2.1")
    monkeypatch.setenv("PGSERVICE", "")
    result = run("env", "check")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[:-1] == [
        "note: PGHOSTADDR is ignored: the POSTGRES_ variables alone say how to connect"
    ]


def ending_with(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> Result:
    """Run a command that ends with ``error``."""

    def fail(*_arguments: object, **_options: object) -> None:
        raise error

    monkeypatch.setattr(schema, "migrate_database", fail)
    write_env()
    return run("migrate")


def test_our_error_is_one_line_and_its_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    error = SourceError("calls.sqlite is encrypted: decrypt it first")
    error.exit_code = 4
    result = ending_with(error, monkeypatch)
    assert (result.exit_code, result.stdout) == (4, "")
    assert result.stderr == "Error: calls.sqlite is encrypted: decrypt it first\n"


def test_interrupt_is_a_word_and_130(monkeypatch: pytest.MonkeyPatch) -> None:
    result = ending_with(KeyboardInterrupt(), monkeypatch)
    assert (result.exit_code, result.stderr) == (130, "\nInterrupted.\n")


def test_unforeseen_error_keeps_its_traceback_but_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    words = "Secret/%1 postgresql://app:Secret%2F%251@db/\nDETAIL:  Failing row contains (1, 여보세요)."
    result = ending_with(psycopg2.InternalError(words), monkeypatch)
    assert result.exit_code == 1
    assert "Traceback (most recent call last)" in result.stderr
    assert "psycopg2.InternalError: ******** postgresql://app:********@db/\nDETAIL: (left out)" in result.stderr
    assert "Secret" not in result.stderr
    assert "여보세요" not in result.stderr
    assert result.stderr.splitlines()[-1].startswith(
        "Error: this is a fault of Callytics: report it with the lines above"
    )


@pytest.mark.parametrize(
    ("error", "is_ours"),
    [
        (FileNotFoundError(2, "No such file or directory", "calls.html"), False),
        (
            FileNotFoundError(2, "No such file or directory", str(REPOSITORY / "callytics" / "gone.sql")),
            True,
        ),
        (OSError(28, "No space left on device"), False),
        (OSError(9, "Bad file descriptor"), True),
        (OSError(9, "Bad file descriptor", 3), True),
    ],
)
def test_only_files_of_the_user_and_the_output_are_one_line(
    error: OSError, is_ours: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = ending_with(error, monkeypatch)
    assert result.exit_code == 1
    assert ("Traceback" in result.stderr, "a fault of Callytics" in result.stderr) == (is_ours, is_ours)
    assert is_ours or result.stderr.count("\n") == 1


def test_missing_settings_are_one_line() -> None:
    result = run("migrate")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("Error: POSTGRES_HOST is not set: ")
    assert result.stderr.count("\n") == 1


def test_unreachable_database_is_one_line() -> None:
    write_env(GOOD.replace("=db", "=/nowhere"))
    result = run("migrate")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("Error: app can't open database callytics on /nowhere:5432 (")
    assert result.stderr.count("\n") == 1
    assert "Secret" not in result.stderr


def test_wrong_usage_is_exit_code_2() -> None:
    assert run("sample", "--generation", "4", "x").exit_code == 2
    assert run("no-such-command").exit_code == 2


@pytest.mark.parametrize("command", sorted(cli.cli.commands))
def test_every_command_explains_itself(command: str) -> None:
    result = run(command, "--help")
    assert result.exit_code == 0
    assert result.stdout.startswith(f"Usage: cli {command}")
    assert len(result.stdout.splitlines()[2].strip()) > 20


def test_program_runs_as_a_module() -> None:
    answer = subprocess.run(
        [sys.executable, "-m", "callytics.cli", "--version"],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
    )
    assert re.fullmatch(r"callytics \d+\.\d+\.\d+ \(schema \d{4}\)\n", answer.stdout)


def test_commands_wait_for_no_library_of_others() -> None:
    """The drivers, pyarrow and yoyo take three quarters of the start: whoever asks for the version needs none."""
    slow = ("adbc_driver_manager", "argon2", "fastapi", "jinja2", "prometheus_client", "psycopg", "pyarrow", "yoyo")
    program = (
        f"import sys; from callytics.cli import cli; cli(['env', 'show'], standalone_mode=False); "
        f"print([name for name in {slow} if name in sys.modules])"
    )
    write_env()
    env = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=env)
    assert answer.stdout.splitlines()[-1] == "[]"


def test_help_and_completion_import_no_command() -> None:
    """Whoever asks what commands there are waits for none of them, and reads of each what it says itself."""
    program = (
        "import sys; from callytics.cli import cli; cli(sys.argv[1:], standalone_mode=False, prog_name='callytics'); "
        "print(sorted(name for name in sys.modules if name.startswith(('callytics.cli.', 'psycopg.', 'pyarrow.'))))"
    )
    env = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    listed = subprocess.run(
        [sys.executable, "-c", program, "--help"], capture_output=True, text=True, check=True, env=env
    ).stdout
    assert "psycopg" not in listed
    assert "callytics.cli.boundary" in listed
    for name, place in cli.COMMANDS.items():
        assert f"callytics.cli.{place.partition('.')[0]}'" not in listed
        command = cli.cli.commands[name]
        assert re.search(
            rf"^  {name} +{re.escape(command.get_short_help_str(40).removesuffix('...'))}", listed, re.MULTILINE
        )
    completing = {"_CALLYTICS_COMPLETE": "bash_complete", "COMP_WORDS": "callytics im", "COMP_CWORD": "1"}
    program = (
        "import atexit, sys; from callytics.cli import main; "
        "atexit.register(lambda: print('psycopg' in sys.modules)); main()"
    )
    answer = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=env | completing
    )
    assert answer.stdout == "plain,import\nFalse\n"


def test_real_interrupt_ends_with_130(tmp_path: Path) -> None:
    """The terminal's Ctrl-C reaches the handler, not Python's own."""
    script = (
        "import time\n"
        "from callytics.cli import cli, schema\n"
        "schema.migrate_database = lambda *_, **__: (print('up', flush=True), time.sleep(60))\n"
        "cli(['migrate'])"
    )
    write_env()
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
    )
    assert process.stdout
    assert process.stdout.readline() == "up\n"
    process.send_signal(signal.SIGINT)
    _out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (130, "\nInterrupted.\n")
