"""Examine a database the way the application meets it, and say what to do about everything that is wrong."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psycopg2
from psycopg2 import errors
from psycopg2.extensions import connection as Connection

from callytics.exceptions import CallyticsError, DatabaseUnavailable, MigrationError, ReadOnlyServer
from callytics.postgres import connect
from callytics.postgres.errors import translated
from callytics.postgres.sql import Part, Queries
from callytics.postgres.text import counted
from callytics.schema import grants, roles
from callytics.schema.catalogue import catalogue
from callytics.schema.doctor import differences, logs, privileges
from callytics.schema.doctor import findings as words
from callytics.schema.doctor.findings import Fact, Finding, Level, Site, Words
from callytics.schema.readiness.importing import IMPORT_LOCK
from callytics.schema.versions import edited, migrations, pending, unknown
from callytics.settings import Settings

SQL = Queries(Path(__file__).with_suffix(".sql"))
STATEMENT_TIMEOUT = "30s"
OLD_TRANSACTION = "1 hour"
MISSING_ROLE = "create the role, or correct POSTGRES_USER, then look again"


@dataclass(frozen=True)
class Diagnosis:
    """Everything that was found; ``exit_code`` is 1 when there is an error among it."""

    findings: list[Finding]

    @property
    def exit_code(self) -> int:
        """Return the command's exit code."""
        return int(self.count("error") > 0)

    def count(self, level: Level) -> int:
        """Return how many findings have a level."""
        return sum(finding.level == level for finding in self.findings)

    def as_dict(self) -> dict[str, Any]:
        """Return everything, for JSON."""
        counts = {"errors": self.count("error"), "warnings": self.count("warning")}
        return {"ok": not self.exit_code, **counts, "findings": [asdict(finding) for finding in self.findings]}


@dataclass(frozen=True)
class Probe:
    """A database with connections to it as the application and, where its login is configured, as the owner."""

    settings: Settings
    application: Connection
    owner: Connection
    site: Site
    parameters: Mapping[str, object] = field(default_factory=dict)

    @property
    def witness(self) -> Connection:
        """The login that may read which migrations are applied: the application, or the owner where that may not."""
        may = SQL.value(self.application, "may_see_migrations")
        return self.application if may else self.owner

    def facts(
        self, query: str, parameters: Mapping[str, object] | None = None, *, owner: bool = False, **names: Part
    ) -> list[Fact]:
        """Return what a named query finds, asked by the application or the owner; ``names`` become identifiers."""
        connection = self.owner if owner else self.application
        return [*SQL.all(connection, query, {**self.parameters, **(parameters or {})}, **names)]

    def told(self, query: str, say: Say, *, owner: bool = False) -> Iterator[Words]:
        """Yield the words for each fact that a query finds, where there is anything to say about it."""
        yield from filter(None, (say(fact, self.site) for fact in self.facts(query, owner=owner)))


Say = Callable[[Fact, Site], Words | None]
Check = Callable[[Probe], Iterator[Words]]


def examine(settings: Settings) -> Diagnosis:
    """Connect as the application would, as the owner too where its login is configured, and check everything.

    Nothing stays written: the connections are read-only, and each statement ends after 30 seconds; privileges are
    compared by the owner in a transaction that is rolled back. A database that can't be reached is a finding, not an
    exception.
    """
    with ExitStack() as stack:
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
            findings += _told(settings, connections)
    return Diagnosis(findings)


def _told(settings: Settings, connections: dict[str, Connection]) -> Iterator[Finding]:
    """Yield what is found until the checks end, or the connection does: then that is the last finding."""
    try:
        with translated(settings):
            yield from _examine(_probe(settings, connections))
    except CallyticsError as error:
        yield Finding("connection", "error", *_apart(str(error)))


def lines(diagnosis: Diagnosis) -> Iterator[str]:
    """Yield what was found for reading, each finding with what to do, and the counts."""
    for finding in diagnosis.findings:
        yield f"{finding.level:<8} {finding.check:<12} {finding.what}"
        if finding.fix:
            yield f"{'':<21} → {finding.fix}"
    errors_found, warnings = diagnosis.count("error"), diagnosis.count("warning")
    yield ""
    if errors_found or warnings:
        yield f"{counted(errors_found, 'error')}, {counted(warnings, 'warning')}"
    else:
        yield "All is well."


def _connect(settings: Settings, *, owner: bool) -> Connection:
    connection = connect(settings, owner=owner)
    with translated(settings, owner=owner), connection.cursor() as cursor:
        # A check that fails must not end the transaction of those after it.
        connection.set_session(readonly=True, autocommit=True)
        cursor.execute("select set_config('statement_timeout', %s, false)", (STATEMENT_TIMEOUT,))
    return connection


def _probe(settings: Settings, connections: dict[str, Connection]) -> Probe:
    # With one login of two the other's checks are asked by it: most of the catalogue is for everybody to see.
    any_of_them = next(iter(connections.values()))
    owner = settings.owner_user or SQL.value(any_of_them, "owner") or settings.user
    names = {"application": settings.user, "owner": owner}
    site = Site(
        settings.user, owner, **SQL.all(any_of_them, "identifiers", names)[0], connections=settings.max_connections
    )
    parameters = {
        **names,
        "owners": roles.OWNER,
        "readers": [*roles.READERS],
        "members": [settings.user, roles.APPLICATION, *roles.READERS],
        "roles": [settings.user, owner, roles.OWNER, roles.APPLICATION, *roles.READERS],
        "connections": settings.max_connections,
        "settings": [*words.SETTINGS],
        "old": OLD_TRANSACTION,
        "import_lock": IMPORT_LOCK,
    }
    application, owners = (connections.get(name, any_of_them) for name in ("application", "owner"))
    return Probe(settings, application, owners, site, parameters)


def _examine(probe: Probe) -> Iterator[Finding]:
    """Yield what each check finds, or that all is well where it finds nothing."""
    behind = _is_behind(probe)
    for name, (check, all_is_well) in CHECKS.items():
        try:
            found = [_finding(name, *said) for said in check(probe)]
        except (errors.UndefinedTable, errors.UndefinedColumn, errors.UndefinedFunction) as error:
            # Without its tables the schema is the finding, and was named already.
            found = [] if behind else [Finding(name, "error", *_missing(error))]
            all_is_well = "can't be told before the migrations are applied"
        except errors.UndefinedObject as error:
            # The privileges of a role that is not there: POSTGRES_USER is wrong, or comes before the role.
            found = [Finding(name, "warning", f"could not be told: {error.diag.message_primary}", MISSING_ROLE)]
        except errors.InsufficientPrivilege:
            found = []
            all_is_well = f"not for {probe.settings.user} to see: only the owner's login shows it"
        except errors.QueryCanceled:
            found = [Finding(name, "warning", f"could not be told within {STATEMENT_TIMEOUT}", "try at a quieter time")]
        yield from found or [Finding(name, "ok", all_is_well)]


def _is_behind(probe: Probe) -> bool:
    try:
        return bool(pending(probe.witness))
    except errors.InsufficientPrivilege:
        # Neither login may see it, and the check of the privileges says so.
        return False


def _finding(check: str, level: Level, what: str, fix: str) -> Finding:
    return Finding(check, level, what, "" if level == "ok" else fix)


def _missing(error: errors.Error) -> tuple[str, str]:
    return f"{error.diag.message_primary}", "somebody removed it: restore it from a backup"


def _asked(**queries: Say) -> Check:
    """Return a check that is named queries, asked by the application, with the words for what each finds."""

    def check(probe: Probe) -> Iterator[Words]:
        for query, say in queries.items():
            yield from probe.told(query, say)

    return check


def _check_server(probe: Probe) -> Iterator[Words]:
    yield from probe.told("standby", words.standby)
    # Each role may have a default of its own.
    defaults = [
        said
        for owner in (False, True)
        for said in probe.told("read_only_default", words.read_only_default, owner=owner)
    ]
    yield from dict.fromkeys(defaults)
    yield from probe.told("encoding", words.encoding)


def _check_tls(probe: Probe) -> Iterator[Words]:
    (session,) = probe.facts("tls")
    encrypted, version = session["encrypted"], session["version"]
    far = [host for host in probe.settings.hosts if not is_local(host)]
    mode = probe.settings.sslmode
    fix = "set POSTGRES_SSLMODE=verify-full, and POSTGRES_SSLROOTCERT to the CA's certificate"
    if not encrypted and far:
        yield "error", f"passwords and calls travel to {', '.join(far)} in clear", fix
    elif not encrypted:
        yield "ok", "not encrypted, on this machine only", ""
    elif far and mode != "verify-full":
        yield "warning", f"{version}, but who answers as {', '.join(far)} is not verified (sslmode {mode})", fix
    else:
        verified = ", server verified" if mode == "verify-full" else ""
        yield "ok", f"{version}, {session['cipher']}{verified}", ""


def is_local(host: str) -> bool:
    """Whether a host is this machine: a socket's folder, localhost, or a loopback address."""
    if host.startswith(("/", "@")) or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _check_schema(probe: Probe) -> Iterator[Words]:
    connection = probe.witness
    if missing := pending(connection):
        yield "error", f"{counted(len(missing), 'migration')} missing, from {missing[0]}", "run 'callytics migrate'"
    for migration in edited(connection):
        fix = "restore its file, and put the change into a new migration"
        yield "error", f"migration {migration} was edited after it was applied", fix
    if foreign := unknown(connection):
        # As every other command, which refuses a database that knows more than the program.
        level: Level = "error" if foreign[-1] > list(migrations())[-1] else "warning"
        fix = "install the version of Callytics that migrated this database"
        yield level, f"the database has migrations that this version does not know: {', '.join(foreign)}", fix


def _check_catalogue(probe: Probe) -> Iterator[Words]:
    if _is_behind(probe) or unknown(probe.witness):
        # Named by the check of the schema; what another version makes is not known.
        return
    contents = catalogue.Contents.of(probe.application)
    put_away, can_tell = _deferred(probe)
    if put_away:
        yield differences.put_away(put_away)
    found = catalogue.differences(contents, [(table, name) for _run, table, name in put_away])
    for difference in found:
        yield differences.difference(difference, probe.site, can_tell=can_tell)
    for fact in probe.facts("owners", {"names": catalogue.ours(contents)}):
        yield differences.owners(fact, probe.site)


def _deferred(probe: Probe) -> tuple[list[tuple[int, str, str]], bool]:
    """Return what an import has dropped for its load, and whether this login may tell."""
    try:
        return catalogue.SQL.rows(probe.owner, "deferred"), True
    except errors.InsufficientPrivilege:
        return [], False


def _check_roles(probe: Probe) -> Iterator[Words]:
    # Errors first, and what concerns one role together.
    yield from sorted(
        [
            *probe.told("attributes", words.attributes),
            *probe.told("memberships", words.membership),
            *probe.told("connection_limit", words.connection_limit),
        ]
    )


def _check_privileges(probe: Probe) -> Iterator[Words]:
    """Yield what the roles lack, or have by hand: tried out by granting everything anew, and taken back at once."""
    if _is_behind(probe) or unknown(probe.witness):
        return
    try:
        for found in grants.check(probe.settings):
            yield from privileges.difference(found, probe.site)
    except (DatabaseUnavailable, MigrationError, ReadOnlyServer) as error:
        # Named by the checks of the connection and the server, or the owner's login is not configured.
        yield "ok", f"can't be compared: {error}", ""
    except CallyticsError as error:
        yield "warning", *_apart(str(error))
    except psycopg2.Error as error:
        # For example an event trigger that refuses whatever changes privileges.
        yield "warning", f"could not be compared: {error.diag.message_primary}", "try 'callytics grants --check'"


def _check_imports(probe: Probe) -> Iterator[Words]:
    (now,) = probe.facts("import_runs", owner=True)
    for fact in probe.facts("unfinished", owner=True):
        yield words.unfinished(fact, running=now["running"])
    # A running import brings back what it has dropped when it comes to its end.
    if not now["running"]:
        yield from probe.told("deferred", words.deferred, owner=True)
    yield from probe.told("different", words.different, owner=True)


def _check_partitions(probe: Probe) -> Iterator[Words]:
    tables = [(fact["parent"], fact["fallback"]) for fact in probe.facts("endless_tables")]
    for fact in probe.facts("partitions_ahead", {"tables": [parent for parent, _fallback in tables]}):
        yield words.partitions_ahead(fact, probe.site)
    for parent, fallback in tables:
        for fact in probe.facts("in_default_partition", fallback=fallback):
            yield words.in_default_partition(fact, probe.site, parent=parent, fallback=fallback)


def _check_settings(probe: Probe) -> Iterator[Words]:
    yield from words.settings(probe.facts("settings"))
    yield from probe.told("pending_restart", words.pending_restart)
    yield from probe.told("free_connections", words.free_connections)


def _check_log(probe: Probe) -> Iterator[Words]:
    names = {"settings": [*logs.SETTINGS]}
    # Each role may have settings of its own.
    facts = [fact for owner in (False, True) for fact in probe.facts("settings", names, owner=owner)]
    yield from dict.fromkeys(logs.settings(facts, probe.site))


def _check_sequences(probe: Probe) -> Iterator[Words]:
    for identity in probe.facts("identities"):
        table, name = identity["relation"], identity["sequence_name"]
        for fact in probe.facts("sequence", table=table, column=identity["attname"], sequence=name):
            yield words.sequence(fact, probe.site, table=table, name=name)
        if identity["is_partitioned"]:
            for fact in probe.facts("doubles", table=table, column=identity["attname"]):
                yield words.double(fact, probe.site, table=table)


def _check_transactions(probe: Probe) -> Iterator[Words]:
    said: list[Words] = []
    # Each role sees the age of its own sessions only.
    for owner in (False, True):
        said += probe.told("transactions", words.transaction, owner=owner)
        said += probe.told("prepared", words.prepared, owner=owner)
        said += probe.told("unfrozen", words.unfrozen, owner=owner)
    yield from dict.fromkeys(said)


# Each check with what is said when it finds nothing, in the order in which one explains the next.
CHECKS: dict[str, tuple[Check, str]] = {
    "version": (_asked(version=words.version), ""),
    "server": (_check_server, "takes writes, UTF-8"),
    "tls": (_check_tls, ""),
    "schema": (_check_schema, "every migration is applied, none was edited"),
    "catalogue": (_check_catalogue, "tables, indexes, keys, triggers, views and routines are what the migrations make"),
    "roles": (_check_roles, "no role may do more than it is for"),
    "ddl": (_asked(ddl=words.ddl, owner_creates=words.owner_creates), "the application can't change tables"),
    "dml": (
        _asked(dml=words.dml, schema_usage=words.schema_usage, partitions_call=words.partitions_call),
        "the application can read and write every table",
    ),
    "readonly": (_asked(readonly=words.readonly), "the roles that look can't write"),
    "trails": (
        _asked(trails=words.trail, secrets=words.secret),
        "the application can't change a trail, the roles that look see no secret",
    ),
    "privileges": (_check_privileges, "every role has what the migrations give it, and no more"),
    "public": (
        _asked(
            public_schema=words.public_schema,
            public_database=words.public_database,
            public_tables=words.public_tables,
        ),
        "nothing is open to everybody",
    ),
    "indexes": (_asked(indexes=words.index), "every index is valid"),
    "constraints": (_asked(constraints=words.constraint), "every constraint is validated"),
    "imports": (_check_imports, "every import came to its end"),
    "partitions": (_check_partitions, "this month's and the next are there, no row waits in a default partition"),
    "sequences": (_check_sequences, "every id stands once, and every next one is larger"),
    "settings": (_check_settings, "the settings that matter are right"),
    "log": (_check_log, "the server's log holds no statements with their values"),
    "disk": (_asked(size=words.size, slots=words.slot, archiving=words.archiving), ""),
    "transactions": (_check_transactions, f"none is older than {OLD_TRANSACTION}"),
}


def _apart(message: str) -> tuple[str, str]:
    """Split the last part, what to do, off an error's line."""
    what, _colon, fix = message.rpartition(": ")
    return what, fix
