"""Which calls an agent sees: every route, each scope, one's own call, the team's and another's."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from callytics.agents import permissions
from callytics.agents.accounts import Grant, Profile
from callytics.api.guards.permits import ACTIONS
from callytics.calls import MultiDatabaseManager, reading
from callytics.calls.finding import words
from callytics.exceptions import AgentError, NotPermitted
from callytics.postgres.sql import Queries
from tests.support.agents import PASSWORD, accounts_of, agents_of, run
from tests.support.application import Api
from tests.support.serving import RECORDING

pytestmark = pytest.mark.slow

# Who talked to the customer, by whose call it is for kim.
OWNERS = {"own": "김민수", "team": "이팀원", "another": "박타인"}
SCOPES = {
    "own": {"own"},
    "team": {"own", "team"},
    "all": {"own", "team", "another"},
    "none": set(),
}
Calls = dict[str, int]


def stored(api: Api, owner: str, agent: str) -> int:
    """Store a call of an agent, whose words are their own."""
    analysis = {
        "audio_file": RECORDING["audio_file"] | {"file_path": f"/calls/{owner}.wav", "file_name": f"{owner}.wav"},
        "transcriptions": [{"text": f"공통 {owner}말", "start_time": 0.0, "end_time": 1.0}],
        "quality": {
            "session": {
                "session_date": "2026-11-01",
                "duration_minutes": 1.0,
                "agent_name": agent,
                "consultation_type": "billing",
            }
        },
    }
    answer = api.client.post("/analyses", json=analysis, headers=api.log_in("admin"))
    assert answer.status_code == 201, answer.text
    call = int(answer.json()["audio_file_id"])
    api.service.databases.save_audio_features(call, {"summary": f"{owner}요약"})
    return call


@pytest.fixture(scope="module")
def calls(api: Api) -> Calls:
    found = {owner: stored(api, owner, agent) for owner, agent in OWNERS.items()}
    with agents_of(api.service.postgres.settings, empty=False) as auth:
        accounts = accounts_of(auth)
        for username, full_name, team in (
            ("own", "김민수", "1조"),
            ("team", "김민수", "1조"),
            ("all", "김민수", "1조"),
            ("none", "김민수", "1조"),
            ("mate", "이팀원", "1조"),
            ("other", "박타인", "2조"),
        ):
            profile = Profile("a", "b", "고객지원팀", "상담사", full_name=full_name, team=team)
            grants = () if username == "none" else (Grant("analysis_view", "read"),)
            accounts.add_agent(username, PASSWORD, profile, grants)
            if username in permissions.SCOPES:
                accounts.scope(username, username)
        # Each is the only one of the name while it asks: see only().
        run(auth, "update agent_profiles set full_name = account_id::text where full_name = '김민수'")
    return found


@pytest.fixture
def asking(api: Api, calls: Calls) -> Iterator[Callable[..., Any]]:
    """Ask as an agent who is the only 김민수 meanwhile, since a name that several have is nobody's."""
    name = "update agent_profiles as p set full_name = {} from agent_accounts as a where a.id = p.account_id {}"
    with agents_of(api.service.postgres.settings, empty=False) as auth:

        def ask(username: str, url: str, **parameters: Any) -> Any:
            run(auth, name.format("'김민수'", "and a.username = %s"), username)
            try:
                return api.client.get(url, params=parameters, headers=api.log_in(username))
            finally:
                run(auth, name.format("p.account_id::text", "and a.username = %s"), username)

        yield ask


def by_id(ask: Callable[..., Any], scope: str, call: int, _owner: str) -> bool:
    answer = ask(scope, f"/analyses/{call}")
    assert answer.status_code in (200, 404), answer.text
    return answer.status_code == 200


def listed(ask: Callable[..., Any], scope: str, call: int, owner: str) -> bool:
    """With each filter alike: a filter must not tell what the list does not."""
    ways: tuple[dict[str, Any], ...] = (
        {"limit": 500},
        {"search": f"{owner}말"},
        {"search": "공통", "limit": 500},
        {"path": f"/calls/{owner}.wav"},
        {"name": f"{owner}.wav"},
        {"agent": OWNERS[owner]},
        {"consultation_type": "billing", "limit": 500},
    )
    found = {call in [one["id"] for one in ask(scope, "/calls", **way).json()["calls"]] for way in ways}
    assert len(found) == 1
    return found.pop()


def searched(ask: Callable[..., Any], scope: str, call: int, owner: str) -> bool:
    found = [
        call in [one["audio_file_id"] for one in ask(scope, "/transcripts", search=words).json()["transcripts"]]
        for words in (f"{owner}말", "공통")
    ]
    assert found[0] == found[1]
    return found[0]


# Every route for agents: how it shows a call, or why it shows none.
SHOWING: dict[str, Callable[..., bool]] = {
    "GET /analyses/{audio_file_id}": by_id,
    "GET /calls": listed,
    "GET /transcripts": searched,
}
SHOWING_NONE = {
    "POST /analyses": "stores",
    "GET /imports/latest": "counts of an import",
    "GET /audit": "for supervisors: ids of calls, and nothing of what is in them",
    "POST /auth/logout": "the account",
    "POST /auth/password": "the account",
    "DELETE /auth/sessions": "the account",
    "DELETE /auth/sessions/{session_id}": "the account",
    "GET /auth/sessions": "the account",
    "GET /auth/me": "the account",
}


def test_every_route_is_classified() -> None:
    assert {*SHOWING, *SHOWING_NONE} == set(ACTIONS)


@pytest.mark.parametrize("owner", OWNERS)
@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("route", SHOWING)
def test_a_route_shows_what_the_scope_says(
    asking: Callable[..., Any], calls: Calls, route: str, scope: str, owner: str
) -> None:
    if scope == "none":
        path = route.removeprefix("GET ").replace("{audio_file_id}", str(calls[owner]))
        assert asking(scope, path, **({"search": "공통"} if "transcripts" in path else {})).status_code == 403
    else:
        assert SHOWING[route](asking, scope, calls[owner], owner) == (owner in SCOPES[scope])


def test_what_may_not_be_seen_reads_like_what_is_not_there(asking: Callable[..., Any], calls: Calls) -> None:
    hidden, absent = asking("own", f"/analyses/{calls['another']}"), asking("own", f"/analyses/{10**9}")
    assert hidden.status_code == absent.status_code == 404
    assert hidden.json() | {"request_id": ""} == absent.json() | {"request_id": ""}


def test_a_name_that_others_have_too_is_nobodys(api: Api, asking: Callable[..., Any], calls: Calls) -> None:
    with agents_of(api.service.postgres.settings, empty=False) as auth:
        run(auth, "update agent_profiles set full_name = '김민수', team = '2조' where full_name = '박타인'")
        try:
            assert not by_id(asking, "own", calls["own"], "own")
            assert not by_id(asking, "team", calls["own"], "own")
        finally:
            run(auth, "update agent_profiles set full_name = '박타인' where full_name = '김민수'")


def test_members_of_a_team_see_each_others_calls(api: Api, asking: Callable[..., Any], calls: Calls) -> None:
    assert not by_id(asking, "team", calls["another"], "another")
    with agents_of(api.service.postgres.settings, empty=False) as auth:
        run(auth, "insert into agent_teams (id, team_name, department) values (77, 'x', 'y')")
        member = (
            "insert into agent_team_memberships (agent_id, team_id) select p.id, 77 from agent_profiles as p "
            "join agent_accounts as a on a.id = p.account_id where a.username in ('team', 'own', 'other')"
        )
        run(auth, member)
        try:
            assert by_id(asking, "team", calls["another"], "another")
            assert not by_id(asking, "own", calls["another"], "another")
            run(auth, "update agent_team_memberships set left_date = current_date where team_id = 77")
            assert not by_id(asking, "team", calls["another"], "another")
        finally:
            run(auth, "delete from agent_teams where id = 77")


def test_a_scope_holds_at_once_is_on_record_and_admin_sees_everything(api: Api, calls: Calls) -> None:
    with agents_of(api.service.postgres.settings, empty=False) as auth:
        accounts = accounts_of(auth)
        headers = api.log_in("mate")
        path = f"/analyses/{calls['another']}"
        # Nobody has said anything of imported agents: they see what they saw.
        assert api.client.get(path, headers=headers).status_code == 200
        accounts.scope("mate", "own")
        assert api.client.get(path, headers=headers).status_code == 404
        accounts.grant("mate", Grant("admin", "read"))
        assert api.client.get(path, headers=headers).status_code == 200
        accounts.revoke("mate", "admin")
        accounts.scope("mate", "all")
        assert api.client.get(path, headers=headers).status_code == 200
        with pytest.raises(AgentError, match="scope 'some' does not exist"):
            accounts.scope("mate", "some")
    trail = api.client.get(
        "/audit", params={"agent": "mate", "action": "permission.scope"}, headers=api.log_in("admin")
    )
    assert [one["details"]["permission"] for one in trail.json()["entries"]] == ["calls:all", "calls:own"]
    hidden = api.client.get("/audit", params={"agent": "mate", "action": "call.read"}, headers=api.log_in("admin"))
    assert "absent" in [one["outcome"] for one in hidden.json()["entries"]]


def test_no_method_of_the_library_reads_beyond_the_scope(api: Api, calls: Calls) -> None:
    everything = MultiDatabaseManager(api.service.postgres)
    own = everything.seen_by([OWNERS["own"]])
    for owner, call in calls.items():
        seen = owner == "own"
        path = f"/calls/{owner}.wav"
        assert everything.get_complete_analysis_result(call)
        assert (own.get_complete_analysis_result(call) is not None) == seen
        assert (own.get_audio_file_by_path(path) is not None) == seen
        assert (own.get_session_by_audio_file_id(call) is not None) == seen
        assert (own.get_audio_features(call) is not None) == seen
        assert (own.get_transcript(call) != []) == seen
    assert {row["id"] for row in own.find_calls().rows} == {calls["own"]}
    assert {row["audio_file_id"] for row in own.search_transcripts("공통").rows} == {calls["own"]}
    assert everything.seen_by([]).find_calls().rows == []
    with pytest.raises(NotPermitted):
        own.get_analysis_statistics()


# Queries that read no call, or only what another query has let through.
INTERNAL = {
    "quality_metrics", "sentiment_analysis", "communication_patterns", "improvement_suggestions",
    "analysis_statistics", "table_sizes", "database_size", "count",
    "words", "frequency", "calls_that_say", "calls_transcribed", "calls_uttered",
    "without_transcriptions", "window_end", "months_before", "snippets",
    "by_index", "by_any_plan",
}  # fmt: skip


@pytest.mark.parametrize("queries", [reading.SQL, words.SQL], ids=lambda queries: Path(queries.path).name)
def test_every_query_takes_the_condition_or_is_known(queries: Queries) -> None:
    """`find_calls` and `next_calls` take it with their other conditions, which begin with it."""
    open_ones = {name for name in queries if not re.search(r"\{(visible\w*|conditions)\}", queries[name])}
    assert open_ones <= INTERNAL
