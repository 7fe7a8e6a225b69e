"""A database as declared: its owner, and who may connect."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Any

from pyinfra import host
from pyinfra.api import StringCommand, operation

from deploy.operations.cluster.psql import JsonFact, identifier, run_sql


class Databases(JsonFact):
    """Every database of the server by name."""

    query = "database"


class PublicSchema(JsonFact):
    """The owner of a database's schema public, and everybody's privileges on it."""

    query = "schema"


class Statistics(JsonFact):
    """Where a database has pg_stat_statements, and who may look into that schema."""

    query = "statistics"


def privilege_changes(
    database: str, wanted: Mapping[str, Sequence[str]], found: Sequence[Sequence[str]]
) -> Iterator[str]:
    """Yield the statements that leave each role exactly what is ``wanted`` on ``database``, and other roles nothing.

    ``found`` are triples of role, privilege and whether it may be granted on.
    """
    there = {(role, privilege) for role, privilege, _option in found}
    expected = {(role, privilege) for role, privileges in wanted.items() for privilege in privileges}
    on = f"on database {identifier(database)}"
    for role, privilege in sorted(there - expected):
        yield f"revoke {privilege} {on} from {_grantee(role)}"
    for role, privilege, option in sorted(map(tuple, found)):
        if option and (role, privilege) in expected:
            yield f"revoke grant option for {privilege} {on} from {_grantee(role)}"
    for role, privilege in sorted(expected - there):
        yield f"grant {privilege} {on} to {_grantee(role)}"


def statistics_changes(found: Mapping[str, Any] | None, roles: Sequence[str]) -> list[str]:
    """Return the statements that make pg_stat_statements in its schema, and let these roles alone look into it."""
    there: set[str] = set()
    if found is None:
        statements = ["create schema statistics", "create extension pg_stat_statements schema statistics"]
    elif found["schema"] != "statistics":
        move = "alter extension pg_stat_statements set schema statistics"
        statements = ["create schema if not exists statistics", move]
    else:
        statements, there = [], {*found["roles"]}
    statements += [f"revoke all on schema statistics from {_grantee(role)}" for role in sorted(there - {*roles})]
    return statements + [
        f"grant usage on schema statistics to {identifier(role)}" for role in roles if role not in there
    ]


@operation()
def present(database: str, owner: str, cluster: str) -> Generator[StringCommand, None, None]:
    """Create the database, or restore its owner and remove settings of its own; never touches its rows.

    Its locale is the cluster's; template0 is copied, since template1 may have been added to.
    """
    found = (host.get_fact(Databases, cluster=cluster) or {}).get(database)
    if found is None:
        yield run_sql(
            [f"create database {identifier(database)} owner {identifier(owner)} template template0 encoding 'UTF8'"],
            cluster=cluster,
            transaction=False,
        )
        return
    statements = []
    if found["owner"] != owner:
        statements.append(f"alter database {identifier(database)} owner to {identifier(owner)}")
    if found["settings"]:
        statements.append(f"alter database {identifier(database)} reset all")
    if statements:
        yield run_sql(statements, cluster=cluster)
    else:
        host.noop(f"database {database} belongs to {owner}")


@operation()
def privileges(wanted: Mapping[str, Mapping[str, Sequence[str]]], cluster: str) -> Generator[StringCommand, None, None]:
    """Leave the roles exactly these privileges on these databases; ``public`` is everybody.

    Owners have every privilege on their own. A database that does not exist yet counts as one without privileges.
    """
    found: Mapping[str, Any] = host.get_fact(Databases, cluster=cluster) or {}
    statements = [
        statement
        for database, roles in wanted.items()
        for statement in privilege_changes(database, roles, found.get(database, {}).get("privileges", []))
    ]
    if statements:
        yield run_sql(statements, cluster=cluster)
    else:
        host.noop("the databases' privileges are as declared")


@operation()
def public_schema_closed(database: str, cluster: str) -> Generator[StringCommand, None, None]:
    """Leave the schema public to the database's owner: nobody else can use it without a grant.

    What our roles need in it, the migrations grant them by name.
    """
    found = host.get_fact(PublicSchema, cluster=cluster, database=database)
    if found == {"owner": "pg_database_owner", "public": []}:
        host.noop("the schema public is closed")
        return
    statements = ["alter schema public owner to pg_database_owner", "revoke all on schema public from public"]
    yield run_sql(statements, cluster=cluster, database=database)


@operation()
def statements_counted(database: str, roles: Sequence[str], cluster: str) -> Generator[StringCommand, None, None]:
    """Make pg_stat_statements in a schema of its own, which ``roles`` alone may look into.

    Not in public: whatever else is there is the migrations', and doctor would name it. Whose statements a role sees is
    up to PostgreSQL: without pg_read_all_stats only its own.
    """
    found = host.get_fact(Statistics, cluster=cluster, database=database)
    if statements := statistics_changes(found, roles):
        yield run_sql(statements, cluster=cluster, database=database)
    else:
        host.noop("statements are counted")


def _grantee(role: str) -> str:
    return "public" if role == "public" else identifier(role)
