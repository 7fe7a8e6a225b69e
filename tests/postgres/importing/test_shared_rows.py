"""Codes that a second installation has as well: the same rows, which both imports share."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from callytics.settings import Settings
from tests.support.installation import Installation
from tests.support.samples import write_sample

pytestmark = pytest.mark.slow

CODES = ("business_type_codes", "classification_type_codes", "detail_classification_codes")
EVERY_CODE = " union all ".join(f"select '{table}', code from {table}" for table in CODES)


@pytest.fixture
def seoul(database: Settings, tmp_path: Path) -> Iterator[Installation]:
    """The sample, imported first as the documentation shows."""
    write_sample(tmp_path / "seoul.sqlite", generation=2, calls=3, seed=1)
    with Installation.on(database, tmp_path, "seoul.sqlite") as seoul:
        assert seoul.import_().exit_code == 0
        yield seoul


@pytest.fixture
def busan(seoul: Installation) -> Installation:
    """Another installation's file, with the same codes written at another time, not imported yet."""
    write_sample(seoul.folder / "busan.sqlite", generation=2, calls=4, seed=9)
    busan = replace(seoul, files=[seoul.folder / "busan.sqlite"])
    for table in CODES:
        busan.write(f"update {table} set created_at = '2025-02-03 04:05:06', id = id + 100")
    return busan


def ids(office: Installation, table: str = "business_type_codes") -> list[int]:
    return [number for (number,) in office.all(f"select id from {table} order by id")]


@pytest.mark.quick
def test_equal_codes_are_shared_and_no_rejects(seoul: Installation, busan: Installation) -> None:
    """Exit code 0, counted apart, and verified: nothing is loaded twice and nothing is rejected."""
    before = seoul.all(EVERY_CODE + " order by 1, 2")
    outcome = busan.import_()
    assert (outcome.exit_code, outcome.status, outcome.rejects) == (0, "verified", [])
    codes = [table for table in outcome.tables if table.target_table in CODES]
    assert {table.shared for table in codes} == {5, 11, 20}
    assert all((table.loaded, table.rejected, table.shared) == (0, 0, table.source_rows) for table in codes)
    assert seoul.all(EVERY_CODE + " order by 1, 2") == before
    assert seoul.one("select count(*) from imports.rejected") == 0
    for office in (seoul, busan):
        assert (office.verify().exit_code, office.problems()) == (0, [])
    assert seoul.all("select sum(shared) from import_summaries group by import order by import") == [(0,), (36,)]


def test_two_installations_in_one_command(database: Settings, tmp_path: Path) -> None:
    """The first one's codes are loaded, the second one's are shared, whatever their order in the files."""
    for seed in (1, 2):
        write_sample(tmp_path / f"{seed}.sqlite", generation=2, calls=2, seed=seed)
    with Installation.on(database, tmp_path, "1.sqlite", "2.sqlite", jobs=4) as both:
        both.files[1].rename(tmp_path / "reversed")
        (tmp_path / "reversed").rename(both.files[1])
        replace(both, files=both.files[1:]).write("update business_type_codes set id = 1000 - id")
        outcome = both.import_()
        assert (outcome.exit_code, sum(table.shared for table in outcome.tables)) == (0, 36)
        assert both.problems() == []
        assert both.verify().exit_code == 0


@pytest.mark.parametrize(
    ("change", "differing"),
    [
        ("set name = 'another'", "name"),
        ("set description = null", "description"),
        ("set is_active = 0, name = 'another'", "is_active, name"),
    ],
)
def test_a_code_with_another_meaning_is_a_conflict(
    change: str, differing: str, seoul: Installation, busan: Installation
) -> None:
    """Rejected, with both rows and what differs; the other codes are shared all the same."""
    busan.write(f"update business_type_codes {change} where code = 'FEE_PAYMENT'")
    outcome = busan.import_()
    assert outcome.exit_code == 3
    (reject,) = outcome.rejects
    assert reject.reason == f"another row has the same code, and another {differing}"
    assert (reject.rows, reject.examples, reject.conflicting, reject.conflicting_import) == (1, [102], [2], 1)
    assert sum(table.shared for table in outcome.tables) == 35
    assert (busan.verify().exit_code, busan.problems()) == (3, [])


def test_a_difference_in_what_the_file_lacks_is_none(seoul: Installation, busan: Installation) -> None:
    """An older file without descriptions can't contradict them."""
    busan.write("alter table business_type_codes drop column description")
    outcome = busan.import_()
    assert (outcome.exit_code, sum(table.shared for table in outcome.tables)) == (0, 36)
    assert busan.verify().exit_code == 0


def test_what_became_of_the_row_that_is_there_is_found(seoul: Installation, busan: Installation) -> None:
    """Verify compares the shared row: a change there, and its end, are differences of both imports."""
    busan.import_()
    seoul.change("update business_type_codes set name = 'ours' where code = 'OTHER'")
    seoul.change("delete from business_type_codes where code = 'FEE_INFO'")
    for office in (seoul, busan):
        outcome = office.verify()
        assert outcome.exit_code == 4
        assert [(one.key, one.column, one.finding) for one in outcome.differences] == [
            (1, None, "is missing"),
            (11, "name", "differs"),
        ]


def test_an_account_of_the_same_name_is_somebody_else(database: Settings, tmp_path: Path) -> None:
    """Of people's names nothing follows: the row is rejected, and both are named."""
    script = """
        create table agent_accounts (id integer primary key, username text, email text, password_hash text);
        insert into agent_accounts values (1, 'kim', '{mail}', 'x');
    """
    with Installation.on(database, tmp_path) as office:
        office.take(script.format(mail="a@x"))
        outcome = office.take(
            script.format(mail="a@x") + "insert into agent_accounts values (5, 'lee', 'l@x', 'y');", code=3
        )
        (reject,) = outcome.rejects
        assert (reject.reason, reject.conflicting, reject.conflicting_import) == (
            "another row has the same username",
            [1],
            1,
        )


def test_undo_of_the_first_import_leaves_the_codes_to_the_second(seoul: Installation, busan: Installation) -> None:
    """They become its own, with the ids and times of its file, and details of its own keep their parent."""
    busan.write(
        "insert into detail_classification_codes (classification_type_code, code, name) "
        "values ('CONSULTATION_TOPIC', 'BUSAN', 'b')"
    )
    assert busan.import_().exit_code == 0
    rehearsed = seoul.undo(1, dry_run=True)
    outcome = seoul.undo(1)
    assert outcome.exit_code == 0
    assert rehearsed.changes == outcome.changes
    assert "business_type_codes: 11 rows that import 2 has as well, and keeps" in outcome.notes
    assert sum(row["handed_over"] for row in outcome.changes) == 36
    assert (busan.problems(), busan.verify().exit_code) == ([], 0)
    assert all(table.shared == 0 for table in busan.verify().tables)
    assert seoul.one("select count(*) from imports.shared") == 0
    assert seoul.one("select to_char(min(created_at) at time zone 'UTC', 'YYYY') from business_type_codes") == "2025"
    again = seoul.import_()
    assert (again.exit_code, sum(table.shared for table in again.tables)) == (0, 36)
    assert seoul.undo(2).exit_code == 0
    assert (seoul.problems(), seoul.verify().exit_code) == ([], 0)
    assert seoul.undo(3).exit_code == 0
    assert seoul.all(EVERY_CODE) == []


def test_codes_whose_class_is_missing_are_in_nobody_s_way(seoul: Installation, busan: Installation) -> None:
    """Details refer to their class by its text, not by an id that another file could be given."""
    assert seoul.undo(1).exit_code == 0
    seoul.write("delete from classification_type_codes")
    assert seoul.import_().exit_code == 0
    orphans = (
        "select count(*) from pg_constraint "
        "where conrelid = 'detail_classification_codes'::regclass and contype = 'f' and not convalidated"
    )
    assert seoul.one(orphans) == 1
    assert busan.import_().exit_code == 0
    assert (busan.problems(), busan.verify().exit_code) == ([], 0)


def test_a_third_installation_follows_the_second(seoul: Installation, busan: Installation) -> None:
    """What two imports share is handed to the first of them, and still shared by the other."""
    write_sample(seoul.folder / "daegu.sqlite", generation=2, calls=2, seed=5)
    daegu = replace(seoul, files=[seoul.folder / "daegu.sqlite"])
    assert (busan.import_().exit_code, daegu.import_().exit_code) == (0, 0)
    assert seoul.undo(1).exit_code == 0
    for office in (busan, daegu):
        assert (office.verify().exit_code, office.problems()) == (0, [])
    assert {table.shared for table in daegu.verify().tables if table.target_table in CODES} == {5, 11, 20}
    assert busan.undo(2).exit_code == 0
    assert (daegu.verify().exit_code, daegu.problems()) == (0, [])


def test_undo_of_the_second_import_leaves_the_codes_alone(seoul: Installation, busan: Installation) -> None:
    busan.import_()
    before = ids(seoul)
    assert seoul.undo(2).exit_code == 0
    assert (ids(seoul), seoul.verify().exit_code, seoul.one("select count(*) from imports.shared")) == (before, 0, 0)


def test_sync_of_the_second_file_changes_nothing_that_is_shared(seoul: Installation, busan: Installation) -> None:
    """New codes come in, those of the other import stay shared, and a code of another meaning is rejected."""
    busan.import_()
    busan.write("insert into business_type_codes (code, name) values ('NEW', 'n')")
    outcome = busan.sync()
    assert (outcome.exit_code, outcome.changed) == (0, 1)
    assert sum(row["shared"] for row in outcome.changes) == 36
    assert (busan.verify().exit_code, busan.problems()) == (0, [])
    busan.write("update business_type_codes set name = 'b' where code = 'OTHER'")
    assert busan.sync().exit_code == 3
    assert (busan.verify().exit_code, busan.problems(), seoul.verify().exit_code) == (3, [], 0)
    busan.write("update business_type_codes set name = '그 외 업무유형' where code = 'OTHER'")
    assert busan.sync().exit_code == 0
    assert (busan.verify().exit_code, busan.problems()) == (0, [])
    assert busan.sync().changed == 0


def test_sync_of_the_first_file_parts_what_is_no_longer_equal(seoul: Installation, busan: Installation) -> None:
    """A code that the first installation gives another name is a conflict of the second one's from then on."""
    busan.import_()
    seoul.write("update business_type_codes set name = 's' where code = 'OTHER'")
    outcome = seoul.sync()
    assert outcome.exit_code == 0
    assert [note for note in outcome.notes if "import 2" in note] == [
        "business_type_codes: 1 row that import 2 had as well changed here, so that import's are rejected: see "
        "'callytics report --import 2'"
    ]
    assert seoul.verify().exit_code == 0
    verified = busan.verify()
    assert (verified.exit_code, verified.differences, busan.problems()) == (3, [], [])
    assert verified.rejects[0].reason == "another row has the same code, and another name"


def test_sync_of_the_first_file_hands_over_what_it_gave_up(seoul: Installation, busan: Installation) -> None:
    """A code that the first installation deleted stays for the second."""
    busan.import_()
    seoul.write("delete from business_type_codes where code in ('OTHER', 'FEE_INFO')")
    outcome = seoul.sync()
    assert outcome.exit_code == 0
    assert [row["handed_over"] for row in outcome.changes if row["handed_over"]] == [2]
    for office in (seoul, busan):
        assert (office.verify().exit_code, office.problems()) == (0, [])
    assert seoul.undo(1).exit_code == 0
    assert (busan.verify().exit_code, busan.problems()) == (0, [])


def test_a_code_of_the_application_is_shared_too(database: Settings, tmp_path: Path) -> None:
    """What no import brought is nobody's to undo."""
    write_sample(tmp_path / "file.sqlite", generation=2, calls=2, seed=1)
    with closing(sqlite3.connect(tmp_path / "file.sqlite")) as sqlite:
        name, description = sqlite.execute(
            "select name, description from business_type_codes where code = 'OTHER'"
        ).fetchone()
    with Installation.on(database, tmp_path) as office:
        office.change(
            "insert into business_type_codes (code, name, description) values ('OTHER', %s, %s)", name, description
        )
        outcome = office.import_()
        assert (outcome.exit_code, sum(table.shared for table in outcome.tables)) == (0, 1)
        assert office.undo(1).exit_code == 0
        assert office.all("select code from business_type_codes") == [("OTHER",)]


def test_inspect_says_so_beforehand(seoul: Installation, busan: Installation) -> None:
    """With a database that can be reached; without one it says why not, and what it says otherwise is the same."""
    busan.write("update business_type_codes set name = 'b' where code = 'OTHER'")
    lines = busan.said("inspect", busan.file).splitlines()
    assert "business_type_codes → business_type_codes: 10 rows are there already, with the same values: shared" in lines
    assert (
        "business_type_codes.code → business_type_codes: 1 row will be rejected: another row has the same code, "
        "and another name"
    ) in lines
    assert "    row 111: against row 11 of business_type_codes" in lines
    away = replace(seoul.settings, port=1)
    unreached = busan.run("inspect", busan.file, settings=away)
    assert unreached.exit_code == 0
    (line,) = [line for line in unreached.output.splitlines() if "not looked up" in line]
    assert line.startswith("Whether its codes are in PostgreSQL already was not looked up: ")
    assert "POSTGRES_PORT" in line
    strict = busan.run("import", busan.file, "--strict", "--snapshots", busan.options.snapshots)
    assert (strict.exit_code, seoul.one("select count(*) from imports.runs")) == (1, 1)
    assert "another row has the same code, and another name" in strict.output


def test_every_command_names_what_is_shared(seoul: Installation, busan: Installation) -> None:
    """Import, verify and sync print it apart from rejects; reports and the status page's view have it, too."""
    shared = "business_type_codes → business_type_codes: 11 rows {} there already, with the same values: shared"
    imported = busan.said("import", busan.file, "--yes")
    assert shared.format("were") in imported
    assert imported.splitlines()[-1].endswith("rows are equal; 36 of them were there already.")
    assert shared.format("were") in busan.said("verify", busan.file)
    assert shared.format("are") in busan.said("sync", busan.file)
    report = busan.said("report", "--import", 2)
    assert "36 rows were there already, with the same values." in report
    korean = busan.said("report", "--import", 2, "--lang", "ko")
    assert "36개 행은 같은 값으로 이미 저장되어 있었습니다." in korean
    undone = busan.said("undo", 1, "--yes")
    assert "business_type_codes: 11 rows that import 2 has as well, and keeps" in undone


def test_a_conflict_names_both_rows(seoul: Installation, busan: Installation) -> None:
    busan.write("update business_type_codes set name = 'b' where code = 'OTHER'")
    printed = busan.said("import", busan.file, "--yes", code=3)
    assert (
        "1 row rejected: another row has the same code, and another name (for example row 111 against row 11 of "
        "business_type_codes, import 1; kept in imports.rejected)"
    ) in printed
    assert "in PostgreSQL row 11 (import 1)" in busan.said("report", "--import", 2)
