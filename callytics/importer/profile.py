"""Profile: what a file holds and what an import would do with every value, without a server.

It runs the import's own conversion over all rows rather than estimating. Of what PostgreSQL itself would refuse, a null
where a value is needed is known here, and no other violated constraint.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import pyarrow.compute as pc
from psycopg2.extensions import connection as Connection

from callytics.exceptions import SourceError
from callytics.importer.convert.chunks import Chunk, Conversion, Converter
from callytics.importer.costs import Costs, costs_of
from callytics.importer.limits import Reached, limits_of
from callytics.importer.options import Options, Progress
from callytics.importer.plan.zones import Choice, chosen_readings, declared_readings
from callytics.importer.source.mapping import SourceTable, TableMapping, databases, missing_databases
from callytics.importer.source.reader import Source, rowid_chunks
from callytics.importer.source.snapshot import Snapshot
from callytics.importer.target.catalogue import declared_columns
from callytics.importer.target.shared import held_rows, taken
from callytics.importer.times import Disagreement, TimeColumn, disagreements, time_columns_of
from callytics.postgres.text import shown
from callytics.schema.catalogue.catalogue import required_columns

# Of each finding, so many rows are shown with the first characters of their values.
# Enough to recognise what is meant, and little of what somebody said.
EXAMPLES = 3
VALUE_LENGTH = 40
NO_VALUE = "null in a column that needs a value"


@dataclass
class Finding:
    """Values of one column that would be normalised or rejected: the number of rows, and examples."""

    table: str
    target: str
    column: str
    what: str
    rejected: bool
    rows: int = 0
    examples: list[tuple[int, str]] = field(default_factory=list)


@dataclass(frozen=True)
class SharedRows:
    """Rows of a source table that the target has already, equal: an import shares them."""

    table: str
    target: str
    rows: int


@dataclass(frozen=True)
class TableProfile:
    """A source table: its rows, targets, columns that nothing maps or that the file lacks, and months."""

    name: str
    rows: int
    generations: tuple[int, ...]
    targets: tuple[str, ...]
    unmapped_columns: tuple[str, ...]
    absent_columns: tuple[str, ...]
    first: str | None
    last: str | None


@dataclass
class Profile:
    """What ``inspect`` shows of a file."""

    path: str
    sha256: str
    size_bytes: int
    # Of a generation that has several databases: this one, and the others.
    databases: list[str] = field(default_factory=list)
    other_databases: list[str] = field(default_factory=list)
    tables: list[TableProfile] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    # What the target has already, and why that could not be looked at; both empty where no target was given.
    shared: list[SharedRows] = field(default_factory=list)
    uncompared: str = ""
    # How times without an offset are read, and where rows tell that some are read wrongly.
    times: list[TimeColumn] = field(default_factory=list)
    disagreements: list[Disagreement] = field(default_factory=list)
    # What can't be read of the file, each with its cause.
    unreadable: list[str] = field(default_factory=list)
    # The limits that it meets, and what becomes of what meets them.
    limits: list[Reached] = field(default_factory=list)

    @property
    def is_foreign(self) -> bool:
        """Tell whether no table is one of Callytics': an import refuses the file."""
        return not any(table.targets for table in self.tables)

    @property
    def generations(self) -> list[int]:
        """Return the generations whose tables the file has."""
        return sorted({generation for table in self.tables for generation in table.generations})

    @property
    def rows(self) -> int:
        """Return the rows of all tables, those of unmapped ones too."""
        return sum(table.rows for table in self.tables)

    @property
    def costs(self) -> Costs:
        """Return what an import of this file and a later sync take on this machine, as far as can be told."""
        return costs_of(self.rows, self.size_bytes, len(self.tables))

    @property
    def seconds(self) -> float:
        """Estimated time of an import."""
        return self.costs.seconds

    @property
    def downtime_seconds(self) -> float:
        """Estimated time for which a later sync keeps the application from writing, with 1 % of the rows changed."""
        return self.costs.downtime_seconds

    @property
    def target_bytes(self) -> int:
        """Estimated space in PostgreSQL, indexes included."""
        return self.costs.target_bytes

    def refuse_unclean(self) -> None:
        """Raise ``SourceError`` if anything would be rejected, normalised or unmapped: ``--strict``."""
        unmapped = [table.name for table in self.tables if table.unmapped_columns]
        if not self.findings and not unmapped:
            return
        first = self.findings[0] if self.findings else None
        reason = f"{first.table}.{first.column}: {first.what}" if first else f"{unmapped[0]} has columns without a home"
        raise SourceError(
            f"{self.path} is not clean ({reason}; findings: {len(self.findings)}, tables with unmapped columns: "
            f"{len(unmapped)}): see 'callytics inspect', or import without --strict"
        )


def profile_file(
    source: Source, snapshot: Snapshot, options: Options, progress: Progress, target: Connection | None = None
) -> Profile:
    """Convert every row as an import would, and count the values that are normalised or rejected.

    With a ``target``, rows that installations have alike, such as codes, are looked up there: they will be shared, or
    rejected. Reads the whole snapshot once for each mapping. Raises ``SourceError`` if the file holds no tables.
    """
    source.refuse_empty()
    profile = Profile(str(snapshot.source), snapshot.sha256, snapshot.size_bytes)
    profile.databases = sorted(databases(source.mapping_names))
    profile.other_databases = sorted(missing_databases(source.mapping_names))
    profile.unreadable += source.unreadable
    profile.limits += limits_of(source)
    conversions: list[Conversion] = []
    for table in source.tables:
        table_mappings = source.table_mappings[table.name]
        profile.tables.append(_table_profile(source, table, table_mappings))
        for conversion in _conversions(source, table_mappings, options):
            profile.findings += _findings(conversion, source.counts[table.name], progress)
            if target and conversion.same_by:
                _look_up(conversion, target, profile)
            profile.times += time_columns_of(conversion)
            conversions.append(conversion)
    profile.disagreements += disagreements(conversions)
    return profile


def _conversions(source: Source, table_mappings: Iterable[TableMapping], options: Options) -> Iterator[Conversion]:
    choice = Choice(options.utc, options.local)
    for one in table_mappings:
        readings = chosen_readings(one, declared_readings(one), choice)
        yield Conversion(source, one, declared_columns()[one.mapping.target], {}, options.zone, readings)


def _table_profile(source: Source, table: SourceTable, table_mappings: list[TableMapping]) -> TableProfile:
    months = sorted({month for table_mapping in table_mappings for month in source.months(table_mapping)})
    uncomputed = {column for column, _ in table.uncomputed}
    return TableProfile(
        name=table.name,
        rows=source.counts[table.name],
        generations=tuple(sorted({table_mapping.mapping.generation for table_mapping in table_mappings})),
        targets=tuple(table_mapping.mapping.target for table_mapping in table_mappings),
        unmapped_columns=source.unmapped_columns(table),
        absent_columns=tuple(sorted({column for mapped in table_mappings for column in mapped.absent} - uncomputed)),
        first=months[0] if months else None,
        last=months[-1] if months else None,
    )


def _findings(conversion: Conversion, total: int, progress: Progress) -> list[Finding]:
    findings: dict[tuple[str, str], Finding] = {}
    counted: Counter[tuple[str, str]] = Counter()
    done = 0
    with Converter(conversion) as converter:
        for row_range in rowid_chunks(
            converter.sqlite,
            conversion.table_mapping.table,
            conversion.source.chunk_rows(conversion.table_mapping.table),
        ):
            progress(f"read {conversion.table_mapping.table.name}", done, total)
            chunk = converter.chunk(row_range)
            done += chunk.row_count
            _count(conversion, converter, chunk, findings, counted)
    progress(f"read {conversion.table_mapping.table.name}", total, total)
    for key, rows in counted.items():
        findings[key].rows = rows
    return list(findings.values())


def _look_up(conversion: Conversion, target: Connection, profile: Profile) -> None:
    """Find the rows that are in the target already, equal ones and others."""
    table = conversion.table_mapping.table.name
    columns = conversion.same_by
    shared = 0
    findings: dict[str, Finding] = {}
    with Converter(conversion) as converter:
        for row_range in rowid_chunks(
            converter.sqlite,
            conversion.table_mapping.table,
            conversion.source.chunk_rows(conversion.table_mapping.table),
        ):
            chunk = converter.chunk(row_range)
            rows = [*converter.as_rows(chunk.clean), *chunk.rows]
            for rowid, holder in sorted(held_rows(target, conversion, rows).items()):
                shared += not holder.differing
                if holder.differing:
                    what = taken(columns, ", ".join(holder.differing))
                    finding = findings.setdefault(
                        what, Finding(table, conversion.target, ", ".join(columns), what, rejected=True)
                    )
                    finding.rows += 1
                    if len(finding.examples) < EXAMPLES:
                        finding.examples.append((rowid, f"against row {holder.key} of {conversion.target}"))
    profile.findings += findings.values()
    if shared:
        profile.shared.append(SharedRows(table, conversion.target, shared))


def _count(
    conversion: Conversion,
    converter: Converter,
    chunk: Chunk,
    findings: dict[tuple[str, str], Finding],
    counted: Counter[tuple[str, str]],
) -> None:
    found = [(row.rowid, row.column or "", row.reason, True) for row in chunk.refused]
    found += [(row.rowid, column, name, False) for row in chunk.rows for column, name in row.normalisations]
    found += [(rowid, column, NO_VALUE, True) for rowid, column in _without_value(conversion, chunk).items()]
    for rowid, column, what, rejected in found:
        counted[column, what] += 1
        empty = Finding(conversion.table_mapping.table.name, conversion.target, column, what, rejected)
        finding = findings.setdefault((column, what), empty)
        if len(finding.examples) < EXAMPLES:
            # A column that only its application can compute has none.
            finding.examples.append((rowid, _cut(converter.source_values(rowid).get(column))))


def _without_value(conversion: Conversion, chunk: Chunk) -> dict[int, str]:
    """Return the rows that PostgreSQL takes none of for want of a value, each with the first source column at fault."""
    outputs, found = conversion.table_mapping.mapping.outputs, dict[int, str]()
    needed = {*required_columns(conversion.target), conversion.key} & outputs.keys()
    for name in (name for name in conversion.columns if name in needed):
        numbers = chunk.clean["source_rowid"].filter(pc.is_null(chunk.clean[name])).to_pylist()
        numbers += [row.rowid for row in chunk.rows if row.values[name] is None]
        found = dict.fromkeys(numbers, outputs[name]) | found
    return found


def _cut(value: object) -> str:
    """Return the beginning of a value, without characters that would upset a terminal."""
    if value is None:
        return "NULL"
    # Text need not be UTF-8, and may hold escape sequences.
    text = value.decode(errors="backslashreplace") if hasattr(value, "decode") else repr(value)
    return shown(text[:VALUE_LENGTH]) + ("…" if len(text) > VALUE_LENGTH else "")
