"""The completion report's contents in a language, for every form that it is written in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from markupsafe import Markup

from callytics.importer.records.zones import zones_of_run
from callytics.postgres.text import shell_word
from callytics.report import durations, findings
from callytics.report.blocks import Article, Document, Heading, Listing, Section, Table
from callytics.report.facts import Facts, Import
from callytics.report.words import Words

# Imports that are reported in full.
MOST_IMPORTS = 20


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
    also = f" {words('shared', shared=words.count('row', one.shared))}" if one.shared and one.finished else ""
    return _judged(one, words) + also


def _judged(one: Import, words: Words) -> str:
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
        Heading(words("import", id="").strip()),
        Heading(words("status")),
        Heading(words("when"), "moment"),
        Heading(words("figure_source"), "number"),
        Heading(words("figure_loaded"), "number"),
        Heading(words("rows_rejected"), "number"),
        Heading(words("file"), "code"),
    ]
    rows = [
        (
            Markup('<a href="#import-{}">{}</a>').format(one.id, one.id) if place < MOST_IMPORTS else str(one.id),
            _short(one, words),
            words.day(one.run.started_at),
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
    names = [Path(file.path).name for file in one.sources]
    return ", ".join(names[:3]) + (f" + {len(names) - 3}" if len(names) > 3 else "")


def _part(one: Import, facts: Facts, words: Words) -> Article:
    sections = [
        Section("moved", words("moved"), [_moved(one, facts, words)]),
        Section("rows", words("rows"), list(findings.rows(one, words))),
        Section("rejected", words("rejected"), list(findings.rejected(one, words))),
        Section("normalised", words("normalised"), list(findings.normalised(one, words))),
        Section("constraints", words("constraints"), list(findings.constraints(one, words))),
        Section("durations", words("durations"), list(durations.durations(one, words))),
        Section("sizes", words("sizes"), list(durations.sizes(one, words))),
        Section("files", words("files"), [_files(one, words)]),
    ]
    if one.syncs:
        sections.insert(2, Section("syncs", words("syncs"), [findings.syncs(one, words)]))
    command = " ".join(["callytics", "verify", *(shell_word(file.path) for file in one.sources)])
    return Article(
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
    # Without it the rows in PostgreSQL and the rejected ones are not those of SQLite.
    unmapped = words("figure_unmapped", rows=words.count("row", one.unmapped)) if one.unmapped else ""
    yield words("figure_loaded"), words.number(one.loaded), ", ".join(filter(None, (unmapped, normalised)))
    yield words("figure_rejected"), words.number(one.rejected), "imports.rejected" if one.rejected else ""
    resumed = words("figure_resumed", times=words.count("time", one.resumed)) if one.resumed else ""
    rate = words.rate(one.source_rows, one.seconds) if one.seconds else ""
    yield words("figure_duration"), words.seconds(one.seconds), ", ".join(filter(None, (rate, resumed)))
    if one.grown:
        before = words("figure_size_before", size=words.bytes(one.source_bytes))
        yield words("figure_size"), words.bytes(sum(one.grown)), before


def _zones(one: Import, words: Words) -> Iterator[str]:
    """Yield how times without an offset were read, and when that was changed after the import."""
    zones = zones_of_run(one.run.id, one.run.timezone, one.tables)
    if zones.one_zone or not zones.has_times:
        yield words("timezone_of", timezone=zones.one_zone or zones.timezone)
    else:
        for reading, columns in zones.short.items():
            yield words(f"timezone_{reading}", timezone=zones.timezone, columns=", ".join(columns))
    for change in one.zone_changes:
        yield words(
            "timezone_changed",
            moment=words.moment(change.finished_at),
            before=change.timezone_before,
            after=change.timezone,
            rows=words.count("row", change.changed),
        )


def _moved(one: Import, facts: Facts, words: Words) -> Listing:
    began, ended = words.moment(one.run.started_at), words.moment(one.finished)
    items = [
        (words("from"), [file.path for file in one.sources]),
        (words("into"), [f"{facts.database}, {facts.host}", f"PostgreSQL {facts.server}"]),
        (
            words("when"),
            [words("period", began=began, ended=ended) if one.finished else words("unfinished", began=began)],
        ),
        (words("by"), [f"callytics {one.run.version}"]),
        (words("timezone"), list(_zones(one, words))),
    ]
    if undone := [file.undone_at for file in one.sources if file.undone_at]:
        items.append((words("short_undone"), [words.moment(max(undone))]))
    if one.last_verified:
        items.append((words("verified_again"), [words.moment(one.last_verified)]))
    return Listing(items)


def _files(one: Import, words: Words) -> Listing:
    return Listing(
        [
            (
                Path(file.path).name,
                [
                    words.bytes(file.size_bytes),
                    f"{words('sha256')} {file.sha256}",
                    f"{words('snapshot')}: {file.snapshot_path}",
                ],
            )
            for file in one.sources
        ]
    )
