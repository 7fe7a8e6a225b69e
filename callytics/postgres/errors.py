"""The one boundary for errors of PostgreSQL: what a driver says becomes one of ours, in a line with a remedy.

Only what the server, its state or a setting is to blame for is translated. What it says about the values or the text
of a statement (SQLSTATE classes 22, 23, 40, 42601 …) stays the driver's: the caller knows what to do about it, or the
fault is ours.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import psycopg2

from callytics.exceptions import (
    CallyticsError,
    DatabaseUnavailable,
    DiskFull,
    LacksResources,
    NotMigrated,
    OutcomeUnknown,
    PrivilegeMissing,
    ReadOnlyServer,
    SchemaChanged,
    TooSlow,
)
from callytics.postgres.sql import quote
from callytics.settings import Settings

# libpq gives no SQLSTATE for a login that failed, only the server's words.
HINTS = (
    ("password authentication failed", "correct {user} and {password}, or create the role if it is not there yet"),
    ("no password supplied", "set {password}"),
    ("permission denied for database", "let its owner GRANT CONNECT on it to the role"),
    ("is not permitted to log in", "let an administrator ALTER ROLE … LOGIN"),
    ("does not exist", "create it, or correct its name"),
    ("no pg_hba.conf entry", "the server does not let this user in from this machine: see its pg_hba.conf"),
    (
        "certificate verify failed",
        "the server's certificate has ended ('pyinfra inventory.py deploy/site.py' renews it), "
        "or POSTGRES_SSLROOTCERT is not the CA that signed it",
    ),
    ("root certificate file", "set POSTGRES_SSLROOTCERT to the CA's certificate"),
    ("server certificate for", "POSTGRES_HOST must be a name that the server's certificate carries"),
    ("does not support SSL", "turn TLS on in the server, or relax POSTGRES_SSLMODE"),
    ("too many clients", "raise max_connections, or lower POSTGRES_MAX_CONNECTIONS"),
    ("remaining connection slots", "raise max_connections, or lower POSTGRES_MAX_CONNECTIONS"),
    ("too many connections", "raise its CONNECTION LIMIT, or lower POSTGRES_MAX_CONNECTIONS"),
    ("closed the connection unexpectedly", "try again; the server's log says more"),
    ("starting up", "wait a moment"),
    ("shutting down", "wait until it is back"),
    ("Connection refused", "is PostgreSQL running there, and is POSTGRES_PORT right?"),
    ("could not translate host name", "correct POSTGRES_HOST"),
    ("failed to resolve host", "correct POSTGRES_HOST"),
    ("No such file or directory", "is PostgreSQL running on this machine?"),
    ("timeout expired", "correct POSTGRES_HOST, or open the way to it"),
    ("session is read-only", "none of these hosts takes writes: let POSTGRES_HOST name the primary, or wait for it"),
    ("definition of service", "unset PGSERVICE, which Callytics has no use for"),
    ("service file", "unset PGSERVICE and PGSERVICEFILE, which Callytics has no use for"),
)
# Without a SQLSTATE, too: of the first file that a session writes, which is never translated, and of any other.
NO_SPACE = re.compile("could not write init file|No space left on device|장치에 남은 공간이 없음")
# What libpq asks or supposes after some failures, over several lines; HINTS knows better.
GUESS = re.compile(
    r"\s*(Is the server running [^?]*\?|This probably means the server terminated [^.]*\.)"
    # ADBC's own words before libpq's.
    r"|^IO: \[libpq\] Failed to connect: "
)
# psycopg tries one host after another itself, and repeats what libpq said of each in a list.
SEVERAL = "Multiple connection attempts failed"
ATTEMPT = re.compile(r"^(- host: .*?, port: .*?, hostaddr: .*?: )?(connection failed: |connection is bad: )?")
AGAIN = "try again"
FULL = "PostgreSQL has no disk space left: free some, then {then}"
# PostgreSQL ends such a wait with a warning and calls the commit a success.
UNCONFIRMED = (
    "the wait for a standby's confirmation was cancelled, so this is stored on one host alone and lost if that fails "
    "now: look whether it is stored before trying again"
)
# https://www.postgresql.org/docs/15/errcodes-appendix.html; the longest prefix of a code decides.
CONNECTION_LOST = ("08", "57P")
# Where the server finds that what a prepared statement returns has changed: the code of this error has other meanings,
# and lc_messages translates its words.
OUTDATED = "RevalidateCachedQuery"
KINDS: dict[str, tuple[type[CallyticsError], str]] = {
    "08": (DatabaseUnavailable, "the connection to PostgreSQL was lost ({line}): {then}"),
    "57P": (DatabaseUnavailable, "the connection to PostgreSQL was lost ({line}): {then}"),
    "53": (LacksResources, "PostgreSQL lacks resources ({line}): free some, then {then}"),
    # What is short is told by words that lc_messages translates.
    "53200": (
        LacksResources,
        "PostgreSQL is out of memory ({line}): free some or, if that is shared memory, raise max_locks_per_transaction "
        "and restart it; then {then}",
    ),
    "53100": (DiskFull, FULL),
    "53300": (
        DatabaseUnavailable,
        "PostgreSQL has no connection left ({line}): raise max_connections, or lower POSTGRES_MAX_CONNECTIONS",
    ),
    "25006": (
        ReadOnlyServer,
        "the server takes no writes ({line}): let POSTGRES_HOST name the primary, or every host of the cluster; on a "
        "primary, reset default_transaction_read_only of the database and the role",
    ),
    "42501": (PrivilegeMissing, "role {role} may not do this ({line}): {grant}"),
    "57014": (TooSlow, "the statement took longer than it may ({line}): try again at a quieter time"),
    "55P03": (TooSlow, "somebody else holds a lock ({line}): try again at a quieter time"),
    **dict.fromkeys(
        ("42P01", "42703", "42883", "3F000"),
        (NotMigrated, "the database lacks what this version needs ({line}): run 'callytics migrate'"),
    ),
}


# What psycopg was doing when libpq said it, which only the former's developers need to know.
DOING = re.compile(r"^(ERROR|FATAL|PANIC|consuming input failed|sending query( and params)? failed|flushing failed): +")


class Connected(Protocol):
    """What a connection of either driver tells about itself; psycopg2's is outside autocommit in a transaction."""

    @property
    def closed(self) -> int | bool:
        """Whether it was lost, or closed."""

    @property
    def autocommit(self) -> bool:
        """Whether each statement is committed by itself."""

    @property
    def readonly(self) -> bool | None:
        """Whether it was asked for transactions that only read."""


def summary(error: BaseException) -> str:
    """Return what an error says in its first line, without the rows and values that PostgreSQL may quote.

    A server's DETAIL, HINT and CONTEXT are left out, and of an error about a value (class 22) what it quotes.
    """
    diagnostics = getattr(error, "diag", None)
    text = (getattr(diagnostics, "message_primary", None) or str(error)).strip() or type(error).__name__
    line = DOING.sub("", text.splitlines()[0])
    return re.sub(r'".*"', '"…"', line) if (sqlstate(error) or "").startswith("22") else line


def sqlstate(error: BaseException) -> str | None:
    """Return the code of a driver's error (psycopg2, psycopg, ADBC), None where the server gave none."""
    code: str = getattr(error, "pgcode", None) or getattr(error, "sqlstate", None) or ""
    return code.strip("\0") or None


def raised_by(error: BaseException) -> str:
    """Name the function that has raised an error, such as a trigger's: ``, raised by check_hours()``, or nothing."""
    context = getattr(getattr(error, "diag", None), "context", None) or ""
    # The first line is the innermost; its words may be translated, the name is not.
    found = re.search(r"\b[\w.]+\([\w., \[\]]*\)", context.partition("\n")[0])
    return f", raised by {found[0]}" if found else ""


def is_lost(error: BaseException) -> bool:
    """Tell whether a driver's error means that the server is gone, or going."""
    code = sqlstate(error)
    if code is None:
        # Their subclasses stand for a code each.
        return type(error) in (psycopg2.OperationalError, psycopg2.InterfaceError) or _is_lost(error)
    return code.startswith(CONNECTION_LOST)


@contextmanager
def translated(
    settings: Settings | None = None,
    *,
    owner: bool = False,
    connection: Connected | None = None,
    then: str = AGAIN,
) -> Iterator[None]:
    """Raise one of ours, with one line and a remedy, for what PostgreSQL says inside; the driver's is its cause.

    ``settings`` and ``owner`` tell who is connected, ``then`` what to do once a passing trouble has passed. With a
    ``connection`` that is lost while it is in autocommit it is OutcomeUnknown. Errors that blame the statement, and
    those of others, pass as they are.
    """
    try:
        yield
    except Exception as error:
        found = ours(error, settings, owner=owner, connection=connection, then=then)
        if found is None:
            raise
        raise found from error


def read_only(why: str) -> ReadOnlyServer:
    """Return what a server that takes no writes is refused with before it has to refuse a statement."""
    _kind, words = KINDS["25006"]
    return ReadOnlyServer(words.format(line=why))


def unreachable(settings: Settings, owner: bool, error: BaseException) -> DatabaseUnavailable:
    """Say in one line who could not enter where, why, and what to do."""
    text = GUESS.sub("", str(error))
    if NO_SPACE.search(text):
        return DiskFull(FULL.format(then=AGAIN))
    found = (ATTEMPT.sub("", line.strip()) for line in text.splitlines() if not line.startswith(SEVERAL))
    lines = dict.fromkeys(line for line in found if line)
    hint = next((hint for words, hint in HINTS if words in text), "see 'callytics env check'")
    user, password = settings.login_variables(owner=owner)
    role, _password = settings.login(owner=owner)
    place = f"database {settings.database} on {','.join(settings.hosts)}:{settings.port}"
    return DatabaseUnavailable(
        f"{role} can't open {place} ({'; '.join(lines)}): {hint.format(user=user, password=password)}"
    )


def lost(connection: Connected, error: BaseException) -> DatabaseUnavailable:
    """Return what to tell whoever was using a connection that is no more."""
    if connection.autocommit:
        return OutcomeUnknown(
            f"the connection was lost while a statement ran ({summary(error)}): look whether it took effect, then try "
            "again"
        )
    return DatabaseUnavailable(
        f"the connection was lost, and nothing of the transaction was stored ({summary(error)}): try again"
    )


def ours(
    error: BaseException,
    settings: Settings | None = None,
    *,
    owner: bool = False,
    connection: Connected | None = None,
    then: str = AGAIN,
) -> CallyticsError | None:
    """Return what :func:`translated` raises for an error, None where it lets it pass."""
    if isinstance(error, DiskFull) and then != AGAIN:
        # Found as a session began, where nobody knew what comes then.
        return DiskFull(FULL.format(then=then))
    if not (isinstance(error, psycopg2.Error) or _is_psycopg(error) or _is_adbc(error)):
        return None
    if connection is not None and (connection.closed or is_lost(error)):
        return lost(connection, error)
    if getattr(getattr(error, "diag", None), "source_function", None) == OUTDATED:
        return SchemaChanged(f"a table was changed since this statement was first run ({summary(error)}): {then}")
    code = "08" if is_lost(error) else sqlstate(error) or ""
    kind, words = KINDS.get(code) or KINDS.get(code[:3]) or KINDS.get(code[:2]) or (None, "")
    if kind is None or (kind is ReadOnlyServer and connection is not None and connection.readonly):
        # Whoever asked for a transaction that only reads hears from the driver that it does.
        return None
    role, grant = _role(error, settings, owner), _grant(error, settings, owner)
    return kind(words.format(line=summary(error), then=then, role=role, grant=grant))


def _role(error: BaseException, settings: Settings | None, owner: bool) -> str:
    """Return whose connection it was, by the settings or else by what the driver knows."""
    if settings:
        return settings.login(owner=owner)[0]
    cursor = getattr(error, "cursor", None)
    return cursor.connection.info.user if cursor is not None else "of this connection"


def _grant(error: BaseException, settings: Settings | None, owner: bool) -> str:
    """Say how a role gets what it lacks: owners own the tables, others are granted what 'callytics doctor' says."""
    if settings is not None and "temporary tables" in summary(error):
        role, _password = settings.login(owner=owner)
        return f"as its owner, GRANT TEMPORARY ON DATABASE {quote(settings.database)} TO {quote(role)}"
    if settings is not None and owner:
        return "set POSTGRES_OWNER_USER and POSTGRES_OWNER_PASSWORD to the role that migrates"
    return "'callytics doctor' says what to grant"


def _is_psycopg(error: BaseException) -> bool:
    # Importing it takes a while, which commands without it are spared: without the module there is no such error.
    module = sys.modules.get("psycopg")
    return module is not None and isinstance(error, module.Error)


def _is_lost(error: BaseException) -> bool:
    return _is_adbc(error) or (_is_psycopg(error) and isinstance(error, sys.modules["psycopg"].OperationalError))


def _is_adbc(error: BaseException) -> bool:
    # Not by its class: importing ADBC takes a while, which commands without it are spared.
    return hasattr(error, "sqlstate") and hasattr(error, "vendor_code")
