"""Logins over HTTP, who may do what, and what happens when every connection is in use."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import psycopg2
import pytest

from callytics.settings import Settings
from tests.support.agents import PASSWORD, WRONG
from tests.support.application import Api, is_problem


def test_an_agent_logs_in_asks_who_they_are_and_logs_out(api: Api) -> None:
    answer = api.client.post("/auth/login", json={"username": "reader", "password": PASSWORD})
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    login = answer.json()
    assert (login["token_type"], login["agent"]["permissions"]) == ("bearer", {"analysis_view": "read"})
    headers = {"Authorization": f"Bearer {login['access_token']}"}
    assert api.client.get("/auth/me", headers=headers).json() == login["agent"]
    ended = api.client.post("/auth/logout", headers=headers)
    assert (ended.status_code, ended.content) == (204, b"")
    for ask in (api.client.get, api.client.post):
        path = "/auth/me" if ask == api.client.get else "/auth/logout"
        refused = ask(path, headers=headers)
        is_problem(refused, 401)
        assert refused.headers["www-authenticate"] == "Bearer"


def test_every_refused_login_reads_the_same(api: Api) -> None:
    answers = [
        api.client.post("/auth/login", json={"username": username, "password": password})
        for username, password in (("reader", WRONG), ("nobody", PASSWORD), ("reader' or 1=1 --", WRONG))
    ]
    texts = {is_problem(answer, 401)["detail"] for answer in answers}
    assert len(texts) == 1


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer ",
        "Basic a2ltOng=",
        "Bearer x.y.z",
        "Bearer eyJhbGciOiJub25lIn0.e30.",
        "Bearer " + "x" * 10_000,
        b"Bearer \xff\xfe",
    ],
)
def test_an_invalid_token_is_refused(api: Api, header: str | bytes) -> None:
    headers: Any = {"Authorization": header}
    is_problem(api.client.get("/auth/me", headers=headers), 401)


def test_who_may_not_is_refused(api: Api) -> None:
    is_problem(api.client.get("/imports/latest"), 401)
    is_problem(api.client.get("/imports/latest", headers=api.log_in("stranger")), 403)


def test_logins_from_one_address_are_limited(own_api: Api) -> None:
    # A machine that is busy takes so long for these that another one would be allowed.
    own_api.service.login_limits.by_address.clock = lambda: 0.0
    for number in range(20):
        answer = own_api.client.post("/auth/login", json={"username": f"agent{number}", "password": "x"})
        assert answer.status_code == 401
    answer = own_api.client.post("/auth/login", json={"username": "reader", "password": PASSWORD})
    is_problem(answer, 429)
    assert 1 <= int(answer.headers["Retry-After"]) <= 3


@contextmanager
def everything_in_use(api: Api) -> Iterator[None]:
    postgres = api.service.postgres
    with ExitStack() as stack:
        for _ in range(postgres.statistics().limit):
            stack.enter_context(postgres.connection())
        yield


def test_when_every_connection_is_in_use_clients_are_told_to_come_again(own_api: Api) -> None:
    headers = own_api.log_in("reader")
    own_api.service.postgres.timeout = 0.2
    with everything_in_use(own_api):
        refused = own_api.client.get("/auth/me", headers=headers)
        assert is_problem(refused, 503)["detail"].startswith("every connection")
        assert refused.headers["Retry-After"] == "1"
        started = time.monotonic()
        is_problem(own_api.client.get("/health"), 503)
        assert time.monotonic() - started < 2
        assert "callytics_pool_connections_in_use 4.0" in own_api.client.get("/metrics").text
    assert own_api.client.get("/auth/me", headers=headers).status_code == 200
    assert "callytics_pool_timeouts_total 2.0" in own_api.client.get("/metrics").text


def test_a_lock_that_somebody_holds_ends_in_503_not_in_waiting(own_api: Api, database: Settings) -> None:
    headers = own_api.log_in("reader")
    own_api.service.postgres.statement_timeout = 0.3
    locker = psycopg2.connect(**database.parameters(owner=True))
    with locker.cursor() as cursor:
        cursor.execute("lock table agent_sessions in access exclusive mode")
    own_api.service.postgres.close()
    own_api.service.postgres.initialize()
    is_problem(own_api.client.get("/auth/me", headers=headers), 503)
    locker.close()
    assert own_api.client.get("/auth/me", headers=headers).status_code == 200


def test_the_last_import_is_there_for_those_who_may_see_it(own_api: Api, database: Settings) -> None:
    admin = own_api.log_in("admin")
    is_problem(own_api.client.get("/imports/latest", headers=admin), 404)
    with psycopg2.connect(**database.parameters(owner=True)) as owner, owner.cursor() as cursor:
        cursor.execute("insert into imports.runs (version, timezone) values ('1', 'UTC'), ('2', 'UTC')")
    owner.close()
    found = own_api.client.get("/imports/latest", headers=admin).json()
    assert (found["id"], found["verdict"], found["version"], found["tables"]) == (2, "running", "2", [])
    assert own_api.client.get("/status").json()["counts"]["last_import"]["id"] == 2


def test_a_search_and_its_statements_are_timed(own_api: Api) -> None:
    def counted(name: str) -> float:
        text = own_api.client.get("/metrics").text
        found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    names = ('callytics_search_seconds_count{of="calls"}', 'callytics_database_statement_seconds_count{outcome="done"}')
    before = [counted(name) for name in names]
    answer = own_api.client.get("/calls", params={"search": "요금"}, headers=own_api.log_in("reader"))
    assert answer.status_code == 200
    searches, statements = (counted(name) - old for name, old in zip(names, before, strict=True))
    assert (searches, statements > 1) == (1, True)
    assert "요금" not in own_api.client.get("/metrics", headers={"Accept": "application/openmetrics-text"}).text
