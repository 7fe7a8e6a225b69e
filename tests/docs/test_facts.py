"""What the manual says in tables and lists is what the program knows."""

from __future__ import annotations

import re
from contextlib import closing
from pathlib import Path

import pytest

from callytics import settings as variables
from callytics.importer.convert import values
from callytics.postgres import connect
from callytics.settings import Settings
from scripts.manual import openapi
from tests.support.manual import ENGLISH, KOREAN, blocks, codes, page, rows
from tests.support.places import REPOSITORY

both = pytest.mark.parametrize("manual", [ENGLISH, KOREAN], ids=["English", "Korean"])


@both
def test_routes_are_those_of_the_api(manual: str) -> None:
    described = {
        f"{method.upper()} {path}": route
        for path, methods in openapi()["paths"].items()
        for method, route in methods.items()
    }
    listed = {code: cells for cells in rows(manual) for code in codes(cells[0]) if re.match("[A-Z]+ /", code)}
    assert {*listed} == {*described, "GET /", "GET /openapi.json"}
    filters = {parameter["name"] for parameter in described["GET /calls"]["parameters"]}
    assert {*codes(listed["GET /calls"][2]), "after", "limit", "count"} == filters


@both
def test_configuration_table_is_env_example(manual: str) -> None:
    known = {*variables.REQUIRED, *variables.OPTIONAL}
    listed = [(cells[0].strip("`"), cells[1]) for cells in rows(manual) if cells[0].strip("`") in known]
    example = (REPOSITORY / ".env.example").read_text(encoding="utf-8")
    written = re.findall(r"^#?(\w+)=", example, re.MULTILINE)
    assert [name for name, _ in listed] == [name for name in written if name in known]
    assert {name for name, default in listed if default in ("required", "필수")} == set(variables.REQUIRED)
    assert {name: default for name, default in listed if re.fullmatch(r"[\d.]+", default)} == {
        name: default for name, default in variables.OPTIONAL.items() if default
    }


@both
def test_normalisations_are_those_of_the_importer(manual: str) -> None:
    known = re.findall(r'"(\w+_to_\w+|epoch_\w+)"', Path(values.__file__).read_text(encoding="utf-8"))
    named = [code for code in codes(manual) if re.match(r"\w+_to_\w+$|epoch_", code)]
    assert sorted(named) == sorted(set(known))


@both
def test_tables_and_views_are_those_of_the_schema(manual: str, database: Settings) -> None:
    with closing(connect(database)) as connection, connection.cursor() as cursor:
        cursor.execute(
            "select relname from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'p', 'v') "
            "and not relispartition and relname !~ '^(_?yoyo|_callytics)_'"
        )
        there = {name for (name,) in cursor}
    assert {name for cells in rows(page("schema")) for name in codes(cells[0])} == there


@both
def test_layout_names_what_is_there(manual: str) -> None:
    [layout] = [block for block in blocks(manual, "text") if block.startswith("callytics/ ")]
    folder = ""
    for line in layout.splitlines():
        name = line.split()[0]
        folder = folder if line.startswith(" ") else name
        path = REPOSITORY / (folder + name if line.startswith(" ") else name)
        assert path.is_dir() if name.endswith("/") else path.is_file(), path
