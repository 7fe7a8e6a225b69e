"""What README and the manual show is run, and prints what is shown."""

from __future__ import annotations

import ast
import re
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner

from callytics.cli import cli
from callytics.cli.terminal.outcomes import verdict
from callytics.importer import Options, import_files
from callytics.postgres import connect
from callytics.schema.versions import migrations_folder
from callytics.settings import Settings
from callytics.trial.sample import write_sample
from tests.support.commands import environment, with_programs
from tests.support.manual import ENGLISH, ENGLISH_PAGES, blocks, console, page, text_of
from tests.support.terminal import follow

pytestmark = pytest.mark.slow

KEY = "0123456789abcdef0123456789abcdef"


@pytest.mark.slow
def test_five_commands_of_the_readme_print_what_is_shown(empty_database: Settings, checkout: Path) -> None:
    """All but the first, which installs, on a file of the quick start; the demonstration is test_demo.py's."""
    write_sample(checkout / "Callytics_new.sqlite", generation=2, calls=100, seed=1)
    commands = [
        (command, output) for command, output in console(text_of(ENGLISH_PAGES[0])) if command != "scripts/demo"
    ]
    assert [command.split()[0] for command, _ in commands] == ["pip", *4 * ["callytics"]]
    follow(commands[1:], checkout, with_programs() | environment(empty_database))


@pytest.mark.slow
def test_quick_start_prints_what_is_shown(empty_database: Settings, checkout: Path) -> None:
    follow(console(page("quickstart")), checkout, with_programs() | environment(empty_database))
    [statement] = blocks(page("quickstart"), "sql")
    with closing(connect(empty_database)) as connection, connection.cursor() as cursor:
        cursor.execute(statement)
        assert cursor.fetchone() == (int(statement.split("-- ")[1]),)


@pytest.mark.slow
def test_demonstration_shows_the_counts_of_its_samples(database: Settings, tmp_path: Path) -> None:
    shown_output = dict(console(ENGLISH))["scripts/demo"]
    verdicts = []
    for generation in (1, 2, 3):
        out = tmp_path / f"generation-{generation}"
        counts = write_sample(out, generation=generation, calls=200, seed=1)
        files = sorted(out.iterdir()) if out.is_dir() else [out]
        outcome = import_files(database, files, Options(tmp_path / "snapshots"), lambda what, done, total: None)
        verdicts.append(verdict(outcome))
        if generation == 1:
            assert re.findall(r"^ +([\d,]+) (\w+)$", shown_output, re.MULTILINE) == [
                (f"{count:,}", table) for table, count in counts.items()
            ]
    assert re.findall(r"^Verified: .*", shown_output, re.MULTILINE) == verdicts
    migrations = [path for path in migrations_folder().glob("*.sql") if not path.name.endswith(".rollback.sql")]
    assert f"\n{len(migrations)} migrations applied\n" in shown_output


def with_results_checked(source: str) -> str:
    """Return Python whose lines check the value that stands behind them as a comment."""

    def check(line: re.Match[str]) -> str:
        indentation, expression, value = line.groups()
        try:
            ast.literal_eval(value)
        except (SyntaxError, ValueError):
            return line[0]
        return f"{indentation}assert ({expression}) == {value}"

    return re.sub(r"^( *)(\S.*\S)  # (.+)$", check, source, flags=re.MULTILINE)


def test_application_examples_give_what_is_shown(database: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """They run one after the other, with the agent that the page on `agent` adds."""
    for name, value in environment(database).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("JWT_SECRET_KEY", KEY)
    [command] = [command for command, _ in console(ENGLISH) if command.startswith("callytics agent add minsu ")]
    [password] = re.findall(r'login\("minsu", "(.+?)"\)', ENGLISH)
    added = CliRunner().invoke(cli, command.split()[1:], input=f"{password}\n")
    assert added.exit_code == 0, added.output
    source = with_results_checked("\n".join(blocks(page("application"), "python")))
    assert source.count("assert ") == 8
    exec(source, {"__name__": "readme"})


def test_sql_runs(database: Settings) -> None:
    with closing(connect(database, owner=True)) as connection, connection.cursor() as cursor:
        for statement in blocks(ENGLISH, "sql"):
            cursor.execute(statement)
