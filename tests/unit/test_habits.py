"""What those who carry on lean on: the forge's forms, the hooks before a commit, the figures of the house."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from callytics import __version__
from tests.support.places import REPOSITORY

FORGE = REPOSITORY / ".github"
HOOKS = yaml.safe_load((REPOSITORY / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"][0]["hooks"]
SCHEMAS = {
    "workflows/test.yml": "vendor.github-workflows",
    "ISSUE_TEMPLATE/bug.yml": "vendor.github-issue-forms",
    "ISSUE_TEMPLATE/change.yml": "vendor.github-issue-forms",
    "ISSUE_TEMPLATE/config.yml": "vendor.github-issue-config",
}


def test_every_file_of_the_forge_has_a_schema() -> None:
    assert {str(path.relative_to(FORGE)) for path in FORGE.rglob("*.yml")} == set(SCHEMAS)


@pytest.mark.parametrize(("name", "schema"), SCHEMAS.items())
def test_forge_understands(name: str, schema: str) -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, FORGE / name]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_workflow_runs_what_there_is() -> None:
    steps = yaml.safe_load((FORGE / "workflows/test.yml").read_text(encoding="utf-8"))["jobs"]["test"]["steps"]
    command = steps[-1]["run"].rpartition(" ")[2]
    assert (REPOSITORY / command).stat().st_mode & 0o111


@pytest.mark.parametrize("hook", HOOKS, ids=lambda hook: str(hook["id"]))
def test_hook_is_there(hook: dict[str, str]) -> None:
    """A hook runs the tool of the test environment, as scripts/test does."""
    folder, program, *_ = re.split(r"/bin/| ", hook["entry"])
    assert folder == ".venv-test"
    assert Path(sys.executable).with_name(program).exists()
    assert re.search(rf"^ *{program}\b", (REPOSITORY / "scripts/test").read_text(encoding="utf-8"), re.MULTILINE)


def releases() -> Iterator[tuple[str, str]]:
    text = (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8")
    yield from re.findall(r"^## (\d+\.\d+\.\d+) · (\d{4}-\d\d-\d\d)$", text, re.MULTILINE)


def test_newest_release_is_the_version() -> None:
    assert next(releases())[0] == __version__


@pytest.mark.slow
def test_house_tells_its_figures() -> None:
    done = subprocess.run([sys.executable, REPOSITORY / "scripts/house"], capture_output=True, text=True, check=True)
    told = dict(re.findall(r"^([^:]+): +(.+)$", done.stdout, re.MULTILINE))
    assert {"names a folder", "import levels of the importer", "import circles", "function bodies"} <= set(told)
    assert told["lines of README.md"] == str(len((REPOSITORY / "README.md").read_text(encoding="utf-8").splitlines()))


def test_house_refuses_what_is_no_checkout(tmp_path: Path) -> None:
    command = [sys.executable, REPOSITORY / "scripts/house", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.endswith(f"error: {tmp_path} is not a checkout of Callytics\n")
