"""`callytics report`: what it tells, in which forms, and how its page looks to a reader with any screen."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from callytics.exceptions import NotMigrated, TargetError
from callytics.report import FORMATS, LANGUAGES, completion_report
from callytics.report.words import Words
from callytics.settings import Settings
from tests.support.browser import Browser
from tests.support.commands import invoke
from tests.support.installation import Installation, write
from tests.support.servers import Databases, execute

pytestmark = pytest.mark.slow

SECRET = "the customer said 010-1234-5678"
HOSTILE = "<script>alert('t')</script> \"&\" | `x`"
CALLS = f"""
create table audio_files (id integer primary key autoincrement, file_path text, file_name text, processing_status text,
    sample_rate, created_at datetime);
create table transcriptions (id integer primary key autoincrement, audio_file_id integer, speaker_segment_id integer,
    text_content text, start_time real, end_time real, created_at datetime);
create table "{HOSTILE.replace('"', '""')}" (a, "<img src=x onerror=alert(1)>" text);
insert into "{HOSTILE.replace('"', '""')}" values (1, '{SECRET}');
with recursive n(i) as (values (1) union all select i + 1 from n limit 40)
insert into audio_files select i, '/' || i, 'n' || i, 'pending', iif(i % 5, 8000, '{SECRET}'),
    iif(i % 3, '2024-05-01 10:00:00', '2024-05-01 10:00:00+09:00') from n;
with recursive n(i) as (values (1) union all select i + 1 from n limit 3000)
insert into transcriptions select i, 1 + i % 40, null, '{SECRET}', 0, 1,
    date('2024-01-01', (i % 90) || ' days') || ' 10:00:00'
from n;
"""
"""8 calls are rejected, and 600 transcripts lose their parent, in 3 months; 11 timestamps have an offset."""


class Reported(Installation):
    """An installation whose import is reported."""

    def report(self, **options: Any) -> str:
        """Return its report."""
        return completion_report(self.settings, **options)

    def recorded(self, run: int | None = None) -> list[dict[str, Any]]:
        """Return what is recorded."""
        found: list[dict[str, Any]] = json.loads(self.report(format="json", run=run))
        return found


@pytest.fixture(scope="module")
def kept(databases: Databases, template: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reported]:
    """An import of a file whose name no page should believe; clones of it are what tests use."""
    folder = tmp_path_factory.mktemp("report")
    with (
        databases.clone(template) as settings,
        Reported.on(settings, folder, "calls <script>alert('f')<b> & \"q\".sqlite") as kept,
    ):
        kept.write(CALLS)
        assert kept.import_().status == "rejects"
        # A database with sessions cannot be cloned.
        kept.connection.close()
        yield kept


@pytest.fixture
def imported(kept: Reported, databases: Databases) -> Iterator[Reported]:
    """A clone, whose records a test may change."""
    with databases.clone(kept.settings) as settings, Reported.on(settings, kept.folder, kept.file.name) as imported:
        yield imported


class Reader(HTMLParser):
    """Reads a page as a browser does, and notes elements, headings and what is in its cells."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.cells: list[list[str]] = []
        self.text = ""
        self._in_cell = False
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))
        if tag == "tr":
            self.cells.append([])
        elif tag in ("td", "th"):
            self.cells[-1].append("")
            self._in_cell = True

    def handle_endtag(self, tag: str) -> None:
        self._in_cell = self._in_cell and tag not in ("td", "th")

    def handle_data(self, text: str) -> None:
        self.text += text
        if self._in_cell:
            self.cells[-1][-1] += text

    def row(self, name: str) -> list[str]:
        """Return the first row that begins with a name."""
        return next(row for row in self.cells if row and row[0] == name)


def test_a_database_without_tables_is_told_to_migrate(empty_database: Settings) -> None:
    for form in FORMATS:
        with pytest.raises(NotMigrated, match=r"has \d+ migrations not applied, .*: run 'callytics migrate'$"):
            completion_report(empty_database, format=form)


def test_a_database_without_imports_is_told_to_import(database: Settings) -> None:
    with pytest.raises(TargetError, match="there is no import to report: run 'callytics import FILE' first"):
        completion_report(database)


def test_an_import_that_does_not_exist(imported: Reported) -> None:
    with pytest.raises(TargetError, match="there is no import 7 to report"):
        imported.report(run=7, format="html")


@pytest.mark.quick
def test_the_page_tells_everything(imported: Reported) -> None:
    """Verdict, rows, rejects, normalisations, orphans, checksums: each figure is counted here once more."""
    page = Reader(imported.report(format="html"))
    verdict = (
        "Every value is accounted for: 3,032 rows equal to the source, 8 rows rejected and kept in imports.rejected."
    )
    assert verdict in page.text
    assert page.row("audio_files")[1:] == ["40", "32", "8", "40", "0", ""]
    assert page.row("transcriptions")[1:] == ["3,000", "3,000", "0", "3,000", "0", ""]
    assert page.row("audio_files.sample_rate")[1:] == ["text value in a bigint column", "8", "5, 10, 15, 20, 25, …"]
    normalised = "timestamp with an offset, as the same instant in UTC"
    assert page.row("audio_files.created_at")[1:] == [normalised, "11", "3"]
    orphans = [
        row for row in page.cells if row[:2] == ["transcriptions", "(audio_file_id) → audio_files(id) (3 partitions)"]
    ]
    assert [row[2] for row in orphans] == ["600"]
    assert hashlib.sha256(next(imported.options.snapshots.glob("*.sqlite")).read_bytes()).hexdigest() in page.text
    assert str(imported.file) in page.text


def test_figures_of_an_import_are_recorded(imported: Reported) -> None:
    """Every phase has a time, every table that was written a size; a partitioned one's is that of its partitions."""
    (recorded,) = imported.recorded()
    assert {step["step"] for step in recorded["steps"]} == {"snapshot", "analyze", "index", "foreign key", "verify"}
    assert all(step["started_at"] <= step["finished_at"] <= recorded["finished_at"] for step in recorded["steps"])
    assert sum(step["step"] == "verify" for step in recorded["steps"]) == 3
    sizes = {row["target_table"]: row for row in recorded["sizes"]}
    assert sizes.keys() == {"audio_files", "transcriptions", "imports.unmapped"}
    query = "select sum(pg_table_size(relid)), sum(pg_indexes_size(relid)) from pg_partition_tree('transcriptions')"
    assert imported.all(query) == [
        (
            sizes["transcriptions"]["table_bytes_after"],
            sizes["transcriptions"]["index_bytes_after"],
        )
    ]
    assert sizes["transcriptions"]["table_bytes_after"] > 100_000 > sizes["transcriptions"]["table_bytes_before"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_form_believes_a_name_or_tells_a_content(imported: Reported, language: str) -> None:
    """Names of files, tables and columns are shown as they are; what somebody said is never shown."""
    for column in (
        "runs.version",
        "runs.timezone",
        "rejected.reason",
        "normalisations.normalisation",
        "sources.sha256",
    ):
        table, _, name = column.partition(".")
        imported.all(f"update imports.{table} set {name} = '<script>alert(''{name}'')</script>'")
    imported.all("update imports.sizes set target_table = '<img>' where target_table = 'audio_files'")
    imported.all("update imports.steps set name = '<img>'")
    page = imported.report(language=language, format="html")
    elements = Reader(page).elements
    assert not {"script", "img", "link", "iframe", "object"} & {tag for tag, _ in elements}
    assert not [name for _, attributes in elements for name in attributes if name.startswith("on") or name == "style"]
    assert HOSTILE in Reader(page).text
    markdown = imported.report(language=language, format="md")
    assert not re.search(r"(?<!\\)<", markdown)
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in markdown.splitlines() if "alert('t')" in line} == {5, 8}
    for text in (page, markdown, imported.report(format="json")):
        assert SECRET not in text
        assert "010-1234" not in text


def test_nothing_is_loaded_and_only_its_own_style_is_used(imported: Reported) -> None:
    page = imported.report(format="html")
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL)
    assert style
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    policies = [a["content"] for tag, a in Reader(page).elements if a.get("http-equiv") == "Content-Security-Policy"]
    assert policies == [f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"]
    assert not re.search(r"https?://|url\(|@import", page)


STATUSES = {
    "running": ("This import is unfinished", "아직 끝나지 않았습니다"),
    "different": ("Verification found 2 differences", "차이 2건이 발견"),
    "undone": ("This import was undone", "취소되었습니다"),
    "verified": ("Every value arrived", "모든 값을 옮겼습니다"),
}


@pytest.mark.parametrize("status", STATUSES)
def test_every_verdict_has_its_sentence(status: str, imported: Reported) -> None:
    imported.all(f"update imports.runs set status = '{status}'")
    imported.all("update imports.tables set different_rows = 2 where source_table = 'transcriptions'")
    if status == "running":
        imported.all("update imports.runs set finished_at = null; update imports.tables set loaded_at = null")
    for language, sentence in zip(LANGUAGES, STATUSES[status], strict=True):
        for format in ("html", "md"):
            assert sentence in imported.report(language=language, format=format)  # type: ignore[arg-type]


def test_an_import_whose_records_are_gone(database: Settings) -> None:
    """What an undone import, or one from before figures were recorded, has left is enough for a report."""
    execute(
        database,
        "insert into imports.runs (status, version, timezone, finished_at) values ('undone', '0', 'UTC', now())",
    )
    for language in LANGUAGES:
        for format in ("html", "md", "json"):
            assert completion_report(database, language=language, format=format)  # type: ignore[arg-type]


def test_hundreds_of_reasons_and_imports(imported: Reported) -> None:
    """What is too much for a reader is counted, and listed where it is said to be."""
    imported.all(
        "insert into imports.rejected (table_id, source_table, source_rowid, source_column, reason, source_row) "
        "select t.id, t.source_table, 100000 + n * 3 + m, 'c' || n, 'reason ' || n, '{}' from imports.tables t, "
        "generate_series(1, 500) n, generate_series(0, 2) m where t.source_table = 'transcriptions'",
    )
    imported.all(
        "with r as (insert into imports.runs (status, version, timezone, finished_at) "
        "select 'verified', '1', 'UTC', now() from generate_series(1, 300) returning id) "
        "insert into imports.sources (run_id, path, snapshot_path, sha256, size_bytes) "
        "select id, '/calls' || id, '/kept', 'sha' || id, 1 from r",
    )
    one = Reader(imported.report(run=1, format="html"))
    assert "And 461 reasons with 1,383 rows: 'callytics report --format json --import 1' lists them all." in one.text
    (recorded,) = imported.recorded(1)
    assert len(recorded["rejects"]) == 501
    every = Reader(imported.report(format="html"))
    assert "The 20 newest of 301 are shown in full" in every.text
    assert sum(tag == "article" for tag, _ in every.elements) == 20
    assert [row[0] for row in every.cells if row and row[0].isdigit()] == [str(number) for number in range(301, 0, -1)]
    assert "301 imports: 300 verified, 1 verified with rejected rows." in every.text


def report(settings: Settings, *arguments: object) -> Result:
    """Run the command."""
    result = invoke(settings, "report", *arguments)
    assert result.exit_code == 0, result.output
    return result


def test_the_format_is_asked_for_or_follows_from_the_file(imported: Reported, tmp_path: Path) -> None:
    begins = {"html": "<!doctype html>", "md": "# Completion report", "json": "["}
    for format, beginning in begins.items():
        assert report(imported.settings, "--format", format).stdout.startswith(beginning)
        file = tmp_path / f"report.{format}"
        assert report(imported.settings, "--output", file).stdout == f"{file} written\n"
        assert file.read_text(encoding="utf-8").startswith(beginning)
    assert report(imported.settings).stdout.startswith(begins["md"])
    assert report(imported.settings, "--format", "html", "--output", tmp_path / "page.txt").stdout
    assert (tmp_path / "page.txt").read_text(encoding="utf-8").startswith(begins["html"])
    assert json.loads(report(imported.settings, "--json").stdout) == json.loads(
        report(imported.settings, "--format", "json").stdout
    )
    assert Words("ko")("title") in report(imported.settings, "--lang", "ko").stdout


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("format", FORMATS)
def test_a_report_replaces_an_earlier_one_in_any_format(
    imported: Reported, tmp_path: Path, format: str, language: str
) -> None:
    file = tmp_path / "report.md"
    report(imported.settings, "--output", file, "--format", format, "--lang", language)
    report(imported.settings, "--output", file)
    assert file.read_text(encoding="utf-8").startswith("# Completion report\n")


@pytest.mark.parametrize(
    "content",
    [
        b"SQLite format 3\0\xff\xfe",
        b"# Completion reports of others\n",
        b"<!doctype html>\n<title>Mine</title>",
        b'[{"id": "mine"}]',
        b"\n",
    ],
)
def test_no_other_file_is_overwritten(imported: Reported, tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "report.md"
    file.write_bytes(content)
    result = invoke(imported.settings, "report", "--output", file)
    refusal = f"Error: {file} is already there and is not a report: choose another name, or move it away first\n"
    assert (result.exit_code, result.stdout, result.stderr) == (1, "", refusal)
    assert file.read_bytes() == content


def test_an_empty_file_is_written_to(imported: Reported, tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    file.touch()
    report(imported.settings, "--output", file)
    assert json.loads(file.read_text(encoding="utf-8")) == json.loads(report(imported.settings, "--json").stdout)


@pytest.mark.parametrize("name", ["report.pdf", "report", "report.html.txt"])
def test_a_file_of_another_kind_is_refused_unless_a_format_is_given(
    imported: Reported, tmp_path: Path, name: str
) -> None:
    file = tmp_path / name
    result = invoke(imported.settings, "report", "--output", file)
    refusal = f"Error: {file} has no suffix of a report: end its name in .html, .md or .json, or give --format\n"
    assert (result.exit_code, result.stdout, result.stderr) == (1, "", refusal)
    assert not file.exists()


CONTRAST = """
(() => {
    const numbers = (colour) => [...colour.match(/[\\d.]+/g).map(Number), 1].slice(0, 4);
    const light = (n) => { const [r, g, b] = n.slice(0, 3).map((v) => v / 255)
        .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
    const behind = (element) => { for (let e = element; e; e = e.parentElement) {
        const colour = numbers(getComputedStyle(e).backgroundColor); if (colour[3] === 1) return light(colour); }
        return 1; };
    const poor = new Set();
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        const element = walker.currentNode.parentElement;
        if (!walker.currentNode.data.trim() || element.closest("svg")) continue;
        const [one, other] = [light(numbers(getComputedStyle(element).color)), behind(element)];
        const contrast = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
        if (contrast < 4.5) poor.add(`${element.tagName}.${element.className} ${contrast.toFixed(2)}`);
    }
    return [...poor];
})()
"""
"""Texts whose contrast is below WCAG 2.2 AA (https://www.w3.org/TR/WCAG22/#contrast-minimum)."""

ACCESSIBLE = """
({
    language: document.documentElement.lang,
    h1: document.querySelectorAll("h1").length,
    levels: [...document.querySelectorAll("h1, h2, h3, h4")].map((heading) => Number(heading.tagName[1])),
    tables: document.querySelectorAll("table").length,
    headless: [...document.querySelectorAll("table")].filter((table) =>
        !table.querySelector("thead th[scope=col]") ||
        [...table.querySelectorAll("tbody tr")].some((row) => !row.querySelector("th[scope=row]"))).length,
    nameless: [...document.querySelectorAll("[role=region], [role=img], th")]
        .filter((element) => !(element.getAttribute("aria-label") || element.textContent.trim())).length,
})
"""

SCREENS: list[dict[str, Any]] = [
    {"width": 1280, "scheme": "light"},
    {"width": 1280, "scheme": "dark"},
    {"width": 360, "scheme": "light"},
    {"width": 360, "scheme": "dark"},
    {"width": 700, "scheme": "light", "media": "print"},
]


@pytest.fixture
def addresses(imported: Reported, tmp_path: Path) -> dict[str, str]:
    """The page in each language, of two imports."""
    second = tmp_path / "second.sqlite"
    write(second, "create table Topic (ID integer primary key, Name text); insert into Topic values (5, 'x');")
    replace(imported, files=[second]).import_()
    for language in LANGUAGES:
        page = imported.report(language=language, format="html")
        (tmp_path / f"{language}.html").write_text(page, encoding="utf-8")
    return {language: (tmp_path / f"{language}.html").as_uri() for language in LANGUAGES}


def test_it_can_be_read_on_any_screen_and_on_paper(browser: Browser, addresses: dict[str, str]) -> None:
    """No overflow, no error, no request but for the page itself, and enough contrast, whatever the screen."""
    for language, address in addresses.items():
        page = browser.open(address, language=language)
        for screen in SCREENS:
            page.emulate(**screen)
            assert page.overflowing() == [], (language, screen)
            assert page.evaluate(CONTRAST) == [], (language, screen)
        assert page.errors() == []
        assert page.requests() == [address]


def test_dark_is_dark_and_paper_is_white(browser: Browser, addresses: dict[str, str]) -> None:
    page = browser.open(addresses["en"], scheme="dark")
    background = "getComputedStyle(document.body).backgroundColor"
    assert page.evaluate(background) == "rgb(20, 23, 26)"
    page.emulate(scheme="dark", media="print")
    assert page.evaluate(background) == "rgb(255, 255, 255)"


def test_it_can_be_heard(browser: Browser, addresses: dict[str, str]) -> None:
    """A screen reader finds the language, headings without a gap, and tables with heads; charts say what they show."""
    for language, address in addresses.items():
        found = browser.open(address).evaluate(ACCESSIBLE)
        levels = found.pop("levels")
        assert all(after - before <= 1 for before, after in pairwise(levels)), levels
        assert found.pop("tables") > 10
        assert found == {"language": language, "h1": 1, "headless": 0, "nameless": 0}


def test_tables_can_be_scrolled_by_keyboard(browser: Browser, addresses: dict[str, str]) -> None:
    page = browser.open(addresses["ko"], width=700)
    wide = "[...document.querySelectorAll('.scroll')].filter((box) => box.scrollWidth > box.clientWidth)"
    assert page.evaluate(f"{wide}.length") > 0
    assert page.evaluate(f"{wide}.every((box) => box.tabIndex === 0 && box.getAttribute('aria-label'))")


def test_a_phone_shows_every_column(browser: Browser, addresses: dict[str, str]) -> None:
    """Rows are stacked: each figure stands in the window with its column's title, and nothing scrolls sideways."""
    page = browser.open(addresses["ko"], width=390)
    assert page.evaluate("[...document.querySelectorAll('.scroll')].every((box) => box.scrollWidth <= box.clientWidth)")
    cells = "[...document.querySelectorAll('.rows tbody tr:not(.total) td')].filter((cell) => cell.offsetWidth)"
    title = "getComputedStyle(cell, '::before').content"
    assert page.evaluate(f"new Set({cells}.map((cell) => {title})).size") >= 5
    boxes = f"{cells}.map((cell) => cell.getBoundingClientRect())"
    assert page.evaluate(f"{boxes}.every((box) => box.left >= 0 && box.right <= 390)")
    # A date has a line to itself, so that it does not break.
    assert page.evaluate("[...document.querySelectorAll('td.moment')].every((cell) => cell.offsetWidth > 250)")


def test_no_number_breaks_inside(browser: Browser, addresses: dict[str, str]) -> None:
    """A figure keeps on one line, with its unit, at any width; a list of them may take more."""
    lines = "((cell) => { const range = document.createRange(); range.selectNodeContents(cell);"
    lines += " return new Set([...range.getClientRects()].map((box) => Math.round(box.top))).size })"
    for width in (390, 768, 1200):
        page = browser.open(addresses["ko"], width=width)
        numbers = r"[...document.querySelectorAll('td.number')].filter((cell) => !/\d, /.test(cell.innerText))"
        broken = f"{numbers}.filter((cell) => {lines}(cell) > 1)"
        assert page.evaluate(f"{broken}.map((cell) => cell.innerText)") == []


def test_times_are_those_of_a_zone_and_name_it(imported: Reported) -> None:
    """The zone that the import read times in, or the one that is asked for."""
    settings = imported.settings
    assert " UTC" in report(settings, "--lang", "ko").stdout
    chosen = report(settings, "--timezone", "Asia/Seoul").stdout
    assert re.findall(r"\d\d:\d\d:\d\d (?!Asia/Seoul)", chosen) == []
    assert len(re.findall(r"\d\d:\d\d:\d\d Asia/Seoul", chosen)) >= 3
    assert "KST is not a time zone" in invoke(settings, "report", "--timezone", "KST").stderr
