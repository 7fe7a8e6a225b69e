"""The application in this process, and servers to mistreat it with."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from callytics.agents.accounts import Grant
from callytics.settings import Settings
from callytics.trial.embedded import EmbeddedPostgres
from tests.support.agents import KIM, PASSWORD, accounts_of, agents_of
from tests.support.application import Api, api_with_agents
from tests.support.servers import Databases, migrated, private_server, start_again


@pytest.fixture(scope="module")
def api(databases: Databases, template: Settings) -> Iterator[Api]:
    """The application, shared by a module's tests: none counts on what it finds there."""
    with databases.clone(template) as settings, api_with_agents(settings) as api:
        yield api


@pytest.fixture
def own_api(database: Settings) -> Iterator[Api]:
    """The application, on a database of the test's own."""
    with api_with_agents(database) as api:
        yield api


@pytest.fixture(scope="module")
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """A server of this module's own, to be stopped and killed."""
    with private_server(tmp_path_factory.mktemp("own")) as embedded:
        yield embedded


@pytest.fixture(scope="module")
def own_database(own_server: EmbeddedPostgres) -> Settings:
    """A migrated database on it."""
    return migrated(own_server, "callytics")


@pytest.fixture(scope="module")
def administrator(own_database: Settings) -> str:
    """The name of an agent in it who may do everything."""
    with agents_of(own_database, empty=False) as auth:
        accounts_of(auth).add_agent("kim", PASSWORD, KIM, [Grant("admin", "admin")])
    return "kim"


@pytest.fixture
def running(own_server: EmbeddedPostgres) -> Iterator[EmbeddedPostgres]:
    """The module's server, which runs again afterwards whatever the test did to it."""
    yield own_server
    start_again(own_server)
