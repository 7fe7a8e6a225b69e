"""What the importer found, in words for the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from callytics.importer.import_ import Outcome
from callytics.importer.profile import Profile
from callytics.importer.records.entries import TableSummary
from callytics.importer.records.ledger import UNMAPPED


def profile_lines(profile: Profile) -> Iterator[str]:
    """Yield what `inspect` prints of a file."""
    generations = ", ".join(map(str, profile.generations)) or "none"
    yield f"{profile.path}"
    yield f"  {profile.size_bytes:,} bytes, SHA-256 {profile.sha256}"
    yield f"  Callytics generation {generations}; {profile.rows:,} rows in {len(profile.tables)} tables"
    yield f"  an import takes about {profile.seconds:,.0f} s and {profile.target_bytes / 1e6:,.1f} MB in PostgreSQL"
    yield ""
    yield from table_lines(
        ("table", "rows", "from", "to", "goes to"),
        [
            (table.name, f"{table.rows:,}", table.first or "", table.last or "", _destination(table))
            for table in profile.tables
        ],
        right={1},
    )
    yield ""
    yield from _absent_lines(profile)
    yield from _finding_lines(profile)


def _destination(table: Any) -> str:
    if not table.targets:
        return f"{UNMAPPED} (no table of this kind is known)"
    kept = f"; {UNMAPPED}: {', '.join(table.unmapped_columns)}" if table.unmapped_columns else ""
    return ", ".join(table.targets) + kept


def _absent_lines(profile: Profile) -> Iterator[str]:
    for table in profile.tables:
        if table.absent_columns:
            yield f"{table.name} lacks {', '.join(table.absent_columns)}: loaded as NULL"


def _finding_lines(profile: Profile) -> Iterator[str]:
    if not profile.findings:
        yield "Every value can be held as it is."
    for finding in profile.findings:
        verdict = "will be rejected" if finding.rejected else "will be normalised"
        yield f"{finding.table}.{finding.column} → {finding.target}: {finding.rows:,} rows {verdict}: {finding.what}"
        for rowid, value in finding.examples:
            yield f"    row {rowid}: {value}"


def outcome_lines(outcome: Outcome) -> Iterator[str]:
    """Yield what `import` and `verify` print."""
    yield from outcome.notes
    if outcome.tables:
        yield from table_lines(
            ("table", "goes to", "rows", "loaded", "rejected", "verified", "different"),
            [
                (table.source_table, table.target_table, *_figures(table), str(table.different_rows or 0))
                for table in outcome.tables
            ],
            right={2, 3, 4, 5, 6},
        )
    for one in outcome.normalisations:
        yield f"{one.source_table}.{one.source_column}: {one.rows:,} values normalised: {one.normalisation}"
    for reject in outcome.rejects:
        column = f".{reject.source_column}" if reject.source_column else ""
        yield (
            f"{reject.source_table}{column} → {reject.target_table}: {reject.rows:,} rows rejected: {reject.reason} "
            f"(for example row {reject.example}; kept in imports.rejected)"
        )
    for key in outcome.not_validated:
        yield f"{key.table_name}: {key.orphans:,} rows without a parent, {key.name} is left NOT VALID"
    for difference in outcome.differences:
        column = f".{difference.column}" if difference.column else ""
        yield f"DIFFERENT {difference.table}{column}, row {difference.key}: {difference.finding}"
    yield verdict(outcome)


def _figures(table: TableSummary) -> tuple[str, str, str, str]:
    return (
        f"{table.source_rows:,}",
        f"{table.loaded:,}",
        f"{table.rejected:,}",
        "-" if table.verified_rows is None else f"{table.verified_rows:,}",
    )


def verdict(outcome: Outcome) -> str:
    """Say in one sentence what an import or a verification came to."""
    rows = sum(table.source_rows for table in outcome.tables if table.target_table != UNMAPPED)
    rejected = sum(table.rejected for table in outcome.tables)
    different = sum(table.different_rows or 0 for table in outcome.tables)
    if outcome.status == "different":
        return f"Verification found {different:,} differences."
    if rejected:
        return f"Verified: all values of {rows - rejected:,} rows are equal; {rejected:,} are kept in imports.rejected."
    return f"Verified: all values of {rows:,} rows are equal."


def table_lines(head: Sequence[str], rows: Iterable[Sequence[str]], right: set[int]) -> Iterator[str]:
    """Yield the lines of a table; the columns in `right` are aligned to the right."""
    lines = [head, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    for line in lines:
        cells = (
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        yield "  ".join(cells).rstrip()
