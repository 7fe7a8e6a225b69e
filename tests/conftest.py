"""A real PostgreSQL, fresh for each test: one template migrated by the real migrations, cloned per test."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import sqlparse

from callytics.settings import Settings
from callytics.trial.embedded import EmbeddedPostgres
from tests.support.browser import Browser
from tests.support.needs import lacking
from tests.support.places import REPOSITORY
from tests.support.scopes import scope_of, turn_of
from tests.support.servers import Databases, migrated, private_server

INFRA = Path(__file__).parent / "infra"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Have two more than there are processors: a test often waits for a host, a server or a program."""
    return (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1) + 2


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Keep a file's tests in one process, and those that ask for the same hosts: what fixtures make is expensive.

    xdist's own groups are of no use with pytest 9.2, which does not let it rename tests.
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return scope_of(nodeid)

    # xdist would begin with the files that have the most tests, which are not those that take the longest.
    config.option.loadscopereorder = False
    return ByFile(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes the longest, so that no process is left alone with it in the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: (INFRA not in item.path.parents, turn_of(scope_of(item.nodeid)), item.path not in slow))


@pytest.fixture(autouse=True)
def _no_environment_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the settings of whoever runs the tests out of them."""
    for variable in list(os.environ):
        if variable.startswith(("POSTGRES_", "PG")) or variable == "DATABASE_URL":
            monkeypatch.delenv(variable)


@pytest.fixture(scope="session", autouse=True)
def _split_once() -> Iterator[None]:
    """Split each migration into its statements once: yoyo has all of them split with each look, for 0.4 seconds."""
    split = cache(sqlparse.split)
    with pytest.MonkeyPatch.context() as patched:
        # yoyo changes the list that it is given.
        patched.setattr(sqlparse, "split", lambda text: list(split(text)))
        yield


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """A private PostgreSQL with the roles callytics_owner and callytics_user."""
    with private_server(tmp_path_factory.mktemp("server")) as embedded:
        yield embedded


@pytest.fixture(scope="session")
def databases(server: EmbeddedPostgres) -> Databases:
    """The databases of that server."""
    return Databases(server)


@pytest.fixture(scope="session")
def template(server: EmbeddedPostgres) -> Settings:
    """A database migrated by the real migrations; connect to clones of it, not to it."""
    return migrated(server, "template_callytics")


@pytest.fixture
def database(databases: Databases, template: Settings) -> Iterator[Settings]:
    """A fresh clone of the template: owned by callytics_owner, callytics_user is the application's role."""
    with databases.clone(template) as settings:
        yield settings


@pytest.fixture(scope="module")
def shared_database(databases: Databases, template: Settings) -> Iterator[Settings]:
    """One clone for all tests of a file: each leaves it as it is, or begins by deleting what the one before left."""
    with databases.clone(template) as settings:
        yield settings


@pytest.fixture(scope="module")
def bare_database(databases: Databases) -> Iterator[Settings]:
    """One database without any migration applied for all tests of a file that leave it as it is."""
    with databases.empty() as settings:
        yield settings


@pytest.fixture
def empty_database(databases: Databases) -> Iterator[Settings]:
    """A database without any migration applied, owned by callytics_owner."""
    with databases.empty() as settings:
        yield settings


@pytest.fixture
def checkout() -> Iterator[Path]:
    """A folder of its own in which yoyo finds the migrations, whose path leaves a line room for a file's name."""
    with tempfile.TemporaryDirectory(prefix="checkout-") as folder:
        for name in ("yoyo.ini", "migrations"):
            (Path(folder) / name).symlink_to(REPOSITORY / name)
        yield Path(folder)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A browser for all tests that look at pages."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        lacking("no Chromium: install Debian's package chromium")
    with Browser(program) as started:
        yield started
