"""A migration that can be left out: applied, killed, taken back, imported over; the doctor knows both states."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from psycopg2.extensions import connection as Connection

from callytics.exceptions import MigrationError
from callytics.importer import Options, import_files
from callytics.postgres import connect
from callytics.schema import migrate, optional, versions
from callytics.schema.catalogue.catalogue import Contents, differences
from callytics.schema.doctor.doctor import examine
from callytics.settings import Settings
from callytics.trial.sample import write_sample
from tests.support.catalogue import catalogue
from tests.support.commands import invoke

NAME = "search-inside-words"
INDEXES = """
select count(*)
from pg_index as i
join pg_class as c on c.oid = i.indexrelid
where i.indisvalid and c.relname ~ '_(syllable_pairs|inside_words)_idx$'
"""
LEAVES = """
select count(*)
from unnest(array['transcriptions', 'utterances']::regclass[]) as parent
cross join pg_partition_tree(parent)
"""


@pytest.fixture
def owner(database: Settings) -> Iterator[Connection]:
    with closing(connect(database, owner=True)) as connection:
        connection.autocommit = True
        yield connection


def ask(connection: Connection, query: str) -> object:
    with connection.cursor() as cursor:
        cursor.execute(query)
        row = cursor.fetchone() if cursor.description else None
        return row[0] if row else None


def wrong(settings: Settings) -> list[str]:
    """Return what the doctor finds wrong with schema and catalogue, or tells of what no migration made."""
    found = [one for one in examine(settings).findings if one.check in ("schema", "catalogue", "indexes")]
    return [one.what for one in found if one.level != "ok" or "made by no migration" in one.what]


def test_there_is_at_least_one_and_each_has_a_way_back() -> None:
    assert NAME in versions.optional()
    for path in versions.optional().values():
        assert path.with_suffix(".rollback.sql").is_file()
        assert path.read_text(encoding="utf-8").startswith("-- ")


@pytest.mark.slow
def test_it_is_applied_and_taken_back_and_neither_twice(database: Settings, owner: Connection) -> None:
    before = catalogue(owner)
    assert wrong(database) == []
    assert optional.take_back(database, NAME, report=print) == []
    for _ in range(2):
        assert optional.add(database, NAME, report=print) == [NAME]
        assert optional.add(database, NAME, report=print) == []
        # One on each table, and one on each of its partitions.
        assert ask(owner, INDEXES) == ask(owner, LEAVES)
        assert wrong(database) == []
        assert migrate.migrate(database, report=print) == []
        assert optional.take_back(database, NAME, report=print) == [NAME]
        assert wrong(database) == []
        assert catalogue(owner) == before


def test_a_month_to_come_has_its_index_too(database: Settings, owner: Connection) -> None:
    optional.add(database, NAME, report=print)
    before = ask(owner, INDEXES)
    assert ask(owner, "select ensure_month_partitions('utterances', '2031-01-01', '2031-02-01')") == 2
    assert ask(owner, INDEXES) == before + 2  # type: ignore[operator]
    assert wrong(database) == []
    optional.take_back(database, NAME, report=print)
    assert ask(owner, INDEXES) == 0


@pytest.mark.parametrize(
    "statement", ["drop index utterances_inside_words_idx", "drop index transcriptions_inside_words_idx"]
)
def test_what_is_missing_of_it_is_found_and_put_right(database: Settings, owner: Connection, statement: str) -> None:
    optional.add(database, NAME, report=print)
    whole = ask(owner, INDEXES)
    ask(owner, statement)
    [told] = wrong(database)
    assert "is missing" in told
    assert optional.add(database, NAME, report=print) == [NAME]
    assert ask(owner, INDEXES) == whole
    assert wrong(database) == []


@pytest.mark.slow
def test_a_killed_run_is_gone_on_with(database: Settings, owner: Connection) -> None:
    """Killed between two months, it leaves some of them indexed, and nothing is marked."""
    text = versions.optional()[NAME].read_text(encoding="utf-8")
    function = text[text.index("create or replace function") : text.index("comment on function")]
    ask(owner, function)
    ask(
        owner,
        "create index transcriptions_default_syllable_pairs_idx on transcriptions_default "
        "using gin (syllable_pairs(text_content))",
    )
    assert any("inside_words_idx of utterances is missing" in told for told in wrong(database))
    assert optional.add(database, NAME, report=print) == [NAME]
    assert ask(owner, INDEXES) == ask(owner, LEAVES)
    assert wrong(database) == []


@pytest.mark.slow
def test_a_half_made_one_can_be_taken_back_too(database: Settings, owner: Connection) -> None:
    before = catalogue(owner)
    optional.add(database, NAME, report=print)
    ask(owner, "drop index utterances_inside_words_idx")
    assert optional.take_back(database, NAME, report=print) == [NAME]
    assert catalogue(owner) == before
    assert wrong(database) == []


@pytest.mark.slow
def test_the_way_back_to_an_older_version_takes_it_back(database: Settings, owner: Connection) -> None:
    newest = list(versions.migrations())[-1]
    optional.add(database, NAME, report=print)
    assert versions.last(owner) == NAME
    assert migrate.roll_back(database, newest, report=print) == [NAME]
    assert ask(owner, INDEXES) == 0
    optional.add(database, NAME, report=print)
    before_it = list(versions.migrations())[-2]
    assert migrate.roll_back(database, before_it, report=print) == [NAME, newest]
    assert migrate.migrate(database, report=print) == [newest]


@pytest.mark.slow
def test_an_import_puts_it_away_and_brings_it_back(database: Settings, owner: Connection, tmp_path: Path) -> None:
    optional.add(database, NAME, report=print)
    before = ask(owner, INDEXES)
    write_sample(tmp_path / "sample", generation=3, calls=20, seed=1)
    files = sorted((tmp_path / "sample").iterdir())
    assert import_files(database, files, Options(tmp_path / "snapshots"), lambda *_: None).exit_code == 0
    assert ask(owner, INDEXES) >= before  # type: ignore[operator]
    assert ask(owner, INDEXES) == ask(owner, LEAVES)
    assert differences(Contents.of(owner)) == []


def test_the_command_names_what_there_is(database: Settings) -> None:
    with pytest.raises(MigrationError, match=f"there is no optional migration nothing, only {NAME}"):
        optional.add(database, "nothing", report=print)
    refused = invoke(database, "migrate", "--with", "nothing")
    assert refused.exit_code == 1
    assert f"there is no optional migration nothing, only {NAME}" in refused.output
    assert invoke(database, "migrate", "--without", NAME).stdout == f"{NAME} is not applied\n"
    applied = invoke(database, "migrate", "--with", NAME, "--json")
    assert json.loads(applied.stdout) == {"ok": True, "applied": [NAME]}
    undone = invoke(database, "migrate", "--without", NAME, "--json")
    assert json.loads(undone.stdout) == {"ok": True, "rolled_back": [NAME]}
    both = invoke(database, "migrate", "--with", NAME, "--check")
    assert both.exit_code == 2
