"""Accounts: made whole or not at all, changed, listed, and every change on record."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from callytics.agents.accounts import Grant, Profile, full_name
from callytics.agents.auth import AgentAuth
from callytics.exceptions import AgentError, LoginRefused, NotAuthenticated, PasswordRefused
from callytics.settings import Settings
from callytics.trial.embedded import EmbeddedPostgres
from tests.support.agents import KIM, PASSWORD, WRONG, accounts_of, add_kim, agents_of, ask, run

# PostgreSQL writes no trailing zeros of a second, Python does.
SOON = datetime.now(UTC).replace(microsecond=654321) + timedelta(hours=1)
LEE = replace(KIM, last_name="이", email="lee@callytics.example", employee_id="E2")


@pytest.fixture
def auth(shared_database: Settings) -> Iterator[AgentAuth]:
    with agents_of(shared_database) as auth:
        yield auth


def counts(auth: AgentAuth) -> list[int]:
    tables = ("accounts", "profiles", "settings", "permissions", "activity_logs")
    return [ask(auth, f"select count(*) from agent_{table}") for table in tables]


def test_an_account_comes_with_all_that_belongs_to_it(auth: AgentAuth) -> None:
    agent_id = add_kim(auth, Grant("analysis_view", "write", SOON), Grant("trainer", "read"))
    assert counts(auth) == [1, 1, 1, 2, 1]
    profile = ask(auth, "select to_jsonb(p) from agent_profiles as p")
    assert profile["id"] == agent_id
    assert {name: profile[name] for name in ("full_name", "first_name", "last_name", "department", "position")} == {
        "full_name": "김민수",
        "first_name": "민수",
        "last_name": "김",
        "department": "고객지원팀",
        "position": "상담사",
    }
    assert (profile["team"], profile["employee_id"], profile["is_active"]) == ("1조", "E1", True)
    assert ask(auth, "select agent_id from agent_settings where language_preference = 'ko'") == agent_id
    assert ask(auth, "select expires_at from agent_permissions where permission_type = 'analysis_view'") == SOON
    auth.login("kim", PASSWORD)


TAKEN = {
    "username": ("kim", LEE, "username 'kim' or the email is taken"),
    "username in other letters": ("ＫＩＭ", LEE, "username 'KIM' or the email is taken"),
    "username that passes for another": ("k\u0456m", LEE, r"holds U\+0456, which may pass for another character"),
    "username in another composition": (unicodedata.normalize("NFD", "이영희"), LEE, "username '이영희' or"),
    "email": ("lee", replace(LEE, email=KIM.email), "the email is taken"),
    "employee number": ("lee", replace(LEE, employee_id="E1"), "employee number 'E1' is taken"),
    "no username": (" ", LEE, "the username must have 1 to 256 characters"),
    "unseen": ("k\0m", LEE, "all of which can be seen"),
    "too long": ("k" * 257, LEE, "1 to 256 characters"),
}


@pytest.mark.parametrize(("username", "profile", "message"), TAKEN.values(), ids=TAKEN)
def test_a_refused_account_leaves_nothing(
    auth: AgentAuth, server: EmbeddedPostgres, username: str, profile: Profile, message: str
) -> None:
    add_kim(auth)
    accounts_of(auth).add_agent("이영희", PASSWORD, replace(LEE, email=None, employee_id=None))
    before = counts(auth)
    with pytest.raises(AgentError, match=message) as refusal:
        accounts_of(auth).add_agent(username, PASSWORD, profile)
    assert counts(auth) == before
    assert "argon2" not in str(refusal.value)
    assert "$argon2" not in server.log.read_text(encoding="utf-8", errors="replace")


def test_a_new_name_reads_like_no_imported_one(auth: AgentAuth) -> None:
    add_kim(auth)
    run(auth, "update agent_accounts set username = 'Min.Kim'")
    for name in ("Min.Kim", "min.kim", "ＭＩＮ．ＫＩＭ"):
        with pytest.raises(AgentError, match="is taken"):
            accounts_of(auth).check_new(name)
        with pytest.raises(AgentError, match="is taken"):
            accounts_of(auth).add_agent(name, PASSWORD, LEE)
    accounts_of(auth).add_agent("min.kim2", PASSWORD, LEE)


def test_of_two_alike_names_at_one_moment_one_is_made(auth: AgentAuth) -> None:
    def add(name: str) -> bool:
        try:
            accounts_of(auth).add_agent(name, PASSWORD, replace(LEE, email=None, employee_id=None))
        except AgentError:
            return False
        return True

    with ThreadPoolExecutor(4) as threads:
        made = list(threads.map(add, ("Lee", "LEE", "lee", "ｌｅｅ")))
    assert sorted(made) == [False, False, False, True]


def test_sessions_are_listed_and_ended_by_name(auth: AgentAuth) -> None:
    add_kim(auth)
    accounts = accounts_of(auth)
    accounts.add_agent("lee", PASSWORD, LEE)
    first, second = (auth.login("kim", PASSWORD, ip_address="10.0.0.7", user_agent=f"curl/{n}") for n in (1, 2))
    others = auth.login("lee", PASSWORD)
    listed = accounts.sessions("KIM")
    assert [(one.id, one.ip_address, one.user_agent, one.is_current) for one in listed] == [
        (second.agent.session_id, "10.0.0.7", "curl/2", False),
        (first.agent.session_id, "10.0.0.7", "curl/1", False),
    ]
    with pytest.raises(AgentError, match="has no such session: 'callytics agent sessions kim' shows them"):
        accounts.end_sessions("kim", (first.agent.session_id, others.agent.session_id))
    assert auth.authenticate(first.token) == first.agent
    assert accounts.end_sessions("kim", (first.agent.session_id,)) == 1
    with pytest.raises(NotAuthenticated):
        auth.authenticate(first.token)
    assert auth.authenticate(second.token) == second.agent
    assert accounts.end_sessions("kim") == 1
    assert accounts.sessions("kim") == []
    assert auth.authenticate(others.token) == others.agent
    assert ask(auth, "select count(*) from agent_activity_logs where activity_data ->> 'change' = 'logout'") == 2


@pytest.mark.parametrize(
    ("grant", "message"),
    [
        (Grant("owner", "read"), "'owner:read' does not exist: the types are audio_upload, .* the levels read, write"),
        (Grant("admin", "all"), "'admin:all' does not exist"),
        (Grant("admin", "read", datetime(2020, 1, 1, tzinfo=UTC)), "2020-01-01T00:00:00.00:00 has passed"),
    ],
)
def test_a_permission_that_does_not_exist_is_not_granted(auth: AgentAuth, grant: Grant, message: str) -> None:
    with pytest.raises(AgentError, match=message):
        add_kim(auth, grant)
    assert counts(auth) == [0, 0, 0, 0, 0]
    add_kim(auth)
    with pytest.raises(AgentError, match=message):
        accounts_of(auth).grant("kim", grant)
    assert counts(auth) == [1, 1, 1, 0, 1]


def test_a_poor_password_is_refused_before_anything_is_written(auth: AgentAuth) -> None:
    with pytest.raises(PasswordRefused, match="fewer than 12"):
        accounts_of(auth).add_agent("kim", "short", KIM)
    with pytest.raises(PasswordRefused, match="is the username"):
        accounts_of(auth).add_agent("kim.minsu.1990", "Kim.Minsu.1990", KIM)
    with pytest.raises(PasswordRefused, match="among those that are guessed first"):
        accounts_of(auth).add_agent("kim.minsu.1990", "kim.minsu.1990!", KIM)
    assert counts(auth) == [0, 0, 0, 0, 0]
    add_kim(auth)
    with pytest.raises(PasswordRefused):
        accounts_of(auth).set_password("kim", "short")
    auth.login("kim", PASSWORD)


def enters(auth: AgentAuth, password: str = PASSWORD) -> bool:
    try:
        auth.login("kim", password)
    except LoginRefused:
        return False
    return True


def test_lock_unlock_deactivate_activate(auth: AgentAuth) -> None:
    add_kim(auth)
    accounts_of(auth).lock("kim")
    assert (enters(auth), accounts_of(auth).list_agents()[0].state) == (False, "suspended")
    accounts_of(auth).unlock("kim")
    assert (enters(auth), accounts_of(auth).list_agents()[0].state) == (True, "active")
    accounts_of(auth).deactivate("kim")
    assert (enters(auth), accounts_of(auth).list_agents()[0].state) == (False, "inactive")
    accounts_of(auth).lock("kim")
    with pytest.raises(AgentError, match="is inactive, not locked: 'agent unlock --activate' lets it in"):
        accounts_of(auth).unlock("kim")
    assert not enters(auth)
    accounts_of(auth).activate("kim")
    assert (enters(auth), accounts_of(auth).list_agents()[0].state) == (True, "active")


def test_unlock_and_a_new_password_open_what_wrong_ones_locked(auth: AgentAuth) -> None:
    add_kim(auth)
    while accounts_of(auth).list_agents()[0].state != "locked":
        assert not enters(auth, WRONG)
    accounts_of(auth).unlock("kim")
    assert enters(auth)
    while accounts_of(auth).list_agents()[0].state != "locked":
        assert not enters(auth, WRONG)
    accounts_of(auth).set_password("kim", "정말 새로운 비밀번호입니다")
    assert not enters(auth)
    assert enters(auth, "정말 새로운 비밀번호입니다")


def test_a_new_password_opens_no_account_that_was_closed_by_hand(auth: AgentAuth) -> None:
    add_kim(auth)
    accounts_of(auth).lock("kim")
    accounts_of(auth).set_password("kim", "정말 새로운 비밀번호입니다")
    assert not enters(auth, "정말 새로운 비밀번호입니다")


@pytest.mark.parametrize("name", ["nobody", "", "k\0m", "\ud800"])
def test_an_unknown_name_is_refused(auth: AgentAuth, name: str) -> None:
    accounts = accounts_of(auth)
    changes: list[Any] = [accounts.lock, accounts.unlock, accounts.activate, accounts.deactivate]
    changes += [
        lambda name: accounts.set_password(name, PASSWORD),
        lambda name: accounts.grant(name, Grant("admin", "read")),
    ]
    changes += [lambda name: accounts.revoke(name, "admin")]
    for change in changes:
        with pytest.raises(AgentError, match="there is no agent"):
            change(name)


def test_an_account_without_profile_is_listed_and_can_be_closed(auth: AgentAuth) -> None:
    """Imported files have one: the administrator's."""
    run(auth, "insert into agent_accounts (username, password_hash) values ('admin', 'x')")
    [account] = accounts_of(auth).list_agents()
    assert (account.state, account.password, account.agent_id) == ("no profile", "unusable", None)
    accounts_of(auth).set_password("admin", PASSWORD)
    accounts_of(auth).lock("admin")
    assert accounts_of(auth).list_agents()[0].state == "suspended"
    with pytest.raises(AgentError, match="account 'admin' has no profile, so it can't hold permissions"):
        accounts_of(auth).grant("admin", Grant("admin", "admin"))


def test_the_list_shows_whatever_was_imported(auth: AgentAuth) -> None:
    add_kim(auth, Grant("trainer", "read"), Grant("admin", "write", SOON))
    auth.login("kim", PASSWORD)
    [account] = accounts_of(auth).list_agents()
    assert account.permissions == [
        {"type": "admin", "level": "write", "expires_at": SOON.isoformat()},
        {"type": "trainer", "level": "read", "expires_at": None},
    ]
    assert (account.sessions, account.login_attempts, account.locked_until) == (1, 0, None)
    run(
        auth,
        "update agent_accounts set account_locked_until = 'infinity', last_login_at = '4713-01-01 BC', "
        "login_attempts = null",
    )
    [account] = accounts_of(auth).list_agents()
    assert account.locked_until is not None
    assert (account.locked_until.year, account.last_login_at, account.login_attempts) == (9999, None, 0)


def test_every_change_is_on_record(auth: AgentAuth) -> None:
    agent_id = add_kim(auth)
    accounts_of(auth).grant("kim", Grant("trainer", "write"), granted_by=agent_id)
    accounts_of(auth).revoke("kim", "trainer")
    accounts_of(auth).set_password("kim", "정말 새로운 비밀번호입니다")
    accounts_of(auth).lock("kim")
    accounts_of(auth).unlock("kim")
    accounts_of(auth).deactivate("kim")
    accounts_of(auth).activate("kim")
    assert ask(auth, "select granted_by from agent_permissions") == agent_id
    changes = ask(
        auth,
        "select jsonb_agg(activity_data order by id) from agent_activity_logs "
        "where agent_id = %s and activity_type = 'profile_update'",
        agent_id,
    )
    assert changes == [
        {"change": "added"},
        {"change": "grant", "permission": "trainer:write"},
        {"change": "revoke", "permission": "trainer"},
        *({"change": change} for change in ("password", "lock", "unlock", "deactivation", "activation")),
    ]


def test_changes_in_one_transaction_happen_together(auth: AgentAuth) -> None:
    add_kim(auth)

    def grant_both() -> None:
        with auth.postgres.transaction():
            accounts_of(auth).grant("kim", Grant("trainer", "read"))
            accounts_of(auth).grant("nobody", Grant("trainer", "read"))

    with pytest.raises(AgentError, match="there is no agent 'nobody'"):
        grant_both()
    assert counts(auth)[3] == 0


@pytest.mark.parametrize(
    ("first", "last", "whole"),
    [("민수", "김", "김민수"), ("Minsu", "Kim", "Minsu Kim"), ("小龍", "李", "李小龍"), ("민수", "Kim", "민수 Kim")],
)
def test_a_whole_name_is_made_as_its_language_does(first: str, last: str, whole: str) -> None:
    assert full_name(first, last) == whole
