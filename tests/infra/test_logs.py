"""What hosts log: nothing that was said in a call, whatever fails, and no more than there is room for."""

from __future__ import annotations

import json

import pytest

from tests.infra.connections import ask, info
from tests.infra.deployment import Deployment
from tests.infra.service import BASE, get

SAID = "my card number is 4929 1234"
# Statements that fail, each in another way in which PostgreSQL quotes a value.
FAILING = {
    "invalid input": f"select '{SAID}'::integer",
    "invalid json": f"select '{{\"said\": {SAID}'::jsonb",
    "invalid time": f"select '{SAID}'::timestamptz",
    "a duplicate": f"insert into topics (id, name) values (1, '{SAID}')",
    "a null": f"insert into topics (id, name) values (null, '{SAID}')",
    "a check": f"insert into utterances (audio_path, text, sequence) values ('{SAID}', '{SAID}', 'x{SAID}')",
    "an unknown name": f'select "{SAID}"',
    "a syntax error": f"select {SAID}",
    "raised": f"do $$ begin raise exception '{SAID}'; end $$",
}
LOGS = "cat /var/log/postgresql/*.log; journalctl --no-pager -o cat"


@pytest.mark.parametrize("role", ["callytics_user", "callytics_owner", "callytics_readonly"])
def test_no_value_gets_into_a_log_by_an_error(alone: Deployment, role: str) -> None:
    """What failed is told to the program that asked, and to nobody else."""
    options = {"sslmode": "verify-full", "sslrootcert": "/etc/callytics/ca.crt"}
    connection = info(alone, role, "localhost", **options)
    answers = ask(alone.app, *((connection, statement) for statement in FAILING.values()))
    assert [name for name, answer in zip(FAILING, answers, strict=True) if answer.rows is not None] == []
    logs = alone.database.run(LOGS).stdout
    assert f"user={role}" in logs or role in logs, "its connection is logged"
    assert "4929 1234" not in logs


def test_nothing_of_a_request_gets_into_a_log(alone: Deployment) -> None:
    """Neither what was searched for, nor a wrong password, nor a body that is no JSON."""
    words = SAID.replace(" ", "%20")
    assert get(alone.app, f"/calls?search={words}")[0] == 401
    post = f"curl -s -o /dev/null -w '%{{http_code}}' -H 'Content-Type: application/json' -d @- {BASE}/auth/login"
    body = json.dumps({"username": "nobody", "password": SAID})
    assert alone.app.run(post, input=body).stdout == "401"
    assert alone.app.run(post, input=body[:-1]).stdout == "422"
    logs = alone.app.run(LOGS).stdout
    assert "/auth/login" in logs
    # Four digits alone may be a process's number.
    assert not [one for one in (SAID, words, "4929 1234", "4929%20") if one in logs]


def test_a_large_log_is_rotated(alone: Deployment) -> None:
    """By the timer that runs every hour, here started by hand; the server goes on writing to its file."""
    log = "/var/log/postgresql/postgresql-15-main.log"
    assert alone.database.run("systemctl is-active logrotate.timer").stdout == "active\n"
    alone.database.run(f"head -c 110M /dev/zero >>{log}; systemctl start logrotate.service")
    assert int(alone.database.run(f"stat -c %s {log}").stdout) < 1_000_000
    assert alone.database.run(f"ls {log}.1").stdout
    alone.superuser("do $$ begin raise log 'still here'; end $$")
    assert "still here" in alone.database.run(f"cat {log}").stdout
    alone.database.run(f"rm {log}.1")


def test_the_journal_is_bounded(alone: Deployment) -> None:
    said = alone.app.run("journalctl --no-pager -o cat --unit systemd-journald.service").stdout
    assert "max 100.0M" in said or "max 500.0M" in said, said
