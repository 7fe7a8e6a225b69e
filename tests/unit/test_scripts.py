"""scripts/test: what its arguments mean, with a pytest that only says what it was given."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.support.places import REPOSITORY
from tests.support.scopes import FIRST, scope_of

QUICK = ["-m", "quick or not (slow or demo or infra)", "--ignore", "tests/infra"]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout whose environment is complete and holds programs that do nothing."""
    (tmp_path / "scripts").mkdir()
    for name in ("test", "environment"):
        (tmp_path / "scripts" / name).write_bytes((REPOSITORY / "scripts" / name).read_bytes())
    (tmp_path / "setup.cfg").touch()
    programs = tmp_path / ".venv-test" / "bin"
    programs.mkdir(parents=True)
    for name in ("ruff", "sqlfluff", "mypy", "dpkg"):
        (programs / name).write_text("#!/bin/sh\n")
    (programs / "python").write_text('#!/bin/sh\n[ "$2" = pytest ] || exit 0\nfor word; do echo "<$word>"; done\n')
    for program in programs.iterdir():
        program.chmod(0o755)
    return tmp_path


def run(checkout: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the script with the checkout's programs."""
    return subprocess.run(
        ["bash", "scripts/test", *arguments],
        cwd=checkout,
        env=os.environ | {"PATH": f"{checkout / '.venv-test' / 'bin'}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )


def given_to_pytest(checkout: Path, *arguments: str) -> list[str]:
    """Run the script and return what pytest would have been started with."""
    done = run(checkout, *arguments)
    done.check_returncode()
    return [line[1:-1] for line in done.stdout.splitlines()]


def test_every_test_is_run(checkout: Path) -> None:
    assert given_to_pytest(checkout) == ["-m", "pytest", "--numprocesses", "auto"]


def test_quick_leaves_out_what_is_slow(checkout: Path) -> None:
    assert given_to_pytest(checkout, "--quick") == ["-m", "pytest", "--numprocesses", "auto", *QUICK]


@pytest.mark.parametrize("linter", ["mypy", "sqlfluff"])
def test_what_a_linter_finds_is_told_after_the_quick_tests_and_is_no_success(checkout: Path, linter: str) -> None:
    (checkout / ".venv-test/bin" / linter).write_text(f"#!/bin/sh\necho {linter} has found it\nexit 1\n")
    done = run(checkout, "--quick")
    assert done.returncode == 1
    assert done.stdout.startswith("<-m>\n<pytest>\n")
    assert done.stdout.endswith(f"\n{linter} has found it\n")
    assert done.stderr == "The linters have failed: see above.\n"
    assert run(checkout).stdout == f"{linter} has found it\n"


def test_tests_that_fail_fail_whatever_the_linters_say(checkout: Path) -> None:
    (checkout / ".venv-test/bin/python").write_text('#!/bin/sh\n[ "$2" = pytest ] && exit 5 || exit 0\n')
    assert [run(checkout, *arguments).returncode for arguments in ([], ["--quick"])] == [5, 5]


def test_quick_lints_the_sql_that_is_not_committed(checkout: Path) -> None:
    """Changed or new; what was deleted can't be linted."""
    git = ["git", "-c", "user.name=c", "-c", "user.email=c@c", "-C", str(checkout)]
    (checkout / ".gitignore").write_text(".venv-test\n")
    for name in ("kept", "changed", "deleted"):
        (checkout / f"{name}.sql").write_text("select 1;\n")
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "first"]):
        subprocess.run([*git, *command], check=True)
    (checkout / "changed.sql").write_text("select 2;\n")
    (checkout / "deleted.sql").unlink()
    (checkout / "new.sql").write_text("select 3;\n")
    (checkout / ".venv-test/bin/sqlfluff").write_text(f'#!/bin/sh\necho "$@" >{checkout}/linted\n')
    linted = []
    for arguments in (["--quick"], []):
        given_to_pytest(checkout, *arguments)
        linted.append((checkout / "linted").read_text().split()[2:])
    assert linted == [[".ci", "changed.sql", "new.sql"], ["."]]


@pytest.mark.parametrize("linter", ["ruff", "sqlfluff", "mypy"])
def test_what_a_linter_finds_ends_it_before_any_test(checkout: Path, linter: str) -> None:
    (checkout / ".venv-test" / "bin" / linter).write_text("#!/bin/sh\nexit 1\n")
    with pytest.raises(subprocess.CalledProcessError) as ended:
        given_to_pytest(checkout)
    assert "<pytest>" not in ended.value.stdout


@pytest.mark.parametrize("quick", [[], ["--quick"]])
def test_other_arguments_go_to_pytest_as_they_are(quick: list[str], checkout: Path) -> None:
    arguments = ["-n", "0", "-k", "one or two", "tests/unit"]
    assert given_to_pytest(checkout, *quick, *arguments)[-len(arguments) :] == arguments


def test_help_says_what_there_is_and_runs_nothing(checkout: Path) -> None:
    done = subprocess.run(["bash", "scripts/test", "--help"], cwd=checkout, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("Usage: scripts/test [--quick]")
    assert "<pytest>" not in done.stdout


def test_files_that_ask_for_the_same_hosts_are_run_by_one_process() -> None:
    """Each of the others has its own turn, so that hosts of several tests are up side by side."""
    files = [str(path.relative_to(REPOSITORY)) for path in (REPOSITORY / "tests").rglob("test_*.py")]
    scopes = {file: scope_of(f"{file}::test") for file in files}
    assert scopes["tests/infra/test_backup.py"] == scopes["tests/infra/test_monitoring.py"] == "alone"
    # It asks for both.
    assert scopes["tests/infra/test_access.py"] == "apart"
    assert scopes["tests/infra/test_upgrade.py"] == "tests/infra/test_upgrade.py"
    assert set(FIRST) <= set(scopes.values())
