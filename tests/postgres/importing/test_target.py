"""What the importer believes of the target, against its catalogue."""

from __future__ import annotations

from contextlib import closing

from callytics.importer.target.catalogue import COLUMNS, Target, declared_columns
from callytics.schema.readiness.importing import import_connection
from callytics.settings import Settings
from scripts.columns import columns_text
from tests.support.installation import Installation

APPLICATIONS_OWN = {"agent_login_places", "agent_scopes", "agent_sessions", "audit_log", "idempotency_keys"}


def test_declared_columns_are_the_catalogue_s(database: Settings) -> None:
    """The types that `inspect` works with, without a server, are those of the migrated tables."""
    with closing(import_connection(database)) as connection:
        target = Target(connection)
        assert {table: target.columns(table) for table in declared_columns()} == declared_columns()
        assert COLUMNS.read_text(encoding="utf-8") == columns_text(connection), "run: python -m scripts.columns"


def test_every_table_is_filled_by_an_import(installation: Installation) -> None:
    """Or it is the application's own."""
    tables = installation.all(
        "select relname from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'p') "
        r"and not relispartition and relname not like '\_%' and relname not like 'yoyo%'"
    )
    assert {name for (name,) in tables} - APPLICATIONS_OWN == set(declared_columns())
