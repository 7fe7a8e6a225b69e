"""Examine a database the way the application meets it, and say what to do about everything that is wrong."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from psycopg2 import errors, sql
from psycopg2.extensions import connection as Connection

from callytics.exceptions import DatabaseUnavailable
from callytics.postgres import connect
from callytics.postgres.errors import translated
from callytics.postgres.sql import queries
from callytics.schema.importing import IMPORT_LOCK
from callytics.schema.versions import edited, pending, unknown
from callytics.settings import Settings

SQL = queries(Path(__file__).with_name("doctor.sql"))
STATEMENT_TIMEOUT = "30s"
OLD_TRANSACTION = "1 hour"

Level = Literal["ok", "warning", "error"]


@dataclass(frozen=True)
class Finding:
    """What one check found, and what to do about it."""

    check: str
    level: Level
    what: str
    fix: str = ""


@dataclass(frozen=True)
class Examined:
    """Everything that was found; ``exit_code`` is 1 when there is an error among it."""

    findings: list[Finding]

    @property
    def exit_code(self) -> int:
        return int(self.count("error") > 0)

    def count(self, level: Level) -> int:
        return sum(finding.level == level for finding in self.findings)

    def as_dict(self) -> dict[str, Any]:
        counts = {"errors": self.count("error"), "warnings": self.count("warning")}
        return {"ok": not self.exit_code, **counts, "findings": [asdict(finding) for finding in self.findings]}


@dataclass(frozen=True)
class Patient:
    """A database with connections to it as the application and, where its login is configured, as the owner."""

    settings: Settings
    application: Connection
    owner: Connection
    parameters: dict[str, object] = field(default_factory=dict)

    def ask(self, query: str, *, owner: bool = False, **parts: Any) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of a named query; ``parts`` become identifiers and parameters alike."""
        identifiers = {name: sql.Identifier(*str(part).split(".")) for name, part in parts.items()}
        statement = sql.SQL(SQL[query]).format(**identifiers) if parts else sql.SQL(SQL[query])
        with (self.owner if owner else self.application).cursor() as cursor:
            cursor.execute(statement, self.parameters | parts)
            yield from cursor.fetchall()


Check = Callable[[Patient], Iterator[tuple[Any, ...]]]


def examine(settings: Settings) -> Examined:
    """Connect as the application would, as the owner too where its login is configured, and check everything.

    Nothing is written: the connections are read-only, and each statement ends after 30 seconds. A database that
    can't be reached is a finding, not an exception.
    """
    with ExitStack() as stack, translated(settings):
        connections = {}
        findings = []
        for name in ("application", "owner") if settings.owner_user else ("application",):
            try:
                connection = _connect(settings, owner=name == "owner")
                connections[name] = stack.enter_context(closing(connection))
            except DatabaseUnavailable as error:
                findings.append(Finding("connection", "error", *_apart(str(error))))
            else:
                user, _password = settings.login(owner=name == "owner")
                findings.append(Finding("connection", "ok", f"{user} can connect to database {settings.database}"))
        if connections:
            findings += _examine(_admit(settings, connections))
    return Examined(findings)


def lines(examined: Examined) -> Iterator[str]:
    """Yield what was found for reading, each finding with what to do, and the counts."""
    for finding in examined.findings:
        yield f"{finding.level:<8} {finding.check:<12} {finding.what}"
        if finding.fix:
            yield f"{'':<21} → {finding.fix}"
    errors_found, warnings = examined.count("error"), examined.count("warning")
    yield ""
    if errors_found or warnings:
        yield f"{_counted(errors_found, 'error')}, {_counted(warnings, 'warning')}"
    else:
        yield "All is well."


def _connect(settings: Settings, *, owner: bool) -> Connection:
    connection = connect(settings, owner=owner)
    connection.set_session(readonly=True, autocommit=True)
    with connection.cursor() as cursor:
        cursor.execute("select set_config('statement_timeout', %s, false)", (STATEMENT_TIMEOUT,))
    return connection


def _admit(settings: Settings, connections: dict[str, Connection]) -> Patient:
    any_of_them = next(iter(connections.values()))
    with any_of_them.cursor() as cursor:
        cursor.execute(SQL["owner"])
        (owner,) = cursor.fetchone() or (settings.user,)
    parameters = {
        "application": settings.user,
        "owner": settings.owner_user or owner,
        "connections": settings.max_connections,
        "old": OLD_TRANSACTION,
        "import_lock": IMPORT_LOCK,
    }
    application, owners = (connections.get(name, any_of_them) for name in ("application", "owner"))
    return Patient(settings, application, owners, parameters)


def _examine(patient: Patient) -> Iterator[Finding]:
    """Yield what each check finds, or that all is well where it finds nothing."""
    behind = bool(pending(patient.application))
    for name, (check, all_is_well) in CHECKS.items():
        try:
            found = [_finding(name, *row) for row in check(patient)]
        except (errors.UndefinedTable, errors.UndefinedColumn, errors.UndefinedFunction) as error:
            # Without its tables the schema is the finding, and was named already.
            found = [] if behind else [Finding(name, "error", *_missing(error))]
            all_is_well = "can't be told before the migrations are applied"
        except errors.InsufficientPrivilege:
            found = []
            all_is_well = f"not for {patient.settings.user} to see: only the owner's login shows it"
        except errors.QueryCanceled:
            found = [Finding(name, "warning", f"could not be told within {STATEMENT_TIMEOUT}", "try at a quieter time")]
        yield from found or [Finding(name, "ok", all_is_well)]


def _finding(check: str, level: Level, what: str, fix: str) -> Finding:
    return Finding(check, level, what, "" if level == "ok" else fix)


def _missing(error: errors.Error) -> tuple[str, str]:
    return f"{error.diag.message_primary}", "somebody removed it: restore it from a backup"


def _named(query: str, *, owner: bool = False) -> Check:
    """Return a check that is a named query, asked by the application or, where its login is known, the owner."""
    return lambda patient: patient.ask(query, owner=owner)


def _check_tls(patient: Patient) -> Iterator[tuple[str, str, str]]:
    ((encrypted, version, cipher),) = patient.ask("tls")
    far = [host for host in patient.settings.hosts if not is_local(host)]
    mode = patient.settings.sslmode
    fix = "set POSTGRES_SSLMODE=verify-full, and POSTGRES_SSLROOTCERT to the CA's certificate"
    if not encrypted and far:
        yield "error", f"passwords and calls travel to {', '.join(far)} in clear", fix
    elif not encrypted:
        yield "ok", "not encrypted, on this machine only", ""
    elif far and mode != "verify-full":
        yield "warning", f"{version}, but who answers as {', '.join(far)} is not verified (sslmode {mode})", fix
    else:
        yield "ok", f"{version}, {cipher}" + (", server verified" if mode == "verify-full" else ""), ""


def is_local(host: str) -> bool:
    """Whether a host is this machine: a socket's folder, localhost, or a loopback address."""
    if host.startswith(("/", "@")) or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _check_schema(patient: Patient) -> Iterator[tuple[str, str, str]]:
    connection = patient.application
    if missing := pending(connection):
        yield "error", f"{_counted(len(missing), 'migration')} missing, from {missing[0]}", "run 'callytics migrate'"
    for migration in edited(connection):
        fix = "restore its file, and put the change into a new migration"
        yield "error", f"migration {migration} was edited after it was applied", fix
    if foreign := unknown(connection):
        fix = "install the version of Callytics that migrated this database"
        yield "warning", f"the database has migrations that this version does not know: {', '.join(foreign)}", fix


def _check_partitions(patient: Patient) -> Iterator[tuple[Any, ...]]:
    tables = list(patient.ask("endless_tables"))
    patient.parameters["tables"] = [parent for parent, _fallback in tables]
    yield from patient.ask("partitions_ahead")
    for parent, fallback in tables:
        patient.parameters["parent"] = parent
        yield from patient.ask("in_default_partition", fallback=fallback)


def _check_sequences(patient: Patient) -> Iterator[tuple[Any, ...]]:
    for table, column, sequence in list(patient.ask("identities")):
        yield from patient.ask("sequence", table=table, column=column, sequence=sequence)


def _check_transactions(patient: Patient) -> Iterator[tuple[Any, ...]]:
    # Each role sees the age of its own sessions only.
    yield from dict.fromkeys((*patient.ask("transactions"), *patient.ask("transactions", owner=True)))


# Each check with what is said when it finds nothing, in the order in which one explains the next.
CHECKS: dict[str, tuple[Check, str]] = {
    "version": (_named("version"), ""),
    "server": (_named("writable"), "takes writes, UTF-8"),
    "tls": (_check_tls, ""),
    "schema": (_check_schema, "every migration is applied, none was edited"),
    "roles": (_named("roles"), "no role may do more than it is for"),
    "ddl": (_named("ddl"), "the application can't change tables"),
    "dml": (_named("dml"), "the application can read and write every table"),
    "readonly": (_named("readonly"), "the roles that look can't write"),
    "public": (_named("public"), "nothing is open to everybody"),
    "indexes": (_named("indexes"), "every index is valid"),
    "constraints": (_named("constraints"), "every constraint is validated"),
    "imports": (_named("imports", owner=True), "every import came to its end"),
    "partitions": (_check_partitions, "this month's and the next are there, no row waits in a default partition"),
    "sequences": (_check_sequences, "every next id is larger than those there are"),
    "settings": (_named("settings"), "the settings that matter are right"),
    "disk": (_named("disk"), ""),
    "transactions": (_check_transactions, f"none is older than {OLD_TRANSACTION}"),
}


def _apart(message: str) -> tuple[str, str]:
    """Split the last part, what to do, off an error's line."""
    what, _colon, fix = message.rpartition(": ")
    return what, fix


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
