"""What became of an import's rows: how many arrived, what was rejected, normalised or left without a parent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from callytics.importer.records.entries import NormalisationSummary, RejectSummary, TableSummary
from callytics.importer.records.ledger import UNMAPPED
from callytics.report.blocks import Block, Heading, Table
from callytics.report.facts import Import
from callytics.report.recorded import KeySummary
from callytics.report.words import Words

# Lines of a table of findings; the rest is counted.
MOST_REASONS = 40
SYNCED = ("inserted", "updated", "deleted", "conflicts")


def rows(one: Import, words: Words) -> Iterator[Block]:
    """Yield a table for each file: rows in SQLite, loaded, rejected, verified, different."""
    for file in one.sources:
        tables = [table for table in one.tables if table.source_id == file.id]
        title = Path(file.path).name if len(one.sources) > 1 else ""
        yield _rows_of_file(tables, title, words)
    yield words("rows_note")
    if one.shared:
        yield words("shared_note")


def _rows_of_file(tables: Sequence[TableSummary], title: str, words: Words) -> Table:
    figures = ["before", "loaded", "rows_shared", "rows_rejected", "verified_rows", "different_rows"]
    # Few installations share rows: their reports do without the column.
    if not any(table.shared for table in tables):
        figures.remove("rows_shared")
    titles = (*figures, "offset")
    columns = [
        Heading(words("source"), "code"),
        *(Heading(words(name), "number") for name in titles),
    ]
    rows: list[Sequence[str]] = [
        (
            _way(table, words),
            *map(words.number, _counted(table, figures)),
            words.number(table.id_offset) if table.id_offset else "",
        )
        for table in tables
    ]
    sums = [sum(_counted(table, [figure])[0] or 0 for table in tables) for figure in figures]
    return Table(columns, [*rows, (words("total"), *map(words.number, sums), "")], title, total=True)


def _counted(table: TableSummary, figures: Sequence[str]) -> list[int | None]:
    counted = {
        "before": table.source_rows,
        "loaded": table.loaded,
        "rows_shared": table.shared,
        "rows_rejected": table.rejected,
        "verified_rows": table.verified_rows,
        "different_rows": table.different_rows,
    }
    return [counted[figure] for figure in figures]


def syncs(one: Import, words: Words) -> Table:
    """Return the table of what was caught up with since."""
    columns = [
        Heading(words("file"), "code"),
        Heading(words("when"), "moment"),
        *(Heading(words(name), "number") for name in SYNCED),
        Heading(words("sync_kept")),
    ]
    rows = [
        (
            Path(sync.path).name,
            words.moment(sync.finished_at),
            *map(words.number, (sync.inserted, sync.updated, sync.deleted, sync.conflicts)),
            words(f"sync_{sync.kept}") if sync.kept else "",
        )
        for sync in one.syncs[:MOST_REASONS]
    ]
    hidden = len(one.syncs) - len(rows)
    return Table(columns, rows, note=words("sync_earlier", n=words.count("sync", hidden)) if hidden else "")


def _way(table: TableSummary, words: Words) -> str:
    """Name a table, and where it went if that has another name."""
    target = table.target_table
    if target == UNMAPPED and table.unmapped_columns:
        target = f"{target} ({words('unmapped_columns', columns=', '.join(table.unmapped_columns))})"
    return table.source_table if table.source_table == target else f"{table.source_table} → {target}"


def _place(found: RejectSummary | NormalisationSummary) -> str:
    return f"{found.source_table}.{found.source_column}" if found.source_column else found.source_table


def rejected(one: Import, words: Words) -> Iterator[Block]:
    """Yield what was rejected, by column and reason; values are never shown, since the report is passed on."""
    if not one.rejects:
        yield words("rejected_none") if one.finished else words("none")
        return
    columns = [
        Heading(words("column"), "code"),
        Heading(words("why")),
        Heading(words("count"), "number"),
        Heading(words("examples"), "number"),
    ]
    rows = [
        (_place(reject), _why(reject, words), words.number(reject.rows), _examples(reject))
        # Those of most rows: facts are sorted so.
        for reject in one.rejects[:MOST_REASONS]
    ]
    yield words("rejected_note")
    yield Table(columns, rows, note=_rest(one, [reject.rows for reject in one.rejects], words))


def _why(reject: RejectSummary, words: Words) -> str:
    """Return the reason, with the rows that have the unique keys of the examples and the import of the first."""
    reason = words.reason(reject.reason)
    held = ", ".join(str(key) for key in reject.conflicting if key is not None)
    if not held:
        return reason
    brought = reject.conflicting_import
    return (
        words("against_import", why=reason, rows=held, id=brought)
        if brought
        else words("against", why=reason, rows=held)
    )


def _examples(reject: RejectSummary) -> str:
    more = ", …" if reject.rows > len(reject.examples) else ""
    return ", ".join(map(str, reject.examples)) + more


def _rest(one: Import, rows: Sequence[int], words: Words, noun: str = "reason") -> str:
    """Say how many findings are not shown, and what their rows sum up to."""
    hidden = rows[MOST_REASONS:]
    if not hidden:
        return ""
    count = words.count("row" if noun == "reason" else "value", sum(hidden))
    return words("more_reasons", n=words.count(noun, len(hidden)), rows=count, id=one.id)


def normalised(one: Import, words: Words) -> Iterator[Block]:
    """Yield which values were loaded in another form, by column."""
    if not one.normalisations:
        yield words("normalised_none") if one.finished else words("none")
        return
    columns = [
        Heading(words("column"), "code"),
        Heading(words("form")),
        Heading(words("values"), "number"),
        Heading(words("example"), "number"),
    ]
    rows = [
        (_place(found), words.normalisation(found.normalisation), words.number(found.rows), str(found.example_rowid))
        for found in one.normalisations[:MOST_REASONS]
    ]
    yield Table(columns, rows, note=_rest(one, [found.rows for found in one.normalisations], words, "form"))


def constraints(one: Import, words: Words) -> Iterator[Block]:
    """Yield what became of the indexes and keys that were dropped for the load, and the rows without a parent."""
    deferred = [(kind, *one.restored(kind)) for kind in ("index", "foreign key")]
    names = {"index": "restored_index", "foreign key": "restored_key"}
    said = [
        words(
            f"{names[kind]}{'_all' if back == dropped else ''}",
            dropped=words.number(dropped),
            restored=words.number(back),
        )
        for kind, dropped, back in deferred
        if dropped
    ]
    yield " ".join(said) or words("untouched")
    if not one.not_validated:
        if one.finished:
            yield words("not_validated_none")
        return
    columns = [
        Heading(words("target"), "code"),
        Heading(words("key"), "code"),
        Heading(words("orphans"), "number"),
    ]
    rows = [(key.table_name, _key(key, words), words.number(key.orphans)) for key in one.not_validated[:MOST_REASONS]]
    orphans = [key.orphans for key in one.not_validated]
    yield Table(columns, rows, words("not_validated"), _rest(one, orphans, words, "key"))


def _key(key: KeySummary, words: Words) -> str:
    definition = key.definition.removeprefix("FOREIGN KEY ").partition(" ON ")[0]
    shown = definition.replace(" REFERENCES ", " → ")
    return f"{shown} ({words.count('partition', key.keys)})" if key.keys > 1 else shown
