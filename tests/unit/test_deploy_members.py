"""The program beside Patroni: what it waits for, restarts and copies, with members that are made up."""

from __future__ import annotations

import importlib.util
import json
import ssl
import subprocess
import urllib.error
from email.message import Message
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from tests.support.places import REPOSITORY

LOOP = 5
SETTINGS = {
    "scope": "callytics",
    "name": "one",
    "etcd3": {"hosts": ["10.0.0.1:2379", "10.0.0.2:2379", "10.0.0.3:2379"]},
    "bootstrap": {"dcs": {"ttl": 20, "loop_wait": LOOP}},
    "restapi": {"connect_address": "10.0.0.1:8008"},
}
INFO = [
    {
        "db": [{"id": 1, "system-id": 6}, {"id": 2, "system-id": 7}],
        "backup": [{"database": {"id": 2}, "error": False}, {"database": {"id": 1}, "error": True}],
    }
]


class Clock:
    """Time that passes when somebody sleeps."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The program as it stands on a member, whose settings are beside it."""
    file = tmp_path / "members.py"
    file.write_text((REPOSITORY / "deploy/templates/members.py").read_text())
    (tmp_path / "patroni.yml").write_text(json.dumps({**SETTINGS, "postgresql": {"data_dir": str(tmp_path)}}))
    spec = importlib.util.spec_from_file_location("members_of_a_cluster", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "time", Clock())
    return module


def member(name: str, number: int, **more: Any) -> dict[str, Any]:
    follows = {"role": "replica", "replication_state": "streaming"}
    role = {"role": "primary"} if name == "one" else follows
    seen = {"state": "running", "timeline": 3, "address": f"10.0.0.{number}", "database_system_identifier": "7"}
    return {**seen, **role, **more}


def three(**pending: bool) -> dict[str, dict[str, Any]]:
    names = ("one", "two", "three")
    return {name: member(name, n, pending_restart=pending.get(name, False)) for n, name in enumerate(names, 1)}


def test_a_lowered_setting_reaches_the_standbys_after_the_one_that_leads(
    program: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A standby refuses to start with fewer connections than its leader had: Patroni leaves it what it had."""
    pending = dict.fromkeys(("one", "two", "three"), True)
    told: list[str] = []

    def ctl(verb: str, name: str) -> None:
        told.append(f"{verb} {name}")
        pending[name] = name != "one" and pending["one"]

    monkeypatch.setattr(program, "members", lambda: three(**pending))
    monkeypatch.setattr(program, "ctl", ctl)
    program.restart()
    assert told == [f"restart {name}" for name in ("two", "three", "one", "two", "three")]
    assert not any(pending.values())


def test_a_raised_setting_restarts_each_once(program: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    pending = dict.fromkeys(("one", "two", "three"), True)
    monkeypatch.setattr(program, "members", lambda: three(**pending))
    monkeypatch.setattr(program, "ctl", lambda _verb, name: pending.update({name: False}))
    program.restart()
    assert (any(pending.values()), program.time.now) == (False, 0)


def test_a_member_that_is_silent_is_not_waited_for_until_the_end(
    program: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program, "members", lambda: {name: one for name, one in three().items() if name != "three"})
    with pytest.raises(SystemExit, match=r"10\.0\.0\.3 does not answer: journalctl -u patroni there"):
        program.wait()
    assert program.time.now < 2 * program.SILENT_SECONDS


def test_a_member_that_copies_is_waited_for(program: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    def members() -> dict[str, dict[str, Any]]:
        found = three()
        if program.time.now < 1000:
            found["three"] |= {"state": "creating replica", "timeline": None, "replication_state": None}
        return found

    monkeypatch.setattr(program, "members", members)
    program.wait()
    assert 1000 <= program.time.now < 1010


@pytest.mark.parametrize(
    ("document", "leads", "why"),
    [
        (INFO, "7", None),
        (INFO, "8", "the repository has backups of cluster 7, and one leads"),
        ([{**INFO[0], "backup": []}], "7", "the repository has no backup"),
        ([], "7", "the repository has no backup"),
    ],
)
def test_a_member_becomes_a_restore_of_its_own_cluster_alone(
    program: ModuleType, monkeypatch: pytest.MonkeyPatch, document: Any, leads: str, why: str | None
) -> None:
    became: list[list[str]] = []
    found = {"one": member("one", 1, database_system_identifier=leads)}
    monkeypatch.setattr(program, "members", lambda: found)
    said = SimpleNamespace(stdout=json.dumps(document).encode())
    asked = SimpleNamespace(run=lambda *_args, **_options: said, PIPE=-1, TimeoutExpired=subprocess.TimeoutExpired)
    monkeypatch.setattr(program, "subprocess", asked)
    monkeypatch.setattr(program.os, "execv", lambda _program, arguments: became.append(arguments))
    if why:
        with pytest.raises(SystemExit, match=why):
            program.copy("--stanza=callytics")
    else:
        program.copy("--stanza=callytics")
    restored = ["/usr/bin/pgbackrest", "--stanza=callytics", "--delta", "--type=standby", "restore"]
    assert became == ([] if why else [restored])


class Ended(Exception):
    """What was to be seen was seen."""


def fenced(program: ModuleType, monkeypatch: pytest.MonkeyPatch, said: bool | None, until: float = 300) -> bool:
    """Return whether Patroni is ended that has answered at first, then says this, and answers again after a time."""
    ended: list[list[str]] = []

    def lives() -> bool | None:
        if program.time.now > 300 or ended:
            raise Ended
        program.time.now += program.LIVES_SECONDS if said is None else 0
        return said if 5 <= program.time.now < until else True

    monkeypatch.setattr(program, "lives", lives)
    monkeypatch.setattr(program.subprocess, "run", lambda command, **_how: ended.append(command))
    with pytest.raises(Ended):
        program.fence()
    assert ended in ([], [["systemctl", "kill", "--signal=KILL", "patroni.service"]])
    return bool(ended)


@pytest.mark.parametrize(("said", "ended"), [(None, True), (False, True), (True, False)])
def test_a_leader_that_hangs_is_ended(
    program: ModuleType, monkeypatch: pytest.MonkeyPatch, said: bool | None, ended: bool
) -> None:
    assert fenced(program, monkeypatch, said) is ended


def test_it_is_ended_before_another_may_lead_and_not_at_its_first_silence(
    program: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert fenced(program, monkeypatch, None)
    # Its last word was within these five seconds; its key lasts for fifteen more at least.
    assert 4 + 12 < program.time.now <= 5 + 15


def test_a_clock_that_was_set_makes_nobody_hang(program: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Patroni calls itself late until its next loop."""
    assert not fenced(program, monkeypatch, False, until=5 + 2 * LOOP - 1)


def test_a_standby_that_hangs_leads_nobody_astray(
    program: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "standby.signal").touch()
    assert not fenced(program, monkeypatch, None)
    assert not fenced(program, monkeypatch, False)


@pytest.mark.parametrize(
    ("error", "lives"),
    [
        (TimeoutError("The read operation timed out"), None),
        (urllib.error.URLError(TimeoutError("_ssl.c: The handshake operation timed out")), None),
        (urllib.error.URLError(ConnectionRefusedError(111, "Connection refused")), True),
        (urllib.error.URLError(ssl.SSLCertVerificationError("certificate has expired")), True),
        (urllib.error.HTTPError("https://10.0.0.1:8008/liveness", 503, "", Message(), None), False),
        (urllib.error.HTTPError("https://10.0.0.1:8008/liveness", 404, "", Message(), None), True),
    ],
)
def test_silence_alone_is_no_word(
    program: ModuleType, monkeypatch: pytest.MonkeyPatch, error: Exception, lives: bool | None
) -> None:
    def answer(authority: str, path: str, **_how: Any) -> bytes:
        assert (authority, path) == ("10.0.0.1:8008", "/liveness")
        raise error

    monkeypatch.setattr(program, "answer", answer)
    assert program.lives() is lives
