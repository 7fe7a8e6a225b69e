"""callytics agent: what is typed, what is shown, what is asked for, and what never is."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from callytics.agents import permissions
from callytics.agents.auth import AgentAuth
from callytics.agents.passwords import Passwords
from callytics.cli import agents as commands
from callytics.cli import cli
from callytics.exceptions import LoginRefused
from callytics.settings import Settings
from tests.support.agents import PASSWORD, WRONG, agents_of, ask, run
from tests.support.commands import invoke

PERSON = ("--last-name", "김", "--first-name", "민수", "--department", "고객지원팀", "--position", "선임 상담사")
NEW = "정말 새로운 비밀번호입니다"
Type = Callable[..., Result]


@pytest.fixture
def auth(shared_database: Settings) -> Iterator[AgentAuth]:
    with agents_of(shared_database, passwords=Passwords()) as auth:
        yield auth


@pytest.fixture
def typed(shared_database: Settings, auth: AgentAuth, monkeypatch: pytest.MonkeyPatch) -> Type:
    """Type a command; the variables say nothing of a JWT_SECRET_KEY, nor of who owns the tables."""
    monkeypatch.delenv("JWT_SECRET_KEY", raising=False)

    def run_command(*words: str, says: str = "") -> Result:
        return invoke(shared_database, "--env-file", "/dev/null", "agent", *words, owner=False, input=says)

    return run_command


def add(typed: Type, *more: str) -> Result:
    return typed("add", "kim", *PERSON, "--password-stdin", *more, says=PASSWORD + "\n")


def enters(auth: AgentAuth, password: str) -> bool:
    try:
        auth.login("kim", password)
    except LoginRefused:
        return False
    return True


def listed(typed: Type) -> list[dict[str, Any]]:
    return list(json.loads(typed("list", "--json").stdout))


def test_the_life_of_an_account(typed: Type, auth: AgentAuth) -> None:
    added = add(typed, "--email", "minsu@callytics.example", "--permission", "analysis_view:write")
    assert (added.exit_code, added.output) == (0, "kim may log in\n")
    token = auth.login("kim", PASSWORD).token

    granted = typed("grant", "kim", "trainer:read", "audio_upload:admin", "--expires", "2999-12-31")
    assert (granted.exit_code, granted.output) == (0, "kim has trainer:read, audio_upload:admin\n")
    assert auth.authenticate(token).permissions == {
        "analysis_view": "write",
        "trainer": "read",
        "audio_upload": "admin",
    }
    revoked = typed("revoke", "kim", "trainer", "analysis_view")
    assert (revoked.exit_code, revoked.output) == (0, "kim has no trainer, analysis_view any more\n")
    assert auth.authenticate(token).permissions == {"audio_upload": "admin"}

    changed = typed("passwd", "kim", "--password-stdin", says=NEW)
    assert (changed.exit_code, changed.output) == (0, "kim has a new password and is logged out everywhere\n")
    assert not enters(auth, PASSWORD)
    assert enters(auth, NEW)

    assert typed("lock", "kim").output == "kim is locked and logged out everywhere\n"
    assert not enters(auth, NEW)
    assert typed("unlock", "kim").output == "kim may log in\n"
    assert enters(auth, NEW)
    assert typed("lock", "kim", "--deactivate").output == "kim is inactive and logged out everywhere\n"
    refused = typed("unlock", "kim")
    assert refused.exit_code == 1
    assert refused.stderr == "Error: agent 'kim' is inactive, not locked: 'agent unlock --activate' lets it in\n"
    assert not enters(auth, NEW)
    assert typed("unlock", "kim", "--activate").exit_code == 0
    assert enters(auth, NEW)


def test_the_table_stands_in_columns(typed: Type, auth: AgentAuth) -> None:
    add(typed, "--permission", "admin:read", "--permission", "trainer:write")
    run(auth, "update agent_accounts set last_login_at = '2026-07-01 09:30:00+09'")
    run(auth, "insert into agent_accounts (username, password_hash) values ('root', 'x')")
    assert typed("list").output.splitlines() == [
        "USERNAME  NAME    DEPARTMENT  POSITION     STATE       LAST LOGIN            PERMISSIONS",
        "kim       김민수  고객지원팀  선임 상담사  active      2026-07-01 00:30 UTC  admin:read, trainer:write",
        "root                                       no profile",
    ]


def test_the_list_tells_until_when_an_account_is_locked(typed: Type, auth: AgentAuth) -> None:
    add(typed)
    run(auth, "update agent_accounts set account_locked_until = '2999-01-01 12:00:00+00', login_attempts = 5")
    assert "locked until 2999-01-01 12:00 UTC" in typed("list").output
    [account] = listed(typed)
    assert (account["state"], account["status"], account["login_attempts"]) == ("locked", "active", 5)
    assert account["locked_until"].startswith("2999-01-01T12:00:00")
    assert typed("unlock", "kim").exit_code == 0
    assert (listed(typed)[0]["state"], enters(auth, PASSWORD)) == ("active", True)


def test_sessions_are_shown_and_ended(typed: Type, auth: AgentAuth) -> None:
    add(typed)
    first, second = (auth.login("kim", PASSWORD, ip_address="10.0.0.7", user_agent="curl/8") for _ in range(2))
    shown = typed("sessions", "kim").output.splitlines()
    assert shown[0].split("  ")[0] == "SESSION"
    assert [line.split()[0] for line in shown[1:]] == [second.agent.session_id, first.agent.session_id]
    assert all("10.0.0.7" in line and "curl/8" in line for line in shown[1:])
    [newest, _] = json.loads(typed("sessions", "kim", "--json").stdout)
    assert newest["id"] == second.agent.session_id
    assert newest.keys() == {"id", "issued_at", "expires_at", "idle_at", "ip_address", "user_agent"}
    ended = typed("end", "kim", first.agent.session_id)
    assert (ended.exit_code, ended.output) == (0, "kim is logged out of 1 session\n")
    refused = typed("end", "kim", first.agent.session_id)
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert typed("end", "kim").output == "kim is logged out of 1 session\n"
    assert typed("end", "kim").output == "kim is logged out of 0 sessions\n"
    assert json.loads(typed("sessions", "kim", "--json").stdout) == []
    assert typed("sessions", "kim").output == "kim is not logged in\n"
    assert enters(auth, PASSWORD)


def test_json_holds_no_hash(typed: Type, auth: AgentAuth) -> None:
    add(typed, "--permission", "trainer:write", "--expires", "2999-12-31T09:00+0900")
    text = typed("list", "--json").stdout
    [account] = json.loads(text)
    assert ask(auth, "select password_hash from agent_accounts") not in text
    assert "$argon2" not in text
    assert account["password"] == "argon2id"
    assert account["full_name"] == "김민수"
    assert account["permissions"] == [
        {"type": "trainer", "level": "write", "expires_at": "2999-12-31T00:00:00+00:00"},
    ]


def test_no_account_is_an_empty_list(typed: Type) -> None:
    assert listed(typed) == []
    told = typed("list")
    assert (told.exit_code, told.output) == (0, "no agent has an account: 'callytics agent add USERNAME' makes one\n")


@pytest.mark.parametrize(
    ("words", "says", "exit_code", "message"),
    [
        (("add", "kim", *PERSON, "--password-stdin"), "short\n", 1, "fewer than 12 characters"),
        (("add", "kim", *PERSON, "--password-stdin"), "", 1, "fewer than 12 characters"),
        (("add", "kim", *PERSON), PASSWORD, 2, "give it with --password-stdin"),
        (("add", "kim", *PERSON, "--password", PASSWORD), "", 2, "No such option"),
        (("add", "kim", *PERSON[2:], "--password-stdin"), PASSWORD, 2, "Missing option '--last-name'"),
        (("add", "kim", *PERSON, "--password-stdin", "--permission", "admin"), PASSWORD, 1, "'admin:' does not exist"),
        (("add", "kim", *PERSON, "--password-stdin", "--expires", "soon"), PASSWORD, 2, "'soon' does not match"),
        (("add", "kim", *PERSON, "--expires", "2999-01-01"), "", 2, "--expires ends a permission"),
        (("passwd", "nobody", "--password-stdin"), PASSWORD, 1, "there is no agent 'nobody'"),
        (("sessions", "nobody"), "", 1, "there is no agent 'nobody'"),
        (("end", "nobody"), "", 1, "there is no agent 'nobody'"),
        (("lock", "nobody"), "", 1, "there is no agent 'nobody'"),
        (("grant", "nobody", "admin:read"), "", 1, "there is no agent 'nobody'"),
        (("grant", "nobody"), "", 2, "Missing argument 'TYPE:LEVEL...'"),
        (("revoke", "nobody", "admin"), "", 1, "there is no agent 'nobody'"),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, tuple) else None,
)
def test_what_is_refused_is_said_in_a_line(
    typed: Type, words: tuple[str, ...], says: str, exit_code: int, message: str
) -> None:
    refused = typed(*words, says=says)
    assert (refused.exit_code, refused.stdout) == (exit_code, "")
    assert message in refused.stderr.splitlines()[-1]
    assert PASSWORD not in refused.stderr
    assert listed(typed) == []


def test_a_permission_that_is_refused_takes_the_others_along(typed: Type) -> None:
    add(typed)
    assert typed("grant", "kim", "trainer:read", "owner:read").exit_code == 1
    assert listed(typed)[0]["permissions"] == []


def test_at_a_terminal_everything_is_asked_for(typed: Type, auth: AgentAuth, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal:
        @staticmethod
        def isatty() -> bool:
            return True

    class System:
        stdin = Terminal

    monkeypatch.setattr(commands, "sys", System)
    added = typed("add", "kim", says="\n".join(["김", "민수", "고객지원팀", "상담사", PASSWORD, WRONG, NEW, NEW, ""]))
    assert added.exit_code == 0, added.output
    for asked in ("Last name: ", "First name: ", "Department: ", "Position: "):
        assert asked in added.stdout
    assert added.stderr.count("Password: ") == 2
    assert PASSWORD not in added.output
    assert NEW not in added.output
    assert enters(auth, NEW)


def test_nobody_is_asked_in_vain(typed: Type, monkeypatch: pytest.MonkeyPatch) -> None:
    add(typed)

    class Terminal:
        @staticmethod
        def isatty() -> bool:
            return True

    class System:
        stdin = Terminal

    monkeypatch.setattr(commands, "sys", System)
    for arguments in (("add", "kim"), ("add", "lee", "--permission", "owner:read"), ("passwd", "park")):
        refused = typed(*arguments, says="")
        assert (refused.exit_code, refused.stdout) == (1, ""), refused.output
        assert refused.stderr.startswith("Error: ")


def test_help_names_every_type_and_level() -> None:
    text = " ".join(CliRunner().invoke(cli, ["agent", "grant", "--help"]).output.split())
    assert [word for word in (*permissions.TYPES, *permissions.LEVELS) if word not in text] == []


def test_no_password_is_an_argument() -> None:
    """Arguments stand in the shell's history and in the list of processes."""
    taking = [
        parameter
        for command in commands.agent.commands.values()
        for parameter in command.params
        if "password" in (parameter.name or "") and not getattr(parameter, "is_flag", False)
    ]
    assert taking == []
    assert all(isinstance(command, click.Command) for command in commands.agent.commands.values())


def test_the_command_line_starts_without_what_only_agents_need() -> None:
    program = "import sys, callytics.cli; print([m for m in ('argon2', 'jwt', 'psycopg') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.fixture
def audited(shared_database: Settings, auth: AgentAuth) -> Type:
    run(auth, "truncate audit_log")

    def run_command(*words: str) -> Result:
        return invoke(shared_database, "--env-file", "/dev/null", "audit", *words, owner=False)

    return run_command


def test_the_trail_is_shown_filtered_and_paged(typed: Type, audited: Type, auth: AgentAuth) -> None:
    assert audited().stdout == "nothing is on record\n"
    assert audited("--agent", "nobody").stdout == "nothing is on record\n"
    add(typed, "--permission", "trainer:read")
    typed("lock", "kim")
    run(auth, "insert into audit_log (action, calls) values ('calls.find', array[7, 8, 9, 10])")
    lines = audited().stdout.splitlines()
    assert [line.split()[2:] for line in lines[1:]] == [
        ["-", "calls.find", "done", "7,", "8,", "9", "+1"],
        ["-", "account.lock", "done", "kim"],
        ["-", "account.added", "done", "kim"],
    ]
    first = json.loads(audited("--json", "--limit", "1").stdout)
    assert [(one["action"], one["calls"]) for one in first["entries"]] == [("calls.find", [7, 8, 9, 10])]
    rest = json.loads(audited("--json", "--after", first["next"], "--action", "account").stdout)
    assert [one["action"] for one in rest["entries"]] == ["account.lock", "account.added"]
    assert rest["next"] is None
    assert json.loads(audited("--json", "--call", "10").stdout)["entries"] == first["entries"]
    assert json.loads(audited("--json", "--until", "2020-01-01").stdout)["entries"] == []
    assert f"more: --after {first['next']}" in audited("--limit", "1").stdout
    refused = audited("--after", "x")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "after: is not what 'next' of a page of this list held" in refused.stderr
