"""What the importer found, in words: for the terminal, as JSON, and as the completion report in English or Korean."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from callytics.exceptions import TargetError
from callytics.importer.ledger import UNMAPPED, Ledger
from callytics.importer.load import import_connection
from callytics.importer.profile import Profile
from callytics.importer.runs import Outcome
from callytics.importer.target import Target
from callytics.settings import Settings

WORDS = Path(__file__).with_name("words")
"""The completion report's words, one file a language."""


# --- terminal -------------------------------------------------------------------------------------------------------


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
                (row["source_table"], row["target_table"], *_figures(row), str(row["different_rows"] or 0))
                for row in outcome.tables
            ],
            right={2, 3, 4, 5, 6},
        )
    for row in outcome.normalisations:
        yield f"{row['source_table']}.{row['source_column']}: {row['rows']:,} values normalised: {row['normalisation']}"
    for row in outcome.rejects:
        column = f".{row['source_column']}" if row["source_column"] else ""
        yield (
            f"{row['source_table']}{column} → {row['target_table']}: {row['rows']:,} rows rejected: {row['reason']} "
            f"(for example row {row['example']}; kept in imports.rejected)"
        )
    for row in outcome.not_validated:
        yield f"{row['table_name']}: {row['orphans']:,} rows without a parent, {row['name']} is left NOT VALID"
    for difference in outcome.differences:
        column = f".{difference.column}" if difference.column else ""
        yield f"DIFFERENT {difference.table}{column}, row {difference.key}: {difference.finding}"
    yield verdict(outcome)


def _figures(row: dict[str, Any]) -> tuple[str, str, str, str]:
    return (
        f"{row['source_rows']:,}",
        f"{row['loaded']:,}",
        f"{row['rejected']:,}",
        "-" if row["verified_rows"] is None else f"{row['verified_rows']:,}",
    )


def verdict(outcome: Outcome) -> str:
    """Say in one sentence what an import or a verification came to."""
    rows = sum(row["source_rows"] for row in outcome.tables if row["target_table"] != UNMAPPED)
    rejected = sum(row["rejected"] for row in outcome.tables)
    different = sum(row["different_rows"] or 0 for row in outcome.tables)
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


# --- JSON -----------------------------------------------------------------------------------------------------------


def as_json(value: Outcome | list[Profile] | list[dict[str, Any]]) -> str:
    """Return findings as JSON, one object, or a list of them."""
    return json.dumps(_plain(value), ensure_ascii=False, indent=2, default=str)


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if isinstance(value, Profile):
        derived = {"generations": value.generations, "rows": value.rows}
        return asdict(value) | derived | {"seconds": value.seconds, "target_bytes": value.target_bytes}
    return asdict(value) if isinstance(value, Outcome) else value


# --- completion report ----------------------------------------------------------------------------------------------


def recorded_imports(settings: Settings, run: int | None = None) -> list[dict[str, Any]]:
    """Return what is recorded of a run, or of all runs, as dictionaries; `TargetError` when there is none."""
    with _ledger(settings) as ledger:
        return [
            row
            | {"sources": [asdict(source) for source in ledger.sources(row["id"])]}
            | {query: ledger.rows(query, run=row["id"]) for query in ("summary", *FINDINGS)}
            for row in _runs(ledger, run)
        ]


@contextmanager
def _ledger(settings: Settings) -> Iterator[Ledger]:
    """Yield the records of a database's imports; `TargetError` where it is not migrated."""
    with closing(import_connection(settings)) as connection:
        Target(connection).check_ready()
        yield Ledger(connection)


FINDINGS = ("rejects", "normalisations", "not_validated")


def _runs(ledger: Ledger, run: int | None) -> list[dict[str, Any]]:
    runs = [row for row in ledger.rows("runs") if run is None or row["id"] == run]
    if not runs:
        raise TargetError("there is no import to report: run 'callytics import FILE' first")
    return runs


def completion_report(settings: Settings, *, language: str = "en", run: int | None = None) -> str:
    """Return the completion report of a run, or of all runs, as Markdown; `TargetError` when there is none."""
    with _ledger(settings) as ledger:
        runs = _runs(ledger, run)
        words = tomllib.loads((WORDS / f"{language}.toml").read_text(encoding="utf-8"))
        return "\n".join(line for row in runs for line in _report_lines(ledger, row, words))


def _report_lines(ledger: Ledger, run: dict[str, Any], words: dict[str, str]) -> Iterator[str]:
    tables = ledger.rows("summary", run=run["id"])
    rejected = sum(row["rejected"] for row in tables)
    yield f"# {words['title'].format(**run)}\n"
    yield f"**{words[run['status']].format(rejected=rejected)}**\n"
    yield words["when"].format(**{name: _moment(value) for name, value in run.items()}) + "\n"
    yield from _section(
        words["files"],
        [words[name] for name in ("file", "snapshot", "bytes", "sha256")],
        [(s.path, s.snapshot_path, f"{s.size_bytes:,}", s.sha256) for s in ledger.sources(run["id"])],
        words,
    )
    yield from _section(
        words["tables"],
        [words[name] for name in REPORTED],
        [_reported(row) for row in tables],
        words,
    )
    yield from _finding_sections(ledger, run["id"], words)


REPORTED = (
    "file", "source", "target", "rows", "loaded", "rejected", "verified_rows", "different_rows", "offset", "seconds",
)  # fmt: skip


def _reported(row: dict[str, Any]) -> tuple[str, ...]:
    return (
        Path(row["path"]).name,
        row["source_table"],
        row["target_table"],
        *_figures(row),
        f"{row['different_rows'] or 0:,}",
        f"{row['id_offset']:,}",
        f"{row['seconds'] or 0:.2f}",
    )


def _finding_sections(ledger: Ledger, run: int, words: dict[str, str]) -> Iterator[str]:
    yield from _section(
        words["reject_reasons"],
        [words[name] for name in ("file", "source", "column", "reason", "count", "example")],
        [
            (
                Path(r["path"]).name,
                r["source_table"],
                r["source_column"] or "",
                r["reason"],
                f"{r['rows']:,}",
                str(r["example"]),
            )
            for r in ledger.rows("rejects", run=run)
        ],
        words,
    )
    yield from _section(
        words["normalisations"],
        [words[name] for name in ("file", "source", "column", "form", "count", "example")],
        [
            (
                Path(n["path"]).name,
                n["source_table"],
                n["source_column"],
                n["normalisation"],
                f"{n['rows']:,}",
                str(n["example_rowid"]),
            )
            for n in ledger.rows("normalisations", run=run)
        ],
        words,
    )
    yield from _section(
        words["not_validated"],
        [words[name] for name in ("target", "key", "orphans")],
        [(k["table_name"], k["name"], f"{k['orphans']:,}") for k in ledger.rows("not_validated", run=run)],
        words,
    )


def _section(title: str, head: Sequence[str], rows: Sequence[Sequence[str]], words: dict[str, str]) -> Iterator[str]:
    yield f"## {title}\n"
    if not rows:
        yield words["none"] + "\n"
        return
    yield "| " + " | ".join(head) + " |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) + " |"
    yield ""


def _moment(value: Any) -> Any:
    if value is None:
        return "—"
    return f"{value:%Y-%m-%d %H:%M:%S} UTC" if isinstance(value, datetime) else value
