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

from tests.infra.deployment import Deployment
from tests.infra.lab import Lab, LabHost, lacks
from tests.support.needs import lacking
from tests.support.places import REPOSITORY

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
    if not (REPOSITORY / ".git").exists():
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
def _deployments(
    lab: Lab, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[dict[str, Future[Deployment]]]:
    """Those that this test run asks for, provisioned side by side: most of it is waiting."""
    wanted = {name for item in request.session.items for name in getattr(item, "fixturenames", ())}
    with ThreadPoolExecutor() as executor:
        yield {
            name: executor.submit(provision, lab, tmp_path_factory.mktemp(name), hosts)
            for name, hosts in HOSTS.items()
            if name in wanted
        }


def provision(lab: Lab, folder: Path, hosts: tuple[str, str]) -> Deployment:
    """Boot an installation's hosts and run the one command."""
    deployment = Deployment.prepare(folder, *map(lab.host, hosts))
    deployment.first_run = deployment.run()
    return deployment


@pytest.fixture(scope="session")
def alone(_deployments: dict[str, Future[Deployment]]) -> Deployment:
    """Database and application on one host."""
    return _deployments["alone"].result()


@pytest.fixture(scope="session")
def apart(_deployments: dict[str, Future[Deployment]]) -> Deployment:
    """Database and application on two hosts, with the lab's bridge between them."""
    return _deployments["apart"].result()
