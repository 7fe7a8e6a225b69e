"""Files that only their application can use in full, or that break their own rules: they are read all the same."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from callytics.importer import inspect_file
from tests.support.installation import Installation, quiet

pytestmark = pytest.mark.slow

SCHEMA = """
create table Topic (ID integer primary key autoincrement, Name text not null collate NATIONAL);
create table File (ID integer primary key autoincrement, Name text not null collate NATIONAL, TopicID integer,
    Summary text not null check (spelt(Summary)), Conflict integer not null check (Conflict in (0, 1)),
    Silence real not null, Loud text as (spelt(Name)) virtual, Kept text as (spelt(Name)) stored);
create index by_name on File (Name);
create index by_sound on File (spelt(Name)) where spelt(Name) is not null;
create table codes (code text collate NATIONAL primary key, value) without rowid;
create view spelt_names as select spelt(Name) from File;
create trigger on_update after update on File begin select spelt(new.Name); end;
insert into Topic values (1, '요금');
insert into codes values ('ㄱ', 1), ('ㄴ', 2);
insert into File (ID, Name, TopicID, Summary, Conflict, Silence)
    values (1, 'b.wav', 1, '요약', 0, 0.5), (2, 'a.wav', 1, '요약', 1, 0.25);
"""


def write_with_extras(path: Path, script: str) -> Path:
    """Be an application with a collation and a function of its own."""
    with closing(sqlite3.connect(path)) as sqlite:
        sqlite.create_collation("NATIONAL", lambda one, other: (one < other) - (one > other))
        sqlite.create_function("spelt", 1, lambda text: f"1<{text}>", deterministic=True)
        sqlite.executescript(script)
    return path


@pytest.mark.quick
def test_what_only_the_application_has_is_not_needed_to_read(installation: Installation) -> None:
    """A collation in keys, indexes and columns, a function in checks, indexes, views and triggers."""
    file = write_with_extras(installation.file, SCHEMA)
    installation.take(file)
    assert installation.all("select id, file_name from audio_files order by id") == [(1, "b.wav"), (2, "a.wav")]
    assert sorted(map(str, installation.unmapped())) == [
        "{'Kept': '1<a.wav>'}",
        "{'Kept': '1<b.wav>'}",
        "{'code': 'ㄱ', 'value': 1}",
        "{'code': 'ㄴ', 'value': 2}",
    ]
    assert inspect_file(file, installation.options, quiet).unreadable == [
        "File.Loud can be computed by its application only: needs the function spelt"
    ]


def test_rows_that_break_their_own_rules_are_rows(installation: Installation) -> None:
    """CHECK and NOT NULL, set aside when a row was written, are no damage."""
    installation.write(
        "create table Topic (ID integer primary key, Name text not null, Flag check (Flag in (0, 1)));"
        "create table notes (word text);"
        "pragma ignore_check_constraints = on;"
        "insert into Topic values (2, '요금', 7), (3, '배송', 1); insert into notes values (null), ('말');"
        "pragma writable_schema = on;"
        "update sqlite_master set sql = 'create table notes (word text not null)' where name = 'notes';"
    )
    installation.take(installation.file)
    assert installation.all("select id, name from topics where id in (2, 3) order by 1") == [(2, "요금"), (3, "배송")]
    assert installation.unmapped() == [{"Flag": 7}, {"Flag": 1}, {"word": None}, {"word": "말"}]


@pytest.mark.parametrize(
    "key", ["integer primary key desc", "int primary key", "integer primary key) without rowid --"]
)
def test_ids_that_are_no_row_numbers_move_as_a_whole(installation: Installation, key: str) -> None:
    """Some keys are columns of their own, and the row numbers run against them."""
    ids = [500 - number for number in range(5)]
    for copy in ("one", "two"):
        path = installation.write(
            f"create table Utterance (FileID integer, Speaker text, Content text not null, ID {key}\n"
            f"{';' if '--' in key else ');'}",
            f"{copy}.sqlite",
        )
        with closing(sqlite3.connect(path)) as sqlite:
            sqlite.executemany(f"insert into Utterance (ID, Content) values (?, '{copy}')", [(one,) for one in ids])
            sqlite.commit()
        installation.take(path)
    assert installation.one("select count(distinct id) from utterances") == 10
    assert installation.rejected() == []


def test_names_that_differ_in_letters_beyond_ascii_are_other_names(installation: Installation) -> None:
    """The Kelvin sign is no k, and a long s no s: SQLite folds ASCII only."""
    installation.take(
        "create table utterances (id integer primary key, audio_properties_id integer, SPEAKER text,"
        ' "spea\u212aer" text,'
        ' "\u017fpeaker" text, start_time real, end_time real, text text);'
        "insert into utterances values (1, null, 'plain', 'kelvin', 'long s', 0, 1, 'words');"
        'create table "utterance\u017f" (id integer primary key, speaker text);'
        "insert into \"utterance\u017f\" values (7, 'other');"
        'create table "\u212aey" (x); insert into "\u212aey" values (1);'
        'create table "key" (x); insert into "key" values (2);'
    )
    assert installation.all("select speaker from utterances") == [("plain",)]
    kept = installation.unmapped()
    for row in (
        {"spea\u212aer": "kelvin", "\u017fpeaker": "long s"},
        {"id": 7, "speaker": "other"},
        {"x": 1},
        {"x": 2},
    ):
        assert row in kept
    assert len(kept) == 4


def test_virtual_tables_of_a_module_that_is_missing_here(installation: Installation) -> None:
    """However their statement is written; what lies in their shadow tables is kept."""
    installation.write(
        "create table words (word); insert into words values ('말'); pragma writable_schema = on;"
        "insert into sqlite_master values ('table', 'odd', 'odd', 0, 'CREATE  VIRTUAL TABLE odd USING nobodys(x)');"
    )
    installation.take(installation.file)
    assert installation.unmapped() == [{"word": "말"}]


def test_a_name_that_fills_what_a_file_system_takes(installation: Installation) -> None:
    """A file name of 255 bytes, in which a letter has three, is imported like any other."""
    name = "가" * 83 + ".db.so"
    # SQLite itself could not write to it: its journal's name would be longer still.
    file = installation.write("create table words (word); insert into words values (1);")
    installation.take(file.rename(file.with_name(name)))
    assert installation.one("select path from imports.sources").endswith(name)


NAMES = [
    "\x1b[31mred\x1b[0m",
    "two\nlines",
    "right\u202eleft",
    "\x9b2J",
    "a|b",
    "<b>x</b>",
    "100%",
    "{0}",
    "😀",
    "it's",
]


@pytest.mark.quick
def test_names_are_kept_exactly_and_shown_harmlessly(installation: Installation) -> None:
    """What a terminal, Markdown or a browser would obey is seen, and nothing else is changed."""
    quoted = ['"' + name + '"' for name in NAMES]
    installation.write("".join(f"create table {name} ({name}); insert into {name} values (1);" for name in quoted))
    said = installation.said("import", installation.file, "--unmapped")
    said += installation.said("inspect", installation.file) + installation.said("inspect", installation.file, "--json")
    for form in ("md", "html", "json"):
        said += installation.run("report", "--format", form).output
    assert {table for (table,) in installation.all("select source_table from imports.tables")} == set(NAMES)
    assert installation.verify().differences == []
    assert not set(said) & set("\x1b\x9b\u202e")
    assert "<b>x" not in installation.run("report", "--format", "html").output
    for name in ("\\x1b[31mred", "two\\nlines", "right\\u202eleft", "\\x9b2J", "100%", "{0}", "😀"):
        assert name in said


COMPUTED = {
    "a function": ("spelt(file_path)", "needs the function spelt"),
    "an operator that is a function": ("file_path regexp 'wav'", "needs the function regexp"),
    "the second of two": ("upper(file_path) || spelt(file_path)", "needs the function spelt"),
    "a collation": ("file_path = 'a' collate NATIONAL", "no such collation sequence: NATIONAL"),
    "what is no JSON in one row": ("case id when 2 then json(file_path) else '1' end", "malformed JSON in a row"),
    "a number that is too large": ("abs(id - 9223372036854775807 - 2)", "integer overflow in a row"),
    "a text that is too large": ("zeroblob(2000000000)", "string or blob too big in a row"),
}


@pytest.mark.parametrize("expression", COMPUTED)
@pytest.mark.parametrize("end", ["", " without rowid"])
def test_a_column_that_can_t_be_computed_is_the_cause_that_is_named(
    expression: str, end: str, installation: Installation
) -> None:
    """Not that the file lacks it, nor that it is another program's file."""
    computed, cause = COMPUTED[expression]
    with closing(sqlite3.connect(installation.file)) as sqlite:
        for name, arguments in (("spelt", 1), ("regexp", 2)):
            sqlite.create_function(name, arguments, lambda *_: "x", deterministic=True)
        sqlite.create_collation("NATIONAL", lambda one, other: (one < other) - (one > other))
        sqlite.executescript(
            f"create table audio_properties (id integer primary key, file_path text not null){end};"
            "insert into audio_properties (id, file_path) values (1, '/c/1.wav'), (2, '/c/2.wav');"
            # Now, so that SQLite computes no value yet.
            f"alter table audio_properties add column file_name text as ({computed});"
        )
    said = installation.said("inspect", installation.file)
    note = f"audio_properties.file_name can be computed by its application only: {cause}"
    assert f"{note}, and audio_files takes no row without it" in said.replace("\n", " ")
    (lacking,) = (line for line in inspect_file(installation.file, installation.options, quiet).tables)
    assert "file_name" not in lacking.absent_columns
    outcome = installation.take(installation.file, code=3)
    assert any(line.startswith(note) for line in outcome.notes)
    assert {(row.rows, row.reason) for row in outcome.rejects if row.target_table == "audio_files"} == {
        (
            2,
            'null value in column "file_name" of relation "audio_files" violates not-null constraint '
            f"(audio_properties.file_name {cause})",
        )
    }


def test_a_column_that_can_t_be_computed_and_need_not_be_there_is_null(installation: Installation) -> None:
    file = write_with_extras(
        installation.file,
        "create table Topic (ID integer primary key, Name text); insert into Topic values (2, '요금');"
        "create table audio_files (id integer primary key, file_path text, file_name text, processing_status text, "
        "format text as (spelt(file_path)));"
        "insert into audio_files (id, file_path, file_name) values (1, '/c/1.wav', '1.wav');",
    )
    outcome = installation.take(file)
    assert installation.all("select file_name, format from audio_files") == [("1.wav", None)]
    assert outcome.notes[0] == "audio_files.format can be computed by its application only: needs the function spelt"


MODULES = {
    "unknown": "create virtual table words using spellfix1",
    "with options": "create virtual table words using mine(\"a b\", 'c')",
    "rtree": "create virtual table words using rtree(id, x0, x1)",
    "fts5": "create virtual table words using fts5(a, tokenize = 'mecab')",
}


@pytest.mark.parametrize("kind", MODULES)
def test_a_virtual_table_of_a_module_that_is_missing_stops_nothing(kind: str, installation: Installation) -> None:
    """Its rows are in tables of its own, which are kept; what it is made of is not needed to read them."""
    with closing(sqlite3.connect(installation.file)) as sqlite:
        sqlite.executescript(
            "create table Topic (ID integer primary key, Name text); insert into Topic values (2, '요금');"
            "create table words_vocab (id integer primary key, word text); insert into words_vocab values (1, '말');"
            "pragma writable_schema = on;"
        )
        sqlite.execute(
            "insert into sqlite_master (type, name, tbl_name, rootpage, sql) values ('table', 'words', 'words', 0, ?)",
            (MODULES[kind],),
        )
        sqlite.commit()
    assert "words_vocab" in installation.said("inspect", installation.file)
    installation.take(installation.file)
    assert installation.all("select name from topics where id = 2") == [("요금",)]
    assert installation.unmapped() == [{"id": 1, "word": "말"}]


def test_a_table_without_a_name_is_shown_between_quotes(installation: Installation) -> None:
    file = installation.write(
        "create table Topic (ID integer primary key, Name text, \" \" text); insert into Topic values (2, '요금', 1);"
        'create table "" ("" text); insert into "" values (\'x\');'
    )
    said = installation.said("inspect", file)
    assert '""' in said
    assert 'imports.unmapped: " "' in said
    assert '""' in installation.said("import", file)
    only = installation.write('create table "" (x); create table "\t" (x);', "only.sqlite")
    assert 'holds no table of Callytics, but "", "\\t"' in installation.said("import", only, code=1)
