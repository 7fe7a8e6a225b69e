"""The doctor's words: each fact that a query of ``doctor.sql`` returns becomes what was found and what to do about it.

Each function's docstring says why its fact matters. Nothing is asked here, so that each can be read, and tried, without
a server. Statements name roles, tables and databases as PostgreSQL spells them: what a fix says can be pasted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from callytics.postgres.sql import literal
from callytics.postgres.text import counted, shell_word, text_path

Level = Literal["ok", "warning", "error"]
Fact = Mapping[str, Any]
# Level, what was found, what to do.
Words = tuple[Level, str, str]

GRANTS = "run 'callytics grants'"
GIBIBYTE = 1024**3
# Three quarters of the two billion transactions after which the server stops.
NEARLY_STOPPED = 1_500_000_000
OLDEST_SERVER = 150000


@dataclass(frozen=True)
class Finding:
    """What one check found, and what to do about it."""

    check: str
    level: Level
    what: str
    fix: str = ""


@dataclass(frozen=True)
class Site:
    """Whose database it is; ``as_…`` are the names as PostgreSQL spells them in a statement."""

    application: str
    owner: str
    as_application: str
    as_owner: str
    as_database: str
    connections: int


@dataclass(frozen=True)
class Rule:
    """A setting of the server that must not be otherwise."""

    values: tuple[str, ...]
    level: Level
    reason: str
    fix: str


# https://www.postgresql.org/docs/15/runtime-config.html; the first value is the one to set.
SETTINGS = {
    "fsync": Rule(("on",), "error", "a power cut destroys the database", "set fsync = on and reload"),
    "full_page_writes": Rule(("on",), "error", "a power cut destroys pages", "set full_page_writes = on and reload"),
    "zero_damaged_pages": Rule(
        ("off",), "error", "damaged rows vanish without a word", "set zero_damaged_pages = off and reload"
    ),
    "ignore_checksum_failure": Rule(
        ("off",),
        "error",
        "damaged pages are read as if they were whole",
        "set ignore_checksum_failure = off and reload",
    ),
    "data_checksums": Rule(
        ("on",), "warning", "a damaged disk goes unnoticed", "stop the server and run pg_checksums --enable"
    ),
    "password_encryption": Rule(
        ("scram-sha-256",),
        "error",
        "new passwords are kept as MD5",
        "set password_encryption = 'scram-sha-256', reload and set the passwords again",
    ),
    "autovacuum": Rule(("on",), "error", "tables bloat until the server stops", "set autovacuum = on and reload"),
    "track_counts": Rule(("on",), "error", "autovacuum does not see what changed", "set track_counts = on and reload"),
    "synchronous_commit": Rule(
        ("on", "remote_write", "remote_apply"),
        "warning",
        "a crash may lose what was committed last",
        "set synchronous_commit = on and reload",
    ),
    "TimeZone": Rule(
        ("UTC", "Etc/UTC", "Etc/UCT", "UCT", "Zulu", "GMT", "Etc/GMT"),
        "warning",
        "times without an offset are taken for that zone's",
        "set timezone = 'UTC' and reload",
    ),
}


def listed(names: Sequence[str], most: int) -> str:
    """Return the names, or only how many tables they are where there are more than ``most``."""
    return counted(len(names), "table") if len(names) > most else ", ".join(names)


def version(fact: Fact, _site: Site) -> Words:
    """An older server lacks what the migrations use."""
    level: Level = "ok" if fact["number"] >= OLDEST_SERVER else "error"
    return level, f"PostgreSQL {fact['version']}", "upgrade the server to PostgreSQL 15 or newer"


def standby(_fact: Fact, _site: Site) -> Words:
    """Every write fails there, while everything can be read."""
    fix = "let POSTGRES_HOST name the primary, or every host of the cluster"
    return "error", "the server is a standby and takes no writes", fix


def read_only_default(fact: Fact, _site: Site) -> Words:
    """Every write would be refused, by a server that could take it."""
    fix = f"as a superuser: ALTER {fact['place']} RESET default_transaction_read_only"
    return "error", "transactions are read-only by default and take no writes", fix


def encoding(fact: Fact, _site: Site) -> Words:
    """Text of other alphabets could not be stored."""
    fix = "create it again: CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0"
    return "error", f"database {fact['database']} has encoding {fact['encoding']}", fix


def attributes(fact: Fact, _site: Site) -> Words:
    """A superuser, or who may create roles, passes every other check of this list."""
    options = "NOSUPERUSER NOCREATEROLE NOCREATEDB NOREPLICATION NOBYPASSRLS"
    fix = f"as a superuser: ALTER ROLE {fact['identifier']} {options}"
    return "error", f"role {fact['role']} has {fact['attributes']}", fix


def membership(fact: Fact, _site: Site) -> Words:
    """What a role may do through another one is easily overlooked."""
    fix = f"as a superuser: REVOKE {fact['identifiers']} FROM {fact['identifier']}"
    return "error", f"role {fact['role']} is a member of {fact['names']}", fix


def connection_limit(fact: Fact, site: Site) -> Words:
    """The pool would be refused its last connections at the busiest time."""
    pool = f"role {site.application}, with up to {site.connections} connections, may be given {fact['allowed']}"
    limit = f"ALTER ROLE {site.as_application} CONNECTION LIMIT {site.connections}"
    return "warning", pool, f"as a superuser: {limit}, or lower POSTGRES_MAX_CONNECTIONS"


def ddl(fact: Fact, site: Site) -> Words | None:
    """Whoever can change tables can also read and write everything in them, and drop it."""
    ways = [
        "may create in schema public" if fact["in_schema"] else "",
        "may create schemas" if fact["schemas"] else "",
        f"owns {listed(fact['owned'], 3)}" if fact["owned"] else "",
    ]
    if not any(ways):
        return None
    what = f"role {site.application} can change tables: it {' and '.join(filter(None, ways))}"
    if site.application == site.owner:
        fix = "let a role of its own own the tables: POSTGRES_OWNER_USER and POSTGRES_OWNER_PASSWORD"
        return "warning", what, fix
    return "error", what, _without_ddl(site, owns=bool(fact["owned"]))


def _without_ddl(site: Site, *, owns: bool) -> str:
    fix = (
        f"as {site.owner}: REVOKE CREATE ON SCHEMA public FROM {site.as_application}, PUBLIC; "
        f"REVOKE CREATE ON DATABASE {site.as_database} FROM {site.as_application}, PUBLIC"
    )
    if owns:
        fix += f"; as a superuser: REASSIGN OWNED BY {site.as_application} TO {site.as_owner}"
    return fix


def owner_creates(fact: Fact, site: Site) -> Words:
    """Migrations, imports and new months need the one, a sync the other."""
    what = f"role {site.owner} lacks {fact['privilege']} on {fact['thing']}"
    grant = f"GRANT {fact['privilege']} ON {fact['thing']} TO {site.as_owner}"
    return "error", what, f"as the database's owner or a superuser: {grant}"


def dml(fact: Fact, site: Site) -> Words:
    """The application would fail at its first use of that table."""
    return "error", f"role {site.application} may not {fact['privilege']} {listed(fact['names'], 5)}", GRANTS


def schema_usage(_fact: Fact, site: Site) -> Words:
    """Without it no table can be named, whatever is granted on them."""
    return "error", f"role {site.application} may not use schema public", GRANTS


def partitions_call(_fact: Fact, site: Site) -> Words:
    """The timer fails then, and rows of months to come go to the default partition."""
    return "warning", f"role {site.application} may not call keep_partitions_ahead(integer)", GRANTS


def readonly(fact: Fact, site: Site) -> Words:
    """These roles are given to people and programs that must not change anything."""
    tables = "ALL TABLES IN SCHEMA public, imports"
    fix = f"as {site.owner}: REVOKE INSERT, UPDATE, DELETE, TRUNCATE ON {tables} FROM {fact['identifier']}"
    return "error", f"role {fact['role']} may write {listed(fact['names'], 5)}", fix


def trail(fact: Fact, site: Site) -> Words:
    """Whoever has got the application's login could remove the traces."""
    what = f"role {site.application} may {fact['privileges']} {listed(fact['names'], 5)}, which should only grow"
    return "error", what, GRANTS


def secret(fact: Fact, _site: Site) -> Words:
    """Hashes can be tried out elsewhere, and a session is somebody who is logged in."""
    return "error", f"role {fact['role']} may read {listed(fact['names'], 5)}", GRANTS


def public_schema(fact: Fact, _site: Site) -> Words:
    """Up to PostgreSQL 14 this was the default, and a database that was upgraded has kept it."""
    fix = f"as the owner of database {fact['database']}: REVOKE CREATE ON SCHEMA public FROM PUBLIC"
    return "error", "everybody may create in schema public", fix


def public_database(fact: Fact, site: Site) -> Words:
    """It is the default: every role of the server, also one for another program, may connect."""
    privileges = " and ".join(
        "make temporary tables in" if privilege == "TEMPORARY" else f"{privilege.lower()} to"
        for privilege in fact["privileges"]
    )
    fix = (
        f"as its owner: REVOKE ALL ON DATABASE {site.as_database} FROM PUBLIC; "
        f"GRANT CONNECT ON DATABASE {site.as_database} TO {site.as_application}"
    )
    return "warning", f"everybody may {privileges} database {fact['database']}", fix


def public_tables(fact: Fact, site: Site) -> Words:
    """It is never the default: somebody granted it."""
    fix = f"as {site.owner}: REVOKE ALL ON {fact['relation']} FROM PUBLIC"
    return "error", f"everybody may {fact['privileges']} {fact['relation']}", fix


def index(fact: Fact, site: Site) -> Words:
    """CREATE INDEX CONCURRENTLY leaves one when it fails: it costs at every write and serves no query."""
    level: Level = "error" if fact["is_unique"] else "warning"
    fix = f"as {site.owner}: DROP INDEX CONCURRENTLY {fact['index']}, then 'callytics migrate' builds its own again"
    if fact["is_partitioned"]:
        fix = "one of its partitions lacks it: create it there and attach it"
    return level, f"index {fact['index']} of {fact['relation']} is not valid", fix


def constraint(fact: Fact, site: Site) -> Words:
    """An import that found rows without a parent leaves the key NOT VALID rather than lose the rows."""
    what = f"constraint {fact['name']} of {fact['relation']} is not validated: there are rows that break it"
    statement = f"ALTER TABLE {fact['relation']} VALIDATE CONSTRAINT {fact['identifier']}"
    return "warning", what, f"see 'callytics report', correct the rows, then as {site.owner}: {statement}"


def unfinished(fact: Fact, *, running: bool) -> Words:
    """Its tables lack keys and indexes until it is resumed; while it runs, that is as it should be."""
    paths = list(map(text_path, fact["paths"]))
    what = f"import {fact['import']} of {', '.join(paths)}, started {fact['started']}, "
    if running:
        return "ok", f"{what}is running", ""
    return "warning", f"{what}is not finished", f"finish it: callytics import {' '.join(map(shell_word, paths))}"


def deferred(fact: Fact, _site: Site) -> Words:
    """Queries are slow without the index, and nothing refuses orphans without the key."""
    one = fact["number"] == 1
    which = "index or foreign key" if one else "indexes and foreign keys"
    what = f"import {fact['import']} set {fact['number']} {which} of {fact['tables']} aside and did not bring "
    fix = "give the same 'callytics import' again: it goes on where it ended and restores them"
    return "error", f"{what}{'it' if one else 'them'} back", fix


def different(fact: Fact, _site: Site) -> Words:
    """PostgreSQL did not hold what the file holds when it was last compared."""
    fix = f"see what differs: callytics report --import {fact['import']}"
    return "error", f"verification of import {fact['import']} found differences", fix


def partitions_ahead(fact: Fact, _site: Site) -> Words:
    """Rows of those months would go to the default partition, which every query then has to read."""
    fix = "run 'callytics partitions ahead', now and at least every other month"
    return "warning", f"no partition for {fact['months']} in {fact['parents']}", fix


def in_default_partition(fact: Fact, site: Site, *, parent: str, fallback: str) -> Words:
    """They can no longer be dropped by the month, and stand in the way of that month's partition."""
    first, last = fact["first"], fact["last"]
    what = f"{fallback} holds rows of months of their own, from {first:%Y-%m} to {last:%Y-%m}"
    return "warning", what, f"as {site.owner}: SELECT ensure_month_partitions({literal(parent)}, '{first}', '{last}')"


def settings(facts: Sequence[Fact]) -> Iterator[Words]:
    """Yield what is wrong with the server's settings, by SETTINGS."""
    for fact in facts:
        name, setting, rule = fact["name"], fact["setting"], SETTINGS[fact["name"]]
        if setting not in rule.values:
            yield rule.level, f"{name} is {setting}: {rule.reason}", rule.fix


def pending_restart(fact: Fact, _site: Site) -> Words:
    """The file says one thing and the server does another, until somebody restarts it unprepared."""
    return "warning", f"{fact['names']} wait for a restart", "restart the server"


def free_connections(fact: Fact, site: Site) -> Words | None:
    """The application could not open its pool, even if nobody else were connected."""
    if fact["free"] >= site.connections:
        return None
    what = f"POSTGRES_MAX_CONNECTIONS is {site.connections}, but the server has {fact['free']} for all together"
    return "error", what, "lower POSTGRES_MAX_CONNECTIONS, or raise max_connections and restart the server"


def size(fact: Fact, _site: Site) -> Words:
    """Nothing is wrong with it: it is what one asks first when a disk fills."""
    return "ok", f"database {fact['database']} takes {fact['size']}", ""


def slot(fact: Fact, _site: Site) -> Words:
    """A slot that nobody reads keeps WAL until the disk is full, and then the server stops."""
    used = "is in use" if fact["active"] else "is not in use"
    what = f"replication slot {fact['slot']} {used} and keeps {fact['size'] or 'none'} of WAL"
    fix = f"bring its standby back, or as a superuser: SELECT pg_drop_replication_slot({literal(fact['slot'])})"
    if fact["active"] and fact["lost"] is False:
        return "ok", what, ""
    full = fact["lost"] or (fact["bytes"] or 0) > GIBIBYTE
    return "error" if full else "warning", what, fix


def archiving(fact: Fact, _site: Site) -> Words:
    """Archived WAL is what a restore to a point in time needs, and what waits for it fills the disk."""
    what = f"archiving {fact['wal']} fails since {fact['since']}: WAL fills the disk"
    return "error", what, "see the server's log for what archive_command says"


def sequence(fact: Fact, site: Site, *, table: str, name: str) -> Words:
    """The next INSERT would fail with a duplicate key: rows were written with ids of their own."""
    what = f"the next id of {table} would be {fact['next']}, but there is a row {fact['highest']}"
    return "error", what, f"as {site.owner}: SELECT setval({literal(name)}, {fact['highest']})"


def double(fact: Fact, site: Site, *, table: str) -> Words:
    """Whatever refers to such an id means two rows; written past the trigger that refuses them."""
    what = f"{table} holds {counted(fact['number'], 'id')} more than once, the first is {fact['id']}"
    return "error", what, f"as {site.owner}: delete the wrong one of the rows with this id, or give it another id"


def transaction(fact: Fact, _site: Site) -> Words:
    """Nothing that was deleted since then can be removed, so that tables and indexes grow."""
    what = f"{fact['session']} (process {fact['pid']}) has a transaction open since {fact['since']}"
    return "warning", what, f"end that session, or as its role: SELECT pg_terminate_backend({fact['pid']})"


def prepared(fact: Fact, _site: Site) -> Words:
    """It holds its locks, even over a restart, until somebody who knows of it ends it."""
    fix = f"as {fact['owner']}: COMMIT PREPARED or ROLLBACK PREPARED {literal(fact['gid'])}"
    return "warning", f"transaction {fact['gid']} is prepared since {fact['since']}", fix


def unfrozen(fact: Fact, _site: Site) -> Words:
    """Transaction numbers are used in a circle, and the server stops before it would lose rows."""
    row = f"the oldest row of {fact['database']} was not frozen for {fact['age']} transactions"
    level: Level = "error" if fact["age"] > NEARLY_STOPPED else "warning"
    return level, f"{row}: at 2 billion the server stops", "end old transactions, then as a superuser: VACUUM (FREEZE)"
