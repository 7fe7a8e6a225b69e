"""One's own account over HTTP: a new password, the list of sessions, the end of one or all."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.support.agents import PASSWORD, WRONG
from tests.support.application import Api, is_problem

NEW = "아주 새로운 비밀번호 하나"


def log_in(api: Api, password: str = PASSWORD) -> dict[str, str]:
    answer = api.client.post("/auth/login", json={"username": "reader", "password": password})
    assert answer.status_code == 200, answer.text
    return {"Authorization": f"Bearer {answer.json()['access_token']}"}


def change(api: Api, headers: dict[str, str], current: str, new: str) -> Any:
    return api.client.post("/auth/password", json={"current": current, "new": new}, headers=headers)


def in_force(api: Api, headers: dict[str, str]) -> bool:
    return bool(api.client.get("/auth/me", headers=headers).status_code == 200)


def test_a_new_password_ends_the_other_sessions(own_api: Api) -> None:
    here, elsewhere = log_in(own_api), log_in(own_api)
    assert change(own_api, here, PASSWORD, NEW).status_code == 204
    assert (in_force(own_api, here), in_force(own_api, elsewhere)) == (True, False)
    is_problem(own_api.client.post("/auth/login", json={"username": "reader", "password": PASSWORD}), 401)
    assert in_force(own_api, log_in(own_api, NEW))
    changes = own_api.service.postgres.execute_query(
        "select activity_data from agent_activity_logs where activity_data ->> 'change' = 'password'"
    )
    assert [row["activity_data"] for row in changes] == [{"change": "password"}]


@pytest.mark.parametrize(
    ("current", "new", "field"),
    [
        (WRONG, NEW, "body.current"),
        (PASSWORD, "too short 1", "body.new"),
        (PASSWORD, "", "body.new"),
        ("", NEW, "body.current"),
    ],
)
def test_what_does_not_fit_is_refused_by_field(own_api: Api, current: str, new: str, field: str) -> None:
    here, elsewhere = log_in(own_api), log_in(own_api)
    answer = change(own_api, here, current, new)
    [error] = is_problem(answer, 422)["errors"]
    assert error["field"] == field
    assert WRONG not in answer.text
    assert in_force(own_api, elsewhere)
    assert in_force(own_api, log_in(own_api))


def test_a_stolen_token_does_not_help_to_guess(own_api: Api) -> None:
    """Guesses are counted, and the right password no longer helps, here or at the login."""
    token = log_in(own_api)
    own_api.service.postgres.execute_query("delete from agent_login_places", fetch="none")
    for _ in range(3):
        is_problem(change(own_api, token, WRONG, NEW), 422)
    is_problem(change(own_api, token, PASSWORD, NEW), 422)
    is_problem(own_api.client.post("/auth/login", json={"username": "reader", "password": PASSWORD}), 401)


def test_of_two_changes_at_once_one_is_made(own_api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    here, elsewhere = log_in(own_api), log_in(own_api)
    both = threading.Barrier(2)
    matches = type(own_api.service.auth.passwords).matches

    def slowly(self: Any, stored: str | None, password: str) -> bool:
        both.wait(10)
        return matches(self, stored, password)

    monkeypatch.setattr(type(own_api.service.auth.passwords), "matches", slowly)
    statuses: list[int] = []
    threads = [
        threading.Thread(target=lambda h=h, n=n: statuses.append(change(own_api, h, PASSWORD, NEW + n).status_code))
        for h, n in ((here, "1"), (elsewhere, "2"))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [204, 422]


def test_sessions_are_listed_and_ended(own_api: Api) -> None:
    first, second, third = log_in(own_api), log_in(own_api), log_in(own_api)
    own_api.log_in("writer")
    found = own_api.client.get("/auth/sessions", headers=second).json()["sessions"]
    assert [one["is_current"] for one in found].count(True) == 1
    assert len(found) == 3
    assert {(one["ip_address"], one["user_agent"]) for one in found} == {("testclient", "testclient")}
    mine = next(one["id"] for one in found if one["is_current"])
    assert own_api.client.delete(f"/auth/sessions/{mine}", headers=first).status_code == 204
    is_problem(own_api.client.delete(f"/auth/sessions/{mine}", headers=first), 404)
    assert [in_force(own_api, one) for one in (first, second, third)] == [True, False, True]
    assert own_api.client.delete("/auth/sessions", headers=first).status_code == 204
    assert [in_force(own_api, one) for one in (first, third, own_api.log_in("writer"))] == [False, False, True]


def test_nobody_ends_the_sessions_of_others(own_api: Api) -> None:
    mine = log_in(own_api)
    [session] = own_api.client.get("/auth/sessions", headers=mine).json()["sessions"]
    is_problem(own_api.client.delete(f"/auth/sessions/{session['id']}", headers=own_api.log_in("admin")), 404)
    for method, path in (("GET", "/auth/sessions"), ("DELETE", "/auth/sessions"), ("POST", "/auth/password")):
        is_problem(own_api.client.request(method, path), 401)
    assert in_force(own_api, mine)


def test_browsers_keep_to_tls_where_the_client_came_by_it(own_api: Api) -> None:
    secure = TestClient(own_api.app, base_url="https://callytics.example")
    assert secure.get("/health/live").headers["strict-transport-security"] == "max-age=31536000"
    assert "strict-transport-security" not in own_api.client.get("/health/live").headers
