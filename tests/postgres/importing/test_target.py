"""What the importer believes of the target, against its catalogue."""

from __future__ import annotations

from contextlib import closing

from callytics.importer.target.catalogue import Target, declared_columns
from callytics.importer.target.connections import import_connection
from callytics.settings import Settings


def test_declared_columns_are_the_catalogue_s(database: Settings) -> None:
    """The types that `inspect` works with, without a server, are those of the migrated tables."""
    with closing(import_connection(database)) as connection:
        target = Target(connection)
        assert {table: target.columns(table) for table in declared_columns()} == declared_columns()
