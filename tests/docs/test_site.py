"""The manual as a site: it builds, needs no other host, answers first what people ask first, and is searched."""

from __future__ import annotations

import functools
import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from tests.support.browser import Browser, Page
from tests.support.needs import lacking
from tests.support.places import REPOSITORY

pytestmark = pytest.mark.slow

SITES = {"en": ("mkdocs.yml", "."), "ko": ("mkdocs.ko.yml", "ko")}
languages = pytest.mark.parametrize("language", SITES)
ROWS = "main table:first-of-type tbody tr"


class Quiet(SimpleHTTPRequestHandler):
    """Serves files without a line of log for each."""

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both languages as scripts/docs builds them; a link to nowhere or a page that is not listed is an error."""
    if not importlib.util.find_spec("material"):
        lacking("mkdocs-material is not installed: pip install -e '.[docs]'")
    folder = tmp_path_factory.mktemp("site")
    for configuration, place in SITES.values():
        build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", configuration, "--site-dir"]
        built = subprocess.run(
            [*build, folder / place],
            cwd=REPOSITORY,
            env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
            capture_output=True,
            text=True,
        )
        assert built.returncode == 0, built.stderr
    return folder


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=site)) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@languages
def test_pages_need_no_other_host(site: Path, language: str) -> None:
    page = (site / SITES[language][1] / "index.html").read_text(encoding="utf-8")
    assert not re.findall(r'(?:src|href)="https?://(?!squidfunk)[^"]*\.(?:js|css|woff2?)', page)


@languages
def test_what_people_ask_first_is_answered_on_the_first_screen(browser: Browser, address: str, language: str) -> None:
    """Data, going back, downtime, server, backup, upgrade, uninstalling, platform: none needs scrolling."""
    page = browser.open(f"{address}/{SITES[language][1]}/", width=1200, height=800)
    rows = page.evaluate(f"[...document.querySelectorAll('{ROWS}')].map((row) => row.getBoundingClientRect().bottom)")
    assert rows[0] < rows[7] <= 800
    assert page.evaluate("document.querySelectorAll('main table')[0].rows.length") == 9
    assert page.errors() == []
    assert {request.split("/")[2] for request in page.requests()} == {address.removeprefix("http://")}


@languages
@pytest.mark.parametrize("width", [390, 1200])
def test_pages_fit_a_window(browser: Browser, address: str, language: str, width: int) -> None:
    for name in ("", "quickstart/", "values/", "troubleshooting/", "operations/", "architecture/"):
        page = browser.open(f"{address}/{SITES[language][1]}/{name}", width=width)
        assert page.overflowing() == [], name


def found(page: Page, words: str) -> str:
    """Return what the site's search shows for words, its answer awaited."""
    page.evaluate("document.querySelector('[data-md-toggle=search]').click()")
    page.fill(".md-search__input", words)
    page.evaluate("document.querySelector('.md-search__input').dispatchEvent(new Event('keyup', {bubbles: true}))")
    page.wait_for("/[0-9]|없습니다|No match/.test(document.querySelector('.md-search-result__meta').innerText)")
    text: str = page.evaluate("document.querySelector('.md-search-result').innerText")
    return text


@pytest.mark.parametrize(
    ("words", "section"),
    [
        ("상담사", "상담사와 로그인"),
        # What Korean appends to a word, in the question, on the page or on both.
        ("상담사가", "상담사와 로그인"),
        ("되돌리기를", "되돌리기"),
        ("업그레이드하려면", "PostgreSQL 메이저 버전 업그레이드"),
        ("거부된 행의 사유", "거부된 행과 미매핑 행"),
        ("파티션을", "파티션"),
        # In the middle of a sentence, behind punctuation or before what is appended to a name.
        ("캐리지", "비밀번호"),
        ("사전이", "검색"),
        ("pg_dump", "백업과 복원"),
        ("SIGTERM을", "제한과 동작"),
    ],
)
def test_korean_is_found_whatever_is_appended_to_it(browser: Browser, address: str, words: str, section: str) -> None:
    assert section in found(browser.open(f"{address}/ko/", width=1300), words)


def test_search_says_where_nothing_is_found(browser: Browser, address: str) -> None:
    assert "없습니다" in found(browser.open(f"{address}/ko/", width=1300), "흐렁미뷁")


def test_english_is_found(browser: Browser, address: str) -> None:
    assert "Upgrade provisioned hosts" in found(browser.open(f"{address}/", width=1300), "upgrade")
