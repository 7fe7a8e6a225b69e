"""What can be wrong with the settings, found without asking a server: each with what to do about it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from callytics.settings.variables import DEFAULT_ENV_FILE, REQUIRED, SECRETS, hosts, value

# RFC 7518, section 3.2: a key of HS256 has at least as many bits as its hash.
JWT_SECRET_KEY_BYTES = 32
KEY_ADVICE = "32 random bytes or more, such as 'openssl rand -base64 48' prints,"
# Where deploy/app.py puts an administrator's settings.
HOSTS_ENV_FILE = Path("/etc/callytics/admin.env")
LOGIN_NUMBERS = ("JWT_EXPIRE_MINUTES", "SESSION_IDLE_MINUTES", "MAX_LOGIN_ATTEMPTS", "ACCOUNT_LOCK_MINUTES")
# https://www.postgresql.org/docs/15/libpq-ssl.html#LIBPQ-SSL-SSLMODE-STATEMENTS
SSLMODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
# Of .env.example and of the examples that people copy: a server with such a password is open to everybody.
PLACEHOLDER = re.compile(r"change[-_ ]?me.*|your[-_ ].*|1234\d*|<.*>", re.IGNORECASE)

Level = Literal["error", "warning", "note"]


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with the environment, and what to do about it."""

    level: Level
    text: str


def place(env_file: Path | None) -> str:
    """Return where a value belongs: into the file that was read, whatever its name."""
    return str(env_file) if env_file else "the environment"


def is_deployed() -> bool:
    """Whether this machine is one that ``deploy/`` provisions, and takes back to what it declares."""
    return HOSTS_ENV_FILE.parent.is_dir()


def check(values: Mapping[str, str], env_file: Path | None = DEFAULT_ENV_FILE) -> Iterator[Problem]:
    """Yield every problem of the settings, each with its fix; ``env_file`` is where they were read from."""
    for variable in REQUIRED:
        yield from _check_required(variable, values, place(env_file))
    for variable in ("POSTGRES_HOST", "POSTGRES_READ_HOST"):
        yield from _check_hosts(variable, values.get(variable, ""))
    for variable in SECRETS:
        yield from _check_password(variable, values.get(variable, ""))
    yield from _check_owner(values)
    yield from _check_numbers(values)
    yield from _check_tls(values)
    yield from _check_service(values, place(env_file))
    yield from _check_leftovers(values)


def _check_required(variable: str, values: Mapping[str, str], where: str) -> Iterator[Problem]:
    if variable not in values and HOSTS_ENV_FILE.exists():
        # Not another file: it would be a second place for the same passwords.
        yield Problem("error", f"{variable} is not set: name {HOSTS_ENV_FILE} with --env-file")
    elif variable not in values:
        yield Problem("error", f"{variable} is not set: put it into {where} ('callytics env init' writes a file)")
    elif not values[variable].strip():
        yield Problem("error", f"{variable} is empty: give it a value in {where}")


def _check_hosts(variable: str, text: str) -> Iterator[Problem]:
    if not text.strip():
        return
    for host in hosts(text):
        if not host:
            yield Problem("error", f"{variable} has an empty host in '{text}': remove the extra comma")
        elif "://" in host or "@" in host:
            yield Problem("error", f"{variable} is a URL: give the host's name or address only")
        elif re.fullmatch(r"[^:/]+:\d+", host):
            yield Problem("error", f"{variable} '{host}' holds a port: put the port into POSTGRES_PORT")
        elif re.search(r"\s", host) and not host.startswith("/"):
            yield Problem("error", f"{variable} '{host}' holds a space: separate hosts with commas")


def _check_password(variable: str, password: str) -> Iterator[Problem]:
    if PLACEHOLDER.fullmatch(password.strip()):
        fix = "run 'callytics env init' or set your own"
        yield Problem("error", f"{variable} is still the placeholder from .env.example: {fix}")


def _check_owner(values: Mapping[str, str]) -> Iterator[Problem]:
    user, password = "POSTGRES_OWNER_USER", "POSTGRES_OWNER_PASSWORD"
    if value(values, user) and not value(values, password):
        yield Problem("error", f"{user} is set without {password}: set both, or neither")
    if value(values, password) and not value(values, user):
        yield Problem("error", f"{password} is set without {user}: set both, or neither")


def _check_numbers(values: Mapping[str, str]) -> Iterator[Problem]:
    low, high = "POSTGRES_MIN_CONNECTIONS", "POSTGRES_MAX_CONNECTIONS"
    limits = {"POSTGRES_PORT": 65535, "API_PORT": 65535, low: 10000, high: 10000, "POSTGRES_READ_LAG": 3600}
    limits |= dict.fromkeys(LOGIN_NUMBERS, 10**6)
    wrong = [name for name, limit in limits.items() if not _is_number(value(values, name), limit)]
    for name in wrong:
        text = f"{name} '{value(values, name)}' is not a whole number from 1 to {limits[name]}: correct it"
        yield Problem("error", text)
    if not wrong and int(value(values, low)) > int(value(values, high)):
        text = f"{low} {value(values, low)} is above {high} {value(values, high)}: change one of them"
        yield Problem("error", text)


def _is_number(text: str, limit: int) -> bool:
    # int() would also take 1_000 and the digits of other scripts.
    return bool(re.fullmatch(r"[0-9]{1,9}", text)) and 1 <= int(text) <= limit


def _check_tls(values: Mapping[str, str]) -> Iterator[Problem]:
    mode, certificate = value(values, "POSTGRES_SSLMODE"), value(values, "POSTGRES_SSLROOTCERT")
    if mode and mode not in SSLMODES:
        yield Problem("error", f"POSTGRES_SSLMODE '{mode}' is unknown: use one of {', '.join(SSLMODES)}")
    if certificate and not Path(certificate).is_file():
        yield Problem("error", f"POSTGRES_SSLROOTCERT {certificate} is not there: give the CA's certificate file")
    if certificate and mode in ("disable", "allow", "prefer"):
        yield Problem("warning", f"POSTGRES_SSLROOTCERT proves nothing with {mode}: use verify-full")


def _check_service(values: Mapping[str, str], where: str) -> Iterator[Problem]:
    key = values.get("JWT_SECRET_KEY", "")
    if key and not PLACEHOLDER.fullmatch(key.strip()) and not _is_strong(key):
        yield Problem("error", f"JWT_SECRET_KEY is too weak: put {KEY_ADVICE} into {where}")
    for name in value(values, "API_NAMES").replace(",", " ").split():
        if not re.fullmatch(r"[\w-]+(\.[\w-]+)*", name, re.ASCII):
            text = f"API_NAMES '{name}' is not a host's name: write it as calls.example.com, without scheme and port"
            yield Problem("error", text)
    for origin in value(values, "CORS_ORIGINS").replace(",", " ").split():
        if not re.fullmatch(r"https?://[^/\s*]+", origin):
            text = f"CORS_ORIGINS '{origin}' is not an origin: write it as https://name, with a port where it has one"
            yield Problem("error", text)
    url = value(values, "PROMETHEUS_URL")
    if url and not re.fullmatch(r"https?://[^\s@]+", url):
        yield Problem("error", "PROMETHEUS_URL is not an address: write it as http://name:port, without a password")


def _is_strong(key: str) -> bool:
    """Tell whether a key is long, and not the same few characters again and again."""
    return len(key.encode()) >= JWT_SECRET_KEY_BYTES and len(set(key)) >= JWT_SECRET_KEY_BYTES // 3


def _check_leftovers(values: Mapping[str, str]) -> Iterator[Problem]:
    if values.get("DATABASE_URL", "").lower().startswith("sqlite"):
        yield Problem("note", "DATABASE_URL still names a SQLite file and is ignored: remove it")
