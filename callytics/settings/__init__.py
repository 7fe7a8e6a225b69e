"""The environment and ``.env`` become one :class:`Settings`; nothing else reads either of them."""

from __future__ import annotations

import io
import os
import re
import secrets
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import quote, urlencode

from dotenv.parser import parse_stream

from callytics.exceptions import SettingsError

DEFAULT_ENV_FILE = Path(".env")
REQUIRED = ("POSTGRES_HOST", "POSTGRES_DB", "POSTGRES_USER", "POSTGRES_PASSWORD")
OPTIONAL = {
    "POSTGRES_PORT": "5432",
    "POSTGRES_OWNER_USER": "",
    "POSTGRES_OWNER_PASSWORD": "",
    "POSTGRES_SUPERUSER_PASSWORD": "",
    "POSTGRES_READONLY_PASSWORD": "",
    "POSTGRES_MONITOR_PASSWORD": "",
    "POSTGRES_MIN_CONNECTIONS": "5",
    "POSTGRES_MAX_CONNECTIONS": "20",
    "POSTGRES_SSLMODE": "",
    "POSTGRES_SSLROOTCERT": "",
    "JWT_SECRET_KEY": "",
    "JWT_EXPIRE_MINUTES": "480",
    "MAX_LOGIN_ATTEMPTS": "5",
    "ACCOUNT_LOCK_MINUTES": "30",
    "API_HOST": "127.0.0.1",
    "API_PORT": "8000",
    "CORS_ORIGINS": "",
}
# The superuser's and the two after it are for those who make the roles: hosts' provisioning and Docker Compose.
SECRETS = (
    "POSTGRES_PASSWORD",
    "POSTGRES_OWNER_PASSWORD",
    "POSTGRES_SUPERUSER_PASSWORD",
    "POSTGRES_READONLY_PASSWORD",
    "POSTGRES_MONITOR_PASSWORD",
    "JWT_SECRET_KEY",
)
# RFC 7518, section 3.2: a key of HS256 has at least as many bits as its hash.
JWT_SECRET_KEY_BYTES = 32
KEY_ADVICE = "32 random bytes or more, such as 'openssl rand -base64 48' prints,"
LOGIN_NUMBERS = ("JWT_EXPIRE_MINUTES", "MAX_LOGIN_ATTEMPTS", "ACCOUNT_LOCK_MINUTES")
# https://www.postgresql.org/docs/15/libpq-ssl.html#LIBPQ-SSL-SSLMODE-STATEMENTS
SSLMODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
PLACEHOLDER = re.compile(r"change[-_ ]?me.*|your[-_ ].*|1234\d*|<.*>", re.IGNORECASE)

Level = Literal["error", "warning", "note"]


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with the environment, and what to do about it."""

    level: Level
    text: str


@dataclass(frozen=True)
class Settings:
    """How to reach the database, as which role; passwords never show in its repr."""

    hosts: tuple[str, ...]
    port: int
    database: str
    user: str
    password: str = field(repr=False)
    min_connections: int = 5
    max_connections: int = 20
    sslmode: str | None = None
    sslrootcert: str | None = None
    owner_user: str | None = None
    owner_password: str | None = field(default=None, repr=False)

    @classmethod
    def load(cls, environ: Mapping[str, str] | None = None, env_file: Path | None = DEFAULT_ENV_FILE) -> Settings:
        """Read ``env_file`` and the environment, which wins; refuse whatever :func:`check` calls an error.

        Raises SettingsError with the first error and the number of others.
        """
        values, problems = read(environ, env_file)
        errors = [problem.text for problem in problems if problem.level == "error"]
        if errors:
            raise SettingsError(_first_of(errors))
        return cls(
            hosts=_hosts(values["POSTGRES_HOST"]),
            port=int(_value(values, "POSTGRES_PORT")),
            database=values["POSTGRES_DB"],
            user=values["POSTGRES_USER"],
            password=values["POSTGRES_PASSWORD"],
            min_connections=int(_value(values, "POSTGRES_MIN_CONNECTIONS")),
            max_connections=int(_value(values, "POSTGRES_MAX_CONNECTIONS")),
            sslmode=_value(values, "POSTGRES_SSLMODE") or None,
            sslrootcert=_value(values, "POSTGRES_SSLROOTCERT") or None,
            owner_user=_value(values, "POSTGRES_OWNER_USER") or None,
            owner_password=_value(values, "POSTGRES_OWNER_PASSWORD") or None,
        )

    def login(self, *, owner: bool = False) -> tuple[str, str]:
        """Return user and password: the application's, or those of whoever migrates and imports."""
        if owner and self.owner_user:
            return self.owner_user, self.owner_password or ""
        return self.user, self.password

    def login_variables(self, *, owner: bool = False) -> tuple[str, str]:
        """Return the names of the variables that :meth:`login` is from."""
        if owner and self.owner_user:
            return "POSTGRES_OWNER_USER", "POSTGRES_OWNER_PASSWORD"
        return "POSTGRES_USER", "POSTGRES_PASSWORD"

    def parameters(self, *, owner: bool = False) -> dict[str, str]:
        """Return libpq's connection parameters; with several hosts, the one that takes writes is used."""
        user, password = self.login(owner=owner)
        several = len(self.hosts) > 1
        parameters = {
            "host": ",".join(self.hosts),
            "port": ",".join([str(self.port)] * len(self.hosts)),
            "dbname": self.database,
            "user": user,
            "password": password,
            "sslmode": self.sslmode,
            "sslrootcert": self.sslrootcert,
            "target_session_attrs": "read-write" if several else None,
            "application_name": "callytics",
            "client_encoding": "UTF8",
            "connect_timeout": "10",
        }
        return {name: value for name, value in parameters.items() if value is not None}

    def conninfo(self, *, owner: bool = False) -> str:
        """Return libpq's keyword/value string, every value quoted, for psycopg2, ADBC and psql.

        It holds the password: never print it, nor hand it to a program as an argument, where ``ps`` shows it.
        """
        return " ".join(f"{name}={_quoted(value)}" for name, value in self.parameters(owner=owner).items())

    def yoyo_uri(self) -> str:
        """Return the owner's connection as a URI that yoyo takes.

        Host, port and database travel as parameters: in their usual places yoyo neither decodes a database
        name nor accepts several hosts.
        """
        parameters = self.parameters(owner=True)
        user, password = quote(parameters.pop("user"), safe=""), quote(parameters.pop("password"), safe="")
        return f"postgresql://{user}:{password}@/?{urlencode(parameters, quote_via=quote, safe='')}"


@dataclass(frozen=True)
class ServiceSettings:
    """How the application is served and agents log in; the key never shows in its repr. Times are minutes."""

    jwt_secret_key: str = field(repr=False)
    jwt_expire_minutes: int = 480
    max_login_attempts: int = 5
    account_lock_minutes: int = 30
    api_host: str = "127.0.0.1"
    api_port: int = 8000
    cors_origins: tuple[str, ...] = ()

    @classmethod
    def load(
        cls, environ: Mapping[str, str] | None = None, env_file: Path | None = DEFAULT_ENV_FILE
    ) -> ServiceSettings:
        """Read ``env_file`` and the environment, which wins; refuse whatever :func:`check` calls an error.

        Raises SettingsError with the first error and the number of others, and without a JWT_SECRET_KEY.
        """
        values, problems = read(environ, env_file)
        errors = [problem.text for problem in problems if problem.level == "error"]
        if not values.get("JWT_SECRET_KEY"):
            errors.append(f"JWT_SECRET_KEY is not set: put {KEY_ADVICE} into .env")
        if errors:
            raise SettingsError(_first_of(errors))
        return cls(
            jwt_secret_key=values["JWT_SECRET_KEY"],
            jwt_expire_minutes=int(_value(values, "JWT_EXPIRE_MINUTES")),
            max_login_attempts=int(_value(values, "MAX_LOGIN_ATTEMPTS")),
            account_lock_minutes=int(_value(values, "ACCOUNT_LOCK_MINUTES")),
            api_host=_value(values, "API_HOST"),
            api_port=int(_value(values, "API_PORT")),
            cors_origins=tuple(_value(values, "CORS_ORIGINS").replace(",", " ").split()),
        )


def read(
    environ: Mapping[str, str] | None = None, env_file: Path | None = DEFAULT_ENV_FILE
) -> tuple[dict[str, str], list[Problem]]:
    """Merge ``env_file`` and the environment, which wins, and return the values with everything wrong."""
    values, problems = _read_env_file(env_file)
    values |= os.environ if environ is None else environ
    return values, problems + list(check(values))


def check(values: Mapping[str, str]) -> Iterator[Problem]:
    """Yield every problem of the settings, each with its fix."""
    for variable in REQUIRED:
        yield from _check_required(variable, values)
    yield from _check_hosts(values.get("POSTGRES_HOST", ""))
    for variable in SECRETS:
        yield from _check_password(variable, values.get(variable, ""))
    yield from _check_owner(values)
    yield from _check_numbers(values)
    yield from _check_tls(values)
    yield from _check_service(values)
    yield from _check_leftovers(values)


def show(values: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield each variable and its value for reading, secrets masked."""
    for variable in (*REQUIRED, *OPTIONAL):
        value = _value(values, variable)
        if variable in SECRETS:
            value = "********" if value else ""
        yield variable, value


def scrub(text: str, values: Mapping[str, str]) -> str:
    """Return ``text`` without passwords, nor the rows that PostgreSQL quotes in an error's details."""
    for secret in filter(None, map(values.get, SECRETS)):
        for spelling in (secret, quote(secret, safe=""), _quoted(secret), repr(secret)[1:-1]):
            text = text.replace(spelling, "********")
    return re.sub(r"^(DETAIL|CONTEXT):.*$", r"\1: (left out)", text, flags=re.MULTILINE)


def init(path: Path) -> None:
    """Write a new .env with a strong random key and passwords, readable by its owner only.

    Never overwrites: raises SettingsError where there is one.
    """
    password, owner_password, superuser_password, key = (secrets.token_urlsafe(32) for _ in range(4))
    text = env_text(password, owner_password, superuser_password=superuser_password, jwt_secret_key=key)
    create_env_file(path, text)


def create_env_file(path: Path, text: str) -> None:
    """Create ``path`` with mode 0600 from its first moment; raise SettingsError when it exists."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        message = f"{path} is already there and was left as it is: edit it, or move it away first"
        raise SettingsError(message) from None
    except OSError as error:
        raise SettingsError(f"{path} can't be written: {error.strerror}") from None
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)


def env_text(
    password: str,
    owner_password: str,
    *,
    superuser_password: str = "",
    jwt_secret_key: str = "",
    host: str = "localhost",
    port: int = 5432,
    database: str = "callytics",
) -> str:
    """Return the text of a .env file; the passwords must not hold a quote or a backslash.

    In single quotes a value means the same to a shell, Docker Compose and python-dotenv.
    """
    return ENV_TEMPLATE.format(
        host=host,
        port=port,
        database=database,
        password=password,
        owner_password=owner_password,
        superuser_password=superuser_password,
        jwt_secret_key=jwt_secret_key,
    )


ENV_TEMPLATE = """\
# How Callytics reaches PostgreSQL. The real environment wins over this file. Keep it out of version control.
# Put values in single quotes: then a shell, Docker Compose and Callytics read the same.

# One host, or several separated by commas.
POSTGRES_HOST={host}
POSTGRES_PORT={port}
POSTGRES_DB={database}

# The application: reads and writes rows.
POSTGRES_USER=callytics_user
POSTGRES_PASSWORD='{password}'

# Owns the tables: migrates and imports. Without these two lines POSTGRES_USER does that as well.
POSTGRES_OWNER_USER=callytics_owner
POSTGRES_OWNER_PASSWORD='{owner_password}'

# Docker Compose does not start without it: the superuser's, who enters from inside the container only.
POSTGRES_SUPERUSER_PASSWORD='{superuser_password}'

# The roles that only look, of hosts and Docker Compose: without a password they can't log in.
#POSTGRES_READONLY_PASSWORD='change_me'
#POSTGRES_MONITOR_PASSWORD='change_me'

POSTGRES_MIN_CONNECTIONS=5
POSTGRES_MAX_CONNECTIONS=20

# disable, allow, prefer, require, verify-ca or verify-full; the last two want the CA's certificate.
#POSTGRES_SSLMODE=verify-full
#POSTGRES_SSLROOTCERT=/etc/callytics/ca.crt

# Signs agents' logins: 32 random bytes or more. Another key ends every login.
JWT_SECRET_KEY='{jwt_secret_key}'
# Minutes until a login ends, wrong passwords until an account is locked, and minutes until it is open again.
JWT_EXPIRE_MINUTES=480
MAX_LOGIN_ATTEMPTS=5
ACCOUNT_LOCK_MINUTES=30

# Where 'callytics serve' listens, and which web pages of other origins may ask it.
API_HOST=127.0.0.1
API_PORT=8000
#CORS_ORIGINS=https://callytics.example.com

# The hosts of 'pyinfra inventory.py deploy/site.py', by name or address; this machine where they are not set.
#DATABASE_HOSTS=10.0.0.11
#APP_HOSTS=10.0.0.21,10.0.0.22

# How they are reached. Another user than root needs sudo without a password.
#SSH_USER=root
#SSH_PORT=22
#SSH_KEY=~/.ssh/id_ed25519
#SSH_KNOWN_HOSTS=~/.ssh/known_hosts

# Where PostgreSQL listens besides localhost and who may come: the host's address and the application hosts' by default.
#DATABASE_LISTEN=10.0.0.11
#DATABASE_CLIENTS=10.0.0.0/24
# ssd or hdd
#DATABASE_DISK=ssd

# Certificates that somebody else has issued, as files on this machine. Without these three lines an authority is made,
# and kept in .deploy/tls.
#DATABASE_TLS_CA=/path/to/ca.crt
#DATABASE_TLS_CERTIFICATE=/path/to/server.crt
#DATABASE_TLS_KEY=/path/to/server.key
"""


def _value(values: Mapping[str, str], variable: str) -> str:
    """Return the value or, where it is unset or empty, its default."""
    return values.get(variable) or OPTIONAL.get(variable, "")


def _hosts(text: str) -> tuple[str, ...]:
    return tuple(host.strip() for host in text.split(","))


def _quoted(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _first_of(errors: list[str]) -> str:
    others = len(errors) - 1
    return errors[0] + (f" ('callytics env check' shows {others} more)" if others else "")


def _read_env_file(path: Path | None) -> tuple[dict[str, str], list[Problem]]:
    if path is None:
        return {}, []
    try:
        # Windows editors begin the file with a byte order mark.
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return {}, [Problem("note", f"{path} is not there, only the environment counts")]
    except UnicodeDecodeError:
        return {}, [Problem("error", f"{path} is not UTF-8: save it as UTF-8")]
    except OSError as error:
        return {}, [Problem("error", f"{path} can't be read: {error.strerror}")]
    values, problems = _parse(path, text)
    return values, problems + list(_check_mode(path))


def _parse(path: Path, text: str) -> tuple[dict[str, str], list[Problem]]:
    """Read the file's lines, ``$`` meaning nothing special, as a password may hold one."""
    values: dict[str, str] = {}
    problems = []
    for binding in parse_stream(io.StringIO(text)):
        if binding.error:
            # The line itself stays out of the message: it may be half of a password.
            problem = f"{path} line {binding.original.line} can't be read: write it as NAME='value'"
            problems.append(Problem("error", problem))
        elif binding.key and binding.value is not None:
            values[binding.key] = binding.value
    return values, problems


def _check_mode(path: Path) -> Iterator[Problem]:
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o027:
        yield Problem("warning", f"{path} is open to other accounts (mode {mode:04o}): chmod 600 {path}")


def _check_required(variable: str, values: Mapping[str, str]) -> Iterator[Problem]:
    if variable not in values:
        yield Problem("error", f"{variable} is not set: put it into .env ('callytics env init' writes one)")
    elif not values[variable].strip():
        yield Problem("error", f"{variable} is empty: give it a value in .env or the environment")


def _check_hosts(text: str) -> Iterator[Problem]:
    if not text.strip():
        return
    for host in _hosts(text):
        if not host:
            yield Problem("error", f"POSTGRES_HOST has an empty host in '{text}': remove the extra comma")
        elif "://" in host or "@" in host:
            yield Problem("error", "POSTGRES_HOST is a URL: give the host's name or address only")
        elif re.fullmatch(r"[^:/]+:\d+", host):
            yield Problem("error", f"POSTGRES_HOST '{host}' holds a port: put the port into POSTGRES_PORT")
        elif re.search(r"\s", host) and not host.startswith("/"):
            yield Problem("error", f"POSTGRES_HOST '{host}' holds a space: separate hosts with commas")


def _check_password(variable: str, password: str) -> Iterator[Problem]:
    if PLACEHOLDER.fullmatch(password.strip()):
        fix = "run 'callytics env init' or set your own"
        yield Problem("error", f"{variable} is still the placeholder from .env.example: {fix}")


def _check_owner(values: Mapping[str, str]) -> Iterator[Problem]:
    user, password = "POSTGRES_OWNER_USER", "POSTGRES_OWNER_PASSWORD"
    if values.get(user) and not values.get(password):
        yield Problem("error", f"{user} is set without {password}: set both, or neither")
    if values.get(password) and not values.get(user):
        yield Problem("error", f"{password} is set without {user}: set both, or neither")


def _check_numbers(values: Mapping[str, str]) -> Iterator[Problem]:
    low, high = "POSTGRES_MIN_CONNECTIONS", "POSTGRES_MAX_CONNECTIONS"
    limits = {"POSTGRES_PORT": 65535, "API_PORT": 65535, low: 10000, high: 10000, **dict.fromkeys(LOGIN_NUMBERS, 10**6)}
    wrong = [name for name, limit in limits.items() if not _is_number(_value(values, name), limit)]
    for name in wrong:
        text = f"{name} '{_value(values, name)}' is not a whole number from 1 to {limits[name]}: correct it"
        yield Problem("error", text)
    if not wrong and int(_value(values, low)) > int(_value(values, high)):
        text = f"{low} {_value(values, low)} is above {high} {_value(values, high)}: change one of them"
        yield Problem("error", text)


def _is_number(text: str, limit: int) -> bool:
    return bool(re.fullmatch(r"[0-9]{1,9}", text)) and 1 <= int(text) <= limit


def _check_tls(values: Mapping[str, str]) -> Iterator[Problem]:
    mode, certificate = _value(values, "POSTGRES_SSLMODE"), _value(values, "POSTGRES_SSLROOTCERT")
    if mode and mode not in SSLMODES:
        yield Problem("error", f"POSTGRES_SSLMODE '{mode}' is unknown: use one of {', '.join(SSLMODES)}")
    if certificate and not Path(certificate).is_file():
        yield Problem("error", f"POSTGRES_SSLROOTCERT {certificate} is not there: give the CA's certificate file")
    if certificate and mode in ("disable", "allow", "prefer"):
        yield Problem("warning", f"POSTGRES_SSLROOTCERT proves nothing with {mode}: use verify-full")


def _check_service(values: Mapping[str, str]) -> Iterator[Problem]:
    key = values.get("JWT_SECRET_KEY", "")
    if key and not PLACEHOLDER.fullmatch(key.strip()) and not _is_strong(key):
        yield Problem("error", f"JWT_SECRET_KEY is too weak: put {KEY_ADVICE} into .env")
    for origin in _value(values, "CORS_ORIGINS").replace(",", " ").split():
        if not re.fullmatch(r"https?://[^/\s*]+", origin):
            text = f"CORS_ORIGINS '{origin}' is not an origin: write it as https://name, with a port where it has one"
            yield Problem("error", text)


def _is_strong(key: str) -> bool:
    """Tell whether a key is long, and not the same few characters again and again."""
    return len(key.encode()) >= JWT_SECRET_KEY_BYTES and len(set(key)) >= JWT_SECRET_KEY_BYTES // 3


def _check_leftovers(values: Mapping[str, str]) -> Iterator[Problem]:
    if values.get("DATABASE_URL", "").lower().startswith("sqlite"):
        yield Problem("note", "DATABASE_URL still names a SQLite file and is ignored: remove it")
