"""Sessions: which tokens are believed, how they end, and that they do not pile up."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import jwt
import pytest

from callytics.agents.accounts import Grant
from callytics.agents.auth import AgentAuth, LoginSession
from callytics.exceptions import AgentError, NotAuthenticated, NotPermitted
from callytics.settings import Settings
from tests.support.agents import (
    KIM,
    PASSWORD,
    SERVICE,
    accounts_of,
    add_kim,
    agents_of,
    ask,
    count_queries,
    logged,
    run,
)

OTHER_KEY = "another key for tests that is long enough too"


@pytest.fixture
def auth(shared_database: Settings) -> Iterator[AgentAuth]:
    with agents_of(shared_database) as auth:
        add_kim(auth)
        yield auth


@pytest.fixture
def session(auth: AgentAuth) -> LoginSession:
    return auth.login("kim", PASSWORD)


def claims(session: LoginSession) -> dict[str, Any]:
    return dict(jwt.decode(session.token, options={"verify_signature": False}))


def signed(claims: dict[str, Any], key: str = SERVICE.jwt_secret_key, algorithm: str = "HS256") -> str:
    return jwt.encode(claims, key, algorithm=algorithm)


def assert_nobodys(auth: AgentAuth, token: str) -> None:
    for use in (auth.authenticate, auth.logout):
        with pytest.raises(NotAuthenticated, match=r"^nobody is logged in, or no longer: log in again$") as refusal:
            use(token)
        assert refusal.value.__cause__ is None


def test_a_token_says_whose_it_is_and_until_when(auth: AgentAuth, session: LoginSession) -> None:
    assert jwt.get_unverified_header(session.token) == {"alg": "HS256", "typ": "JWT"}
    content = claims(session)
    assert content == {
        "iss": "callytics",
        "aud": "callytics-api",
        "sub": str(session.agent.account_id),
        "jti": session.agent.session_id,
        "iat": content["exp"] - SERVICE.jwt_expire_minutes * 60,
        "exp": int(session.expires_at.timestamp()),
    }
    assert auth.authenticate(signed(content)) == session.agent


CHANGED: dict[str, dict[str, Any]] = {
    "other issuer": {"iss": "somebody"},
    "other audience": {"aud": "somebody"},
    "other account": {"sub": "999"},
    "no number": {"sub": "kim"},
    "another digit": {"sub": "١"},
    "beyond bigint": {"sub": "9" * 30},
    "a number": {"sub": 1},
    "no such session": {"jti": "x" * 32},
    "no text": {"jti": "\0"},
    "expired": {"exp": int(time.time()) - 60},
    "expires never": {"exp": "never"},
    "not issued yet": {"iat": int(time.time()) + 3600},
    "not valid yet": {"nbf": int(time.time()) + 3600},
}


@pytest.mark.parametrize("change", CHANGED.values(), ids=CHANGED)
def test_a_signed_token_with_other_claims_is_refused(
    auth: AgentAuth, session: LoginSession, change: dict[str, Any]
) -> None:
    content = json.dumps(claims(session) | change).encode()
    assert_nobodys(auth, jwt.PyJWS().encode(content, SERVICE.jwt_secret_key, algorithm="HS256"))


@pytest.mark.parametrize("claim", ["iss", "aud", "sub", "jti", "iat", "exp"])
def test_no_claim_may_be_missing(auth: AgentAuth, session: LoginSession, claim: str) -> None:
    content = claims(session)
    del content[claim]
    assert_nobodys(auth, signed(content))


def test_another_key_or_algorithm_signs_nothing(auth: AgentAuth, session: LoginSession) -> None:
    content = claims(session)
    header, payload, signature = session.token.split(".")
    forged = [
        signed(content, OTHER_KEY),
        signed(content, SERVICE.jwt_secret_key * 2, algorithm="HS384"),
        signed(content, SERVICE.jwt_secret_key * 2, algorithm="HS512"),
        jwt.encode(content, None, algorithm="none"),
        f"{header}.{payload}.",
        f"{header}.{payload}.{signature[::-1]}",
        f"{header}.{payload}",
    ]
    for token in forged:
        assert_nobodys(auth, token)


@pytest.mark.parametrize("token", ["", ".", "..", "비밀", "\ud800", "\0", "Bearer x", "x" * 10_000_000], ids=len)
def test_what_is_no_token_is_nobodys(auth: AgentAuth, token: str) -> None:
    assert_nobodys(auth, token)


def test_logout_ends_this_session_once(auth: AgentAuth, session: LoginSession) -> None:
    other = auth.login("kim", PASSWORD)
    auth.logout(session.token)
    assert_nobodys(auth, session.token)
    assert auth.authenticate(other.token) == other.agent
    line = logged(auth)[-1]
    assert (line["activity_type"], line["agent_id"]) == ("logout", session.agent.id)
    assert (line["session_id"], line["activity_data"]) == (session.agent.session_id, {"outcome": "accepted"})
    assert [line["activity_type"] for line in logged(auth)] == ["login", "login", "logout"]


ENDS: dict[str, Callable[[AgentAuth], None]] = {
    "password": lambda auth: accounts_of(auth).set_password("kim", "정말 새로운 비밀번호입니다"),
    "lock": lambda auth: accounts_of(auth).lock("kim"),
    "deactivation": lambda auth: accounts_of(auth).deactivate("kim"),
}


@pytest.mark.parametrize(("reason", "change"), ENDS.items(), ids=ENDS)
def test_what_ends_every_session_of_an_account(
    auth: AgentAuth, session: LoginSession, reason: str, change: Callable[[AgentAuth], None]
) -> None:
    accounts_of(auth).add_agent("lee", PASSWORD, replace(KIM, email=None, employee_id=None))
    others = auth.login("lee", PASSWORD)
    change(auth)
    assert_nobodys(auth, session.token)
    accounts_of(auth).activate("kim")
    assert_nobodys(auth, session.token)
    assert ask(auth, "select reason from agent_sessions where id = %s", session.agent.session_id) == reason
    assert auth.authenticate(others.token) == others.agent


BEHIND: dict[str, str] = {
    "suspended": "update agent_accounts set account_status = 'suspended'",
    "no status": "update agent_accounts set account_status = null",
    "profile inactive": "update agent_profiles set is_active = false",
    "no profile": "delete from agent_profiles",
    "deleted": "delete from agent_accounts",
    "expired in the database": "update agent_sessions set expires_at = now()",
}


@pytest.mark.parametrize("statement", BEHIND.values(), ids=BEHIND)
def test_a_session_is_no_better_than_its_account(auth: AgentAuth, session: LoginSession, statement: str) -> None:
    run(auth, statement)
    assert_nobodys(auth, session.token)


def test_wrong_passwords_of_others_end_nobodys_session(auth: AgentAuth, session: LoginSession) -> None:
    """Otherwise everybody could log everybody out."""
    run(auth, "update agent_accounts set account_locked_until = now() + interval '1 hour'")
    assert auth.authenticate(session.token) == session.agent


def test_authenticating_is_one_query(auth: AgentAuth, session: LoginSession, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = count_queries(auth, monkeypatch)
    auth.authenticate(session.token)
    assert asked == [1]


def idle(auth: AgentAuth, seconds: float) -> None:
    """Let time pass in which nobody uses any session."""
    run(auth, "update agent_sessions set idle_at = idle_at - make_interval(secs => %s)", seconds)


def test_a_session_ends_when_it_is_not_used(auth: AgentAuth, session: LoginSession) -> None:
    idle(auth, SERVICE.session_idle_minutes * 60 - 5)
    assert auth.authenticate(session.token) == session.agent
    idle(auth, SERVICE.session_idle_minutes * 60 - 5)
    assert auth.authenticate(session.token) == session.agent
    assert len(accounts_of(auth).sessions("kim")) == 1
    idle(auth, SERVICE.session_idle_minutes * 60 + 1)
    assert accounts_of(auth).sessions("kim") == []
    assert accounts_of(auth).list_agents()[0].sessions == 0
    with pytest.raises(NotAuthenticated):
        auth.authenticate(session.token)
    with pytest.raises(NotAuthenticated):
        auth.logout(session.token)


def test_use_does_not_prolong_a_session_beyond_its_time(auth: AgentAuth, session: LoginSession) -> None:
    run(auth, "update agent_sessions set expires_at = now()")
    with pytest.raises(NotAuthenticated):
        auth.authenticate(session.token)


def test_use_is_noted_once_a_minute(auth: AgentAuth, session: LoginSession, monkeypatch: pytest.MonkeyPatch) -> None:
    idle(auth, 61)
    asked = count_queries(auth, monkeypatch)
    for _ in range(3):
        auth.authenticate(session.token)
    assert asked == [4]


def test_a_session_from_before_there_was_a_limit_has_one_from_its_next_use(
    auth: AgentAuth, session: LoginSession
) -> None:
    run(auth, "update agent_sessions set idle_at = null")
    assert [one.idle_at for one in accounts_of(auth).sessions("kim")] == [None]
    assert auth.authenticate(session.token) == session.agent
    idle(auth, SERVICE.session_idle_minutes * 60 + 1)
    with pytest.raises(NotAuthenticated):
        auth.authenticate(session.token)


def test_a_shorter_limit_counts_from_the_next_use(auth: AgentAuth, session: LoginSession) -> None:
    shorter = AgentAuth(auth.postgres, replace(SERVICE, session_idle_minutes=1), passwords=auth.passwords)
    assert shorter.authenticate(session.token) == session.agent
    idle(auth, 61)
    with pytest.raises(NotAuthenticated):
        auth.authenticate(session.token)


def test_where_nothing_can_be_written_no_session_ends_for_not_being_used(
    auth: AgentAuth, session: LoginSession, shared_database: Settings
) -> None:
    idle(auth, SERVICE.session_idle_minutes * 60 + 1)
    with auth.postgres.transaction():
        auth.postgres.execute_query("set transaction read only", fetch="none")
        assert auth.authenticate(session.token) == session.agent


def test_requests_do_not_wait_for_another_that_notes_its_use(auth: AgentAuth, session: LoginSession) -> None:
    idle(auth, 61)
    with ThreadPoolExecutor(1) as threads, auth.postgres.transaction():
        auth.postgres.execute_query("select from agent_sessions for update", fetch="none")
        assert threads.submit(auth.authenticate, session.token).result(timeout=5) == session.agent


def test_expired_sessions_do_not_pile_up(auth: AgentAuth, session: LoginSession) -> None:
    run(
        auth,
        "insert into agent_sessions (id, account_id, expires_at) "
        "select n, %s, now() - n * interval '1 hour' from generate_series(1, 150) as n",
        session.agent.account_id,
    )
    auth.login("kim", PASSWORD)
    assert ask(auth, "select min(expires_at) > now() - interval '51 hours' from agent_sessions")
    auth.login("kim", PASSWORD)
    assert ask(auth, "select count(*) from agent_sessions") == 3
    assert auth.authenticate(session.token) == session.agent


def test_permissions_in_force_are_those_of_the_moment(auth: AgentAuth, session: LoginSession) -> None:
    def now() -> dict[str, str]:
        return dict(auth.authenticate(session.token).permissions)

    run(
        auth,
        "insert into agent_permissions (agent_id, permission_type, permission_level, expires_at, is_active) "
        "select %s, * from (values ('audio_upload', 'write', null, true), ('audio_upload', 'admin', now(), true), "
        "('audio_upload', 'read', now() + '1 hour', true), ('audio_upload', 'admin', null, false), "
        "('audio_upload', 'admin', null, null), ('trainer', null, null, true), "
        "('supervisor', 'read', now() + interval '1 hour', true)) as v",
        session.agent.id,
    )
    assert now() == {"audio_upload": "write", "supervisor": "read"}
    run(auth, "update agent_permissions set expires_at = now() where permission_type = 'supervisor'")
    assert now() == {"audio_upload": "write"}
    accounts_of(auth).grant("kim", Grant("audio_upload", "read"))
    assert now() == {"audio_upload": "read"}
    accounts_of(auth).revoke("kim", "audio_upload")
    assert now() == {}
    with pytest.raises(AgentError, match="has no permission of type 'audio_upload'"):
        accounts_of(auth).revoke("kim", "audio_upload")


def test_what_is_required_is_held_or_refused(auth: AgentAuth) -> None:
    accounts_of(auth).grant("kim", Grant("analysis_view", "write"))
    agent = auth.login("kim", PASSWORD).agent
    auth.require(agent, "analysis_view", "read")
    auth.require(agent, "analysis_view", "write")
    for permission_type, level in (("analysis_view", "admin"), ("audio_upload", "read"), ("admin", "read")):
        with pytest.raises(NotPermitted, match=f"takes the permission {permission_type}:{level}"):
            auth.require(agent, permission_type, level)
    accounts_of(auth).grant("kim", Grant("admin", "admin"))
    agent = auth.login("kim", PASSWORD).agent
    auth.require(agent, "audio_upload", "admin")
