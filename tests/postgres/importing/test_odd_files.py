"""Whatever a SQLite file is: every command ends in a line, nothing of it is lost, and others' files are not held up.

benchmarks/fuzz.py tries such files for as long as one likes; what it has found stands here as tests of their own.
"""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from callytics.settings import Settings
from tests.support.installation import Installation
from tests.support.odd_files import OddFile
from tests.support.odd_strategies import odd_files
from tests.support.odd_trials import OddTrial, write_ordinary
from tests.support.servers import Databases

pytestmark = pytest.mark.slow

Try = Callable[[OddFile], list[str]]


@pytest.fixture(scope="module")
def try_odd(databases: Databases, template: Settings, tmp_path_factory: pytest.TempPathFactory) -> Try:
    """What tries an odd file in a folder and a database of its own, every third one thoroughly."""
    ordinary = write_ordinary(tmp_path_factory.mktemp("ordinary") / "ordinary.sqlite")
    numbers = itertools.count()

    def try_one(odd: OddFile) -> list[str]:
        number = next(numbers)
        with databases.clone(template) as database:
            trial = OddTrial(database, tmp_path_factory.mktemp("odd"), ordinary, thorough=number % 3 == 0)
            return trial.run(odd, after=number % 4 == 1, small=number % 5 != 0)

    return try_one


@settings(
    max_examples=12,
    derandomize=True,
    deadline=None,
    # Each takes seconds: what fails is written out as it is.
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(odd=odd_files())
def test_an_odd_file_ends_in_a_line_and_loses_nothing(odd: OddFile, try_odd: Try) -> None:
    """Each file: loaded and rejected are together what it holds, and undone, it leaves nothing."""
    assert try_odd(odd) == []


RECORDINGS = """
create table audio_files (id integer primary key, file_path text, file_name text, processing_status text,
    error_message text);
insert into audio_files values (1, '/a', 'a', 'pending', '한국어'), (2, '/b', 'b', 'pending', null);
"""


@pytest.mark.parametrize("encoding", ["UTF-16le", "UTF-16be"])
def test_files_of_different_text_encodings_are_imported_after_each_other(
    encoding: str, installation: Installation
) -> None:
    """SQLite attaches no file of another encoding; a copy is found to be one all the same."""
    script = RECORDINGS + "".join(f"insert into audio_files values ({n}, '/{n}', '{n}', '', 'é');" for n in range(3, 9))
    installation.take(installation.write(script, "first.sqlite"))
    copy = installation.write(f"pragma encoding = '{encoding}';{script}", "second.sqlite")
    assert "holds the calls of import 1" in installation.said("import", copy, code=1)
    other = installation.write(f"pragma encoding = '{encoding}';{RECORDINGS}", "third.sqlite")
    installation.take(other)
    assert installation.all("select error_message from audio_files where error_message ~ '한'") == [("한국어",)] * 2


@pytest.mark.parametrize("end", ["", " without rowid"])
def test_a_column_of_any_name_is_read_as_a_column(end: str, installation: Installation) -> None:
    """SQLite calls a column "true" otherwise when it copies a table, and takes the name for text then."""
    names = ["true", "FALSE", "null", "current_date", "a`b", 'a"b', "rowid", "a]b"]
    columns = ", ".join('"' + name.replace('"', '""') + '" real' for name in names)
    installation.take(
        f"create table t (a primary key, {columns}){end}; insert into t values (1, 2, 3, 4, 5, 6, 7, 8, 9);"
    )
    values = {name: {"real": f"{number}.0"} for number, name in enumerate(names, 2)}
    assert installation.unmapped() == [{"a": 1, **values}]


def test_values_of_a_numbered_copy_are_not_converted(installation: Installation) -> None:
    """Without a row number a table is copied; values keep their storage classes, whatever a column declares."""
    script = (
        "create table t (k primary key, n numeric, i integer, s text, r real) without rowid;"
        "insert into t values ('1', 'x', 'y', 1, 3), (x'31', 1e30, 2.5, x'00', 'z');"
    )
    installation.take(installation.write(script))
    assert installation.problems() == []
    assert {"k": "1", "n": "x", "i": "y", "s": "1", "r": {"real": "3.0"}} in installation.unmapped()


JSON_RULES = [
    "create table t (a check (json_valid(a)));",
    "create table t (a, b as (json_extract(a, '$.x')));",
    "create table t (a); create index i on t (json_extract(a, '$.x'));",
    "create table t (a); create index i on t (a) where json_valid(a);",
]


@pytest.mark.parametrize("script", JSON_RULES)
def test_a_schema_may_use_functions_of_json(script: str, installation: Installation) -> None:
    """SQLite 3.40 takes them for unsafe; that is no damage of the file."""
    installation.take(script + """insert into t (a) values ('{"x": 1}');""")
    assert [row["a"] for row in installation.unmapped()] == ['{"x": 1}']


def test_functions_of_json_do_not_open_the_schema(tmp_path: Path, installation: Installation) -> None:
    """Beside them a function that only the application has is missing as before, and named."""
    file = tmp_path / "functions.sqlite"
    with closing(sqlite3.connect(file)) as sqlite:
        sqlite.create_function("tone", 1, lambda value: value, deterministic=True)
        sqlite.executescript(
            "create table t (a check (json_valid(a)), b as (tone(a))); insert into t (a) values ('1'), ('2');"
        )
    assert installation.take(file).notes == ["t.b can be computed by its application only: needs the function tone"]
    assert installation.unmapped() == [{"a": "1"}, {"a": "2"}]


COLLATED = [
    "(ID int primary key, Name text collate NATIONAL) without rowid",
    "(ID int collate NATIONAL primary key, Name text) without rowid",
    "(ID int, Name text collate NATIONAL, primary key (Name, ID)) without rowid",
    "(rowid, oid, _rowid_, ID int, Name text collate NATIONAL unique)",
]


@pytest.mark.parametrize("columns", COLLATED)
def test_a_numbered_copy_needs_no_collation_of_the_application(columns: str, installation: Installation) -> None:
    """Not in the key, and not in other columns."""
    with closing(sqlite3.connect(installation.file)) as sqlite:
        sqlite.create_collation("NATIONAL", lambda one, other: (one < other) - (one > other))
        sqlite.executescript(
            f"create table Topic {columns}; insert into Topic (ID, Name) values (2, '요금'), (3, '배송');"
        )
    installation.take(installation.file)
    assert installation.all("select id, name from topics where id > 1 order by id") == [(2, "요금"), (3, "배송")]


REFUSED = """
create table agent_permissions (id {key}, agent_id integer, permission_type text, permission_level text){end};
insert into agent_permissions values (2, 9, 'admin', 'read'), (3, 9, 'admin', 'write'),
    (4, 9, 'admin', 'over'), (5, 9, 'admin', 'read'), (6, 9, 'admin', 'under'), (7, 9, 'admin', 'read');
"""


@pytest.mark.parametrize(
    ("key", "end"), [("integer primary key", " without rowid"), ("integer primary key desc", ""), ("int", "")]
)
@pytest.mark.parametrize(
    ("change", "refused", "loaded"),
    [
        ("delete from agent_permissions where id = 2", [4, 6], [3, 5, 7]),
        ("insert into agent_permissions values (1, 9, 'admin', 'read')", [4, 6], [1, 2, 3, 5, 7]),
        ("delete from agent_permissions where id < 5", [6], [5, 7]),
        ("update agent_permissions set permission_level = 'read' where id = 4", [6], [2, 3, 4, 5, 7]),
        ("update agent_permissions set permission_level = 'no' where id = 5", [4, 5, 6], [2, 3, 7]),
    ],
)
def test_a_row_that_was_refused_is_found_again_when_the_others_have_moved(
    change: str, refused: list[int], loaded: list[int], key: str, end: str, installation: Installation
) -> None:
    """Rows without numbers of their own are counted: what is deleted moves all after it."""
    file = installation.write(REFUSED.format(key=key, end=end))
    installation.take(file, code=3)
    with closing(sqlite3.connect(file)) as sqlite, sqlite:
        sqlite.execute(change)
    with closing(sqlite3.connect(file)) as sqlite:
        sqlite.execute("vacuum")
    installation.files[:] = [file]
    assert installation.sync().exit_code == 3
    assert installation.verify().exit_code == 3
    kept = installation.all("select (source_row ->> 'id')::int from imports.rejected order by 1")
    assert ([number for (number,) in kept], installation.all("select id from agent_permissions order by 1")) == (
        refused,
        [(number,) for number in loaded],
    )
    assert installation.sync().changed == 0
    assert installation.undo().exit_code == 0
    assert installation.one("select count(*) from agent_permissions") == 0


CODES = """
create table classification_type_codes (id integer primary key, code text, name text, description text,
    is_active boolean, created_at datetime);
insert into classification_type_codes values (2, 'A', 'one', null, 1, null), (3, 'B', 'two', null, 1, null);
"""


def test_a_row_that_a_file_has_twice_takes_the_place_of_the_one_that_goes(installation: Installation) -> None:
    """Where nothing refers to a row by its id, the second one is shared as another installation's would be."""
    file = installation.write(CODES)
    installation.take(file)
    installation.files[:] = [file]
    query = "select id, code, name from classification_type_codes order by 1"
    shared = "select source_rowid, target_id from imports.shared"
    installation.write(
        "insert into classification_type_codes select 6, code, name, null, 1, null from "
        "classification_type_codes where id = 2",
        file.name,
    )
    assert installation.sync().exit_code == 0
    assert (installation.all(query), installation.all(shared)) == ([(2, "A", "one"), (3, "B", "two")], [(6, 2)])
    installation.write("delete from classification_type_codes where id = 2", file.name)
    assert installation.sync().exit_code == 0
    assert (installation.all(query), installation.all(shared)) == ([(3, "B", "two"), (6, "A", "one")], [])
    assert installation.verify().exit_code == 0
    assert installation.undo().exit_code == 0
    assert installation.all(query) == []
