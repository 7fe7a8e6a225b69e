"""Installations that are imported already: each is imported once a file of tests, and cloned for each test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from callytics.settings import Settings
from callytics.trial.sample import write_sample
from tests.support.installation import Imported, Installation
from tests.support.servers import Databases


@pytest.fixture(scope="module")
def imported(databases: Databases, template: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Imported]:
    """The installations that tests can ask for."""
    folder = tmp_path_factory.mktemp("imported")
    samples = folder / "samples"
    write_sample(samples, generation=3, calls=6, seed=3)
    write_sample(samples / "2.sqlite", generation=2, calls=6, seed=2)
    with ExitStack() as stack:
        yield Imported(folder, template, databases, stack, {})


@pytest.fixture
def office(request: pytest.FixtureRequest, imported: Imported) -> Iterator[Installation]:
    """The audio database of generation 3, or the installation that the test asks for."""
    with imported.clone(getattr(request, "param", "audio")) as office:
        yield office
