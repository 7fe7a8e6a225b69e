"""Hosts for all tests of a scope: booting is quick, provisioning is not, so that many modules ask the same few.

A test that changes a host puts it right again, which is what it tests.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from testinfra.host import Host

from tests.infra.deployment import Deployment
from tests.infra.lab import Lab, LabHost, lacks
from tests.infra.stock import stock
from tests.support.needs import lacking
from tests.support.places import REPOSITORY
from tests.support.scopes import scope_of

HOSTS = {"alone": ("alone", "alone"), "apart": ("database", "application")}
KEPT: pytest.StashKey[Hosts] = pytest.StashKey()
SCOPE: pytest.StashKey[str] = pytest.StashKey()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("infra")


class Hosts:
    """What the tests of a scope share: their hosts, and the installations on these."""

    def __init__(self, lab: Lab, executor: ThreadPoolExecutor, folders: pytest.TempPathFactory) -> None:
        self.lab = lab
        self.viewed: dict[str, Host] = {}
        self._executor, self._folders = executor, folders
        self._deployments: dict[str, Future[Deployment]] = {}

    def deployment(self, name: str, wanted: Iterable[str]) -> Deployment:
        """Return an installation; all that the scope wants are provisioned side by side: most of it is waiting."""
        for each in {name, *wanted} - self._deployments.keys():
            folder = self._folders.mktemp(each)
            self._deployments[each] = self._executor.submit(provision, self.lab, folder, HOSTS[each])
        return self._deployments[name].result()

    def leave(self) -> None:
        """Take all hosts down: those that nobody asks any more would take their share of the processors."""
        self._deployments.clear()
        self.viewed.clear()
        self.lab.down()


def provision(lab: Lab, folder: Path, hosts: tuple[str, str]) -> Deployment:
    """Boot an installation's hosts and run the one command."""
    deployment = Deployment.prepare(folder, *map(lab.host, hosts))
    deployment.first_run = deployment.run()
    return deployment


@pytest.fixture(scope="session")
def _hosts(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    """Hosts of this process's own."""
    if reason := lacks():
        lacking(reason)
    if not (REPOSITORY / ".git").exists():
        lacking("what is deployed is what git lists, and the tests do not run in a git checkout")
    with Lab(f"tests{os.getpid()}", in_memory=True, stock=stock()) as lab, ThreadPoolExecutor() as executor:
        yield pytestconfig.stash.setdefault(KEPT, Hosts(lab, executor, tmp_path_factory))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    item.config.stash[SCOPE] = scope_of(item.nodeid)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    """Leave the hosts after the last test of their scope."""
    yield
    scopes = {scope_of(each.nodeid) for each in (item, nextitem) if each}
    if KEPT in item.config.stash and (nextitem is None or len(scopes) > 1):
        item.config.stash[KEPT].leave()


@pytest.fixture(scope="session")
def lab(_hosts: Hosts) -> Lab:
    """A lab of this process's own."""
    return _hosts.lab


@pytest.fixture(scope="session")
def testinfra_of(_hosts: Hosts) -> Callable[[LabHost], Host]:
    """A way to ask a host, as testinfra does."""

    def ask(host: LabHost) -> Host:
        if host.name not in _hosts.viewed:
            _hosts.viewed[host.name] = _hosts.lab.testinfra(host)
        return _hosts.viewed[host.name]

    return ask


@pytest.fixture(scope="module")
def alone(_hosts: Hosts, request: pytest.FixtureRequest) -> Deployment:
    """Database and application on one host."""
    return _hosts.deployment("alone", wanted(request))


@pytest.fixture(scope="module")
def apart(_hosts: Hosts, request: pytest.FixtureRequest) -> Deployment:
    """Database and application on two hosts, with the lab's bridge between them."""
    return _hosts.deployment("apart", wanted(request))


def wanted(request: pytest.FixtureRequest) -> set[str]:
    """Return the installations that this scope's tests ask for."""
    scope = request.config.stash[SCOPE]
    return {
        name
        for item in request.session.items
        if scope_of(item.nodeid) == scope
        for name in getattr(item, "fixturenames", ())
        if name in HOSTS
    }
