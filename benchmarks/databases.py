"""A database for each contender, and what it must leave behind there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import psycopg2
from contenders import AS_IT_COMES, AS_USERS_HAVE_IT, OURS, Bench
from installation import months_of

from callytics.importer.target.catalogue import Target
from callytics.schema.migrate import migrate

SEARCH_INDEX = "transcriptions_text_content_search_idx"


@contextmanager
def fresh_database(bench: Bench, contender: str) -> Iterator[str]:
    """Yield a database: migrated and without the search index; for strangers also partitioned and without the rest."""
    database = "measured"
    settings = bench.settings(database)
    bench.server.provide(settings)
    try:
        if contender != AS_IT_COMES:
            migrate(settings, report=lambda line: None)
            with closing(psycopg2.connect(settings.conninfo())) as connection:
                _prepare(bench, connection, contender)
                connection.commit()
        yield database
    finally:
        with closing(psycopg2.connect(bench.server.superuser_conninfo())) as connection:
            connection.autocommit = True
            connection.cursor().execute(f"drop database {database} with (force)")


def _prepare(bench: Bench, connection: Any, contender: str) -> None:
    target = Target(connection)
    if contender == AS_USERS_HAVE_IT or (bench.search and contender in OURS):
        return
    if contender in OURS:
        target.defer("index", "transcriptions", SEARCH_INDEX)
        return
    for table in filter(target.is_partitioned, bench.tables):
        months, _ = target.missing_months(table, months_of(bench.files, table))
        for month in months:
            target.make_month(table, month)
    definitions = target.definitions(bench.tables)
    for kind, table, name, _ in definitions:
        target.defer(kind, table, name)
    definitions = [definition for definition in definitions if bench.search or definition[2] != SEARCH_INDEX]
    (bench.folder / "definitions.json").write_text(json.dumps(definitions))


def end_state(bench: Bench, database: str) -> dict[str, Any]:
    """Return what a contender must leave behind: rows, indexes, keys and partitions, none of them invalid."""
    queries = {
        "tables": "select relid::regclass::text from unnest(%s::text[]) name, pg_partition_tree(name::regclass)",
        "indexes": "select regexp_replace(pg_get_indexdef(indexrelid), 'INDEX \\S+ ON', 'INDEX ON') from pg_index "
        "where indrelid = any (select relid from unnest(%s::text[]) name, pg_partition_tree(name::regclass)) "
        "and indisvalid",
        "constraints": "select conrelid::regclass::text || ' ' || pg_get_constraintdef(oid) from pg_constraint "
        "where conrelid = any (select relid from unnest(%s::text[]) name, pg_partition_tree(name::regclass))",
    }
    with closing(psycopg2.connect(bench.settings(database).conninfo())) as connection, connection.cursor() as cursor:
        state: dict[str, Any] = {}
        for name, query in queries.items():
            cursor.execute(query, (list(bench.tables),))
            state[name] = sorted(value for (value,) in cursor)
        for table in bench.tables:
            cursor.execute(f"select count(*) from {table}")  # noqa: S608
            state[f"rows of {table}"] = cursor.fetchone()[0]  # type: ignore[index]
        return state
