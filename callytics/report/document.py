"""The completion report's contents in a language, for every form that it is written in."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from markupsafe import Markup

from callytics.importer.records.ledger import UNMAPPED
from callytics.report import charts
from callytics.report.facts import Facts, Import, Lane, Row
from callytics.report.words import Words

MOST_IMPORTS = 20
"""Imports that are told in full."""
MOST_REASONS = 40
"""Lines of a table of findings; the rest is counted."""
MOST_LANES = 24
"""Lines of the timeline; the quickest tables share the last one."""
MOST_BUILT = 8
MOST_SIZES = 12
"""Tables whose sizes are told one by one, the largest first."""
FEWEST_CHUNKS = 8
"""Commits below which a line over time shows nothing."""

LANES = {
    "snapshot": "phase_snapshot",
    "analyze": "lane_analyze",
    "index": "lane_index",
    "foreign key": "lane_foreign_key",
}
SYNCED = ("inserted", "updated", "deleted", "conflicts")

Kind = Literal["text", "code", "number", "moment", "chart"]


@dataclass(frozen=True)
class Column:
    """A column of a table: `code` for names that are the database's, `chart` only where charts can be."""

    title: str
    kind: Kind = "text"


@dataclass(frozen=True)
class Table:
    """Rows with a head; the last row is their sum where `total` is set."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[str | Markup]]
    title: str = ""
    note: str = ""
    total: bool = False


@dataclass(frozen=True)
class Listing:
    """Terms, each with what there is to say of it."""

    items: Sequence[tuple[str, Sequence[str]]]


@dataclass(frozen=True)
class Chart:
    """A drawing with its title and what stands at the ends of its axes."""

    title: str
    drawing: Markup
    height: str
    width: str


@dataclass(frozen=True)
class Legend:
    """Which colour is what: (class, words)."""

    items: Sequence[tuple[str, str]]


Block = str | Table | Listing | Chart | Legend


@dataclass(frozen=True)
class Section:
    """A part with a heading."""

    name: str
    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Part:
    """An import: its verdict in a sentence, its most important figures (label, value, remark), and its sections."""

    id: int
    title: str
    status: str
    verdict: str
    figures: Sequence[tuple[str, str, str]]
    sections: Sequence[Section]
    footer: str


@dataclass(frozen=True)
class Document:
    """The whole report."""

    title: str
    status: str
    verdict: str
    where: str
    overview: Table | None
    parts: Sequence[Part]
    remark: str


def document(facts: Facts, words: Words) -> Document:
    """Return the report of imports, the newest one first."""
    newest = facts.imports[::-1]
    where = words(
        "where",
        database=facts.database,
        host=facts.host,
        server=facts.server,
        moment=words.moment(facts.written_at),
        version=facts.version,
    )
    return Document(
        words("title"),
        facts.worst.status,
        _overall(facts, words),
        where,
        _overview(newest, words) if len(newest) > 1 else None,
        [_part(one, facts, words) for one in newest[:MOST_IMPORTS]],
        words("contents"),
    )


# --- verdicts -------------------------------------------------------------------------------------------------------


def _overall(facts: Facts, words: Words) -> str:
    if len(facts.imports) == 1:
        return _verdict(facts.imports[0], words)
    imports = words.count("import", len(facts.imports))
    if facts.worst.status == "verified":
        loaded = words.count("row", sum(one.loaded for one in facts.imports))
        return words("all_verified", imports=imports, loaded=loaded)
    counted: dict[str, int] = {}
    for one in sorted(facts.imports, key=lambda one: one.severity):
        name = f"some_{one.status}" if f"some_{one.status}" in words.texts else "some_other"
        counted[name] = counted.get(name, 0) + 1
    return words(
        "some", imports=imports, parts=", ".join(words(name, n=words.number(n)) for name, n in counted.items())
    )


def _verdict(one: Import, words: Words) -> str:
    return words(
        one.status if one.status in words.texts else "other",
        status=one.status,
        loaded=words.count("row", one.loaded),
        rejected=words.count("row", one.rejected),
        different=words.count("difference", one.different),
    )


def _short(one: Import, words: Words) -> str:
    name = f"short_{one.status}"
    return words(name) if name in words.texts else one.status


def _overview(imports: Sequence[Import], words: Words) -> Table:
    columns = [
        Column(words("import", id="").strip()),
        Column(words("status")),
        Column(words("when"), "moment"),
        Column(words("figure_source"), "number"),
        Column(words("figure_loaded"), "number"),
        Column(words("kept_aside"), "number"),
        Column(words("file"), "code"),
    ]
    rows = [
        (
            Markup('<a href="#import-{}">{}</a>').format(one.id, one.id) if place < MOST_IMPORTS else str(one.id),
            _short(one, words),
            words.day(one.run["started_at"]),
            words.number(one.source_rows),
            words.number(one.loaded),
            words.number(one.rejected),
            _file_names(one),
        )
        for place, one in enumerate(imports)
    ]
    shown = words("newest", shown=MOST_IMPORTS, all=words.number(len(imports))) if len(imports) > MOST_IMPORTS else ""
    return Table(columns, rows, words("imports"), shown)


def _file_names(one: Import) -> str:
    names = [Path(source["path"]).name for source in one.sources]
    return ", ".join(names[:3]) + (f" + {len(names) - 3}" if len(names) > 3 else "")


# --- one import -----------------------------------------------------------------------------------------------------


def _part(one: Import, facts: Facts, words: Words) -> Part:
    sections = [
        Section("moved", words("moved"), [_moved(one, facts, words)]),
        Section("rows", words("rows"), list(_rows(one, words))),
        Section("rejected", words("rejected"), list(_rejected(one, words))),
        Section("normalised", words("normalised"), list(_normalised(one, words))),
        Section("constraints", words("constraints"), list(_constraints(one, words))),
        Section("durations", words("durations"), list(_durations(one, words))),
        Section("sizes", words("sizes"), list(_sizes(one, words))),
        Section("files", words("files"), [_files(one, words)]),
    ]
    if one.syncs:
        sections.insert(2, Section("syncs", words("syncs"), [_syncs(one, words)]))
    command = shlex.join(["callytics", "verify", *(source["path"] for source in one.sources)])
    return Part(
        one.id,
        words("import", id=one.id),
        one.status,
        _verdict(one, words),
        list(_figures(one, words)),
        sections,
        words("footer", command=command),
    )


def _figures(one: Import, words: Words) -> Iterator[tuple[str, str, str]]:
    files = words.count("file", len(one.sources))
    tables = words.count("table", one.source_tables)
    yield words("figure_source"), words.number(one.source_rows), words("figure_tables", files=files, tables=tables)
    normalised = words("figure_normalised", values=words.count("value", one.normalised)) if one.normalised else ""
    yield words("figure_loaded"), words.number(one.loaded), normalised
    yield words("figure_rejected"), words.number(one.rejected), "imports.rejected" if one.rejected else ""
    resumed = words("figure_resumed", times=words.count("time", one.resumed)) if one.resumed else ""
    rate = words.rate(one.source_rows, one.seconds) if one.seconds else ""
    yield words("figure_duration"), words.seconds(one.seconds), ", ".join(filter(None, (rate, resumed)))
    if one.grown:
        before = words("figure_size_before", size=words.bytes(one.source_bytes))
        yield words("figure_size"), words.bytes(sum(one.grown)), before


def _moved(one: Import, facts: Facts, words: Words) -> Listing:
    began, ended = words.moment(one.run["started_at"]), words.moment(one.finished)
    items = [
        (words("from"), [source["path"] for source in one.sources]),
        (words("into"), [f"{facts.database}, {facts.host}", f"PostgreSQL {facts.server}"]),
        (
            words("when"),
            [words("period", began=began, ended=ended) if one.finished else words("unfinished", began=began)],
        ),
        (words("by"), [f"callytics {one.run['version']}"]),
        (words("timezone"), [words("timezone_of", timezone=one.run["timezone"])]),
    ]
    if undone := [source["undone_at"] for source in one.sources if source["undone_at"]]:
        items.append((words("short_undone"), [words.moment(max(undone))]))
    if one.last_verified:
        items.append((words("verified_again"), [words.moment(one.last_verified)]))
    return Listing(items)


def _files(one: Import, words: Words) -> Listing:
    return Listing(
        [
            (
                Path(source["path"]).name,
                [
                    words.bytes(source["size_bytes"]),
                    f"{words('sha256')} {source['sha256']}",
                    f"{words('snapshot')}: {source['snapshot_path']}",
                ],
            )
            for source in one.sources
        ]
    )


# --- rows -----------------------------------------------------------------------------------------------------------


def _rows(one: Import, words: Words) -> Iterator[Block]:
    for source in one.sources:
        tables = [row for row in one.tables if row["source_id"] == source["id"]]
        title = Path(source["path"]).name if len(one.sources) > 1 else ""
        yield _rows_of_file(tables, title, words)
    yield words("rows_note")


def _rows_of_file(tables: Sequence[Row], title: str, words: Words) -> Table:
    counted = ("source_rows", "loaded", "rejected", "verified_rows", "different_rows")
    titles = ("before", "loaded", "kept_aside", "verified_rows", "different_rows", "offset")
    columns = [
        Column(words("source"), "code"),
        *(Column(words(name), "number") for name in titles),
    ]
    rows: list[Sequence[str]] = [
        (
            _way(row, words),
            *(words.number(row[name]) for name in counted),
            words.number(row["id_offset"]) if row["id_offset"] else "",
        )
        for row in tables
    ]
    sums = (words.number(sum(row[name] or 0 for row in tables)) for name in counted)
    return Table(columns, [*rows, (words("total"), *sums, "")], title, total=True)


def _syncs(one: Import, words: Words) -> Table:
    columns = [
        Column(words("file"), "code"),
        Column(words("when"), "moment"),
        *(Column(words(name), "number") for name in SYNCED),
        Column(words("sync_kept")),
    ]
    rows = [
        (
            Path(row["path"]).name,
            words.moment(row["finished_at"]),
            *(words.number(row[name]) for name in SYNCED),
            words(f"sync_{row['kept']}") if row["kept"] else "",
        )
        for row in one.syncs[:MOST_REASONS]
    ]
    hidden = len(one.syncs) - len(rows)
    return Table(columns, rows, note=words("sync_earlier", n=words.count("sync", hidden)) if hidden else "")


def _way(row: Row, words: Words) -> str:
    """Name a table, and where it went if that has another name."""
    source, target = str(row["source_table"]), str(row["target_table"])
    if target == UNMAPPED and row["unmapped_columns"]:
        target = f"{target} ({words('unmapped_columns', columns=', '.join(row['unmapped_columns']))})"
    return source if source == target else f"{source} → {target}"


def _place(row: Row) -> str:
    return f"{row['source_table']}.{row['source_column']}" if row["source_column"] else str(row["source_table"])


def _rejected(one: Import, words: Words) -> Iterator[Block]:
    if not one.rejects:
        yield words("rejected_none") if one.finished else words("none")
        return
    columns = [
        Column(words("column"), "code"),
        Column(words("why")),
        Column(words("count"), "number"),
        Column(words("examples"), "number"),
    ]
    rows = [
        (_place(row), words.reason(row["reason"]), words.number(row["rows"]), _examples(row, words))
        for row in one.rejects[:MOST_REASONS]
    ]
    yield words("rejected_note")
    yield Table(columns, rows, note=_rest(one, one.rejects, words))


def _examples(row: Row, words: Words) -> str:
    more = ", …" if row["rows"] > len(row["examples"]) else ""
    return ", ".join(str(rowid) for rowid in row["examples"]) + more


def _rest(one: Import, findings: Sequence[Row], words: Words, noun: str = "reason") -> str:
    """Say how many findings are not shown, and what their rows sum up to."""
    hidden = findings[MOST_REASONS:]
    if not hidden:
        return ""
    count = words.count("row" if noun == "reason" else "value", sum(row["rows"] for row in hidden))
    return words("more_reasons", n=words.count(noun, len(hidden)), rows=count, id=one.id)


def _normalised(one: Import, words: Words) -> Iterator[Block]:
    if not one.normalisations:
        yield words("normalised_none") if one.finished else words("none")
        return
    columns = [
        Column(words("column"), "code"),
        Column(words("form")),
        Column(words("values"), "number"),
        Column(words("example"), "number"),
    ]
    rows = [
        (_place(row), words.normalisation(row["normalisation"]), words.number(row["rows"]), str(row["example_rowid"]))
        for row in one.normalisations[:MOST_REASONS]
    ]
    yield Table(columns, rows, note=_rest(one, one.normalisations, words, "form"))


def _constraints(one: Import, words: Words) -> Iterator[Block]:
    stepped = [(kind, *one.restored(kind)) for kind in ("index", "foreign key")]
    names = {"index": "restored_index", "foreign key": "restored_key"}
    said = [
        words(names[kind], aside=words.number(aside), restored=words.number(back))
        for kind, aside, back in stepped
        if aside
    ]
    yield " ".join(said) or words("untouched")
    if not one.not_validated:
        if one.finished:
            yield words("not_validated_none")
        return
    columns = [
        Column(words("target"), "code"),
        Column(words("key"), "code"),
        Column(words("orphans"), "number"),
    ]
    rows = [
        (row["table_name"], _key(row, words), words.number(row["orphans"])) for row in one.not_validated[:MOST_REASONS]
    ]
    hidden = [{"rows": row["orphans"]} for row in one.not_validated]
    yield Table(columns, rows, words("not_validated"), _rest(one, hidden, words, "key"))


def _key(row: Row, words: Words) -> str:
    definition = str(row["definition"]).removeprefix("FOREIGN KEY ").partition(" ON ")[0]
    shown = definition.replace(" REFERENCES ", " → ")
    return f"{shown} ({words.count('partition', row['keys'])})" if row["keys"] > 1 else shown


# --- durations ------------------------------------------------------------------------------------------------------


def _durations(one: Import, words: Words) -> Iterator[Block]:
    if not one.phases:
        yield words("no_durations")
        return
    total = one.seconds or max(span.end for span, _ in one.phases.values())
    yield Legend([(phase, words(f"phase_{phase}")) for phase in one.phases])
    yield _phases(one, words, total)
    yield _timeline(one, words, total)
    if len(one.chunks) >= FEWEST_CHUNKS:
        yield _progress(one, words)
    if built := sorted(_built(one), reverse=True)[:MOST_BUILT]:
        columns = [Column(words("step"), "code"), Column(words("lasted"), "number"), Column("", "chart")]
        rows = [(name, words.seconds(s), charts.track([("build", 0, s)], built[0][0])) for s, name in built]
        yield Table(columns, rows, words("slowest"))


def _phases(one: Import, words: Words, total: float) -> Table:
    columns = [
        Column(words("phase")),
        Column("", "chart"),
        *(Column(words(name), "number") for name in ("began", "lasted", "busy", "rate")),
    ]
    rows = [
        (
            words(f"phase_{phase}"),
            charts.track([(phase, span.start, span.end)], total),
            words.seconds(span.start),
            words.seconds(span.seconds),
            words.seconds(busy),
            words.rate(one.source_rows, busy) if phase in ("load", "verify") else "",
        )
        for phase, (span, busy) in one.phases.items()
    ]
    return Table(columns, rows, note=words("paused") if one.resumed else "")


def _timeline(one: Import, words: Words, total: float) -> Table:
    tables = sorted((lane for lane in one.lanes if lane.rows is not None), key=lambda lane: lane.total, reverse=True)
    shown = set(map(id, tables[:MOST_LANES]))
    lanes = [lane for lane in one.lanes if lane.rows is None or id(lane) in shown]
    if rest := tables[MOST_LANES:]:
        spans = tuple(span for lane in rest for span in lane.spans)
        name = words("other_lanes", n=words.count("table", len(rest)))
        lanes.append(Lane(name, spans, sum(lane.rows or 0 for lane in rest)))
    columns = [
        Column(words("step"), "code"),
        Column(words("timeline"), "chart"),
        *(Column(words(name), "number") for name in ("lasted", "load_rate", "verify_rate")),
    ]
    return Table(columns, [_lane(lane, words, total) for lane in lanes], words("timeline"))


def _lane(lane: Lane, words: Words, total: float) -> Sequence[str | Markup]:
    bars = charts.track([(phase, span.start, span.end) for phase, span in lane.spans], total)
    if lane.rows is None:
        return words(LANES[lane.name]), bars, words.seconds(lane.total), "", ""
    rates = (words.rate(lane.rows, lane.seconds(phase)) for phase in ("load", "verify"))
    return lane.name, bars, words.seconds(lane.total), *rates


def _progress(one: Import, words: Words) -> Chart:
    seconds, rows = one.progress[-1]
    length, height = words.seconds(seconds), words.count("row", rows)
    label = words("progress_label", rows=height, seconds=length)
    return Chart(words("progress"), charts.area(one.progress, label), height, length)


def _built(one: Import) -> Iterator[tuple[float, str]]:
    for step in one.steps:
        if step["step"] in ("index", "foreign key"):
            yield (step["finished_at"] - step["started_at"]).total_seconds(), step["name"]


# --- sizes ----------------------------------------------------------------------------------------------------------


def _sizes(one: Import, words: Words) -> Iterator[Block]:
    if not one.grown:
        yield words("no_sizes")
        return
    tables, indexes = one.grown
    scale = max(one.source_bytes, max(0, tables) + max(0, indexes), 1)
    yield Legend([("files", words("size_files")), ("tables", words("size_tables")), ("indexes", words("size_indexes"))])
    yield Table(
        [Column(words("step")), Column("", "chart"), Column(words("bytes"), "number")],
        [
            (
                words("sizes_before"),
                charts.stack([("files", one.source_bytes)], scale),
                words.bytes(one.source_bytes),
            ),
            (
                words("sizes_after"),
                charts.stack([("tables", tables), ("indexes", indexes)], scale),
                words.bytes(tables + indexes),
            ),
        ],
    )
    yield _table_sizes(one, words)


def _table_sizes(one: Import, words: Words) -> Table:
    tables = sorted(one.sizes, key=lambda row: row["table_bytes_after"] + row["index_bytes_after"], reverse=True)
    if rest := tables[MOST_SIZES:]:
        summed = {name: sum(row[name] for row in rest) for name in rest[0] if name != "target_table"}
        tables[MOST_SIZES:] = [summed | {"target_table": words("other_lanes", n=words.count("table", len(rest)))}]
    largest = max((row["table_bytes_after"] + row["index_bytes_after"] for row in tables), default=1) or 1
    columns = [
        Column(words("target"), "code"),
        Column("", "chart"),
        *(Column(words(name), "number") for name in ("grown_from", "table_bytes", "index_bytes", "size_total")),
    ]
    rows = [
        (
            row["target_table"],
            charts.stack([("tables", row["table_bytes_after"]), ("indexes", row["index_bytes_after"])], largest),
            words.bytes(row["table_bytes_before"] + row["index_bytes_before"]),
            words.bytes(row["table_bytes_after"]),
            words.bytes(row["index_bytes_after"]),
            words.bytes(row["table_bytes_after"] + row["index_bytes_after"]),
        )
        for row in tables
    ]
    return Table(columns, rows)
