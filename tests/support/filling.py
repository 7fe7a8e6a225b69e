"""Rows for every table, made from the catalogue alone, so that no table is forgotten."""

from __future__ import annotations

import re
from dataclasses import dataclass

from psycopg2.extensions import connection as Connection

ENDLESS = ("transcriptions", "utterances", "processing_logs", "agent_activity_logs")
# All that are divided by month; an entry of the audit trail always has its moment.
MONTHLY = (*ENDLESS, "audit_log")

# Five months, every fiftieth row without a date, one row far out of range.
MOMENTS = """case
    when g % 50 = 0 then null
    when g = 1 then 'infinity'::timestamptz
    else timestamptz '2024-01-01 00:00:00+00' + (g % 150) * interval '1 day' + g * interval '1 second'
end"""

BY_TYPE = {
    "bigint": "g",
    "text": "{column} || ' ' || g",
    "boolean": "g % 3 = 0",
    "bigint[]": "array[g]",
    "double precision": "(g % 100) / 100.0",
    "double precision[]": "array_fill((g % 7)::double precision, array[13])",
    "date": "date '2024-01-01' + (g % 150)::integer",
    "timestamp with time zone": "timestamptz '2024-01-01 00:00:00+00' + g * interval '1 minute'",
    "jsonb": "jsonb_build_object('n', g)",
}

TABLES = """
select c.relname from pg_class as c
where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition
    and c.relname !~ '^(_?yoyo|_callytics)_'
order by c.oid
"""

COLUMNS = """
select a.attname, format_type(a.atttypid, null),
    (
        select f.confrelid::regclass::text || '.' || p.attname
        from pg_constraint as f
        join pg_attribute as p on p.attrelid = f.confrelid and p.attnum = f.confkey[1]
        where f.conrelid = coalesce(t.partdefid, a.attrelid) and f.contype = 'f' and f.conkey[1] = b.attnum
    ),
    (
        select pg_get_constraintdef(k.oid) from pg_constraint as k
        where k.conrelid = a.attrelid and k.contype = 'c' and k.conkey = array[a.attnum]
    )
from pg_attribute as a
left join pg_partitioned_table as t on t.partrelid = a.attrelid
join pg_attribute as b on b.attrelid = coalesce(t.partdefid, a.attrelid) and b.attname = a.attname
where a.attrelid = to_regclass(%s) and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
order by a.attnum
"""


@dataclass(frozen=True)
class Column:
    name: str
    type: str
    parent: str | None
    check: str | None

    def value(self, table: str, rows: int) -> str:
        """Return the SQL expression of this column's value in row ``g``."""
        if self.name == "id":
            return "g"
        if self.parent:
            return "'code ' || g" if self.type == "text" else f"(g - 1) % {rows} + 1"
        choices = re.findall(r"'(\w+)'::text", self.check or "")
        if choices:
            return f"(array{choices!r})[1 + (g / 2) % {len(choices)}]"
        if self.name == "created_at" and table in ENDLESS:
            return MOMENTS
        return BY_TYPE[self.type].format(column=f"'{self.name}'")


def tables(connection: Connection) -> list[str]:
    """Return the application's tables, parents before children."""
    with connection.cursor() as cursor:
        cursor.execute(TABLES)
        return [name for (name,) in cursor]


def fill(connection: Connection, rows: int, endless_rows: int | None = None) -> None:
    """Put ``rows`` rows into every table, and ``endless_rows`` into those that grow without end; commit."""
    plain = [table for table in tables(connection) if table not in ENDLESS]
    with connection.cursor() as cursor:
        cursor.execute("set callytics.importing = 'on'")
        for table in _parents_first(connection, plain):
            _fill(connection, table, rows, rows)
        for table in ENDLESS:
            _fill(connection, table, endless_rows or rows, rows)
        cursor.execute("reset callytics.importing")
    connection.commit()


def _parents_first(connection: Connection, names: list[str]) -> list[str]:
    """Sort by foreign keys: a rename or a partition may have changed the order of creation."""
    waiting, sorted_names = list(names), []
    while waiting:
        for name in list(waiting):
            parents = {c.parent.split(".")[0] for c in columns(connection, name) if c.parent} - {name}
            if parents <= set(sorted_names):
                sorted_names.append(name)
                waiting.remove(name)
    return sorted_names


def columns(connection: Connection, table: str) -> list[Column]:
    with connection.cursor() as cursor:
        cursor.execute(COLUMNS, (table,))
        return [Column(*row) for row in cursor]


def _fill(connection: Connection, table: str, rows: int, parent_rows: int) -> None:
    chosen = columns(connection, table)
    names = ", ".join(f'"{column.name}"' for column in chosen)
    values = ", ".join(column.value(table, parent_rows) for column in chosen)
    with connection.cursor() as cursor:
        cursor.execute(
            f"insert into {table} ({names}) select {values} from generate_series(1, {rows}) as g on conflict do nothing"
        )
        if any(column.name == "id" for column in chosen):
            cursor.execute(f"select setval(pg_get_serial_sequence(%s, 'id'), {rows})", (table,))
