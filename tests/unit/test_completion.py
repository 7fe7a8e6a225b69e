"""A shell completes the commands."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from callytics.cli import cli
from callytics.cli.completion import SHELLS
from tests.support.needs import lacking

PROGRAM = Path(sys.executable).with_name("callytics")


@pytest.mark.parametrize(
    ("shell", "registers"),
    [
        ("bash", "complete -o nosort -F _callytics_completion callytics"),
        ("zsh", "compdef _callytics_completion callytics"),
        ("fish", "complete --no-files --command callytics"),
    ],
)
def test_script_asks_the_program(shell: str, registers: str) -> None:
    done = CliRunner().invoke(cli, ["completion", shell])
    assert done.exit_code == 0
    assert registers in done.stdout
    assert f"_CALLYTICS_COMPLETE={shell}_complete" in done.stdout


def test_every_shell_is_tested() -> None:
    assert SHELLS == ("bash", "zsh", "fish")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("callytics imp", ["import"]),
        ("callytics completion ", ["bash", "zsh", "fish"]),
        ("callytics sample --gen", ["--generation"]),
    ],
)
def test_bash_completes(line: str, expected: list[str]) -> None:
    """Bash itself evaluates the script and calls the function that it registers, as it does at Tab."""
    if not shutil.which("bash") or not PROGRAM.exists():
        lacking("bash and an installed callytics are needed")
    words = line.split(" ")
    script = (
        f'PATH="{PROGRAM.parent}:$PATH"; eval "$(callytics completion bash)"\n'
        f"COMP_WORDS=({shlex.join(words)}); COMP_CWORD={len(words) - 1}\n"
        '_callytics_completion callytics; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(["bash", "-euc", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == expected
