"""The results of the importer's commands, as lines for the terminal."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from callytics.cli.terminal.tables import Table
from callytics.cli.terminal.times import time_lines, zone_lines
from callytics.importer import FolderContents, Group, Outcome, Profile, Synced, TableProfile
from callytics.importer.records.entries import RejectSummary, TableSummary
from callytics.importer.records.ledger import UNMAPPED
from callytics.postgres.text import counted, named

COUNTED = ("inserted", "updated", "deleted", "rejected", "clashes")


def profile_lines(profile: Profile) -> Iterator[str | Table]:
    """Yield what `inspect` prints of a file."""
    yield f"{profile.path}"
    yield f"  {profile.size_bytes:,} bytes, SHA-256 {profile.sha256}"
    yield from _estimate_lines(profile)
    yield ""
    yield Table(
        ("table", "rows", "from", "to", "goes to"),
        [
            (named(table.name), f"{table.rows:,}", table.first or "", table.last or "", _destination(table))
            for table in profile.tables
        ],
        right={1},
        spare={2, 3},
    )
    yield ""
    if profile.is_foreign:
        yield "No table of Callytics: is it the right file? An import refuses it without --unmapped."
    yield from profile.unreadable
    for reached in profile.limits:
        yield f"{'REFUSED ' if reached.then == 'refused' else ''}{reached.line}"
    yield from _absent_lines(profile)
    for shared in profile.shared:
        yield _shared_line(shared.table, shared.target, shared.rows, "are")
    if profile.uncompared:
        yield f"Whether its codes are in PostgreSQL already was not looked up: {profile.uncompared}"
    yield from time_lines(profile)
    yield from _finding_lines(profile)


def _estimate_lines(profile: Profile) -> Iterator[str]:
    rows, tables = counted(profile.rows, "row"), counted(len(profile.tables), "table")
    if profile.is_foreign:
        yield f"  {rows} in {tables}"
        return
    yield f"  Callytics generation {', '.join(map(str, profile.generations))}; {rows} in {tables}"
    yield f"  an import takes about {profile.seconds:,.0f} s and {profile.target_bytes / 1e6:,.1f} MB in PostgreSQL"
    yield f"  to cut over, the application stops writing for about {profile.downtime_seconds:,.0f} s"


def missing_lines(profiles: Sequence[Profile]) -> Iterator[str]:
    """Yield which database of an installation is not among files that were inspected."""
    known = {name for profile in profiles for name in profile.databases}
    for name in sorted({name for profile in profiles for name in profile.other_databases} - known):
        yield f"The other database of the installation, {name}, is not among the files: import both in one command."


def _destination(table: TableProfile) -> str:
    if not table.targets:
        return f"{UNMAPPED} (no table of this kind is known)"
    kept = f"; {UNMAPPED}: {', '.join(map(named, table.unmapped_columns))}" if table.unmapped_columns else ""
    return ", ".join(table.targets) + kept


def _absent_lines(profile: Profile) -> Iterator[str]:
    for table in profile.tables:
        if table.absent_columns:
            yield f"{named(table.name)} lacks {', '.join(table.absent_columns)}: loaded as NULL"


def _finding_lines(profile: Profile) -> Iterator[str]:
    if not profile.findings and not profile.is_foreign:
        yield "Every value can be held as it is."
    for finding in profile.findings:
        verdict = "will be rejected" if finding.rejected else "will be normalised"
        rows = counted(finding.rows, "row")
        yield f"{named(finding.table)}.{named(finding.column)} → {finding.target}: {rows} {verdict}: {finding.what}"
        for rowid, value in finding.examples:
            yield f"    row {rowid}: {value}"


def _shared_line(table: str, target: str, rows: int, verb: str) -> str:
    return f"{named(table)} → {target}: {counted(rows, 'row')} {verb} there already, with the same values: shared"


def outcome_lines(outcome: Outcome) -> Iterator[str | Table]:
    """Yield what `import` and `verify` print."""
    yield from outcome.notes
    if outcome.tables:
        yield _figure_table(outcome.tables)
    for table in outcome.tables:
        if table.shared:
            yield _shared_line(table.source_table, table.target_table, table.shared, "were")
    for one in outcome.normalisations:
        column = f"{named(one.source_table)}.{named(one.source_column)}"
        yield f"{column}: {counted(one.rows, 'value')} normalised: {one.normalisation}"
    for reject in outcome.rejects:
        column = f".{named(reject.source_column)}" if reject.source_column is not None else ""
        yield (
            f"{named(reject.source_table)}{column} → {reject.target_table}: {counted(reject.rows, 'row')} rejected: "
            f"{reject.reason} (for example row {reject.example}{_against(reject)}; kept in imports.rejected)"
        )
    for key in outcome.not_validated:
        yield f"{key.table_name}: {counted(key.orphans, 'row')} without a parent, {key.name} is left NOT VALID"
    for difference in outcome.differences:
        column = f".{difference.column}" if difference.column else ""
        yield f"DIFFERENT {difference.table}{column}, row {difference.key}: {difference.finding}"
    yield from zone_lines(outcome.zones)
    yield verdict(outcome)


def _figure_table(tables: Sequence[TableSummary]) -> Table:
    # Few files have rows that are there already, or that were erased: the others' tables do without the columns.
    seldom = [name for name in ("shared", "erased") if any(getattr(table, name) for table in tables)]
    titles = ("table", "goes to", "rows", "loaded", *seldom, "rejected", "verified", "different")
    rows = [(named(table.source_table), table.target_table, *_figures(table, seldom)) for table in tables]
    spare = {place for place, title in enumerate(titles) if title in ("rejected", "different")}
    return Table(titles, rows, right=set(range(2, len(titles))), spare=spare)


def _against(reject: RejectSummary) -> str:
    """Name the row that has the unique key of a rejected one, and the import that brought it."""
    key = reject.conflicting[0]
    of = f", import {reject.conflicting_import}" if reject.conflicting_import else ""
    return "" if key is None else f" against row {key} of {reject.target_table}{of}"


def _figures(table: TableSummary, seldom: Sequence[str]) -> tuple[str, ...]:
    return (
        f"{table.source_rows:,}",
        f"{table.loaded:,}",
        *(f"{getattr(table, name):,}" for name in seldom),
        f"{table.rejected:,}",
        "-" if table.verified_rows is None else f"{table.verified_rows:,}",
        f"{table.different_rows or 0}",
    )


def verdict(outcome: Outcome) -> str:
    """Sum up an import or a verification in one sentence."""
    # A table with unmapped columns is on record twice: its rows count once.
    mapped = [table for table in outcome.tables if table.target_table != UNMAPPED]
    erased = sum(table.erased for table in mapped)
    rows = sum(table.source_rows for table in mapped) - erased
    rejected = sum(table.rejected for table in outcome.tables)
    different = sum(table.different_rows or 0 for table in outcome.tables)
    shared = sum(table.shared for table in outcome.tables)
    also = f"; {shared:,} of them were there already" if shared else ""
    also += f"; {counted(erased, 'row')} erased since" if erased else ""
    if outcome.status == "different":
        return f"Verification found {counted(different, 'difference')}."
    if rejected:
        equal = f"all values of {counted(rows - rejected, 'row')} are equal{also}"
        return f"Verified: {equal}; {rejected:,} are kept in imports.rejected."
    return f"Verified: all values of {counted(rows, 'row')} are equal{also}."


def sync_lines(outcome: Synced) -> Iterator[str | Table]:
    """Yield what `sync` prints."""
    yield from outcome.notes
    yield from changes_lines(outcome)
    yield from clash_lines(outcome)
    for change in outcome.changes:
        if change["shared"]:
            yield _shared_line(change["source_table"], change["target_table"], change["shared"], "are")
    for row in outcome.rejects:
        rows, example = counted(row.rows, "row"), f"for example row {row.example}{_against(row)}"
        yield f"{row.source_table}: {rows} rejected: {row.reason} ({example}; kept in imports.rejected)"
    for key in outcome.not_validated:
        yield f"{key.table_name}: {counted(key.orphans, 'row')} without a parent, {key.name} is left NOT VALID"
    for difference in outcome.differences:
        column = f".{difference.column}" if difference.column else ""
        yield f"DIFFERENT {difference.table}{column}, row {difference.key}: {difference.finding}"
    yield from zone_lines(outcome.zones)
    yield sync_verdict(outcome)


def changes_lines(outcome: Synced) -> Iterator[Table]:
    """Yield a table of what was written, or what would be."""
    rows = [row for row in outcome.changes if any(row[name] for name in COUNTED)]
    if rows:
        yield Table(
            ("table", "goes to", *COUNTED),
            [(row["source_table"], row["target_table"], *(f"{row[name]:,}" for name in COUNTED)) for row in rows],
            right={2, 3, 4, 5, 6},
            # Of these rows each has a figure that is not 0.
            spare={2, 3, 4, 5, 6},
        )


def clash_lines(outcome: Synced) -> Iterator[str]:
    """Yield a line for each clash that is listed, and how many are not."""
    for clash in outcome.clashes:
        columns = f" ({', '.join(clash.columns)})" if clash.columns else ""
        yield f"CLASH {clash.table}, row {clash.key}{columns}: {clash.finding}"
    if outcome.clashed > len(outcome.clashes):
        yield f"… and {outcome.clashed - len(outcome.clashes):,} more"


def sync_verdict(outcome: Synced) -> str:
    """Sum up a sync in one sentence."""
    if outcome.unsolvable:
        return (
            f"Refused, nothing was changed: for {counted(outcome.unsolvable, 'row')} neither side can be taken, since "
            "rows that were added in PostgreSQL itself are in the way. Undo the import and import the files anew: "
            "their ids then move as a whole."
        )
    if outcome.refused:
        return (
            f"Refused, nothing was changed: {counted(outcome.clashed, 'row', 'changed')} in PostgreSQL since the "
            "import. --ours keeps what is there, --theirs takes what SQLite holds."
        )
    if outcome.dry_run:
        within = f", within about {outcome.seconds:.1f} s" if outcome.seconds else ""
        return f"{counted(outcome.changed, 'row')} would change{within}."
    if outcome.clashed and not outcome.choice and not outcome.differences:
        return (
            f"{counted(outcome.changed, 'row', 'changed')}, but {counted(outcome.clashed, 'other', 'changed')} in "
            "PostgreSQL since the import, and not in SQLite. --ours keeps what is there, --theirs takes what SQLite "
            "holds."
        )
    if outcome.differences:
        return f"Verification found differences after {counted(outcome.changed, 'row', 'changed')}."
    settled = f"; {counted(outcome.clashed, 'clash', 'settled')} by --{outcome.choice}" if outcome.clashed else ""
    if not outcome.changed:
        return f"Verified: nothing had changed{settled}."
    return f"Verified: {counted(outcome.changed, 'row', 'changed')}, all values are equal{settled}."


def undo_lines(outcome: Synced) -> Iterator[str | Table]:
    """Yield what `undo` prints."""
    (number,) = outcome.runs
    yield from outcome.notes
    yield from changes_lines(outcome)
    yield from clash_lines(outcome)
    if outcome.refused:
        yield (
            f"Refused, nothing was changed: {counted(outcome.clashed, 'row', 'changed')} or added in PostgreSQL since "
            f"import {number}. --force deletes them, too."
        )
    elif outcome.dry_run:
        yield f"{counted(outcome.changed, 'row')} would be deleted."
    else:
        yield f"Import {number} is undone: {counted(outcome.changed, 'row', 'deleted')}. Its files may come in again."


def as_json(value: Outcome | Sequence[Profile] | Sequence[Group]) -> str:
    """Return a command's result as JSON: one object, or a list of them."""
    plain = asdict(value) if isinstance(value, Outcome) else [_plain(one) for one in value]
    return json.dumps(plain, ensure_ascii=False, indent=2, default=str)


def _plain(one: Profile | Group) -> dict[str, Any]:
    if isinstance(one, Group):
        return asdict(one)
    derived = {"generations": one.generations, "rows": one.rows}
    return asdict(one) | derived | asdict(one.costs)


def folder_line(contents: FolderContents) -> str:
    """Say in one line which files of a folder are used, and which are skipped and why."""
    taken = ", ".join(path.name for path in contents.taken)
    left = "; ".join(f"{path.name} ({why})" for path, why in contents.left)
    return f"{contents.folder}: takes {taken}" + (f"; leaves {left}" if left else "")
