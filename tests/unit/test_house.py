"""The shape of the code: short modules, imports that run one way, no circle, no private name of another module."""

from __future__ import annotations

import json
from configparser import ConfigParser

from callytics.schema.catalogue.catalogue import EXPECTED, digest
from scripts.structure import Module, circles, graph, longest_chain, modules
from tests.support.places import REPOSITORY

PRODUCT = modules("callytics", "deploy")
# The same objects: each keeps what it found in its file.
PACKAGE = {name: module for name, module in PRODUCT.items() if name.partition(".")[0] == "callytics"}
IMPORTER = {name: module for name, module in PACKAGE.items() if module.room == "callytics.importer"}
TESTS = modules("tests")
LINES, IMPORTER_LEVELS = 450, 8

EVERYBODY = {"callytics", "callytics.disk", "callytics.exceptions"}
ALLOWED = {
    "callytics": set(),
    "callytics.disk": set(),
    "callytics.exceptions": set(),
    "callytics.settings": set(),
    "callytics.postgres": {"callytics.settings"},
    "callytics.schema": {"callytics.postgres", "callytics.settings"},
    "callytics.calls": {"callytics.postgres", "callytics.settings"},
    "callytics.agents": {"callytics.postgres", "callytics.settings"},
    "callytics.trial": {"callytics.postgres", "callytics.settings"},
    # Which months the newest backup holds is told by its records.
    "callytics.archives": {"callytics.backup", "callytics.schema", "callytics.postgres", "callytics.settings"},
    "callytics.backup": {"callytics.schema", "callytics.postgres", "callytics.settings"},
    "callytics.cluster": {"callytics.postgres", "callytics.settings"},
    "callytics.status": {"callytics.schema", "callytics.postgres", "callytics.settings"},
    "callytics.importer": {"callytics.schema", "callytics.postgres", "callytics.settings"},
    # What comes back from files, and by which mappings rows came, is told by those that do it.
    "callytics.erasure": {
        "callytics.agents",
        "callytics.archives",
        "callytics.importer",
        "callytics.schema",
        "callytics.postgres",
        "callytics.settings",
    },
    # Of the importer it takes the records; test_the_report_takes_the_importers_records_alone sees to that.
    "callytics.report": {"callytics.importer", "callytics.schema", "callytics.postgres", "callytics.settings"},
}
BELOW_THE_DOORS = set(ALLOWED) - EVERYBODY
ALLOWED["callytics.api"] = BELOW_THE_DOORS - {
    "callytics.trial",
    "callytics.backup",
    "callytics.archives",
    "callytics.cluster",
    "callytics.erasure",
}
ALLOWED["callytics.cli"] = BELOW_THE_DOORS | {"callytics.api"}
"""Arrows run one way: the doors, what they open, then postgres, then settings."""

KNOWN: dict[str, set[str]] = {
    "long modules": set(),
    "circles": set(),
    "arrows": set(),
    "report above records": set(),
    "package and deployment": set(),
    "private imports": set(),
    "importer levels": set(),
}
"""Exceptions that are known and to go; one that is no longer needed fails its test too."""


def found(rule: str, exceptions: set[str]) -> None:
    """Require that a rule has exactly the exceptions that are known."""
    assert sorted(exceptions - KNOWN[rule]) == [], f"new: {rule}"
    assert sorted(KNOWN[rule] - exceptions) == [], f"no longer needed: take it from KNOWN[{rule!r}]"


def test_no_module_is_long() -> None:
    found("long modules", {name for name, module in PRODUCT.items() if module.lines > LINES})


def test_every_package_is_installed() -> None:
    """One that setup.cfg does not name works in a checkout, and is missing wherever a wheel is installed."""
    configuration = ConfigParser()
    configuration.read(REPOSITORY / "setup.cfg", encoding="utf-8")
    listed = set(configuration["options"]["packages"].split()) - {"callytics.migrations"}
    folders = {path.parent.relative_to(REPOSITORY) for path in (REPOSITORY / "callytics").rglob("*.py")}
    assert listed == {".".join(folder.parts) for folder in folders}


def test_no_import_circle() -> None:
    found("circles", {" ".join(sorted(circle)) for circle in circles(graph(PRODUCT))})


def arrows() -> set[tuple[Module, Module]]:
    """Return the imports between modules of different rooms of the package."""
    edges = graph(PACKAGE)
    pairs = {(PRODUCT[name], PRODUCT[target]) for name, targets in edges.items() for target in targets}
    return {(one, other) for one, other in pairs if one.room != other.room}


def test_arrows_run_one_way() -> None:
    wrong = {
        f"{one.name} → {other.name}"
        for one, other in arrows()
        if other.room not in ALLOWED[one.room] | EVERYBODY or (one.room in EVERYBODY and one.name != "callytics")
    }
    found("arrows", wrong)


def test_every_room_has_its_place() -> None:
    assert {module.room for module in PACKAGE.values()} - {"callytics.__main__"} == set(ALLOWED)


def test_the_report_takes_the_importers_records_alone() -> None:
    above = {
        f"{one.name} → {other.name}"
        for one, other in arrows()
        if (one.room, other.room) == ("callytics.report", "callytics.importer")
        and not other.name.startswith("callytics.importer.records")
    }
    found("report above records", above)


def test_package_and_deployment_do_not_import_each_other() -> None:
    across = {
        f"{name} → {target}"
        for name, targets in graph(PRODUCT).items()
        for target in targets
        if name.partition(".")[0] != target.partition(".")[0]
    }
    found("package and deployment", across)


def test_private_names_stay_at_home() -> None:
    found("private imports", {text for module in PRODUCT.values() for text in module.private_imports()})


def test_the_importer_is_not_deep() -> None:
    chain = longest_chain(graph(IMPORTER))
    found("importer levels", {" → ".join(chain)} if len(chain) > IMPORTER_LEVELS else set())


def test_no_test_imports_another() -> None:
    """What tests share stands in tests/support, or is a fixture of a conftest.py."""
    imported = [
        (module.name, f"{one}.{name}".split("."))
        for module in TESTS.values()
        for one, name in module.imported
        if one.startswith("tests.")
    ]
    assert [pair for pair in imported if any(part.startswith(("test_", "conftest")) for part in pair[1])] == []


def test_circles_and_levels_are_seen() -> None:
    """Otherwise nothing above would mean anything."""
    imports = {"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set(), "e": {"a"}}
    edges = {name: frozenset(targets) for name, targets in imports.items()}
    assert circles(edges) == {frozenset("bc")}
    assert longest_chain(edges) == ["e", "a", "b ↔ c", "d"]


def test_the_catalogue_is_of_these_migrations() -> None:
    written = json.loads(EXPECTED.read_text(encoding="utf-8"))["migrations"]
    assert written == digest(), "after a change of migrations: python -m scripts.catalogue --update"
