"""What `callytics report` says while there is little to say."""

from __future__ import annotations

import pytest

from callytics.exceptions import TargetError
from callytics.importer.report import completion_report, recorded_imports
from callytics.settings import Settings


def test_a_database_without_tables_is_told_to_migrate(empty_database: Settings) -> None:
    for ask in (completion_report, recorded_imports):
        with pytest.raises(TargetError, match=r"lacks \d+ migrations .*: run 'callytics migrate'$"):
            ask(empty_database)


def test_a_database_without_imports_is_told_to_import(database: Settings) -> None:
    with pytest.raises(TargetError, match="there is no import to report: run 'callytics import FILE' first"):
        completion_report(database)
