"""The status page in a browser: what it shows, to whom, on which screen, and what it says when the database stops."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from callytics.agents.accounts import Grant
from callytics.api.routes.page import LANGUAGES, WORDS
from callytics.postgres import connect
from callytics.settings import Settings
from callytics.trial.embedded import EmbeddedPostgres
from tests.support.agents import KIM, PASSWORD, accounts_of, agents_of
from tests.support.browser import Browser, Page
from tests.support.faults import kill_server
from tests.support.pooling import eventually
from tests.support.servers import start_again
from tests.support.serving import Served, served

pytestmark = pytest.mark.slow

HEALTHY = "document.querySelector('#state').dataset.state === 'healthy'"
UNHEALTHY = "document.querySelector('#state').dataset.state === 'unhealthy'"
COUNTED = "document.querySelectorAll('#rows dd').length > 20"
FILE = "/srv/a very long folder name/that goes on/and on/audio_analysis_<b>of 2024.sqlite"
IMPORT = """
insert into imports.runs (status, version, timezone, started_at, finished_at)
    values ('rejects', '0.1.0', 'Asia/Seoul', '2026-01-02 03:04:05+00', '2026-01-02 03:05:05+00');
insert into imports.sources (run_id, path, snapshot_path, sha256, size_bytes) values (1, %(file)s, '/s', 'abc', 1);
insert into imports.tables (source_id, source_table, mapping, target_table, source_rows, verified_rows, different_rows)
    values (1, 'audio_files', 'm', 'audio_files', 1201, 1200, 0),
        (1, 'transcriptions', 'm', 'transcriptions', 3, null, null);
insert into imports.chunks (table_id, first_rowid, last_rowid, copied, inserted, rejected, pending)
    values (1, 1, 1000, 990, 10, 0, false), (1, 1001, 1201, 200, 0, 1, false);
insert into topics (id, name) select 100 + n, 'topic' from generate_series(1, 1233) as n;
"""


@pytest.fixture(scope="module")
def service(own_database: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A service whose database has had an import, with two agents, one of whom may see its report."""
    with closing(connect(own_database, owner=True)) as owner, owner, owner.cursor() as cursor:
        cursor.execute(IMPORT, {"file": FILE})
    with agents_of(own_database) as auth:
        accounts = accounts_of(auth)
        accounts.add_agent("kim", PASSWORD, KIM, [Grant("report_generation", "read")])
        accounts_of(auth).add_agent(
            "lee", PASSWORD, replace(KIM, email=None, employee_id=None), [Grant("analysis_view", "admin")]
        )
    with served(own_database, tmp_path_factory.mktemp("page") / "log") as started:
        yield started


def shown(browser: Browser, service: Served, **how: object) -> Page:
    page = browser.open(f"{service.url}/", **how)  # type: ignore[arg-type]
    page.wait_for(HEALTHY)
    page.wait_for(COUNTED)
    return page


def look_again(page: Page) -> None:
    """Have the page do now what it does every five seconds."""
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")


def log_in(page: Page, username: str, password: str) -> None:
    page.fill("[name=username]", username)
    page.fill("[name=password]", password)
    page.click("#login button")


def test_the_page_shows_health_rows_and_the_verdict(browser: Browser, service: Served) -> None:
    page = shown(browser, service)
    text = page.text()
    for part in ("healthy", "PostgreSQL", "verified, with rejected rows", "finished Jan 2, 2026"):
        assert part in text
    assert "Topics\n1,234" in text
    assert page.errors() == []
    assert {address.removeprefix(service.url) for address in page.requests()} == {
        "/",
        "/static/status.css",
        "/static/status.js",
        "/status",
    }


def test_what_an_import_took_is_not_for_strangers(browser: Browser, service: Served) -> None:
    page = shown(browser, service)
    assert "audio_analysis" not in page.text()
    assert "audio_analysis" not in service.client.get("/status").text
    log_in(page, "kim", "a wrong password")
    page.wait_for("document.querySelector('#login-failure').textContent.startsWith('Username or password')")
    log_in(page, "lee", PASSWORD)
    page.wait_for("document.querySelector('#login-failure').textContent.startsWith('This takes the permission')")
    assert "audio_analysis" not in page.text()


def test_an_agent_sees_the_report_and_leaves_no_session(browser: Browser, service: Served) -> None:
    page = shown(browser, service, width=360)
    log_in(page, "kim", PASSWORD)
    page.wait_for("!document.querySelector('#report').hidden")
    cells = "[...row.cells].map((cell) => cell.textContent)"
    rows = page.evaluate(f"[...document.querySelectorAll('#report tr')].map((row) => {cells})")
    assert rows[1] == [FILE.rpartition("/")[2], "audio_files", "1,201", "1,200", "1", "0"]
    assert rows[2][1:] == ["transcriptions", "3", "0", "0", "–"]
    # On a phone rows are stacked: each figure has its title, and none is outside.
    boxes = "[...document.querySelectorAll('#report td')].map((cell) => cell.getBoundingClientRect())"
    assert page.evaluate(f"{boxes}.every((box) => box.width > 0 && box.right <= 360)")
    assert page.evaluate("document.querySelector('#report td:last-child').dataset.title") == "Different"
    assert page.evaluate(broken("#report td")) == []
    assert page.evaluate("document.querySelectorAll('#report b').length") == 0
    assert page.overflowing() == []
    assert page.errors() == []
    assert page.evaluate("localStorage.length + sessionStorage.length + document.cookie.length") == 0
    # A line of the log follows its answer.
    assert eventually(lambda: "/auth/logout" in [line.get("route") for line in service.lines()])


@pytest.mark.parametrize("language", ["en", "ko"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 360, 1280])
def test_the_page_fits_its_reader(browser: Browser, service: Served, width: int, scheme: str, language: str) -> None:
    page = shown(browser, service, width=width, scheme=scheme, language=language)
    assert page.overflowing() == []
    assert page.errors() == []
    assert page.evaluate("document.documentElement.lang") == language
    assert ("정상" in page.text()) is (language == "ko")
    assert page.evaluate(CONTRAST) >= 4.5
    assert page.evaluate(broken("#rows dd")) == []
    assert page.evaluate(broken("#rows dt, #service dt, #glance dt, figcaption *")) == []
    # The zone of the page's times is named.
    assert page.evaluate("/[A-Z]{3}/.test(document.querySelector('#as-of').textContent)")


def test_paper_is_white_and_asks_for_no_login(browser: Browser, service: Served) -> None:
    page = shown(browser, service, width=794, scheme="dark", media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate("document.querySelector('#login').offsetParent") is None
    page.emulate(width=390)
    assert page.evaluate("document.querySelector('#login').offsetParent !== null")
    # The date has a line of its own rather than half of one.
    assert page.evaluate(broken("#as-of")) == []


def broken(selector: str) -> str:
    """Return what yields the parts of texts, between the joints at which they may break, that take two lines."""
    return f"""
        [...document.querySelectorAll("{selector}")].flatMap((element) => [...element.childNodes])
            .filter((node) => node.nodeType === 3).filter((node) => {{
                const part = document.createRange();
                part.selectNodeContents(node);
                return new Set([...part.getClientRects()].map((box) => Math.round(box.top))).size > 1;
            }}).map((node) => node.textContent)
    """


def test_what_an_operator_asks_first_is_on_top(browser: Browser, own_database: Settings, tmp_path: Path) -> None:
    with closing(connect(own_database, owner=True)) as owner, owner, owner.cursor() as cursor:
        cursor.execute("insert into audio_files (file_name) values ('one')")
        cursor.execute(
            "insert into transcriptions (audio_file_id, text_content, start_time, end_time) "
            "select id, 'x', 0, 1 from audio_files, generate_series(1, 25)"
        )
        cursor.execute("analyze transcriptions")
    with served(own_database, tmp_path / "log") as service:
        page = shown(browser, service, width=390)
        headings = page.evaluate("[...document.querySelectorAll('h2')].map((one) => one.firstChild.textContent.trim())")
        assert headings == ["At a glance", "Growth", "Last import", "Rows by table", "Service"]
        told = "[card.dataset.level, ...card.innerText.split('\\n')]"
        cards = page.evaluate(f"[...document.querySelectorAll('#glance div')].map((card) => {told})")
        assert cards == [
            ["none", "Newest backup", "none on record"],
            ["none", "Trial restore", "none on record"],
            ["none", "Alerts", "not asked from here"],
            ["none", "Replication", "no standby"],
            ["none", "WAL archive", "off"],
            ["ok", "Months ahead", "3"],
        ]
        assert page.evaluate("document.querySelectorAll('figure svg[role=img] rect').length") == 24
        assert page.evaluate("document.querySelector('figure svg').getAttribute('aria-label')").endswith(": 25")
        assert page.evaluate(
            "[...document.querySelectorAll('figure svg rect')].every((bar) => bar.getBBox().height <= 40)"
        )


def test_empty_tables_are_folded_and_stay_as_one_left_them(browser: Browser, service: Served) -> None:
    page = shown(browser, service)
    assert "Summaries" not in page.text()
    page.click("#rows details[data-group=models] summary")
    assert "Summaries\n0" in page.text()
    page.evaluate("document.querySelector('#rows details[data-group=models] dl').dataset.old = true")
    look_again(page)
    page.wait_for("!document.querySelector('#rows [data-old]')", 9)
    assert "Summaries\n0" in page.text()


def test_every_table_has_a_group_and_a_name_in_every_language(service: Served) -> None:
    groups = tomllib.loads((WORDS / "groups.toml").read_text())
    grouped = [table for tables in groups.values() for table in tables]
    counted = service.client.get("/status").json()["counts"]["tables"]
    assert sorted(grouped) == sorted(table["name"] for table in counted)
    for language in LANGUAGES:
        words = tomllib.loads((WORDS / f"{language}.toml").read_text())
        assert set(words["tables"]) == set(grouped)
        assert set(words["groups"]) == {*groups, "other"}


# The least contrast between a text and what is behind it, by WCAG 2.1.
CONTRAST = """
(() => {
    const numbers = (color) => color.match(/[\\d.]+/g).map(Number);
    const light = (color) => {
        const [r, g, b] = numbers(color).map((part) => part / 255)
            .map((part) => part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const behind = (element) => {
        const color = getComputedStyle(element).backgroundColor;
        return numbers(color)[3] === 0 && element.parentElement ? behind(element.parentElement) : color;
    };
    const texts = [...document.querySelectorAll("body *")].filter((element) =>
        [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim()) && element.offsetParent);
    return Math.min(...texts.map((element) => {
        const [low, high] = [light(getComputedStyle(element).color), light(behind(element))].sort((a, b) => a - b);
        return (high + 0.05) / (low + 0.05);
    }));
})()
"""


def test_the_page_says_when_the_database_is_away_and_back(
    browser: Browser, service: Served, own_server: EmbeddedPostgres
) -> None:
    page = shown(browser, service)
    kill_server(own_server)
    try:
        look_again(page)
        page.wait_for(UNHEALTHY, 9)
        assert "unhealthy" in page.text()
        assert "the database can't be reached" in page.text()
        # What was last known stays, with its time.
        assert "Topics\n1,234" in page.text()
    finally:
        start_again(own_server)
    look_again(page)
    page.wait_for(HEALTHY, 9)
    assert page.errors() == []


def test_the_page_says_when_the_service_is_away(browser: Browser, own_database: Settings, tmp_path: Path) -> None:
    with served(own_database, tmp_path / "log") as service:
        page = shown(browser, service)
    page.wait_for(UNHEALTHY, 9)
    assert "the service does not answer" in page.text()
