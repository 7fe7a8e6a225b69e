"""The cost of an import: what ran when and for how long, and the sizes of the tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from callytics.report import charts
from callytics.report.blocks import Block, Chart, Heading, Legend, Table
from callytics.report.facts import Import, Lane
from callytics.report.recorded import SizeEntry
from callytics.report.words import Words

# Lines of the timeline; the quickest tables share the last one.
MOST_LANES = 24
MOST_BUILT = 8
# Tables whose sizes are told one by one, the largest first.
MOST_SIZES = 12
# Commits below which a line over time shows nothing.
FEWEST_CHUNKS = 8

LANES = {
    "snapshot": "phase_snapshot",
    "analyze": "lane_analyze",
    "index": "lane_index",
    "foreign key": "lane_foreign_key",
}


def durations(one: Import, words: Words) -> Iterator[Block]:
    """Yield when what ran and for how long; an import of an earlier version has no steps on record."""
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
        columns = [Heading(words("step"), "code"), Heading(words("lasted"), "number"), Heading("", "chart")]
        rows = [(name, words.seconds(s), charts.track([("build", 0, s)], built[0][0])) for s, name in built]
        yield Table(columns, rows, words("slowest"))


def _phases(one: Import, words: Words, total: float) -> Table:
    columns = [
        Heading(words("phase")),
        Heading("", "chart"),
        *(Heading(words(name), "number") for name in ("began", "lasted", "busy", "rate")),
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
        Heading(words("step"), "code"),
        Heading(words("timeline"), "chart"),
        *(Heading(words(name), "number") for name in ("lasted", "load_rate", "verify_rate")),
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
        if step.step in ("index", "foreign key"):
            yield (step.finished_at - step.started_at).total_seconds(), step.name


def sizes(one: Import, words: Words) -> Iterator[Block]:
    """Yield the bytes of the files, and of the tables and indexes before and after."""
    if not one.grown:
        yield words("no_sizes")
        return
    tables, indexes = one.grown
    # Both bars have one scale. Negative growth is possible: VACUUM may have shrunk a table meanwhile.
    scale = max(one.source_bytes, max(0, tables) + max(0, indexes), 1)
    yield Legend([("files", words("size_files")), ("tables", words("size_tables")), ("indexes", words("size_indexes"))])
    yield Table(
        [Heading(words("step")), Heading("", "chart"), Heading(words("bytes"), "number")],
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


@dataclass(frozen=True)
class _Size:
    """Bytes of a table, or of several: before, and of its rows and indexes after."""

    name: str
    before: int
    rows: int
    indexes: int

    @property
    def total(self) -> int:
        """Return rows and indexes together."""
        return self.rows + self.indexes


def _size(size: SizeEntry) -> _Size:
    before = size.table_bytes_before + size.index_bytes_before
    return _Size(size.target_table, before, size.table_bytes_after or 0, size.index_bytes_after or 0)


def _sum(name: str, sizes: Sequence[_Size]) -> _Size:
    return _Size(
        name,
        sum(size.before for size in sizes),
        sum(size.rows for size in sizes),
        sum(size.indexes for size in sizes),
    )


def _table_sizes(one: Import, words: Words) -> Table:
    tables = sorted(map(_size, one.sizes), key=lambda size: size.total, reverse=True)
    if rest := tables[MOST_SIZES:]:
        tables[MOST_SIZES:] = [_sum(words("other_lanes", n=words.count("table", len(rest))), rest)]
    largest = max((size.total for size in tables), default=1) or 1
    columns = [
        Heading(words("target"), "code"),
        Heading("", "chart"),
        *(Heading(words(name), "number") for name in ("grown_from", "table_bytes", "index_bytes", "size_total")),
    ]
    rows = [
        (
            size.name,
            charts.stack([("tables", size.rows), ("indexes", size.indexes)], largest),
            *map(words.bytes, (size.before, size.rows, size.indexes, size.total)),
        )
        for size in tables
    ]
    return Table(columns, rows)
