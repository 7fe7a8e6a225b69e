"""The mappings against the schemas on both sides: nothing may fall between them."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

import callytics
from callytics.importer.convert.chunks import array_name
from callytics.importer.source.mapping import Mapping, mappings
from callytics.importer.source.reader import Source
from callytics.importer.target.catalogue import declared_columns
from callytics.postgres.sql import quote

SCHEMAS = sorted((Path(callytics.__file__).parent / "trial" / "sample" / "schema").glob("*.sql"))


@pytest.fixture(params=SCHEMAS, ids=lambda path: path.stem)
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Source:
    """An empty database as the application creates it."""
    path = tmp_path / "empty.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(request.param.read_text(encoding="utf-8"))
    return Source(path)


def test_every_table_and_column_has_a_home(source: Source) -> None:
    """Nothing of a file that the application created is unmapped, and nothing a mapping reads is absent."""
    for table in source.tables:
        assert source.unmapped_columns(table) == (), table.name
        assert [table_mapping.absent for table_mapping in source.table_mappings[table.name]] == [()] * len(
            source.table_mappings[table.name]
        )


@pytest.mark.parametrize("mapping", mappings(), ids=lambda mapping: mapping.name)
def test_mapping_fits_its_target(mapping: Mapping) -> None:
    """Every output, the key and every reference is a column of the target."""
    columns = declared_columns()[mapping.target]
    assert {array_name(output) for output in mapping.outputs} <= set(columns)
    assert {mapping.key, *mapping.references} <= set(mapping.outputs)


@pytest.mark.parametrize("mapping", mappings(), ids=lambda mapping: mapping.name)
def test_mapping_is_read_whole(mapping: Mapping) -> None:
    """The outputs read from the text are those that SQLite sees in the statement."""
    columns = ", ".join(f"null as {quote(column)}" for column in set(mapping.outputs.values()))
    query = f"with {quote(mapping.source_table)} as (select 1 as source_rowid, {columns}) {mapping.select}"
    with closing(sqlite3.connect(":memory:")) as connection:
        described = connection.execute(query).description
    assert [name for name, *_ in described] == ["source_rowid", *mapping.outputs]


def test_every_target_is_reached() -> None:
    """Every table of the schema is the target of some mapping."""
    assert {mapping.target for mapping in mappings()} == set(declared_columns())


@pytest.mark.parametrize(
    ("columns", "alias"),
    [
        ("id integer primary key", True),
        ("id integer primary key autoincrement", True),
        ("id integer, primary key (id desc)", True),
        ("id integer primary key desc", False),
        ("id int primary key", False),
        ("id integer", False),
    ],
)
def test_ids_are_row_numbers_only_where_sqlite_says_so(columns: str, alias: bool, tmp_path: Path) -> None:
    """Ids that are a column of their own need not be in the order of the rows."""
    path = tmp_path / "topics.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            f"create table Topic (Name text, {columns.replace('id', 'ID')}); "
            "insert into Topic (ID, Name) values (70, 'a'), (30, 'b');"
        )
    source = Source(path)
    (table,) = source.tables
    (topics,) = source.table_mappings["Topic"]
    assert (table.id_column, source.key_is_rowid(topics)) == (("ID", True) if alias else (None, False))
    assert source.id_range(topics) == (30, 70)
