"""Hosts for a whole test run: booting is quick, provisioning is not, so that every module asks the same few.

A test that changes a host puts it right again, which is what it tests.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from testinfra.host import Host

from tests.conftest import lacking
from tests.infra.installation import CHECKOUT, Installation
from tests.infra.lab import Lab, LabHost, lacks

HOSTS = {"alone": ("alone", "alone"), "apart": ("database", "application")}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("infra")


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """A lab of this test run's own."""
    if reason := lacks():
        lacking(reason)
    if not (CHECKOUT / ".git").exists():
        lacking("what is deployed is what git lists, and the tests do not run in a git checkout")
    with Lab(f"tests{os.getpid()}", in_memory=True) as lab:
        yield lab


@pytest.fixture(scope="session")
def testinfra_of(lab: Lab) -> Callable[[LabHost], Host]:
    """A way to ask a host, as testinfra does."""
    hosts: dict[str, Host] = {}

    def ask(host: LabHost) -> Host:
        if host.name not in hosts:
            hosts[host.name] = lab.testinfra(host)
        return hosts[host.name]

    return ask


@pytest.fixture(scope="session")
def _installations(
    lab: Lab, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[dict[str, Future[Installation]]]:
    """Those that this test run asks for, provisioned side by side: most of it is waiting."""
    wanted = {name for item in request.session.items for name in getattr(item, "fixturenames", ())}
    with ThreadPoolExecutor() as executor:
        yield {
            name: executor.submit(provision, lab, tmp_path_factory.mktemp(name), hosts)
            for name, hosts in HOSTS.items()
            if name in wanted
        }


def provision(lab: Lab, folder: Path, hosts: tuple[str, str]) -> Installation:
    """Boot an installation's hosts and run the one command."""
    installation = Installation.prepare(folder, *map(lab.host, hosts))
    installation.first_run = installation.run()
    return installation


@pytest.fixture(scope="session")
def alone(_installations: dict[str, Future[Installation]]) -> Installation:
    """Database and application on one host."""
    return _installations["alone"].result()


@pytest.fixture(scope="session")
def apart(_installations: dict[str, Future[Installation]]) -> Installation:
    """Database and application on two hosts, with the lab's bridge between them."""
    return _installations["apart"].result()
