"""Requests that are repeated with their Idempotency-Key: the same answer, and nothing is stored again."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from tests.support.application import Api, is_problem
from tests.support.serving import RECORDING

KEPT = "select count(*) from idempotency_keys"
STORED = "select count(*) from audio_files"


def ask(api: Api, query: str) -> Any:
    return api.service.postgres.execute_query(query, fetch="val")


def send(api: Api, key: str, body: Any = RECORDING, agent: str = "writer") -> Any:
    return api.client.post("/analyses", json=body, headers=api.log_in(agent) | {"Idempotency-Key": key})


def other() -> Any:
    changed = json.loads(json.dumps(RECORDING))
    changed["audio_file"]["file_name"] = "other.wav"
    return changed


def test_a_repetition_gets_the_same_answer_and_stores_nothing(own_api: Api) -> None:
    first, again = send(own_api, "a"), send(own_api, "a")
    assert first.status_code == again.status_code == 201
    assert first.json() == again.json()
    assert first.headers["location"] == again.headers["location"]
    assert (ask(own_api, STORED), ask(own_api, KEPT)) == (1, 1)
    # The order of fields means nothing.
    turned = dict(reversed(list(RECORDING.items())))
    assert send(own_api, "a", turned).json() == first.json()
    assert send(own_api, "b").json() != first.json()
    assert ask(own_api, STORED) == 2


def test_the_key_of_another_body_is_refused(own_api: Api) -> None:
    send(own_api, "a")
    refused = is_problem(send(own_api, "a", other()), 409)
    assert refused["detail"] == "this Idempotency-Key was used for another request: take a new key for each"
    assert ask(own_api, STORED) == 1


def test_each_agent_has_keys_of_their_own(own_api: Api) -> None:
    send(own_api, "a")
    assert send(own_api, "a", other(), agent="admin").status_code == 201
    assert ask(own_api, STORED) == 2


def test_without_a_key_each_request_is_another(own_api: Api) -> None:
    for _ in range(2):
        own_api.client.post("/analyses", json=RECORDING, headers=own_api.log_in("writer"))
    assert (ask(own_api, STORED), ask(own_api, KEPT)) == (2, 0)


def test_of_many_at_once_one_is_stored(own_api: Api) -> None:
    own_api.log_in("writer")
    with ThreadPoolExecutor(8) as clients:
        answers = list(clients.map(lambda _: send(own_api, "a"), range(8)))
    assert {answer.status_code for answer in answers} <= {201, 409}
    assert len({answer.text for answer in answers if answer.status_code == 201}) == 1
    assert ask(own_api, STORED) == 1


def test_one_that_is_under_way_is_not_waited_for(own_api: Api) -> None:
    account = ask(own_api, "select id from agent_accounts where username = 'writer'")
    with own_api.service.postgres.transaction():
        own_api.service.postgres.execute_query(
            "select pg_advisory_xact_lock(hashtextextended(format('idempotency %%s a', %s::bigint), 0))", (account,)
        )
        refused = send(own_api, "a")
        assert is_problem(refused, 409)["detail"].startswith("a request with this Idempotency-Key is under way")
        assert refused.headers["Retry-After"] == "1"
    assert send(own_api, "a").status_code == 201


def test_what_failed_can_be_tried_again_with_its_key(own_api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever ends the work before its commit takes the key with it."""

    def fails(*_: object) -> None:
        raise psycopg.errors.UniqueViolation

    with monkeypatch.context() as broken:
        broken.setattr("callytics.api.guards.repeating.Once._keep", fails)
        is_problem(send(own_api, "a"), 409)
    assert (ask(own_api, STORED), ask(own_api, KEPT)) == (0, 0)
    is_problem(send(own_api, "a", {"audio_file": {}}), 422)
    assert send(own_api, "a").status_code == 201


def test_a_key_is_kept_for_a_day(own_api: Api) -> None:
    first = send(own_api, "a")
    age = "update idempotency_keys set created_at = created_at - interval '23 hours'"
    own_api.service.postgres.execute_query(age, fetch="none")
    assert send(own_api, "a").json() == first.json()
    own_api.service.postgres.execute_query(age, fetch="none")
    assert send(own_api, "a", other()).json() != first.json()
    send(own_api, "b")
    own_api.service.postgres.execute_query(age.replace("23", "25"), fetch="none")
    send(own_api, "c")
    assert ask(own_api, "select array_agg(key) from idempotency_keys") == ["c"]


@pytest.mark.parametrize("key", ["", "with space", "x" * 256, "\x7f"])
def test_a_key_is_a_short_text_without_spaces(own_api: Api, key: str) -> None:
    problem = is_problem(send(own_api, key), 422)
    assert problem["errors"][0]["field"] == "header.Idempotency-Key"
    assert ask(own_api, STORED) == 0
