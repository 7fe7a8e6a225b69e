"""A database is what the migrations make, part by part: whatever else it is, is named with what to do about it."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import psycopg2
import pytest
from psycopg2.extensions import connection as Connection

from callytics.exceptions import MigrationError
from callytics.postgres import connect
from callytics.schema import versions
from callytics.schema.catalogue import catalogue
from callytics.schema.catalogue.catalogue import Contents, differences
from callytics.schema.doctor.doctor import examine
from callytics.schema.doctor.findings import Finding
from callytics.schema.migrate import migrate
from callytics.settings import Settings
from callytics.trial import embedded, servers
from callytics.trial.embedded import EmbeddedPostgres
from scripts.catalogue import migrated, with_each
from tests.support.servers import Databases, execute


@pytest.fixture
def superuser(server: EmbeddedPostgres, database: Settings) -> Iterator[Connection]:
    with closing(psycopg2.connect(server.superuser_conninfo(database.database))) as connection:
        connection.autocommit = True
        yield connection


def run(connection: Connection, statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)


def found(settings: Settings) -> list[Finding]:
    """Return what the doctor says of the catalogue that is not well."""
    findings = [one for one in examine(settings).findings if one.check == "catalogue"]
    assert all(one.fix for one in findings if one.level != "ok")
    return [one for one in findings if one.level != "ok"]


def told(settings: Settings) -> list[str]:
    """Return what the doctor tells of the catalogue that is well."""
    return [one.what for one in examine(settings).findings if (one.check, one.level) == ("catalogue", "ok")]


def test_what_is_written_down_is_what_the_migrations_make(shared_database: Settings) -> None:
    with closing(connect(shared_database, owner=True)) as connection:
        contents = Contents.of(connection)
    assert differences(contents) == [], "run: python -m scripts.catalogue --update"
    if contents.server == catalogue.expected().server:
        optional = with_each(shared_database, versions.optional())
        assert catalogue.text_of(contents, optional) == catalogue.EXPECTED.read_text(encoding="utf-8")
    assert found(shared_database) == []


@pytest.mark.slow
@pytest.mark.parametrize("server", [*servers.find_servers()], ids=lambda one: str(one.version))
def test_every_version_of_the_server_makes_the_same(server: servers.Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "find_servers", lambda: iter([server]))
    with migrated() as settings, closing(connect(settings, owner=True)) as connection:
        contents = Contents.of(connection)
        assert contents.server == server.version
        assert differences(contents) == []


# What somebody did to a table of ours; what the doctor finds, and whether its statement puts it right.
CHANGES = {
    "drop index audio_files_created_at_idx": ("index audio_files_created_at_idx of audio_files is missing", True),
    "drop trigger set_updated_at on audio_files": ("trigger set_updated_at of audio_files is missing", True),
    "alter table audio_files disable trigger set_updated_at": ("trigger set_updated_at of audio_files is CREATE", True),
    "alter table imports.steps drop constraint steps_step_check": (
        "constraint steps_step_check of imports.steps is missing",
        True,
    ),
    "alter table audio_features drop constraint audio_features_topic_id_fkey": (
        "constraint audio_features_topic_id_fkey of audio_features is missing",
        True,
    ),
    "alter table topics drop constraint topics_pkey cascade": ("constraint topics_pkey of topics is missing", False),
    "alter table topics alter column name type varchar(20)": (
        "column name of topics is character varying(20) not null, not text not null",
        True,
    ),
    "alter table topics alter column name drop not null": ("column name of topics is text, not text not null", True),
    "alter table audio_files alter column created_at drop default": (
        "column created_at of audio_files is timestamp with time zone, not timestamp with time zone default now()",
        True,
    ),
    'alter table agent_accounts alter column email type text collate "C"': (
        "column email of agent_accounts is text collate",
        True,
    ),
    "alter table topics alter column id drop identity": ("column id of topics is bigint not null, not bigint", True),
    "alter table topics alter column id set generated always": ("column id of topics is bigint not null gen", True),
    "alter table utterances drop column speaker_role cascade": ("column speaker_role of utterances is missing", False),
    "alter sequence topics_id_seq increment 10": ("sequence topics_id_seq of topics is as bigint start 1", True),
    "drop index audio_files_created_at_idx; create index audio_files_created_at_idx on audio_files (file_name)": (
        "index audio_files_created_at_idx of audio_files is CREATE INDEX",
        True,
    ),
    "alter table imports.sizes set unlogged": ("table imports.sizes is unlogged, not logged", True),
    "alter table audio_metrics enable row level security": ("table audio_metrics is logged with row level", True),
    "drop table imports.sizes": ("table imports.sizes is missing", False),
    "drop view import_summaries": ("view import_summaries is missing", False),
    "create or replace view import_summaries as select 1::bigint as import, ''::text as verdict, ''::text as version, "
    "now() as started_at, now() as finished_at, ''::text as file, ''::text as source_table, ''::text as target_table, "
    "1::bigint as source_rows, 1::bigint as loaded, 1::bigint as rejected, 1::bigint as verified_rows, "
    "1::bigint as different_rows, 1::bigint as shared"
    "": ("view import_summaries is not what the migrations make", False),
    "drop function imports.origin_of(text, bigint)": ("routine imports.origin_of(text,bigint) is missing", False),
    "create or replace function set_updated_at() returns trigger language plpgsql as 'begin return new; end'": (
        "routine set_updated_at() is not what the migrations make",
        False,
    ),
    "alter function keep_partitions_ahead(integer) security invoker": ("routine keep_partitions_ahead(integer)", False),
    "alter table utterances_default drop constraint utterances_default_pkey": (
        "constraint utterances_default_pkey of utterances_default is missing",
        True,
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("statement", CHANGES)
def test_a_part_that_is_missing_or_another(statement: str, database: Settings, superuser: Connection) -> None:
    text, is_repaired = CHANGES[statement]
    execute(database, statement)
    (first, *_), others = (
        [one for one in found(database) if one.what.startswith(text) is yes] for yes in (True, False)
    )
    assert first.level == "error"
    assert "callytics_owner" in first.fix
    assert len(others) <= 1 or "cascade" in statement
    if is_repaired:
        execute(database, statement_of(first))
        assert [one.what for one in found(database)] == []


def statement_of(finding: Finding) -> str:
    """Return the statement in what the doctor says to do."""
    return re.sub(r"^as callytics_owner: ", "", finding.fix)


ADDED = {
    "create index mine on audio_files (duration_seconds)": (None, "index mine of audio_files was made by no migration"),
    "create unique index mine on topics (name)": ("warning", "index mine of topics was made by no migration"),
    "alter table topics add column mine text": ("warning", "column mine of topics was made by no migration"),
    "alter table audio_metrics add column mine text not null": (
        "error",
        "column mine of audio_metrics was made by no migration",
    ),
    "alter table topics add constraint mine check (id < 10)": ("warning", "constraint mine of topics was made by no"),
    "create rule mine as on insert to topics do instead nothing": ("warning", "rule mine of topics was made by no"),
    "create trigger mine before insert on topics for each row execute function set_updated_at()": (
        "warning",
        "trigger mine of topics was made by no migration",
    ),
    "create schema mine; create table mine.audio_files (id int); create view mine.v as select 1": (None, ""),
    "create table beside_ours (id int); create view beside as select 1": (None, ""),
}


@pytest.mark.slow
@pytest.mark.parametrize("statement", ADDED)
def test_a_part_that_somebody_added(statement: str, database: Settings, superuser: Connection) -> None:
    level, text = ADDED[statement]
    run(superuser, statement)
    wrong = found(database)
    if level is None:
        assert wrong == []
        assert told(database)[0].startswith(text)
        return
    assert [(one.level, one.what[: len(text)]) for one in wrong] == [(level, text)]
    execute(database, wrong[0].fix.partition("callytics_owner: ")[2])
    assert found(database) == []


@pytest.mark.slow
def test_an_event_trigger_is_told(database: Settings, superuser: Connection) -> None:
    run(superuser, "create function look() returns event_trigger language plpgsql as 'begin end'")
    run(superuser, "create event trigger looks on ddl_command_end execute function look()")
    assert found(database) == []
    assert told(database) == [
        "event trigger looks runs at each change of tables (ddl_command_end execute function look())"
    ]


@pytest.mark.slow
@pytest.mark.parametrize("part", ["pg_proc, is_secret(oid,name), regprocedure", "pg_class, topics, regclass"])
def test_parts_whose_number_an_extension_has_elsewhere_are_ours(
    part: str, database: Settings, superuser: Connection
) -> None:
    """Numbers are unique in each catalogue alone; pg_upgrade gives routines new ones, and types and tables the old."""
    catalogue_of, name, kind = part.split(", ")
    run(superuser, "set allow_system_table_mods = on")
    run(
        superuser,
        f"insert into pg_depend select 'pg_opclass'::regclass, '{name}'::{kind}, 0, 'pg_extension'::regclass, oid, 0, "
        "'e' from pg_extension where extname = 'plpgsql'",
    )
    assert found(database) == []
    run(superuser, f"update pg_depend set classid = '{catalogue_of}'::regclass where classid = 'pg_opclass'::regclass "
                   f"and objid = '{name}'::{kind} and deptype = 'e'")  # fmt: skip
    assert found(database) != []


def test_a_table_of_another_owner(database: Settings, superuser: Connection) -> None:
    run(superuser, "alter table topics owner to postgres; alter function views_on(regclass) owner to postgres")
    (wrong,) = found(database)
    assert wrong.what == (
        "role postgres owns topics, topics_id_seq, views_on(regclass), which should be callytics_owner's"
    )
    assert "OWNER TO callytics_owner" in wrong.fix


@pytest.mark.slow
def test_months_are_compared_with_the_default_partition(database: Settings) -> None:
    execute(database, "select ensure_month_partitions('utterances', '2021-11-01', '2022-02-01')")
    assert found(database) == []
    execute(database, "alter table utterances_2021_12 drop constraint utterances_2021_12_pkey")
    execute(database, "alter table utterances_2022_01 alter column created_at drop default")
    assert sorted(one.what for one in found(database)) == [
        "column created_at of utterances_2022_01 is timestamp with time zone, "
        "not timestamp with time zone default now()",
        "constraint utterances_2021_12_pkey of utterances_2021_12 is missing",
    ]
    for one in found(database):
        execute(database, statement_of(one))
    execute(database, "alter table utterances detach partition utterances_2021_11")
    execute(
        database,
        "create table utterances_2023 partition of utterances for values from ('2023-01-01') to ('2024-01-01')",
    )
    (wrong,) = found(database)
    assert wrong.what == "partition utterances_2021_11 is not attached"
    execute(database, statement_of(wrong))
    assert found(database) == []
    assert told(database) == ["partition utterances_2023 was made by no migration"]


@pytest.mark.slow
def test_hundreds_of_partitions_take_less_than_a_second(database: Settings) -> None:
    execute(
        database,
        "select ensure_month_partitions(t, '2020-01-01', '2024-03-01') from unnest(array["
        "'transcriptions', 'utterances', 'processing_logs', 'agent_activity_logs']::regclass[]) as t",
    )
    with closing(connect(database, owner=True)) as connection:
        began = time.monotonic()
        contents = Contents.of(connection)
        assert differences(contents) == []
        seconds = time.monotonic() - began
    assert len(contents.partitions) > 200
    # The promise is one; these machines may be busy.
    assert seconds < 3


@pytest.mark.slow
def test_what_an_import_has_put_away_is_no_difference(database: Settings) -> None:
    execute(
        database,
        """
        insert into imports.runs (id, version, timezone, started_at) values (7, '0', 'UTC', now());
        insert into imports.definitions (run_id, kind, table_name, name, definition)
        values (7, 'index', 'audio_files', 'audio_files_created_at_idx', 'd'),
            (7, 'foreign key', 'audio_features', 'audio_features_topic_id_fkey', 'd');
        drop index audio_files_created_at_idx;
        alter table audio_features drop constraint audio_features_topic_id_fkey
        """,
    )
    assert found(database) == []
    assert told(database) == ["2 indexes and keys are away for import 7, which brings them back"]
    assert migrate(database, report=lambda line: None) == []
    alone = found(replace(database, owner_user=None))
    assert [(one.level, one.what.rpartition(", ")[2]) for one in alone] == [
        ("warning", "or an import has it put away")
    ] * 2


def test_migrate_looks_at_what_it_has_made(databases: Databases, server: EmbeddedPostgres) -> None:
    """An event trigger of somebody else's changes what is made."""
    with databases.empty() as settings:
        with closing(psycopg2.connect(server.superuser_conninfo(settings.database))) as connection, connection:
            run(
                connection,
                """
                create function meddle() returns event_trigger language plpgsql security definer as $$
                begin
                    if to_regclass('public.import_summaries') is not null and to_regclass('topics_name') is null
                    then drop index public.audio_files_created_at_idx; alter table topics rename to topics_name;
                        alter table topics_name rename to topics; create index topics_name on topics (name);
                    end if;
                end $$;
                create event trigger meddle on ddl_command_end when tag in ('CREATE VIEW') execute function meddle()
                """,
            )
        with pytest.raises(MigrationError, match=r"^every migration is applied, but index audio_files_created_at_idx"):
            migrate(settings, report=lambda line: None)
        said: list[str] = []
        assert migrate(settings, report=said.append) == ["0010.index-audio-files"] or said
