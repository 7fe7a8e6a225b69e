"""The environment becomes Settings, and whatever is wrong with it gets a message of its own."""

from __future__ import annotations

import stat
import subprocess
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from psycopg2.extensions import parse_dsn

from callytics import settings
from callytics.exceptions import SettingsError
from callytics.settings import ServiceSettings, Settings
from tests.support.places import REPOSITORY

COMPLETE = {
    "POSTGRES_HOST": "db.example",
    "POSTGRES_DB": "callytics",
    "POSTGRES_USER": "callytics_user",
    "POSTGRES_PASSWORD": "s3cret-Enough",
}
AWKWARD_PASSWORDS = [
    "p@ss",
    "a/b",
    "100%",
    "it's",
    'say "hi"',
    "a b",
    "$HOME ${X}",
    "#1",
    "back\\slash",
    "비밀번호",
    "`id`!",
]


def problems(**changes: str | None) -> list[str]:
    """Return what is said about a complete environment with these changes, None for taking a variable out."""
    values = {name: value for name, value in (COMPLETE | changes).items() if value is not None}
    return [f"{problem.level}: {problem.text}" for problem in settings.check(values)]


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)
    return path


def test_complete_environment_has_no_problem() -> None:
    assert problems() == []


@pytest.mark.parametrize("variable", settings.REQUIRED)
def test_missing_and_empty_variables_are_named(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert problems(**{variable: None}) == [
        f"error: {variable} is not set: put it into .env ('callytics env init' writes a file)"
    ]
    monkeypatch.setattr("callytics.settings.checks.HOSTS_ENV_FILE", Path(__file__))
    assert problems(**{variable: None}) == [f"error: {variable} is not set: name {__file__} with --env-file"]
    empty = f"error: {variable} is empty: give it a value in .env"
    assert problems(**{variable: ""}) == [empty]
    assert problems(**{variable: "  "}) == [empty]


@pytest.mark.parametrize(
    "password", ["change_me", "CHANGE-ME", "changeme!", "your-password", "your_secret", "1234", "<password>"]
)
def test_placeholder_passwords_are_refused(password: str) -> None:
    fix = "is still the placeholder from .env.example: run 'callytics env init' or set your own"
    assert problems(POSTGRES_PASSWORD=password) == [f"error: POSTGRES_PASSWORD {fix}"]
    assert problems(POSTGRES_OWNER_USER="owner", POSTGRES_OWNER_PASSWORD=password) == [
        f"error: POSTGRES_OWNER_PASSWORD {fix}"
    ]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"POSTGRES_READ_HOST": "a,,b"},
            "error: POSTGRES_READ_HOST has an empty host in 'a,,b': remove the extra comma",
        ),
        (
            {"POSTGRES_READ_LAG": "0"},
            "error: POSTGRES_READ_LAG '0' is not a whole number from 1 to 3600: correct it",
        ),
        (
            {"POSTGRES_HOST": "a,,b"},
            "error: POSTGRES_HOST has an empty host in 'a,,b': remove the extra comma",
        ),
        (
            {"POSTGRES_HOST": "db:5433"},
            "error: POSTGRES_HOST 'db:5433' holds a port: put the port into POSTGRES_PORT",
        ),
        ({"POSTGRES_HOST": "a b"}, "error: POSTGRES_HOST 'a b' holds a space: separate hosts with commas"),
        (
            {"POSTGRES_HOST": "postgresql://u:p@db/x"},
            "error: POSTGRES_HOST is a URL: give the host's name or address only",
        ),
        (
            {"POSTGRES_PORT": "abc"},
            "error: POSTGRES_PORT 'abc' is not a whole number from 1 to 65535: correct it",
        ),
        (
            {"POSTGRES_PORT": "0"},
            "error: POSTGRES_PORT '0' is not a whole number from 1 to 65535: correct it",
        ),
        (
            {"POSTGRES_PORT": "65536"},
            "error: POSTGRES_PORT '65536' is not a whole number from 1 to 65535: correct it",
        ),
        (
            {"POSTGRES_PORT": "5_432"},
            "error: POSTGRES_PORT '5_432' is not a whole number from 1 to 65535: correct it",
        ),
        (
            {"POSTGRES_MAX_CONNECTIONS": "many"},
            "error: POSTGRES_MAX_CONNECTIONS 'many' is not a whole number from 1 to 10000: correct it",
        ),
        (
            {"POSTGRES_MIN_CONNECTIONS": "30"},
            "error: POSTGRES_MIN_CONNECTIONS 30 is above POSTGRES_MAX_CONNECTIONS 20: change one of them",
        ),
        (
            {"POSTGRES_SSLMODE": "on"},
            "error: POSTGRES_SSLMODE 'on' is unknown: "
            "use one of disable, allow, prefer, require, verify-ca, verify-full",
        ),
        (
            {"POSTGRES_SSLROOTCERT": "/nowhere/ca.crt"},
            "error: POSTGRES_SSLROOTCERT /nowhere/ca.crt is not there: give the CA's certificate file",
        ),
        (
            {"POSTGRES_OWNER_USER": "owner"},
            "error: POSTGRES_OWNER_USER is set without POSTGRES_OWNER_PASSWORD: set both, or neither",
        ),
        (
            {"POSTGRES_OWNER_PASSWORD": "secret"},
            "error: POSTGRES_OWNER_PASSWORD is set without POSTGRES_OWNER_USER: set both, or neither",
        ),
        (
            {"JWT_SECRET_KEY": "a short one"},
            "error: JWT_SECRET_KEY is too weak: put 32 random bytes or more, such as 'openssl rand -base64 48' prints, "
            "into .env",
        ),
        (
            {"JWT_SECRET_KEY": "abab" * 20},
            "error: JWT_SECRET_KEY is too weak: put 32 random bytes or more, such as 'openssl rand -base64 48' prints, "
            "into .env",
        ),
        (
            {"JWT_SECRET_KEY": "change_me"},
            "error: JWT_SECRET_KEY is still the placeholder from .env.example: "
            "run 'callytics env init' or set your own",
        ),
        (
            {"MAX_LOGIN_ATTEMPTS": "0"},
            "error: MAX_LOGIN_ATTEMPTS '0' is not a whole number from 1 to 1000000: correct it",
        ),
        (
            {"API_NAMES": "calls.example, https://b.example"},
            "error: API_NAMES 'https://b.example' is not a host's name: write it as calls.example.com, without scheme "
            "and port",
        ),
        (
            {"PROMETHEUS_URL": "http://me:secret@watch:9090"},
            "error: PROMETHEUS_URL is not an address: write it as http://name:port, without a password",
        ),
        (
            {"CORS_ORIGINS": "https://calls.example, *"},
            "error: CORS_ORIGINS '*' is not an origin: write it as https://name, with a port where it has one",
        ),
        (
            {"DATABASE_URL": "sqlite:///Callytics_new.sqlite"},
            "note: DATABASE_URL still names a SQLite file and is ignored: remove it",
        ),
    ],
)
def test_each_problem_has_its_own_message(changes: dict[str, str], expected: str) -> None:
    assert problems(**changes) == [expected]


def test_certificate_without_verification_is_a_warning(tmp_path: Path) -> None:
    certificate = write(tmp_path / "ca.crt", "")
    assert problems(POSTGRES_SSLMODE="prefer", POSTGRES_SSLROOTCERT=str(certificate)) == [
        "warning: POSTGRES_SSLROOTCERT proves nothing with prefer: use verify-full"
    ]
    assert problems(POSTGRES_SSLMODE="verify-full", POSTGRES_SSLROOTCERT=str(certificate)) == []


@pytest.mark.parametrize("host", ["localhost", "::1", "10.0.0.1", "/var/run/postgresql", "a, b,c"])
def test_hosts_that_are_fine(host: str) -> None:
    assert problems(POSTGRES_HOST=host) == []


def test_load_says_the_first_error_and_counts_the_others() -> None:
    with pytest.raises(SettingsError, match=r"^POSTGRES_DB is not set: .* \('callytics env check' shows 1 more\)$"):
        Settings.load({"POSTGRES_HOST": "db", "POSTGRES_USER": "u"} | {"POSTGRES_PASSWORD": "1234"}, None)


def test_load_fills_in_the_defaults() -> None:
    loaded = Settings.load(COMPLETE | {"POSTGRES_PORT": "", "POSTGRES_HOST": "a, b"}, None)
    assert loaded == Settings(("a", "b"), 5432, "callytics", "callytics_user", "s3cret-Enough")


def test_environment_wins_over_the_file(tmp_path: Path) -> None:
    env_file = write(tmp_path / ".env", "POSTGRES_HOST=file\nPOSTGRES_DB=file\n")
    loaded = Settings.load(COMPLETE | {"POSTGRES_HOST": "real"}, env_file)
    assert (loaded.hosts, loaded.database) == (("real",), "callytics")


def test_owner_falls_back_to_the_user() -> None:
    alone = Settings.load(COMPLETE, None)
    assert alone.login(owner=True) == ("callytics_user", "s3cret-Enough")
    both = Settings.load(COMPLETE | {"POSTGRES_OWNER_USER": "o", "POSTGRES_OWNER_PASSWORD": "p"}, None)
    assert both.login(owner=True) == ("o", "p")
    assert both.login() == ("callytics_user", "s3cret-Enough")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"POSTGRES_HOST='unended\n", "error: {} line 1 can't be read: write it as NAME='value'"),
        ("POSTGRES_HOST=서울\n".encode("cp949"), "error: {} is not UTF-8: save it as UTF-8"),
    ],
)
def test_unreadable_file_is_an_error(tmp_path: Path, content: bytes, expected: str) -> None:
    env_file = tmp_path / ".env"
    env_file.write_bytes(content)
    env_file.chmod(0o600)
    for environment in (COMPLETE, {}):
        _values, found = settings.read(environment, env_file)
        assert [f"{problem.level}: {problem.text}" for problem in found] == [expected.format(env_file)]


@pytest.mark.parametrize(
    "line",
    [
        "HOST = db",
        "HOST=a b",
        "HOST=a$b",
        'HOST="a$b"',
        "HOST=a;b",
        "HOST='a\\\\b'",
        "HOST=~/x",
        'HOST="a`b"',
        "HOST= db",
    ],
)
def test_what_a_shell_reads_differently_is_a_warning(tmp_path: Path, line: str) -> None:
    """Roles that a shell makes would have other passwords than Callytics uses."""
    env_file = write(tmp_path / ".env", f"# ours\n\n{line}\n")
    script = 'set -u; . "$1" >&2; printf %s "$HOST"'
    by_shell = subprocess.run(["sh", "-c", script, "sh", env_file], capture_output=True, text=True, check=False)
    values, found = settings.read(COMPLETE, env_file)
    assert by_shell.stdout != values["HOST"]
    text = f"{env_file} line 3 is read differently by a shell: write it as NAME='value'"
    assert found == [settings.Problem("warning", text)]


@pytest.mark.parametrize(
    "line",
    ["HOST=db", "export HOST=db # ours", "\tHOST='a $b; c'", 'HOST="a b"\t', "HOST=p#1!*", "HOST=서울", "HOST="],
)
def test_what_a_shell_reads_alike_is_fine(tmp_path: Path, line: str) -> None:
    env_file = write(tmp_path / ".env", f"{line}\n")
    command = ["sh", "-c", '. "$1"; printf %s "$HOST"', "sh", env_file]
    values, found = settings.read(COMPLETE, env_file)
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == values["HOST"]
    assert found == []


def test_missing_file_is_a_note_and_a_folder_an_error(tmp_path: Path) -> None:
    _values, found = settings.read(COMPLETE, tmp_path / ".env")
    assert [problem.level for problem in found] == ["note"]
    _values, found = settings.read(COMPLETE, tmp_path)
    assert [problem.text for problem in found] == [f"{tmp_path} can't be read: Is a directory"]


def test_windows_file_is_read(tmp_path: Path) -> None:
    env_file = tmp_path / ".env"
    env_file.write_bytes("\ufeffPOSTGRES_HOST=db\r\nexport POSTGRES_DB = calls # ours\r\n".encode())
    values, _problems = settings.read({}, env_file)
    assert values == {"POSTGRES_HOST": "db", "POSTGRES_DB": "calls"}


def test_windows_line_ends_are_a_warning(tmp_path: Path) -> None:
    env_file = write(tmp_path / ".env", "POSTGRES_HOST=db\nPOSTGRES_DB='calls'\n")
    assert settings.read(COMPLETE, env_file)[1] == []
    env_file.write_bytes(env_file.read_bytes().replace(b"\n", b"\r\n"))
    values, found = settings.read({}, env_file)
    assert (values["POSTGRES_HOST"], values["POSTGRES_DB"]) == ("db", "calls")
    text = (
        f"{env_file} has Windows line ends, with which a shell that reads the file ends each value, passwords too, "
        "with an invisible character: save it with Unix line ends"
    )
    assert [problem for problem in found if problem.level == "warning"] == [settings.Problem("warning", text)]


@pytest.mark.parametrize("empty", ["", " ", "\t"])
def test_an_empty_variable_is_not_a_value(tmp_path: Path, empty: str) -> None:
    """Compose passes on as empty what is not set."""
    lines = "".join(f"{name}='{text}'\n" for name, text in COMPLETE.items())
    env_file = write(
        tmp_path / ".env", f"{lines}POSTGRES_PORT=5433\nPOSTGRES_OWNER_USER=o\nPOSTGRES_OWNER_PASSWORD=p\n"
    )
    expected = Settings.load({}, env_file)
    empties = dict.fromkeys((*COMPLETE, "POSTGRES_PORT", "POSTGRES_OWNER_USER", "POSTGRES_OWNER_PASSWORD"), empty)
    assert Settings.load(empties, env_file) == expected
    assert Settings.load(around := COMPLETE | {"POSTGRES_PORT": empty}, None).port == 5432
    assert Settings.load(around | {"POSTGRES_OWNER_USER": empty}, None).owner_user is None
    with pytest.raises(SettingsError, match="POSTGRES_HOST is empty: give it a value in the environment"):
        Settings.load(empties, None)


@pytest.mark.parametrize(("mode", "warned"), [(0o600, False), (0o640, False), (0o644, True), (0o660, True)])
def test_open_file_is_a_warning(tmp_path: Path, mode: int, warned: bool) -> None:
    env_file = write(tmp_path / ".env", "")
    env_file.chmod(mode)
    _values, found = settings.read(COMPLETE, env_file)
    text = f"{env_file} is open to other accounts (mode {mode:04o}): chmod 600 {env_file}"
    assert [(problem.level, problem.text) for problem in found] == ([("warning", text)] if warned else [])


def test_init_writes_for_its_owner_only_and_never_overwrites(tmp_path: Path) -> None:
    env_file = tmp_path / ".env"
    settings.init(env_file)
    before = env_file.read_bytes()
    assert stat.S_IMODE(env_file.stat().st_mode) == 0o600
    loaded = Settings.load({}, env_file)
    assert len(loaded.password) == len(loaded.owner_password or "") == 43
    assert loaded.password != loaded.owner_password
    with pytest.raises(SettingsError, match="already there and was left as it is"):
        settings.init(env_file)
    assert env_file.read_bytes() == before


def test_init_into_no_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="can't be written: No such file or directory"):
        settings.init(tmp_path / "nowhere" / ".env")


def test_example_is_what_init_writes_with_placeholders() -> None:
    assert (REPOSITORY / ".env.example").read_text() == settings.env_text("change_me", "change_me")


def sourced(env_file: Path) -> str:
    """Return the password that a shell reads from the file."""
    script = 'set -a; . "$0"; printf %s "$POSTGRES_PASSWORD"'
    return subprocess.run(
        ["sh", "-c", script, env_file], capture_output=True, text=True, encoding="utf-8", check=True
    ).stdout


@pytest.mark.parametrize("password", [p for p in AWKWARD_PASSWORDS if "'" not in p])
def test_single_quoted_values_mean_the_same_to_a_shell(tmp_path: Path, password: str) -> None:
    env_file = write(tmp_path / ".env", settings.env_text(password, "owner"))
    assert Settings.load({}, env_file).password == sourced(env_file) == password


def test_double_quotes_hold_a_single_one(tmp_path: Path) -> None:
    env_file = write(tmp_path / ".env", """POSTGRES_PASSWORD="it's"\n""")
    values, _problems = settings.read({}, env_file)
    assert values["POSTGRES_PASSWORD"] == sourced(env_file) == "it's"


@pytest.mark.parametrize("password", AWKWARD_PASSWORDS)
def test_connection_strings_give_every_character_back(password: str) -> None:
    awkward = Settings(("a", "::1"), 5433, "my db/%", "us'er", password, sslmode="verify-full", sslrootcert="/c a")
    assert parse_dsn(awkward.conninfo()) == awkward.parameters()
    uri = urlsplit(awkward.yoyo_uri())
    assert parse_qs(uri.query)["host"] == ["a,::1"]
    assert parse_qs(uri.query)["port"] == ["5433,5433"]
    assert parse_qs(uri.query)["target_session_attrs"] == ["read-write"]
    assert parse_dsn(awkward.yoyo_uri()) == awkward.parameters(owner=True)


def test_passwords_do_not_show() -> None:
    secret = Settings.load(COMPLETE | {"POSTGRES_OWNER_USER": "o", "POSTGRES_OWNER_PASSWORD": "0wner-Secret"}, None)
    shown = {
        name: value for name, value, _ in settings.show(COMPLETE | {"POSTGRES_OWNER_PASSWORD": "0wner-Secret"}, None)
    }
    for text in (repr(secret), str(secret), repr(shown)):
        assert "s3cret-Enough" not in text
        assert "0wner-Secret" not in text
    assert shown["POSTGRES_PASSWORD"] == "********"


@pytest.mark.parametrize("password", AWKWARD_PASSWORDS)
def test_scrub_leaves_no_spelling_of_a_password_and_no_row(password: str) -> None:
    awkward = Settings(("db",), 5432, "callytics", "user", password)
    row = "DETAIL:  Failing row contains (여보세요)."
    text = f"{password} {awkward.conninfo()} {awkward.yoyo_uri()}\n{row}\nend"
    scrubbed = settings.scrub(text, {"POSTGRES_PASSWORD": password})
    assert password not in scrubbed
    assert "여보세요" not in scrubbed
    assert scrubbed.endswith("end")


KEY = "kZ3v9qT1yB7mN5wX2cR8sF4gH6jL0pDa"


def test_service_settings_are_read_with_their_defaults() -> None:
    lists = {"CORS_ORIGINS": "https://a.example, http://b:81", "API_NAMES": "A.example, b"}
    service = ServiceSettings.load(COMPLETE | {"JWT_SECRET_KEY": KEY} | lists, None)
    assert service == ServiceSettings(
        jwt_secret_key=KEY,
        jwt_expire_minutes=480,
        session_idle_minutes=30,
        max_login_attempts=5,
        account_lock_minutes=30,
        api_host="127.0.0.1",
        api_port=8000,
        api_names=("a.example", "b"),
        cors_origins=("https://a.example", "http://b:81"),
    )
    assert KEY not in repr(service)


def test_service_does_not_start_without_a_key() -> None:
    with pytest.raises(SettingsError, match=r"^JWT_SECRET_KEY is not set: put 32 random bytes"):
        ServiceSettings.load(COMPLETE, None)


def test_database_alone_needs_no_key() -> None:
    assert Settings.load(COMPLETE, None).database == "callytics"


def test_a_pool_of_a_standby_connects_to_nothing_else() -> None:
    loaded = Settings.load(COMPLETE | {"POSTGRES_READ_HOST": "b, c", "POSTGRES_READ_LAG": "2"}, None)
    assert (loaded.hosts, loaded.read_hosts, loaded.read_lag) == (("db.example",), ("b", "c"), 2)
    standby = loaded.at_standby("c")
    assert (standby.parameters()["host"], standby.parameters()["target_session_attrs"]) == ("c", "standby")
    assert standby.min_connections == 0
    assert loaded.parameters()["target_session_attrs"] == "any"
