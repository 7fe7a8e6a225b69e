"""The environment and ``.env`` become one :class:`Settings`; nothing else reads either of them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import quote, urlencode

from callytics.exceptions import SettingsError
from callytics.settings.checks import JWT_SECRET_KEY_BYTES, KEY_ADVICE, PLACEHOLDER, Problem, check, is_deployed, place
from callytics.settings.envfile import create_env_file, env_text, init, read_env_file
from callytics.settings.libpq import EXPLICIT, FAILOVER, check_environment, forget_libpq
from callytics.settings.variables import DEFAULT_ENV_FILE, OPTIONAL, REQUIRED, SECRETS, hosts, value

__all__ = [
    "JWT_SECRET_KEY_BYTES",
    "OPTIONAL",
    "PLACEHOLDER",
    "REQUIRED",
    "SECRETS",
    "Addresses",
    "Problem",
    "ServiceSettings",
    "Settings",
    "check",
    "create_env_file",
    "env_text",
    "forget_libpq",
    "init",
    "is_deployed",
    "read",
    "scrub",
    "show",
]


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
    read_hosts: tuple[str, ...] = ()
    # Seconds that a standby may lag.
    read_lag: int = 5
    # Whether a server is used only while it is a standby.
    standby: bool = False

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
            hosts=hosts(values["POSTGRES_HOST"]),
            port=int(value(values, "POSTGRES_PORT")),
            database=values["POSTGRES_DB"],
            user=values["POSTGRES_USER"],
            password=values["POSTGRES_PASSWORD"],
            min_connections=int(value(values, "POSTGRES_MIN_CONNECTIONS")),
            max_connections=int(value(values, "POSTGRES_MAX_CONNECTIONS")),
            sslmode=value(values, "POSTGRES_SSLMODE") or None,
            sslrootcert=value(values, "POSTGRES_SSLROOTCERT") or None,
            owner_user=value(values, "POSTGRES_OWNER_USER") or None,
            owner_password=value(values, "POSTGRES_OWNER_PASSWORD") or None,
            read_hosts=hosts(values["POSTGRES_READ_HOST"]) if value(values, "POSTGRES_READ_HOST") else (),
            read_lag=int(value(values, "POSTGRES_READ_LAG")),
        )

    def at_standby(self, host: str) -> Settings:
        """Return the settings of a pool that reads from one of ``read_hosts`` while that is a standby."""
        return replace(self, hosts=(host,), read_hosts=(), standby=True, min_connections=0)

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
        """Return libpq's connection parameters; with several hosts, the one that takes writes is used.

        Those that are no settings have libpq's own defaults, so that no variable of libpq's (PGHOSTADDR, PGOPTIONS …)
        leads elsewhere or changes the session.
        """
        user, password = self.login(owner=owner)
        parameters = {
            "host": ",".join(self.hosts),
            "port": ",".join([str(self.port)] * len(self.hosts)),
            "dbname": self.database,
            "user": user,
            "password": password,
            "sslmode": self.sslmode,
            "sslrootcert": self.sslrootcert,
            # libpq then tries one after the other until it finds the primary.
            "target_session_attrs": "standby" if self.standby else "read-write" if len(self.hosts) > 1 else None,
            "application_name": "callytics",
            "client_encoding": "UTF8",
            # For each host. libpq itself would wait as long as the kernel does, two minutes for a host that is off.
            "connect_timeout": "10",
        } | (FAILOVER if len(self.hosts) > 1 or self.standby else {})
        return EXPLICIT | {name: value for name, value in parameters.items() if value is not None}

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
    session_idle_minutes: int = 30
    max_login_attempts: int = 5
    account_lock_minutes: int = 30
    api_host: str = "127.0.0.1"
    api_port: int = 8000
    api_names: tuple[str, ...] = ()
    cors_origins: tuple[str, ...] = ()
    prometheus_url: str | None = None

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
            errors.append(f"JWT_SECRET_KEY is not set: put {KEY_ADVICE} into {place(env_file)}")
        if errors:
            raise SettingsError(_first_of(errors))
        return cls(
            jwt_secret_key=values["JWT_SECRET_KEY"],
            jwt_expire_minutes=int(value(values, "JWT_EXPIRE_MINUTES")),
            session_idle_minutes=int(value(values, "SESSION_IDLE_MINUTES")),
            max_login_attempts=int(value(values, "MAX_LOGIN_ATTEMPTS")),
            account_lock_minutes=int(value(values, "ACCOUNT_LOCK_MINUTES")),
            api_host=value(values, "API_HOST"),
            api_port=int(value(values, "API_PORT")),
            api_names=tuple(value(values, "API_NAMES").replace(",", " ").lower().split()),
            cors_origins=tuple(value(values, "CORS_ORIGINS").replace(",", " ").split()),
            prometheus_url=value(values, "PROMETHEUS_URL") or None,
        )


@dataclass(frozen=True)
class Addresses:
    """Where the service and Prometheus answer over HTTP; None for what is not configured."""

    service: str | None = None
    prometheus: str | None = None

    @classmethod
    def load(cls, environ: Mapping[str, str] | None = None, env_file: Path | None = DEFAULT_ENV_FILE) -> Addresses:
        """Read ``env_file`` and the environment, which wins; a service that listens everywhere is asked from here."""
        values, _problems = read(environ, env_file)
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(value(values, "API_HOST"), value(values, "API_HOST"))
        service = f"http://{f'[{host}]' if ':' in host else host}:{value(values, 'API_PORT')}"
        return cls(service if values.get("JWT_SECRET_KEY") else None, value(values, "PROMETHEUS_URL") or None)


def read(
    environ: Mapping[str, str] | None = None, env_file: Path | None = DEFAULT_ENV_FILE
) -> tuple[dict[str, str], list[Problem]]:
    """Merge ``env_file`` and the environment, which wins, and return the values with everything wrong.

    An empty variable is not a value: it hides none of the file's. Compose and service managers pass a variable on that
    is not set as an empty one.
    """
    environ = os.environ if environ is None else environ
    in_file, problems = read_env_file(env_file)
    values = {**environ, **in_file, **{name: text for name, text in environ.items() if text.strip()}}
    if not in_file and any(problem.level == "error" for problem in problems):
        # Of a file that can't be read nothing is known: what is missing then only follows from that.
        return values, problems
    return values, [*problems, *check(values, env_file), *check_environment(environ)]


def show(
    environ: Mapping[str, str] | None = None, env_file: Path | None = DEFAULT_ENV_FILE
) -> Iterator[tuple[str, str, str]]:
    """Yield each variable, its value for reading, secrets masked, and where that is from."""
    environ = os.environ if environ is None else environ
    in_file, _problems = read_env_file(env_file)
    values, _problems = read(environ, env_file)
    for variable in (*REQUIRED, *OPTIONAL):
        found = value(values, variable)
        sources = {"environment": environ.get(variable, ""), str(env_file): in_file.get(variable, ""), "default": found}
        source = next((name for name, text in sources.items() if text.strip()), "not set")
        yield variable, "********" if found and variable in SECRETS else found, source


def scrub(text: str, values: Mapping[str, str]) -> str:
    """Return ``text`` without passwords, nor the rows that PostgreSQL quotes in an error's details."""
    for secret in filter(None, map(values.get, SECRETS)):
        # As it is typed, in a URL, in libpq's string, and in a traceback.
        for spelling in (secret, quote(secret, safe=""), _quoted(secret), repr(secret)[1:-1]):
            text = text.replace(spelling, "********")
    return re.sub(r"^(DETAIL|CONTEXT):.*$", r"\1: (left out)", text, flags=re.MULTILINE)


def _quoted(text: str) -> str:
    """Return a value as libpq's keyword/value strings take it; these escape by backslashes, unlike SQL."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _first_of(errors: list[str]) -> str:
    others = len(errors) - 1
    return errors[0] + (f" ('callytics env check' shows {others} more)" if others else "")
