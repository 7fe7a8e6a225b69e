"""Files that are not quite what the application wrote: mixed, drifted, orphaned, colliding."""

from __future__ import annotations

import json

import psycopg2
import pytest

from callytics.exceptions import CallyticsError, SourceError
from callytics.importer import import_files, inspect_file
from tests.support.independent import problems
from tests.support.installation import Installation

pytestmark = pytest.mark.slow

AUDIO = """
create table audio_files (id integer primary key autoincrement, file_path text not null unique, file_name text not null,
    processing_status text default 'pending');
create table speaker_segments (id integer primary key autoincrement, audio_file_id integer not null,
    speaker_id text not null,
    start_time real not null, end_time real not null);
create table transcriptions (id integer primary key autoincrement, audio_file_id integer not null,
    speaker_segment_id integer, text_content text not null, start_time real not null, end_time real not null,
    created_at datetime default current_timestamp);
"""
SESSIONS = """
create table consultation_sessions (id integer primary key autoincrement, audio_file_id integer not null,
    session_date date not null, duration_minutes real not null, agent_name text);
create table quality_metrics (id integer primary key autoincrement, session_id integer not null, metric_name text not null,
    metric_value real not null, weight real default 1.0);
create table agent_accounts (id integer primary key autoincrement, username text not null unique, email text, password_hash text not null);
create table agent_profiles (id integer primary key autoincrement, account_id integer not null unique, employee_id text unique,
    full_name text not null, first_name text not null, last_name text not null, department text not null, position text not null,
    supervisor_id integer);
"""  # noqa: E501
PROPERTIES = """
create table audio_properties (id integer primary key autoincrement, file_path text not null, file_name text not null,
    topic_id integer default 1, summary text);
create table utterances (id integer primary key autoincrement, audio_properties_id integer, speaker text, text text,
    created_at datetime default current_timestamp);
"""
FILE = """
create table Topic (ID integer primary key autoincrement, Name text not null unique);
create table File (ID integer primary key autoincrement, Name text not null, TopicID integer, Path text,
    Summary text not null);
create table Utterance (ID integer primary key autoincrement, FileID integer not null, Speaker text,
    Content text not null);
"""


def audio(*ids: int) -> str:
    """Return statements that add recordings."""
    return "".join(f"insert into audio_files (id, file_path, file_name) values ({n}, '/{n}', 'f{n}');" for n in ids)


def segment(number: int, audio_file: int) -> str:
    """Return a statement that adds a segment of a recording."""
    return f"insert into speaker_segments values ({number}, {audio_file}, 's', 0, 1);"


def transcription(number: int, audio_file: int, segment: int | None = None) -> str:
    """Return a statement that adds a transcription."""
    return (
        "insert into transcriptions (id, audio_file_id, speaker_segment_id, text_content, start_time, end_time) "
        f"values ({number}, {audio_file}, {segment or 'null'}, 'hello', 0, 1);"
    )


def session(number: int, audio_file: int) -> str:
    """Return a statement that adds a session."""
    return f"insert into consultation_sessions values ({number}, {audio_file}, '2024-05-01', 3.5, 'kim');"


def test_generations_2_and_3_in_one_file(installation: Installation) -> None:
    """An installation that pointed everything at one file: each table goes where its own generation's go."""
    file = installation.write(
        PROPERTIES
        + AUDIO
        + SESSIONS
        + "insert into audio_properties (id, file_path, file_name) values (1, '/old', 'old');"
        + "insert into utterances (audio_properties_id, speaker, text) values (1, '고객', '안녕');"
        + audio(1, 2)
        + transcription(1, 2)
        + session(1, 2)
    )
    installation.take(file)
    assert problems(file, installation.connection) == []
    assert installation.all(
        "select f.file_path, u.text from utterances u join audio_files f on f.id = u.audio_file_id"
    ) == [("/old", "안녕")]
    linked = "select f.file_path from {} c join audio_files f on f.id = c.audio_file_id"
    assert installation.all(linked.format("transcriptions")) == [("/2",)]
    assert installation.all(linked.format("consultation_sessions")) == [("/2",)]


def test_generation_2_refers_to_topic_1_though_it_has_no_topics(installation: Installation) -> None:
    """topic_id 1 of a file without topics is Unknown, whatever topics other files brought."""
    one = (
        FILE
        + "insert into Topic values (1, 'Unknown'), (2, 'Billing'); insert into File values (1, 'a', 2, '/a', 's');"
    )
    old = PROPERTIES + "insert into audio_properties (id, file_path, file_name) values (1, '/old', 'old');"
    installation.take(one, one.replace("Billing", "Sales"), old)
    assert installation.all(
        "select f.file_path, t.name from audio_features a join audio_files f on f.id = a.audio_file_id "
        "join topics t on t.id = a.topic_id order by a.audio_file_id"
    ) == [("/a", "Billing"), ("/a", "Sales"), ("/old", "Unknown")]


STRANGE = """
create table "select" ("from" text, "a""b" integer, "열" real, "%s {x} ?" blob);
insert into "select" values ('x', 1, 0.1, x'00ff'), (null, null, null, null);
create table "상담 기록" (메모 text);
insert into "상담 기록" values ('안녕하세요 🙂');
create table "it's" (rowid text, oid text);
insert into "it's" values ('r1', 'o1'), ('r2', 'o2');
create table fixed (code text primary key, value) without rowid;
insert into fixed values ('b', 2), ('a', 1.5);
create table "nothing" (a, b);
"""


@pytest.mark.quick
def test_unknown_tables_are_kept_row_by_row(installation: Installation) -> None:
    """Reserved, quoted and Korean names, row numbers shadowed by columns, WITHOUT ROWID: everything is kept."""
    file = installation.write(STRANGE)
    installation.take(file)
    assert installation.unmapped() == [
        {"code": "a", "value": {"real": "1.5"}},
        {"code": "b", "value": 2},
        {"rowid": "r1", "oid": "o1"},
        {"rowid": "r2", "oid": "o2"},
        {"from": "x", 'a"b': 1, "열": {"real": "0.1"}, "%s {x} ?": {"blob": "00ff"}},
        {"from": None, 'a"b': None, "열": None, "%s {x} ?": None},
        {"메모": "안녕하세요 🙂"},
    ]
    profile = inspect_file(file, installation.options, lambda *_: None)
    assert {table.name: table.rows for table in profile.tables}["nothing"] == 0


def test_a_table_that_shadows_every_name_of_the_row_number(installation: Installation) -> None:
    """Columns rowid, _rowid_ and oid together leave no way to number rows by name: they are kept all the same."""
    installation.take("create table t (rowid, _rowid_, oid); insert into t values (3, 'x', null), (1, 'y', 2.5);")
    rows = sorted(installation.unmapped(), key=lambda row: row["_rowid_"])
    assert rows == [{"rowid": 3, "_rowid_": "x", "oid": None}, {"rowid": 1, "_rowid_": "y", "oid": {"real": "2.5"}}]


def test_unknown_columns_are_kept_beside_the_row(installation: Installation) -> None:
    """An unmapped column goes to imports.unmapped by row number; the rest of the row goes to its table."""
    script = AUDIO + 'alter table audio_files add column "order" text; alter table audio_files add column source_rowid;'
    installation.take(
        script + audio(4, 9) + """update audio_files set "order" = 'vip', source_rowid = 1.5 where id = 9;"""
    )
    assert installation.all("select id, file_name from audio_files order by 1") == [(4, "f4"), (9, "f9")]
    assert installation.unmapped() == [
        {"order": None, "source_rowid": None},
        {"order": "vip", "source_rowid": {"real": "1.5"}},
    ]


def test_a_column_that_an_older_file_lacks_is_null(installation: Installation) -> None:
    """quality_metrics without metric_group, audio_files without sizes: loaded with NULL, not with a default."""
    installation.take(
        SESSIONS + session(1, 1) + "insert into quality_metrics values (1, 1, 'm', 0.5, 1);" + AUDIO + audio(1)
    )
    assert installation.all("select metric_group, created_at from quality_metrics") == [(None, None)]
    assert installation.all("select file_size, created_at, updated_at from audio_files") == [(None, None, None)]


def test_names_in_other_letter_case(installation: Installation) -> None:
    """SQLite does not tell ID from id, nor AUDIO_FILES from audio_files: nor does the import."""
    installation.take(
        "create table AUDIO_FILES (ID integer primary key, File_Path text, FILE_NAME text, Processing_Status text);"
        "create table Speaker_Segments (Id integer primary key, AUDIO_FILE_ID integer, Speaker_ID text, "
        "start_time real, end_time real);"
        "insert into audio_files values (7, '/7', 'f', 'pending'); insert into speaker_segments values (1, 7, "
        "'s', 0, 1);"
    )
    assert installation.all(
        "select s.id, f.file_path from speaker_segments s join audio_files f on f.id = s.audio_file_id"
    ) == [(1, "/7")]
    assert installation.unmapped() == []


def test_a_known_name_with_other_columns_is_unknown(installation: Installation) -> None:
    """A table is recognised by its columns too: another application's audio_files is kept, not forced into ours."""
    installation.take(
        "create table audio_files (id integer primary key, title text); insert into audio_files values (1, 'song');"
    )
    assert installation.unmapped() == [{"id": 1, "title": "song"}]
    assert installation.one("select count(*) from audio_files") == 0


def test_empty_tables(installation: Installation) -> None:
    """Tables without rows are imported as such."""
    outcome = installation.take(AUDIO + SESSIONS + FILE + "create table unknown (a);")
    assert {table.source_rows for table in outcome.tables} == {0}


def test_a_mapped_table_without_rowid(installation: Installation) -> None:
    """A known table made WITHOUT ROWID is loaded by its ids, dirty rows included."""
    installation.take(
        "create table audio_files (id integer primary key, file_path text, file_name text, processing_status "
        "text, sample_rate) without rowid;"
        "insert into audio_files values (30, '/30', 'c', 'x', 1), (10, '/10', 'a', 'x', 'fast'), (-5, '/5', 'b', "
        "'x', 2.0);",
        code=3,
    )
    assert installation.all("select id, file_path, sample_rate from audio_files order by 1") == [
        (-5, "/5", 2),
        (30, "/30", 1),
    ]
    assert [column for _, _, column in installation.rejected()] == ["sample_rate"]


def test_a_mapped_table_without_a_key(installation: Installation) -> None:
    """Without a key ids may repeat or lack: the first of each is loaded, the others are rejected, references hold."""
    script = (
        "create table audio_files (id, file_path, file_name, processing_status);"
        "insert into audio_files values (1, '/a', 'a', 'x'), (2, '/b', 'b', 'x'), (1, '/c', 'c', 'x'), "
        "(null, '/d', 'd', 'x'), (2.0, '/e', 'e', 'x'), ('3', '/f', 'f', 'x'), (4.0, '/g', 'g', 'x');"
    )
    installation.take(script, code=3)
    assert installation.all("select id, file_path from audio_files order by 1") == [(1, "/a"), (2, "/b"), (4, "/g")]
    assert [rowid for _, rowid, _ in installation.rejected()] == [3, 4, 5, 6]


def test_duplicate_ids_in_a_partitioned_table(installation: Installation) -> None:
    """No key spans the months of transcriptions: the second row with an id is rejected all the same."""
    script = AUDIO.replace(
        "create table transcriptions (id integer primary key autoincrement", "create table transcriptions (id integer"
    )
    rows = (
        "insert into transcriptions values (1, 1, null, 'x', 0, 1, '2024-01-05 00:00:00'), "
        "(1, 1, null, 'y', 0, 1, '2024-02-05 00:00:00'), (2, 1, null, 'z', 0, 1, null);"
    )
    installation.take(script + audio(1) + rows, code=3)
    assert installation.all("select id, text_content from transcriptions order by 1") == [(1, "x"), (2, "z")]
    assert installation.rejected() == [("transcriptions", 2, "id")]


@pytest.mark.parametrize("extreme", [2**63 - 1, -(2**63), -1, 0])
def test_row_numbers_at_the_ends(extreme: int, installation: Installation) -> None:
    """Negative and largest row numbers keep their ids, in known and in unknown tables."""
    installation.take(
        AUDIO
        + audio(5, extreme)
        + transcription(extreme, extreme)
        + f"create table other (a); insert into other (rowid, a) values ({extreme}, 'x'), (7, 'y');"
    )
    assert installation.all("select id from audio_files order by 1") == sorted([(5,), (extreme,)])
    assert installation.all("select id, audio_file_id from transcriptions") == [(extreme, extreme)]
    assert len(installation.unmapped()) == 2


@pytest.mark.parametrize("definition", ["ID integer primary key desc", "ID integer", "ID integer primary key"])
def test_the_largest_id_where_it_may_be_no_row_number(definition: str, installation: Installation) -> None:
    """Such keys are on record, as ranges; the file is caught up with and undone as any other."""
    ending = " without rowid" if definition == "ID integer primary key" else ""
    installation.write(
        f"create table Topic ({definition}, Name text){ending}; "
        "insert into Topic values (9223372036854775807, 'last'), (9223372036854775804, 'b'), "
        "(-9223372036854775808, 'c')"
    )
    assert installation.import_().exit_code == 0
    assert installation.verify().exit_code == 0
    installation.write(
        "delete from Topic where Name in ('b', 'last'); insert into Topic values (9223372036854775806, 'd'), (7, 'e')"
    )
    assert installation.sync().exit_code == 0
    installation.write("insert into Topic values (9223372036854775807, 'last again')")
    assert installation.sync().exit_code == 0
    names = installation.all("select name from topics where id <> 1 order by id")
    assert names == [("c",), ("e",), ("d",), ("last again",)]
    assert installation.undo().exit_code == 0
    assert installation.all("select name from topics where id <> 1") == []


def test_generated_columns(installation: Installation) -> None:
    """What SQLite computes is a value like any other."""
    installation.take(
        "create table t (a integer, doubled integer generated always as (a * 2) virtual, squared generated "
        "always as (a * a) stored);"
        "insert into t (a) values (3);"
        "create table audio_files (id integer primary key, file_path text, file_name text as ('f' || id), "
        "processing_status text);"
        "insert into audio_files (id, file_path) values (8, '/8');"
    )
    assert installation.unmapped() == [{"a": 3, "doubled": 6, "squared": 9}]
    assert installation.one("select file_name from audio_files") == "f8"


def test_views_triggers_and_virtual_tables_beside(installation: Installation) -> None:
    """Of a search index over the calls the shadow tables are kept, and the virtual table is not read."""
    installation.take(
        AUDIO
        + audio(1)
        + transcription(1, 1)
        + "create virtual table search using fts5(text_content); insert into search values ('hello there');"
        + "create view all_files as select * from audio_files;"
        + "create trigger t after insert on audio_files begin select 1; end;"
    )
    assert installation.one("select text_content from transcriptions") == "hello"
    tables = {table for (table,) in installation.all("select distinct source_table from imports.unmapped")}
    assert "search_content" in tables
    assert "search" not in tables


def test_strict_tables(installation: Installation) -> None:
    """STRICT tables and their ANY columns hold what they hold."""
    installation.take(
        "create table t (a integer, b any) strict; insert into t values (1, '1'), (2, 1), (3, 1.0), (4, x'31');"
    )
    assert [row["b"] for row in installation.unmapped()] == ["1", 1, {"real": "1.0"}, {"blob": "31"}]


def test_many_columns(installation: Installation) -> None:
    """A table as wide as SQLite allows is kept."""
    columns = ", ".join(f"c{n}" for n in range(1900))
    installation.take(f"create table wide ({columns}); insert into wide (c0, c1899) values (1, 'last');")
    (row,) = installation.unmapped()
    assert (len(row), row["c0"], row["c1899"]) == (1900, 1, "last")


def not_valid(installation: Installation) -> set[str]:
    """Return the foreign keys that are not valid, by their parent's name where they are a partition's."""
    rows = installation.all(
        "select conname from pg_constraint where contype = 'f' and not convalidated and conparentid = 0"
    )
    return {name for (name,) in rows}


def test_a_child_without_parent_is_loaded_and_named(installation: Installation) -> None:
    """Its foreign key stays NOT VALID and is named with the number of orphans; new orphans are still refused."""
    outcome = installation.take(AUDIO + audio(1) + segment(1, 1) + segment(2, 99) + segment(3, 99))
    assert installation.all("select id, audio_file_id from speaker_segments order by 1") == [(1, 1), (2, 99), (3, 99)]
    named = [(one.table_name, one.name, one.orphans) for one in outcome.not_validated]
    assert named == [("speaker_segments", "speaker_segments_audio_file_id_fkey", 2)]
    assert not_valid(installation) == {"speaker_segments_audio_file_id_fkey"}
    with pytest.raises(psycopg2.errors.ForeignKeyViolation):
        installation.change(
            "insert into speaker_segments (audio_file_id, speaker_id, start_time, end_time) values (98, 's', 0, 1)"
        )


def test_orphans_in_a_partitioned_table(installation: Installation) -> None:
    """Orphans of several months, and of none: all loaded, all counted."""
    rows = (
        "insert into transcriptions values (1, 99, null, 'x', 0, 1, '2024-01-05 00:00:00'), "
        "(2, 99, 77, 'y', 0, 1, '2024-02-05 00:00:00'), (3, 98, null, 'z', 0, 1, null), (4, 1, null, 'w', 0, 1, "
        "'2024-02-06 00:00:00');"
    )
    outcome = installation.take(AUDIO + audio(1) + rows)
    assert installation.one("select count(*) from transcriptions") == 4
    assert sum(one.orphans for one in outcome.not_validated) == 4
    assert not_valid(installation) != set()


def test_a_reference_to_the_own_table(installation: Installation) -> None:
    """Supervisors, some of whom left: agents keep them; where ids move, they move along."""
    people = (
        "insert into agent_accounts values (1, 'a', null, 'h'), (2, 'b', null, 'h'), (3, 'c', null, 'h');"
        + "".join(
            f"insert into agent_profiles values ({n}, {n}, 'e{n}', 'n', 'f', 'l', 'd', 'p', {boss});"
            for n, boss in ((1, "null"), (2, 1), (3, 50))
        )
    )
    outcome = installation.take(SESSIONS + people)
    assert installation.all("select id, supervisor_id from agent_profiles order by 1") == [(1, None), (2, 1), (3, 50)]
    assert [one.name for one in outcome.not_validated] == ["agent_profiles_supervisor_id_fkey"]
    other = people.replace("'a'", "'x'").replace("'b'", "'y'").replace("'c'", "'z'").replace("'e", "'o")
    installation.take(SESSIONS + other)
    bosses = (
        "select a.employee_id, b.employee_id from agent_profiles a left join agent_profiles b on b.id = a.supervisor_id"
    )
    assert installation.all(f"{bosses} order by a.id") == [
        ("e1", None), ("e2", "e1"), ("e3", None), ("o1", None), ("o2", "o1"), ("o3", None),
    ]  # fmt: skip


def test_children_of_a_rejected_parent_are_loaded(installation: Installation) -> None:
    """A recording that can't be held is rejected; what was said in it is not."""
    broken = "insert into audio_files values (2, '/2', x'ff', 'pending');"
    outcome = installation.take(AUDIO + audio(1) + broken + segment(1, 2) + transcription(1, 2, 1), code=3)
    assert installation.rejected() == [("audio_files", 2, "file_name")]
    assert installation.one("select count(*) from transcriptions where audio_file_id = 2") == 1
    assert {one.name.rpartition("_fkey")[0] for one in outcome.not_validated} >= {"speaker_segments_audio_file_id"}


def test_quality_without_its_audio_then_the_audio(installation: Installation) -> None:
    """Sessions imported alone are orphans; once their recordings come, the key can be validated."""
    quality = installation.write(SESSIONS + session(1, 11) + session(2, 12), "quality.sqlite")
    outcome = installation.take(quality)
    assert [(one.name, one.orphans) for one in outcome.not_validated] == [
        ("consultation_sessions_audio_file_id_fkey", 2)
    ]
    installation.take(AUDIO + audio(11, 12))
    assert (
        installation.one("select count(*) from consultation_sessions s join audio_files f on f.id = s.audio_file_id")
        == 2
    )


def test_an_orphan_does_not_find_another_s_parent(installation: Installation) -> None:
    """A second installation's utterance whose file was deleted must not lead to a file of the first."""
    installation.take(AUDIO + audio(*range(1, 21)) + transcription(1, 1))
    installation.take(AUDIO + audio(30, 31) + segment(1, 5) + segment(2, 31))
    rows = installation.all(
        "select s.id, f.file_path from speaker_segments s left join audio_files f on f.id = s.audio_file_id order by 1"
    )
    assert rows == [(1, None), (2, "/31")]


@pytest.mark.parametrize("parent", ["deleted", "rejected"])
def test_another_s_row_does_not_become_the_parent_of_an_orphan(installation: Installation, parent: str) -> None:
    """Nor when it comes later: an id by which an orphan refers counts as taken, in partitions too."""
    lost = "insert into audio_files values (5, '/lost', x'ff', 'pending');" if parent == "rejected" else ""
    installation.take(AUDIO + audio(1) + lost + segment(1, 5) + transcription(1, 5, 1), code=3 if lost else 0)
    installation.take(AUDIO + audio(4, 5) + segment(1, 5) + transcription(1, 5, 1))
    for table in ("speaker_segments", "transcriptions"):
        rows = installation.all(
            f"select f.file_path from {table} s left join audio_files f on f.id = s.audio_file_id order by s.id"
        )
        assert rows == [(None,), ("/5",)]


def test_an_orphan_below_moved_ids_does_not_find_another_s_parent(installation: Installation) -> None:
    """Where ids move because they collide, a reference to a deleted parent moves into free space too."""
    installation.take(AUDIO + audio(*range(1, 21)))
    installation.take(AUDIO + audio(5, 6) + segment(1, 1) + segment(2, 6))
    rows = installation.all(
        "select s.id, f.file_path from speaker_segments s left join audio_files f on f.id = s.audio_file_id order by 1"
    )
    assert rows == [(1, None), (2, "/6")]


def test_ids_that_the_application_took_meanwhile(installation: Installation) -> None:
    """Rows that the application made on PostgreSQL stay; the ids that collide move with all their references."""
    installation.change("insert into audio_files (file_name) values ('mine')")
    installation.change(
        "insert into transcriptions (audio_file_id, text_content, start_time, end_time) values (1, 'mine', 0, 1)"
    )
    file = installation.write(AUDIO + audio(1, 2) + segment(1, 2) + transcription(1, 2, 1))
    installation.take(file)
    assert problems(file, installation.connection) == []
    assert installation.all(
        "select t.text_content, f.file_name, s.speaker_id from transcriptions t join audio_files f on f.id = "
        "t.audio_file_id "
        "left join speaker_segments s on s.id = t.speaker_segment_id order by t.id"
    ) == [("mine", "mine", None), ("hello", "f2", "s")]


@pytest.mark.quick
def test_two_installations_merged(installation: Installation) -> None:
    """Two branches with the same ids: nothing is merged, nothing mixed up, each row keeps its relations."""
    first = installation.write(AUDIO + audio(1, 2) + transcription(1, 1), "seoul-audio.sqlite")
    quality = installation.write(SESSIONS + session(1, 1), "seoul-quality.sqlite")
    second = installation.write(AUDIO + audio(1, 2, 3) + transcription(1, 3), "busan-audio.sqlite")
    other = installation.write(SESSIONS + session(1, 3), "busan-quality.sqlite")
    installation.take(first, quality)
    installation.take(second, other)
    for file in (first, quality, second, other):
        assert problems(file, installation.connection) == []
    assert installation.all("select audio_file_id from consultation_sessions order by id") == [(1,), (5,)]


def test_sessions_follow_recordings_that_came_earlier(installation: Installation) -> None:
    """The quality file in a command of its own finds its recordings where they moved."""
    installation.take(FILE + "insert into File values (1, 'a', null, '/a', 's'), (2, 'b', null, '/b', 's');")
    installation.take(AUDIO + audio(1, 2))
    installation.take(SESSIONS + session(1, 2))
    assert (
        installation.one("select f.file_path from consultation_sessions s join audio_files f on f.id = s.audio_file_id")
        == "/2"
    )


def test_sessions_that_could_belong_to_two_installations_are_refused(installation: Installation) -> None:
    """With two audio databases in, a lone quality file is refused, unless its own audio file is named along."""
    first = installation.write(AUDIO + audio(1, 2), "one.sqlite")
    second = installation.write(AUDIO + audio(1, 2, 3), "two.sqlite")
    quality = installation.write(SESSIONS + session(1, 3), "quality.sqlite")
    installation.take(first)
    installation.take(second)
    with pytest.raises(CallyticsError, match="import one installation at a time"):
        installation.take(quality)
    assert installation.one("select count(*) from imports.runs") == 2
    import_files(installation.settings, [second, quality], installation.options, lambda *_: None)
    assert installation.one("select audio_file_id from consultation_sessions") == 5


def test_codes_that_two_installations_share(installation: Installation) -> None:
    """A code that has another name there can't be held: it is rejected with the reason, and kept."""
    codes = (
        "create table business_type_codes (id integer primary key, code text, name text); "
        "insert into business_type_codes values (1, 'A', '{}');"
    )
    installation.take(codes.format("one"))
    outcome = installation.take(codes.format("two"), code=3)
    assert outcome.rejects[0].reason == "another row has the same code, and another name"
    assert installation.all("select code, name from business_type_codes") == [("A", "one")]
    assert json.loads(json.dumps(installation.one("select source_row from imports.rejected"))) == {
        "id": 1,
        "code": "A",
        "name": "two",
    }


def test_a_file_that_was_analysed_again_stays_twice(installation: Installation) -> None:
    """file_path is not unique in generations 1 and 2: two analyses of one call are two rows."""
    installation.take(
        PROPERTIES
        + "insert into audio_properties (id, file_path, file_name, summary) "
        + "values (1, '/x', 'x', 'one'), (2, '/x', 'x', 'two');"
    )
    assert installation.all("select a.summary from audio_features a order by 1") == [("one",), ("two",)]


def test_no_ids_left(installation: Installation) -> None:
    """Where ids would have to move beyond the last bigint, the import is refused and nothing written."""
    installation.take(AUDIO + audio(1, 2**63 - 1))
    with pytest.raises(CallyticsError, match="no ids are left"):
        installation.take(AUDIO + audio(1, 7))
    assert installation.one("select count(*) from imports.runs") == 1


def test_the_same_content_twice_in_one_command(installation: Installation) -> None:
    """Two names of one content are refused: which of them is meant can't be told."""
    files = [installation.write(AUDIO + audio(1), name) for name in ("a.sqlite", "b.sqlite")]
    with pytest.raises(SourceError, match="same content"):
        import_files(installation.settings, files, installation.options, lambda *_: None)
    assert list(installation.folder.glob("snapshots/*")) == []


def test_the_application_inserts_while_an_import_is_cut_off(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ids of an import that has begun are taken: what the application inserts meanwhile goes past them."""
    file = installation.write(AUDIO + audio(1, 2) + transcription(1, 2))
    with monkeypatch.context() as patched:
        patched.setattr(
            "callytics.importer.commands.import_._run", lambda *_: (_ for _ in ()).throw(CallyticsError("cut off"))
        )
        with pytest.raises(CallyticsError, match="cut off"):
            import_files(installation.settings, [file], installation.options, lambda *_: None)
    assert installation.change("insert into audio_files (file_name) values ('mine') returning id") == 3
    installation.take(file)
    assert installation.all("select id, file_name from audio_files order by 1") == [(1, "f1"), (2, "f2"), (3, "mine")]
    assert installation.all("select count(*) from imports.definitions where restored_at is null") == [(0,)]
