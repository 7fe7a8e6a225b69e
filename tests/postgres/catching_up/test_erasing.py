"""Persons that are erased: nothing of them is left in any table, and nothing brings them back."""

from __future__ import annotations

import importlib
import json
import os
import signal
import time
import unicodedata
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from psycopg2 import sql

from callytics import archives
from callytics.erasure import Erasure, Person, erase
from callytics.erasure.keys import Keys
from callytics.exceptions import ErasureError
from callytics.schema.belongings import belongings, personal
from callytics.settings import Settings
from tests.support.installation import Installation, contents, write
from tests.support.servers import Databases

pytestmark = pytest.mark.slow
MODULE = importlib.import_module("callytics.erasure.erase")

COLUMNS = """
select n.nspname, c.relname, a.attname
from pg_attribute as a
join pg_class as c on c.oid = a.attrelid
join pg_namespace as n on n.oid = c.relnamespace
where c.relkind in ('r', 'm') and a.attnum > 0 and not a.attisdropped
    and n.nspname not in ('pg_catalog', 'information_schema') and n.nspname !~ '^pg_(toast|temp)'
order by 1, 2, 3
"""


@pytest.fixture
def clean(databases: Databases, template: Settings, tmp_path: Path) -> Iterator[Installation]:
    """A database without an import."""
    with databases.clone(template) as settings, Installation.on(settings, tmp_path) as office:
        yield office


def silent(_line: str) -> None:
    """Say nothing."""


def erased(office: Installation, *calls: int, **options: Any) -> Erasure:
    return erase(office.settings, Person(calls), silent, **options)


def places_of(office: Installation, words: set[str]) -> dict[str, set[str]]:
    """Return the columns of all tables of all schemas, and of the statistics, in which any of these words stand."""
    found: dict[str, set[str]] = {}
    assert words
    for schema, table, column in office.all(COLUMNS):
        with office.connection.cursor() as cursor:
            query = sql.SQL(
                "select distinct word from unnest(%s) as word join {} as t on position(word in t.{}::text) > 0"
            )
            cursor.execute(query.format(sql.Identifier(schema, table), sql.Identifier(column)), (list(words),))
            if rows := {word for (word,) in cursor.fetchall()}:
                found[f"{schema}.{table}.{column}"] = rows
    statistics = office.all(
        "select tablename || '.' || attname, most_common_vals::text || histogram_bounds::text from pg_stats "
        "where schemaname in ('public', 'imports')"
    )
    for name, text in statistics:
        if hits := {word for word in words if word in (text or "")}:
            found[f"statistics of {name}"] = hits
    return found


def words_of(office: Installation, call: int) -> set[str]:
    """Return texts that only this call has, from whatever table."""
    own: set[str] = set()
    others: set[str] = set()
    for (row,) in office.all("select to_jsonb(t) from audio_files as t where id = %s", call):
        own |= {row["file_path"], row["file_name"]}
    for table, column in (("transcriptions", "text_content"), ("consultation_sessions", "summary")):
        for recording, text in office.all(f"select audio_file_id, {column} from {table} where {column} is not null"):
            (own if recording == call else others).add(text)
    spoken = "select a.id, u.text from utterances as u join audio_files as a on a.file_path = u.audio_path"
    for recording, text in office.all(spoken):
        (own if recording == call else others).add(text)
    return {text for text in own if not any(text in other for other in others)}


@pytest.mark.quick
def test_every_table_is_declared(office: Installation) -> None:
    """A new table must be listed in callytics/schema/belongings.toml: whose its rows are, or why they are nobody's."""
    there = {
        name.removeprefix("public.")
        for (name,) in office.all(
            "select n.nspname || '.' || c.relname from pg_class as c join pg_namespace as n on n.oid = c.relnamespace "
            "where n.nspname in ('public', 'imports') and c.relkind in ('r', 'p') and not c.relispartition "
            "and c.relname !~ '^(_?yoyo|_callytics)_'"
        )
    }
    assert there == set(belongings())


@pytest.mark.quick
def test_every_reference_is_declared(office: Installation) -> None:
    """A row that refers to a person's goes with it, or is cleared: otherwise a foreign key would refuse the erasure."""
    keys = office.all(
        "select distinct coalesce(pg_partition_root(k.conrelid), k.conrelid)::regclass::text, a.attname, "
        "k.confrelid::regclass::text from pg_constraint as k "
        "join pg_attribute as a on a.attrelid = k.conrelid and a.attnum = k.conkey[1] "
        "where k.contype = 'f' and k.connamespace = 'public'::regnamespace"
    )
    erasable = {"audio_files", "agent_accounts", *(one.table for one in personal() if one.goes_with)}
    wanted = {(child, column, parent) for child, column, parent in keys if parent in erasable}
    declared = {
        (one.table, column, parent)
        for one in personal()
        for column, parent in [*one.goes_with.items(), *one.cleared.items()]
    }
    assert wanted <= declared
    for table, column, _parent in declared:
        assert office.all("select 1 from pg_attribute where attrelid = %s::regclass and attname = %s", table, column)


@pytest.mark.parametrize("office", ["2", "audio", "3"], indirect=True)
def test_nothing_of_a_call_is_left_and_nothing_else_is_touched(office: Installation) -> None:
    call = office.one("select min(id) + 1 from audio_files")
    words, before = words_of(office, call), contents(office.connection, records=False)
    assert places_of(office, words)
    would = erased(office, call, dry_run=True)
    assert contents(office.connection, records=False) == before
    done = erased(office, call)
    assert (done.deleted, done.masked) == (would.deleted, would.masked)
    assert done.deleted["audio_files"] == 1
    assert places_of(office, words) == {}
    after = contents(office.connection, records=False)
    lost = {table: gone for table in before if (gone := len(before[table]) - len(after[table]))}
    assert lost == {table: rows for table, rows in (+done.deleted).items() if not table.startswith("imports.")}
    assert all(len(set(after[table]) - set(before[table])) <= done.masked[table] for table in before)


@pytest.mark.parametrize("office", ["2", "audio", "3"], indirect=True)
def test_an_erased_call_is_not_missed_and_does_not_come_back(office: Installation) -> None:
    call = office.one("select min(id) + 1 from audio_files")
    words = words_of(office, call)
    done = erased(office, call)
    checked = office.verify()
    assert (checked.exit_code, checked.differences) == (0, [])
    assert sum(table.erased for table in checked.tables) == sum(
        rows for table, rows in done.deleted.items() if not table.startswith("imports.")
    )
    office.write(
        "update audio_files set file_name = file_name || ' anew'"
        if "audio" in office.file.name
        else "update audio_properties set file_name = file_name || ' anew'"
    )
    for choice in (None, "theirs"):
        synced = office.sync(choice=choice)
        assert (synced.exit_code, synced.clashes, synced.differences) == (0, [], []), synced
        assert places_of(office, words) == {}
    assert office.verify().exit_code == 0
    undone = office.undo()
    assert undone.exit_code == 0
    assert office.one("select count(*) from audio_files") == 0
    assert office.import_().exit_code == 0
    assert places_of(office, words) == {}
    assert office.verify().exit_code == 0


def agent_of(office: Installation) -> tuple[str, str, int]:
    """Return the username, full name and profile of an agent whose sessions name it."""
    ((username, full_name, profile),) = office.all(
        "select a.username, p.full_name, p.id from agent_accounts as a join agent_profiles as p on p.account_id = a.id "
        "where exists (select from consultation_sessions as s where s.agent_name = p.full_name) order by a.id limit 1"
    )
    return username, full_name, profile


def erased_agent(office: Installation, name: str, **options: Any) -> Erasure:
    with_calls = options.pop("with_calls", False)
    return erase(office.settings, Person(agent=name, with_calls=with_calls), silent, **options)


@pytest.mark.parametrize("office", ["3"], indirect=True)
def test_an_agent_goes_and_the_calls_stay_without_the_name(office: Installation) -> None:
    username, full_name, profile = agent_of(office)
    office.all("update agent_profiles set supervisor_id = %s where id <> %s", profile, profile)
    office.all("update agent_teams set team_leader_id = %s", profile)
    office.all(
        "insert into audit_log (action, agent_id, subject_id, ip_address, details) "
        "values ('call.read', %s, null, '192.0.2.7', '{}'), ('account.lock', null, %s, null, '{}')",
        profile,
        profile,
    )
    calls = office.one("select count(*) from audio_files")
    sessions = office.one("select count(*) from consultation_sessions where agent_name = %s", full_name)
    said = {
        text
        for (text,) in office.all("select text from utterances union all select summary from consultation_sessions")
    }
    words = {username, full_name} if not any(full_name in (text or "") for text in said) else {username}
    would = erased_agent(office, username, dry_run=True)
    done = erased_agent(office, username)
    assert (done.deleted, done.masked) == (would.deleted, would.masked)
    assert done.masked["consultation_sessions"] == sessions > 0
    assert places_of(office, words) == {}
    assert office.one("select count(*) from audio_files") == calls
    assert office.one("select count(*) from agent_profiles where id = %s", profile) == 0
    assert office.all("select agent_id, subject_id, ip_address, details from audit_log order by id") == [
        (0, None, None, None),
        (None, 0, None, None),
    ]
    with pytest.raises(ErasureError, match="there is no agent of that name"):
        erased_agent(office, username)


@pytest.mark.parametrize("office", ["3"], indirect=True)
def test_an_erased_agent_does_not_come_back(office: Installation) -> None:
    username, full_name, _profile = agent_of(office)
    erased_agent(office, full_name)
    checked = office.verify()
    assert (checked.exit_code, checked.differences) == (0, [])
    write(office.files[1], "update consultation_sessions set summary = coalesce(summary, '') || ' 추가'")
    for choice in (None, "theirs"):
        synced = office.sync(choice=choice)
        assert (synced.exit_code, synced.clashes, synced.differences) == (0, [], [])
        assert office.one("select count(*) from consultation_sessions where agent_name = %s", full_name) == 0
        assert office.one("select count(*) from agent_accounts where username = %s", username) == 0
    assert office.one("select count(*) from consultation_sessions where agent_name = 'erased'") > 0
    assert office.undo().exit_code == 0


@pytest.mark.parametrize("office", ["3"], indirect=True)
def test_an_agents_calls_go_batch_by_batch(office: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MODULE, "CALLS_AT_ONCE", 1)
    monkeypatch.setattr(MODULE, "NAMES_AT_ONCE", 1)
    username, full_name, _profile = agent_of(office)
    office.all("update consultation_sessions set agent_name = %s where id <= 3", full_name)
    calls = [
        one
        for (one,) in office.all(
            "select distinct audio_file_id from consultation_sessions where agent_name = %s order by 1", full_name
        )
    ]
    assert len(calls) > 1
    words = set.union(*(words_of(office, call) for call in calls)) | {username, full_name}
    whole, times = Keys.delete, iter(range(9))

    def broken(keys: Keys) -> None:
        if next(times):
            raise ErasureError("cut off")
        whole(keys)

    # Cut off after the first batch: that one is gone as a whole, and the same command goes on with the others.
    with monkeypatch.context() as patched:
        patched.setattr(Keys, "delete", broken)
        with pytest.raises(ErasureError, match="cut off"):
            erased_agent(office, username, with_calls=True)
    assert office.one("select count(*) from audio_files where id = any(%s)", calls) == len(calls) - 1
    done = erased_agent(office, username, with_calls=True)
    assert done.calls == calls[1:]
    assert done.deleted["audio_files"] == len(calls) - 1
    assert places_of(office, words) == {}
    assert office.verify().exit_code == 0


@pytest.mark.parametrize("office", ["3"], indirect=True)
def test_a_name_is_found_however_it_is_typed(office: Installation) -> None:
    decomposed = unicodedata.normalize("NFD", "하늬바람")
    call = office.one("select audio_file_id from consultation_sessions order by id limit 1")
    office.all("update consultation_sessions set agent_name = %s where audio_file_id = %s", decomposed, call)
    # No account has it, calls alone do.
    done = erased_agent(office, "하늬바람")
    assert done.masked["consultation_sessions"] > 0
    assert places_of(office, {"하늬바람", decomposed}) == {}


def test_killed_in_the_middle_everything_or_nothing_is_gone(office: Installation) -> None:
    call = office.one("select min(id) + 1 from audio_files")
    before, words = contents(office.connection), words_of(office, call)
    with closing(psycopg2.connect(office.settings.conninfo(owner=True))) as holder, holder.cursor() as cursor:
        # The erasure gathers everything, and waits for this row of a child.
        cursor.execute("select from transcriptions where audio_file_id = %s for update", (call,))
        process = office.start("erase", "--call", call, "--yes")
        waiting = (
            "select exists (select from pg_stat_activity where wait_event_type = 'Lock' and query like 'delete%%')"
        )
        deadline = time.monotonic() + 20
        while not office.one(waiting):
            assert time.monotonic() < deadline
            assert process.poll() is None, process.communicate()
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    assert contents(office.connection) == before
    assert places_of(office, words)
    erased(office, call)
    assert places_of(office, words) == {}


def test_a_call_in_an_archived_month_is_refused_until_it_is_back(office: Installation) -> None:
    call, month = office.all(
        "select audio_file_id, to_char(created_at, 'YYYY-MM') from transcriptions order by id limit 1"
    )[0]
    folder = office.folder / "archives"
    (gone,) = [
        one
        for one in archives.archive_months(office.settings, [month], folder, silent)
        if one.table == "transcriptions"
    ]
    before = contents(office.connection)
    with pytest.raises(ErasureError, match=f"bring them back with 'callytics partitions restore {month}'"):
        erased(office, call)
    kept = gone.file.read_bytes()
    gone.file.unlink()
    with pytest.raises(ErasureError, match=r"can't be read, .*--skip-archives"):
        erased(office, call)
    assert contents(office.connection) == before
    gone.file.write_bytes(kept)
    assert any("partitions restore" in line for line in erased(office, call, dry_run=True).left)
    archives.restore_month(office.settings, month, None, silent)
    words = words_of(office, call)
    done = erased(office, call)
    assert any(str(gone.file) in line for line in done.left)
    assert places_of(office, words) == {}
    assert any(".sqlite" in line and "here" in line for line in done.left)
    assert any("backups" in line for line in done.left)


def test_who_did_it_is_on_record_and_a_second_run_says_so(office: Installation) -> None:
    call = office.one("select min(id) + 1 from audio_files")
    done = json.loads(office.said_of("erase", "--call", call, "--yes", "--json"))
    ((kind, subjects, who, rows),) = office.all("select kind, subjects, erased_by, rows from imports.erasures")
    assert (kind, subjects, who) == ("call", [call], "root as callytics_owner")
    assert rows["deleted"] == done["deleted"]
    assert f"call {call} was erased on" in office.said_of("erase", "--call", call, "--yes")
    assert "there is no call 123456" in office.said_of("erase", "--call", 123456, "--yes", code=1)
    assert "there is no agent" in office.said_of("erase", "--agent", "아무도", "--yes", code=1)
    assert "Aborted" in office.said_of("erase", "--call", office.one("select min(id) from audio_files"), code=1)
    office.said_of("erase", code=2)
    office.said_of("erase", "--call", 1, "--agent", "kim", code=2)
    result = office.run("erase", "--call", "1", "--yes", owner=False)
    assert (result.exit_code, "does not own the tables" in result.output) == (1, True)


def test_traces_of_a_call_elsewhere_are_masked_or_gone(office: Installation) -> None:
    call, other = (one for (one,) in office.all("select id from audio_files order by id limit 2"))
    account = office.one("insert into agent_accounts (username, password_hash) values ('kim', 'x') returning id")
    for number, one in enumerate((call, other)):
        office.all(
            "insert into idempotency_keys (account_id, key, fingerprint, status, body) values (%s, %s, 'f', 201, %s)",
            account,
            str(number),
            json.dumps({"audio_file_id": one, "session_id": None}),
        )
    office.all("insert into audit_log (action, calls) values ('call.list', %s)", [other, call])
    erased(office, call)
    assert office.all("select body ->> 'audio_file_id' from idempotency_keys") == [(str(other),)]
    assert office.all("select calls from audit_log") == [([other, 0],)]


REJECTED = """
create table audio_files (id integer primary key autoincrement, file_path text not null, file_name text not null,
    processing_status text, created_at datetime, vendor_note text);
create table speaker_segments (id integer primary key autoincrement, audio_file_id integer not null, speaker_id text,
    start_time real, end_time real, confidence real, speaker_type text);
create table transcriptions (id integer primary key autoincrement, audio_file_id integer not null,
    speaker_segment_id integer, text_content text not null, start_time real, end_time real, confidence real,
    language text, created_at datetime);
create table call_notes (id integer primary key, audio_file_id integer, note text);
create table paths (file text, note text);
insert into audio_files values (1, '/c/일.wav', '일.wav', 'completed', '2024-01-01', '하나-비고'),
    (2, '/c/이.wav', '이.wav', 'completed', '2024-01-01', '둘-비고');
insert into speaker_segments values (5, 1, '하나-화자', 'x', 1, 1, 'agent'), (6, 2, '둘-화자', 'x', 1, 1, 'agent');
insert into transcriptions values (1, 1, 5, '하나-말', 0, 1, 1, 'ko', '어제'),
    (2, 2, 6, '둘-말', 0, 1, 1, 'ko', '어제'),
    (3, 1, null, '하나-말 둘째', 0, 1, 1, 'ko', '2024-01-01');
insert into call_notes values (1, 1, '하나-메모'), (2, 2, '둘-메모');
insert into paths values ('/c/일.wav', '하나-경로'), ('/c/이.wav', '둘-경로');
"""


def test_rejected_and_unmapped_rows_go_too(clean: Installation) -> None:
    clean.write(REJECTED)
    assert clean.import_().exit_code == 3
    assert len(places_of(clean, {"하나-"})) >= 3
    done = erased(clean, 1)
    assert done.deleted["imports.rejected"] == 2
    assert done.deleted["imports.unmapped"] == 3
    assert places_of(clean, {"하나-", "일.wav"}) == {}
    assert (
        sum(len(found) for found in places_of(clean, {"둘-화자", "둘-말", "둘-메모", "둘-비고", "둘-경로"}).values())
        == 5
    )
    checked = clean.verify()
    assert (checked.exit_code, checked.differences) == (3, [])
    clean.write(
        "update audio_files set vendor_note = '하나-새 비고' where id = 1; "
        "insert into transcriptions values (9, 1, null, '하나-나중', 0, 1, 1, 'ko', '2024-01-02')"
    )
    synced = clean.sync()
    assert (synced.exit_code, synced.clashes, synced.differences) == (3, [], [])
    assert places_of(clean, {"하나-", "일.wav"}) == {}
    assert clean.verify().exit_code == 3
