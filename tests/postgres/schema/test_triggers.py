"""Columns that keep themselves, and how an import leaves them alone."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest
from psycopg2.errors import UniqueViolation
from psycopg2.extensions import connection as Connection

from callytics.postgres import connect
from callytics.settings import Settings
from tests.support.filling import ENDLESS, fill

KEEPING_TIME = """
select table_name from information_schema.columns as c
where column_name = 'updated_at' and table_schema = 'public' order by table_name
"""


@pytest.fixture
def filled(database: Settings) -> Iterator[Connection]:
    connection = connect(database, owner=True)
    fill(connection, 6)
    yield connection
    connection.close()


def every(connection: Connection, query: str) -> list[tuple[object, ...]]:
    with connection, connection.cursor() as cursor:
        cursor.execute(query)
        return cursor.fetchall() if cursor.description else []


def test_every_updated_at_is_kept(filled: Connection) -> None:
    names = [name for (name,) in every(filled, KEEPING_TIME)]
    assert len(names) == 8
    for name in names:
        every(filled, f"update {name} set created_at = created_at where id = 1")
        assert every(filled, f"select id from {name} where updated_at > now() - interval '1 minute'") == [(1,)], name


def test_an_import_writes_updated_at_itself(filled: Connection) -> None:
    every(filled, "set callytics.importing = 'on'")
    every(filled, "update audio_files set updated_at = '2020-01-01' where id = 1")
    assert every(filled, "select updated_at::date::text from audio_files where id = 1") == [("2020-01-01",)]
    every(filled, "reset callytics.importing")
    every(filled, "update audio_files set file_size = 1 where id = 1")
    assert every(filled, "select updated_at > '2024-06-01' from audio_files where id = 1") == [(True,)]


def sizes(connection: Connection) -> list[tuple[object, ...]]:
    return every(connection, "select id, team_size from agent_teams where id <= 2 order by id")


def test_team_size_follows_its_members(filled: Connection) -> None:
    every(filled, "delete from agent_team_memberships")
    every(filled, "insert into agent_team_memberships (agent_id, team_id) values (1, 1), (2, 1), (3, 2)")
    assert sizes(filled) == [(1, 2), (2, 1)]
    every(filled, "update agent_team_memberships set team_id = 2 where agent_id = 1")
    assert sizes(filled) == [(1, 1), (2, 2)]
    every(filled, "update agent_team_memberships set is_active = false where agent_id = 2")
    assert sizes(filled) == [(1, 0), (2, 2)]
    every(filled, "delete from agent_team_memberships where agent_id = 3")
    assert sizes(filled) == [(1, 0), (2, 1)]


def test_two_members_who_join_at_once_are_both_counted(filled: Connection, database: Settings) -> None:
    every(filled, "delete from agent_team_memberships")
    other = connect(database, owner=True)
    with filled.cursor() as first, other.cursor() as second:
        first.execute("insert into agent_team_memberships (agent_id, team_id) values (1, 1)")
        second.execute("set lock_timeout = '100ms'")
        with pytest.raises(Exception, match="lock timeout"):
            second.execute("insert into agent_team_memberships (agent_id, team_id) values (2, 1)")
        other.rollback()
        filled.commit()
        second.execute("insert into agent_team_memberships (agent_id, team_id) values (2, 1)")
    other.commit()
    other.close()
    assert sizes(filled)[0] == (1, 2)


def test_an_import_leaves_team_size_alone(filled: Connection) -> None:
    every(filled, "update agent_teams set team_size = 99 where id = 1")
    every(filled, "set callytics.importing = 'on'")
    every(filled, "delete from agent_team_memberships")
    assert sizes(filled)[0] == (1, 99)
    every(filled, "reset callytics.importing")


@pytest.mark.parametrize(
    ("speaker", "role"),
    [
        ("고객", "customer"),
        ("Customer", "customer"),
        ("customer", "customer"),
        ("상담사", "agent"),
        ("CSR", "agent"),
        (" Agent ", "agent"),
        ("SPEAKER_00", None),
        ("", None),
        (None, None),
    ],
)
def test_speaker_role_of_the_many_spellings(filled: Connection, speaker: str | None, role: str | None) -> None:
    with filled, filled.cursor() as cursor:
        cursor.execute("insert into utterances (speaker) values (%s) returning speaker_role", (speaker,))
        assert cursor.fetchone() == (role,)


TWO_MONTHS = "select ensure_month_partitions('{0}', '2024-01-01', '2024-02-01')"


@pytest.mark.parametrize("table", ENDLESS)
def test_an_id_stands_once_whoever_gives_it(table: str, filled: Connection) -> None:
    """In another partition, where the primary key does not hold, as well."""
    every(filled, TWO_MONTHS.format(table))
    columns = ", ".join(
        name
        for (name,) in every(
            filled,
            "select attname from pg_attribute where attnum > 0 and not attisdropped and attgenerated = '' "
            f"and attrelid = '{table}'::regclass and attname not in ('id', 'created_at') order by attnum",
        )
    )
    (first,) = every(filled, f"select min(id) from {table}")[0]
    row = (
        f"insert into {table} (id, created_at, {columns}) "
        f"select {{}}, '{{}}', {columns} from {table} where id = {first}"
    )
    every(filled, row.format(901, "2024-01-15"))
    # Ends with the same error as in a table that is not divided.
    refused = [
        row.format(901, "2024-02-15"),
        row.format(901, "2024-01-16"),
        row.format(901, "1999-01-01"),
        f"insert into {table} (id, created_at, {columns}) select 905, month, {columns} from {table}, "
        f"(values ('2024-01-15'::timestamptz), ('2024-02-15')) as months (month) where id = {first}",
        f"update {table} set id = 901, created_at = '2024-02-15' where id = {first}",
        f"select setval('{table}_id_seq', 900); insert into {table} (created_at, {columns}) "
        f"select '2024-02-15', {columns} from {table} where id = {first}",
    ]
    for statement in refused:
        with pytest.raises(UniqueViolation):
            every(filled, statement)
    names = f"id, created_at, {columns}"
    every(filled, f"create temp table again as select {names} from {table} where id = 901")
    every(filled, "update again set created_at = '2024-02-15'")
    text = io.StringIO()
    with filled, filled.cursor() as cursor:
        cursor.copy_expert(f"copy (select {names} from again) to stdout", text)
    text.seek(0)
    with filled.cursor() as cursor, pytest.raises(UniqueViolation):
        cursor.copy_expert(f"copy {table} ({names}) from stdin", text)
    filled.rollback()
    assert every(filled, f"select count(*) - count(distinct id) from {table}") == [(0,)]
    # What is no second row goes on: into another month, and away and back.
    every(filled, f"update {table} set created_at = '2024-02-15' where id = 901")
    every(filled, f"delete from {table} where id = 901")
    every(filled, row.format(901, "2024-01-15"))
