"""What the records say was erased of a table, as its conversion needs it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from callytics.importer.records.entries import Erased, Ids, TableRecord
from callytics.schema.belongings import belongings

# The number of a table's record, what is numbered, the columns that are masked, and the numbers.
Mark = tuple[Any, ...]


def erased_of(record: TableRecord, marks: Sequence[Mark], gone: Mapping[str, Ids]) -> Erased:
    """Return what was erased of a table; ``gone`` has the ids by table that nothing may refer to any more."""
    own = [(kind, columns, numbers) for table, kind, columns, numbers in marks if table == record.id]
    declared = belongings().get(record.target_table)
    if not own and not (gone and declared):
        return Erased()
    masked = {column for kind, columns, _ in own if kind == "mask" for column in columns}
    return Erased(
        ids=_numbers(numbers for kind, _, numbers in own if kind == "key"),
        numbers=_numbers(numbers for kind, _, numbers in own if kind == "row"),
        parents=_referred(declared.goes_with, gone) if declared else {},
        masked={
            column: _numbers(numbers for kind, columns, numbers in own if kind == "mask" and column in columns)
            for column in masked
        },
        cleared=_referred(declared.cleared, gone) if declared else {},
    )


def _numbers(found: Iterable[Sequence[int]]) -> Ids:
    return frozenset(number for numbers in found for number in numbers)


def _referred(references: Mapping[str, str], gone: Mapping[str, Ids]) -> dict[str, Ids]:
    return {column: gone[table] for column, table in references.items() if table in gone}
