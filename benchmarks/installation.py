"""A whole installation that imports are measured with: both generation 3 databases, and all their tables as text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from callytics.importer.convert.chunks import Conversion, Converter, rows_table
from callytics.importer.source.mapping import TableMapping
from callytics.importer.source.reader import Source, rowid_chunks
from callytics.importer.target.catalogue import declared_columns
from callytics.importer.target.writing.text import copy_csv
from callytics.trial.sample import write_sample


def write_installation(folder: Path, calls: int) -> list[Path]:
    """Write both databases of an installation with so many calls, where they are not there yet."""
    if not folder.exists():
        write_sample(folder, generation=3, calls=calls, seed=1)
    return sorted(folder.iterdir())


def mapped_tables(files: Sequence[Path]) -> Iterator[tuple[Source, TableMapping]]:
    """Yield every table of the files, with the mapping by which it is imported."""
    for file in files:
        source = Source(file)
        for found in source.table_mappings.values():
            yield from ((source, mapped) for mapped in found)


def tables_of(files: Sequence[Path]) -> tuple[str, ...]:
    """Return the tables of the schema that the files' tables go to."""
    return tuple(mapped.mapping.target for _, mapped in mapped_tables(files))


def months_of(files: Sequence[Path], table: str) -> list[str]:
    """Return the months (`2024-05`) of a table's rows."""
    return [
        month
        for source, mapped in mapped_tables(files)
        if mapped.mapping.target == table
        for month in source.months(mapped)
    ]


def export(files: Sequence[Path], folder: Path) -> None:
    """Write every table as CSV with all its columns, converted as an import would, for COPY to take as it is."""
    folder.mkdir(exist_ok=True)
    for source, mapped in mapped_tables(files):
        columns = declared_columns()[mapped.mapping.target]
        with (folder / f"{mapped.mapping.target}.csv").open("wb") as text:
            for rows in _converted(Conversion(source, mapped, columns)):
                text.write(copy_csv({name: rows[name].combine_chunks() for name in columns}).getvalue())


def _converted(conversion: Conversion) -> Iterator[pa.Table]:
    table = conversion.table_mapping.table
    with Converter(conversion) as converter:
        for row_range in rowid_chunks(converter.sqlite, table, conversion.source.chunk_rows(table)):
            chunk = converter.chunk(row_range)
            if chunk.refused:
                raise SystemExit(f"the sample holds rows of {table.name} that PostgreSQL can't: COPY would end there")
            yield chunk.clean
            if chunk.rows:
                yield rows_table(chunk.rows, conversion.columns)
