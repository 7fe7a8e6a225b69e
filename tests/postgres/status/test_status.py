"""`callytics status` says on one screen how everything is; what is not there is said to be none, not to be well."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from callytics.schema import partitions
from callytics.settings import Addresses, Settings
from callytics.status.overview import Line, overview
from callytics.trial.embedded import EmbeddedPostgres
from tests.support.commands import environment, invoke
from tests.support.servers import execute
from tests.support.serving import served
from tests.support.terminal import on_terminal, too_wide

pytestmark = pytest.mark.slow

NOTHING = Addresses()
NOBODY = Addresses("http://127.0.0.1:1", "http://127.0.0.1:1")
RUN = """
insert into imports.runs (status, version, timezone, started_at, finished_at)
values (%s, '0', 'UTC', '2026-01-02 03:04:05+00', '2026-01-02 03:05:05+00') returning id
"""
SOURCE = """
insert into imports.sources (run_id, path, snapshot_path, sha256, size_bytes)
values (%s, '/srv/통화.sqlite', '/s', md5(random()::text), 1)
"""
RECORDS = """
create schema backups;
create table backups.ledger (
    id bigint generated always as identity, at timestamptz default now(), kind text, label text
);
create table backups.drills (
    id bigint generated always as identity, ended timestamptz default now(), passed boolean,
    rto_seconds double precision, rpo_seconds double precision
);
grant usage on schema backups to callytics_owner, callytics_user;
grant select on all tables in schema backups to callytics_owner, callytics_user
"""


def said(settings: Settings, addresses: Addresses = NOTHING) -> dict[str, Line]:
    return {line.subject: line for line in overview(settings, addresses).lines}


def test_a_fresh_installation_has_nothing_wrong_and_says_what_it_lacks(database: Settings) -> None:
    partitions.make_ahead(database, 5)
    seen = overview(database, Addresses())
    levels = {line.subject: line.level for line in seen.lines}
    assert levels == {
        "service": "none",
        "database": "ok",
        "schema": "ok",
        "imports": "none",
        "partitions": "ok",
        "backup": "none",
        "drill": "none",
        "archiving": "none",
        "replication": "none",
        "alerts": "none",
    }
    assert said(database)["partitions"].what == "5 months ahead"
    assert seen.exit_code == 0


def test_imports_are_told_with_their_verdicts(database: Settings) -> None:
    for verdict in ("verified", "rejects", "different", "running"):
        ((run,),) = execute(database, RUN, verdict)
        execute(database, SOURCE, run)
    lines = [line for line in overview(database, Addresses()).lines if line.subject == "imports"]
    # The newest ones, newest first.
    assert [line.level for line in lines] == ["warning", "error", "warning"]
    assert "통화.sqlite" in lines[0].what
    assert all(line.remedy for line in lines)
    assert invoke(database, "status").exit_code == 1


def test_missing_months_and_migrations_come_with_the_command(database: Settings) -> None:
    partitions.make_ahead(database, 1)
    execute(database, f"drop table utterances_{datetime.now(UTC):%Y_%m}")
    assert "callytics partitions ahead" in said(database)["partitions"].remedy
    execute(database, "delete from _yoyo_migration where migration_id like '0001%'")
    line = said(database)["schema"]
    assert (line.level, line.remedy) == ("error", "run 'callytics migrate'")


@pytest.mark.parametrize("owner", [True, False])
def test_backups_and_drills_are_told_by_their_age(server: EmbeddedPostgres, database: Settings, owner: bool) -> None:
    asked = database if owner else replace(database, owner_user=None, owner_password=None)
    with closing(psycopg2.connect(server.superuser_conninfo(database.database))) as superuser:
        superuser.autocommit = True
        cursor = superuser.cursor()
        cursor.execute(RECORDS)
        assert (said(asked)["backup"].level, said(asked)["drill"].level) == ("error", "warning")
        cursor.execute("insert into backups.ledger (kind, label) values ('after', '20260102-030405F')")
        cursor.execute("insert into backups.drills (passed, rto_seconds, rpo_seconds) values (true, 42, 3)")
        lines = said(asked)
        assert (lines["backup"].level, lines["drill"].level) == ("ok", "ok")
        assert lines["backup"].what.startswith("20260102-030405F")
        assert "restored in 42 s, at most 3.0 s lost" in lines["drill"].what
        cursor.execute("update backups.ledger set at = now() - interval '30 hours'")
        cursor.execute("update backups.drills set ended = now() - interval '9 days'")
        assert (said(asked)["backup"].level, said(asked)["drill"].level) == ("warning", "warning")
        cursor.execute("update backups.ledger set at = now() - interval '4 days'")
        cursor.execute("insert into backups.drills (passed) values (false)")
        lines = said(asked)
        assert (lines["backup"].level, lines["drill"].level) == ("error", "error")
        assert all(lines[subject].remedy for subject in ("backup", "drill"))


def test_who_does_not_answer_is_named(database: Settings) -> None:
    lines = said(replace(database, port=1), NOBODY)
    assert {subject: line.level for subject, line in lines.items()} == dict.fromkeys(
        ("service", "database", "alerts"), "error"
    )
    assert all(line.remedy for line in lines.values())


def test_the_service_is_asked_for_its_health(database: Settings, tmp_path: Path) -> None:
    with served(database, tmp_path / "log") as service:
        line = said(database, Addresses(service=service.url))["service"]
        assert line.level == "ok"
        assert line.what.startswith(f"healthy at {service.url}, version ")
        # Another program's answer is not taken for the service's.
        assert said(database, Addresses(prometheus=service.url))["alerts"].level == "error"


def test_alerts_that_fire_are_told(database: Settings) -> None:
    alert = {"labels": {"alertname": "DiskFull", "severity": "critical"}, "annotations": {"summary": "no room"}}
    quiet = {"labels": {"alertname": "Later"}, "state": "pending"}
    with _answering({"data": {"alerts": [alert | {"state": "firing"}, quiet]}}) as address:
        (line,) = [line for line in overview(database, Addresses(None, address)).lines if line.subject == "alerts"]
    assert (line.level, line.what) == ("error", "DiskFull: no room")
    with _answering({"data": {"alerts": [quiet]}}) as address:
        assert said(database, Addresses(None, address))["alerts"].level == "ok"


@pytest.mark.parametrize("columns", [40, 80])
def test_it_fits_a_terminal(database: Settings, columns: int, tmp_path: Path) -> None:
    seen = on_terminal(columns, "status", folder=tmp_path, variables=environment(database))
    assert too_wide(seen) == []
    assert "replication" in seen.text


def test_json_has_what_is_printed(database: Settings) -> None:
    told: dict[str, Any] = json.loads(invoke(database, "status", "--json").stdout)
    assert told["ok"] is True
    assert {"subject", "level", "what", "remedy"} == set(told["lines"][0])


@contextmanager
def _answering(document: object) -> Iterator[str]:
    """Answer as Prometheus does, with a document."""
    body = json.dumps(document).encode()

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            assert self.path == "/api/v1/alerts"
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Answer) as answering:
        thread = threading.Thread(target=answering.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{answering.server_port}"
        answering.shutdown()
        thread.join()
