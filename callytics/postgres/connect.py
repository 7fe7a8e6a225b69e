"""One connection to PostgreSQL; why it can't be opened, in a line that says what to do."""

from __future__ import annotations

import psycopg2
from psycopg2.extensions import connection as Connection

from callytics.exceptions import DatabaseUnavailable
from callytics.settings import Settings

# libpq gives no SQLSTATE for a login that failed, only the server's words.
HINTS = (
    ("password authentication failed", "check the user's name and password"),
    ("no password supplied", "set the password"),
    ("does not exist", "create it, or correct its name"),
    ("no pg_hba.conf entry", "the server does not let this user in from this machine: see its pg_hba.conf"),
    ("certificate verify failed", "POSTGRES_SSLROOTCERT is not the CA that signed the server's certificate"),
    ("root certificate file", "set POSTGRES_SSLROOTCERT to the CA's certificate"),
    ("server certificate for", "POSTGRES_HOST must be a name that the server's certificate carries"),
    ("does not support SSL", "turn TLS on in the server, or relax POSTGRES_SSLMODE"),
    ("too many clients", "raise max_connections, or lower POSTGRES_MAX_CONNECTIONS"),
    ("remaining connection slots", "raise max_connections, or lower POSTGRES_MAX_CONNECTIONS"),
    ("starting up", "wait a moment"),
    ("Connection refused", "is PostgreSQL running there, and is POSTGRES_PORT right?"),
    ("could not translate host name", "correct POSTGRES_HOST"),
    ("No such file or directory", "is PostgreSQL running on this machine?"),
    ("timeout expired", "correct POSTGRES_HOST, or open the way to it"),
)


def connect(settings: Settings, *, owner: bool = False) -> Connection:
    """Open a connection as the application, or as whoever migrates and imports.

    The caller commits and closes. Raises DatabaseUnavailable with one line that says what to do and holds no
    password.
    """
    try:
        return psycopg2.connect(settings.conninfo(owner=owner))
    except psycopg2.OperationalError as error:
        raise DatabaseUnavailable(explain(settings, owner, str(error))) from None


def explain(settings: Settings, owner: bool, reason: str) -> str:
    """Say in one line who could not enter where, why, and what to do."""
    user, _password = settings.login(owner=owner)
    place = f"database {settings.database} on {','.join(settings.hosts)}:{settings.port}"
    lines = dict.fromkeys(line.strip() for line in reason.splitlines() if line.strip())
    hint = next((hint for words, hint in HINTS if words in reason), "see 'callytics env check'")
    return f"{user} can't open {place}: {'; '.join(lines)}: {hint}"
