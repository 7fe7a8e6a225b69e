"""The READMEs are true: their commands are run, and what they show is compared with the program."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from callytics import settings as variables
from callytics.api import create_app
from callytics.cli import cli
from callytics.exceptions import CallyticsError, Interrupted
from callytics.importer.convert import values
from callytics.importer.import_ import EXIT_CODES, Options, import_files
from callytics.postgres import connect
from callytics.report import verdict
from callytics.schema.migrate import migrations_folder
from callytics.settings import ServiceSettings, Settings
from callytics.trial.sample import write_sample
from tests.support.commands import environment
from tests.support.needs import lacking
from tests.support.places import REPOSITORY

ENGLISH = (REPOSITORY / "README.md").read_text(encoding="utf-8")
KOREAN = (REPOSITORY / "README.ko.md").read_text(encoding="utf-8")
both = pytest.mark.parametrize("readme", [ENGLISH, KOREAN], ids=["English", "Korean"])

KEY = "0123456789abcdef0123456789abcdef"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(readme: str, kind: str) -> list[str]:
    return [text for found, text in BLOCK.findall(readme) if found == kind]


def console(readme: str) -> Iterator[tuple[str, str]]:
    """Yield every command of the console blocks with the output that is shown."""
    for block in blocks(readme, "console"):
        for entry in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = entry.partition("\n")
            yield command, output.strip("\n")


def section(title: str) -> str:
    """Return a section of the English README."""
    return ENGLISH.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def rows(text: str) -> list[list[str]]:
    """Return the cells of every table's rows, the heads left out."""
    lines = re.findall(r"^\| (.*) \|$", re.sub(r"^\|.*\n\|---.*\n", "", text, flags=re.MULTILINE), re.MULTILINE)
    return [[cell.strip() for cell in line.split("|")] for line in lines]


def codes(text: str) -> list[str]:
    """Return what stands between backticks, code blocks left out."""
    return re.findall(r"`([^`\n]+)`", BLOCK.sub("", text))


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments, prog_name="callytics", terminal_width=78)


def shown(pattern: str, output: str) -> bool:
    """Tell whether an output is what is shown: … stands for the rest of a line, or for any lines."""
    lines = (
        r"(?:.*\n)*" if line == "…" else re.escape(line).replace("…", ".*") + "\n" for line in pattern.splitlines()
    )
    return bool(re.fullmatch("".join(lines), output.strip("\n") + "\n"))


# ---- commands


def every_command(command: click.Command, *path: str) -> Iterator[tuple[str, ...]]:
    yield path
    if isinstance(command, click.Group):
        for name, child in command.commands.items():
            yield from every_command(child, *path, name)


@both
def test_help_of_every_command_is_what_the_program_prints(readme: str) -> None:
    helps = {command: output for command, output in console(readme) if command.endswith("--help")}
    assert helps == {
        " ".join(["callytics", *path, "--help"]): run(*path, "--help").output.strip("\n") for path in every_command(cli)
    }


@both
def test_command_lines_are_understood(readme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names, options and values are parsed; nothing is done."""
    monkeypatch.setattr(click.Command, "invoke", lambda command, context: None)
    fenced = "".join(text for _, text in BLOCK.findall(readme))
    lines = re.findall(r"^(?:\$ )?callytics (.+)$", fenced, re.MULTILINE)
    assert len(lines) > 20
    assert [line for line in lines if run(*line.split()).exit_code] == []


@both
def test_exit_codes_are_those_of_the_program(readme: str) -> None:
    listed = {int(cells[0]) for cells in rows(readme) if cells[0].isdecimal()}
    assert listed == {*EXIT_CODES.values(), CallyticsError.exit_code, click.UsageError.exit_code, Interrupted.exit_code}


# ---- quick start


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder of its own in which yoyo finds the migrations."""
    for name in ("yoyo.ini", "migrations"):
        (tmp_path / name).symlink_to(REPOSITORY / name)
    return tmp_path


def with_programs() -> dict[str, str]:
    """Return the variables with which a shell finds the programs of the package."""
    programs = str(Path(sys.executable).parent)
    if not (shutil.which("callytics", path=programs) and shutil.which("yoyo", path=programs)):
        lacking("the package is not installed: pip install -e .")
    return {"PATH": f"{programs}:{os.environ['PATH']}", "LANG": "C.UTF-8"}


def test_quick_start_prints_what_is_shown(empty_database: Settings, checkout: Path) -> None:
    """Only the demonstration is left to test_demo.py, and what yoyo reports goes to stderr."""
    env = with_programs() | environment(empty_database)
    for command, output in console(section("Quick start")):
        if command != "scripts/demo":
            done = subprocess.run(["sh", "-c", command], cwd=checkout, env=env, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
            assert shown(output, done.stdout or done.stderr), f"{command}\n{done.stdout}{done.stderr}"
    [statement] = blocks(section("Quick start"), "sql")
    with closing(connect(empty_database)) as connection, connection.cursor() as cursor:
        cursor.execute(statement)
        assert cursor.fetchone() == (int(statement.split("-- ")[1]),)


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


# ---- application


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
    source = with_results_checked("\n".join(blocks(section("Application"), "python")))
    assert source.count("assert ") == 8
    exec(source, {"__name__": "readme"})


@both
def test_routes_are_those_of_the_api(readme: str, database: Settings) -> None:
    service = ServiceSettings.load(environment(database) | {"JWT_SECRET_KEY": KEY}, env_file=None)
    described = {
        f"{method.upper()} {path}": route
        for path, methods in create_app(database, service).openapi()["paths"].items()
        for method, route in methods.items()
    }
    listed = {code: cells for cells in rows(readme) for code in codes(cells[0]) if re.match("[A-Z]+ /", code)}
    assert {*listed} == {*described, "GET /", "GET /openapi.json"}
    filters = {parameter["name"] for parameter in described["GET /calls"]["parameters"]}
    assert {*codes(listed["GET /calls"][2]), "after", "limit"} == filters


# ---- what is said


def test_both_readmes_have_the_same_sections_and_code() -> None:
    headings = [re.findall(r"^(#+) ", BLOCK.sub("", readme), re.MULTILINE) for readme in (ENGLISH, KOREAN)]
    assert headings[0] == headings[1]
    assert set(codes(ENGLISH)) == set(codes(KOREAN))


@pytest.mark.parametrize("kind", ["console", "sql", "sh", "python", "json", "log", "text"])
def test_both_readmes_have_the_same_blocks(kind: str) -> None:
    """What explains a path or a command may be in another language."""
    explained = re.compile(r"(?<=\S)  +\S.*$" if kind == "text" else r"(?:^| +)# (?!callytics ).*$", re.MULTILINE)
    assert [explained.sub("", one) for one in blocks(ENGLISH, kind)] == [
        explained.sub("", one) for one in blocks(KOREAN, kind)
    ]


@both
def test_configuration_table_is_env_example(readme: str) -> None:
    known = {*variables.REQUIRED, *variables.OPTIONAL}
    listed = [(cells[0].strip("`"), cells[1]) for cells in rows(readme) if cells[0].strip("`") in known]
    example = (REPOSITORY / ".env.example").read_text(encoding="utf-8")
    written = re.findall(r"^#?(\w+)=", example, re.MULTILINE)
    assert [name for name, _ in listed] == [name for name in written if name in known]
    assert {name for name, default in listed if default in ("required", "필수")} == set(variables.REQUIRED)
    assert {name: default for name, default in listed if re.fullmatch(r"[\d.]+", default)} == {
        name: default for name, default in variables.OPTIONAL.items() if default
    }


def test_normalisations_are_those_of_the_importer() -> None:
    known = re.findall(r'"(\w+_to_\w+|epoch_\w+)"', Path(values.__file__).read_text(encoding="utf-8"))
    named = [code for code in codes(section("What becomes of values")) if re.match(r"\w+_to_\w+$|epoch_", code)]
    assert sorted(named) == sorted(set(known))


def test_sql_runs(database: Settings) -> None:
    with closing(connect(database, owner=True)) as connection, connection.cursor() as cursor:
        for statement in blocks(ENGLISH, "sql"):
            cursor.execute(statement)


def test_tables_and_views_are_those_of_the_schema(database: Settings) -> None:
    with closing(connect(database)) as connection, connection.cursor() as cursor:
        cursor.execute(
            "select relname from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'p', 'v') "
            "and not relispartition and relname !~ '^(_?yoyo|_callytics)_'"
        )
        there = {name for (name,) in cursor}
    assert {name for cells in rows(section("Schema")) for name in codes(cells[0])} == there


@both
def test_layout_names_what_is_there(readme: str) -> None:
    [layout] = blocks(readme, "text")
    folder = ""
    for line in layout.splitlines():
        name = line.split()[0]
        folder = folder if line.startswith(" ") else name
        path = REPOSITORY / (folder + name if line.startswith(" ") else name)
        assert path.is_dir() if name.endswith("/") else path.is_file(), path
