"""The audit trail: who did what, who saw which call, and who may ask."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from callytics.agents.accounts import Grant
from callytics.agents.trail import Entry
from callytics.api.guards.permits import ACTIONS
from callytics.exceptions import ReadOnlyServer
from callytics.settings import Settings
from tests.support.agents import KIM, PASSWORD, WRONG, accounts_of, agents_of, run
from tests.support.application import Api
from tests.support.serving import RECORDING

pytestmark = pytest.mark.slow


def entries(api: Api, **asked: Any) -> list[dict[str, Any]]:
    answer = api.client.get("/audit", params=asked, headers=api.log_in("admin"))
    assert answer.status_code == 200, answer.text
    return list(answer.json()["entries"])


def newest(api: Api, action: str) -> dict[str, Any]:
    return entries(api, action=action, limit=1)[0]


@pytest.fixture
def call(api: Api) -> int:
    return int(api.client.post("/analyses", json=RECORDING, headers=api.log_in("writer")).json()["audio_file_id"])


def test_whoever_reads_a_call_is_on_record_before_the_answer_leaves(api: Api, call: int) -> None:
    answer = api.client.get(f"/analyses/{call}", headers=api.log_in("reader") | {"X-Request-ID": "mine-7"})
    assert answer.status_code == 200
    seen = newest(api, "call.read")
    assert seen.pop("id") > 0
    assert seen.pop("created_at")
    assert seen.pop("agent_id") > 0
    assert seen == {
        "action": "call.read",
        "outcome": "done",
        "agent": "reader",
        "subject_id": None,
        "subject": None,
        "calls": [call],
        "request_id": "mine-7",
        "ip_address": "testclient",
        "details": None,
    }


def test_what_is_stored_is_on_record_with_what_was_stored(api: Api, call: int) -> None:
    stored = newest(api, "call.store")
    assert (stored["agent"], stored["calls"], stored["outcome"]) == ("writer", [call], "done")


def test_a_page_of_calls_names_every_call_that_it_shows(api: Api, call: int) -> None:
    shown = api.client.get("/calls", params={"limit": 2}, headers=api.log_in("reader")).json()["calls"]
    assert newest(api, "calls.find")["calls"] == sorted(one["id"] for one in shown)
    api.client.get("/transcripts", params={"search": "secret words"}, headers=api.log_in("reader"))
    assert "secret words" not in str(newest(api, "transcripts.search"))
    assert {entry["action"] for entry in entries(api, call=call)} >= {"call.store", "calls.find"}
    assert entries(api, call=call + 10**6) == []


def test_refusals_and_what_is_not_there_are_on_record(api: Api) -> None:
    assert api.client.get("/analyses/1", headers=api.log_in("stranger")).status_code == 403
    assert api.client.get(f"/analyses/{10**9}", headers=api.log_in("reader")).status_code == 404
    api.client.post("/analyses", json=RECORDING, headers=api.log_in("half a writer"))
    found = [(one["agent"], one["outcome"], one["calls"]) for one in entries(api, action="call.read", limit=2)]
    assert found == [("reader", "absent", [10**9]), ("stranger", "refused", None)]
    assert (newest(api, "call.store")["agent"], newest(api, "call.store")["outcome"]) == ("half a writer", "refused")


def test_logins_and_changes_of_accounts_are_on_record(own_api: Api, database: Settings) -> None:
    with agents_of(database, empty=False) as auth:
        accounts = accounts_of(auth)
        accounts.add_agent("park", PASSWORD, KIM.__class__("b", "a", "c", "d"), (Grant("trainer", "read"),))
        accounts.grant("park", Grant("analysis_view", "read"))
        accounts.revoke("park", "analysis_view")
        accounts.lock("park")
    own_api.client.post("/auth/login", json={"username": "park", "password": PASSWORD})
    own_api.client.post("/auth/login", json={"username": "nobody", "password": WRONG})
    own_api.client.post("/auth/logout", headers=own_api.log_in("reader"))
    found = [(one["action"], one["outcome"], one["subject"], one["details"]) for one in entries(own_api, agent="park")]
    assert found == [
        ("login", "refused", "park", {"reason": "account"}),
        ("account.lock", "done", "park", {"change": "lock"}),
        ("permission.revoke", "done", "park", {"change": "revoke", "permission": "analysis_view"}),
        ("permission.grant", "done", "park", {"change": "grant", "permission": "analysis_view:read"}),
        ("account.added", "done", "park", {"change": "added", "permissions": "trainer:read"}),
    ]
    logins = [(one["agent"], one["outcome"], one["details"]) for one in entries(own_api, action="login")]
    assert (None, "refused", {"reason": "unknown"}) in logins
    assert ("reader", "done", None) in logins
    assert all(len(one["request_id"]) == 32 for one in entries(own_api, action="login"))
    assert newest(own_api, "logout")["agent"] == "reader"


def test_pages_follow_each_other_without_gaps(api: Api, call: int) -> None:
    for _ in range(5):
        api.client.get(f"/analyses/{call}", headers=api.log_in("reader"))
    whole = entries(api, action="call", call=call, agent="reader", limit=500)
    pages: list[dict[str, Any]] = []
    url = f"/audit?action=call&agent=reader&call={call}&limit=2"
    while url:
        answer = api.client.get(url, headers=api.log_in("admin"))
        pages += answer.json()["entries"]
        url = answer.links["next"]["url"] if "next" in answer.links else ""
    assert pages == whole
    assert len(pages) == 5
    day = whole[0]["created_at"][:10]
    assert entries(api, action="call", since="2020-01-01", until=day, call=call) == []
    assert len(entries(api, action="call.read", since=day, call=call)) == 5


@pytest.mark.parametrize("wrong", [{"after": "x"}, {"after": "9" * 30}, {"limit": 0}, {"call": 0}, {"since": "x"}])
def test_what_can_not_be_asked_is_refused_by_field(api: Api, wrong: dict[str, Any]) -> None:
    answer = api.client.get("/audit", params=wrong, headers=api.log_in("admin"))
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == f"query.{next(iter(wrong))}"


def test_the_trail_is_for_supervisors(own_api: Api, database: Settings) -> None:
    with agents_of(database, empty=False) as auth:
        accounts_of(auth).add_agent(
            "chief", PASSWORD, KIM.__class__("b", "a", "c", "d"), (Grant("supervisor", "read"),)
        )
    assert own_api.client.get("/audit", headers=own_api.log_in("reader")).status_code == 403
    assert own_api.client.get("/audit", headers=own_api.log_in("chief")).status_code == 200
    assert newest(own_api, "audit.read")["agent"] == "chief"
    assert [one["outcome"] for one in entries(own_api, action="audit.read", agent="reader")] == ["refused"]


def test_every_route_for_agents_has_an_action(api: Api) -> None:
    """One without can't be made; and none is noted that is not there."""
    described = api.app.openapi()["paths"].items()
    routes = {f"{method.upper()} {path}": route for path, methods in described for method, route in methods.items()}
    assert {name for name, route in routes.items() if "security" in route} == set(ACTIONS)


def test_a_read_that_can_not_be_noted_is_not_answered(own_api: Api, database: Settings) -> None:
    headers = own_api.log_in("reader")
    with agents_of(database, empty=False) as auth:
        run(auth, "revoke insert on audit_log from callytics_user")
    assert own_api.client.get("/calls", headers=headers).status_code == 500


@pytest.fixture
def many() -> list[Entry]:
    return [Entry("call.read", calls=[number], request_id=f"many-{number}") for number in range(1, 301)]


def test_many_at_once_share_statements_and_each_is_there(api: Api, many: list[Entry]) -> None:
    noting = api.service.noting
    statements = 0
    anote = noting.trail.anote

    async def counting(*entries: Entry) -> None:
        nonlocal statements
        statements += 1
        await anote(*entries)

    async def all_at_once() -> None:
        await asyncio.gather(*map(noting.note, many))

    noting.trail.anote = counting  # type: ignore[method-assign]
    try:
        api.client.portal.call(all_at_once)  # type: ignore[union-attr]
    finally:
        noting.trail.anote = anote  # type: ignore[method-assign]
    assert statements < 10
    query = "select count(distinct request_id) from audit_log where request_id like 'many-%%'"
    assert api.service.postgres.execute_query(query, fetch="val") == len(many)


def test_no_entry_waits_for_many_others_to_be_indexed(api: Api) -> None:
    """Whoever fills the list of what waits takes all of it into the index."""
    limit = api.service.postgres.execute_query("select current_setting('gin_pending_list_limit')", fetch="val")
    assert limit == "256kB"


def test_where_the_database_takes_no_writes_the_entry_is_in_the_log(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    noting = api.service.noting

    async def refusing(*_entries: Entry) -> None:
        raise ReadOnlyServer("no writes")

    anote, noting.trail.anote = noting.trail.anote, refusing  # type: ignore[method-assign]
    try:
        assert api.client.get("/calls", headers=api.log_in("reader")).status_code == 200
    finally:
        noting.trail.anote = anote  # type: ignore[method-assign]
    [line] = [record for record in caplog.records if "audit trail" in record.message]
    assert line.fields["action"] == "calls.find"  # type: ignore[attr-defined]
    assert line.fields["agent_id"]  # type: ignore[attr-defined]
