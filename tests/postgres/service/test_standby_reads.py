"""What agents read from a standby through the service: all that they have stored, and no more than they may."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from typing import Any

import psycopg
import pytest

from callytics.postgres import standbys
from callytics.settings import Settings
from callytics.trial.embedded import EmbeddedPostgres
from tests.support.agents import accounts_of, agents_of
from tests.support.application import Api, api_on, api_with_agents
from tests.support.pooling import eventually
from tests.support.servers import VOLATILE, StandbyServer, frozen, migrated, private_server, standby_of

pytestmark = pytest.mark.slow

STANDBY = "127.0.0.2"
NUMBERS = count(1)


@pytest.fixture(scope="module")
def primary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """A server whose commits are flushed before they are acknowledged."""
    with private_server(tmp_path_factory.mktemp("primary"), {**VOLATILE, "synchronous_commit": "on"}) as server:
        yield server


@pytest.fixture(scope="module")
def database(primary: EmbeddedPostgres) -> Settings:
    """A migrated database on it, whose standby is read from."""
    return replace(migrated(primary, "callytics"), read_hosts=(STANDBY,), read_lag=2)


@pytest.fixture(scope="module")
def standby(primary: EmbeddedPostgres, database: Settings) -> Iterator[StandbyServer]:
    """Its standby."""
    with standby_of(primary, STANDBY) as standby:
        yield standby


@pytest.fixture
def api(standby: StandbyServer, database: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    """The service, once it reads from the standby."""
    monkeypatch.setattr(standbys, "REST_SECONDS", 0.5)
    with api_with_agents(database) as api:
        assert eventually(lambda: from_standby(api, lambda: find(api, "reader")), 20)
        yield api


def find(api: Api, who: str) -> list[str]:
    """Return the names of the newest recordings."""
    answer = api.client.get("/calls", headers=api.log_in(who), params={"limit": 200})
    assert answer.status_code == 200, answer.text
    return [call["file_name"] for call in answer.json()["calls"]]


def store(api: Api, who: str) -> str:
    """Store a recording, and return its name."""
    name = f"{next(NUMBERS):04}.wav"
    recording = {
        "file_path": f"/calls/{name}",
        "file_name": name,
        "file_size": 1,
        "duration_seconds": 1.0,
        "sample_rate": 8000,
        "channels": 1,
        "format_type": "wav",
    }
    answer = api.client.post("/analyses", headers=api.log_in(who), json={"audio_file": recording})
    assert answer.status_code == 201, answer.text
    return name


def from_standby(api: Api, work: Any) -> bool:
    """Do something, and tell whether a standby was read from."""
    before = api.service.reads.by_standby
    work()
    return api.service.reads.by_standby > before


@contextmanager
def paused(primary: EmbeddedPostgres) -> Iterator[None]:
    """Let the standby show nothing new."""
    conninfo = f"{primary.superuser_conninfo()} hostaddr={STANDBY}"
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute("SELECT pg_wal_replay_pause()")
        try:
            yield
        finally:
            connection.execute("SELECT pg_wal_replay_resume()")


def test_an_agent_finds_what_it_has_stored_through_another_process(
    api: Api, database: Settings, primary: EmbeddedPostgres
) -> None:
    """200 times, of which the standby shows some at once, some later."""
    with api_on(database) as other:
        assert eventually(lambda: from_standby(other, lambda: find(other, "admin")), 20)
        for turn in range(4):
            for _ in range(40):
                assert store(api, "admin") == find(other, "admin")[0]
            with paused(primary):
                for _ in range(10):
                    assert store(api, "admin") == find(other, "admin")[0], turn
        assert other.service.reads.by_primary >= 40


def test_who_stores_nothing_may_miss_what_is_new_and_no_more(api: Api, primary: EmbeddedPostgres) -> None:
    assert eventually(lambda: from_standby(api, lambda: find(api, "reader")))
    with paused(primary):
        name = store(api, "admin")
        assert from_standby(api, lambda: find(api, "reader"))
        assert name not in find(api, "reader")
        assert eventually(lambda: name in find(api, "reader"), 4)
        assert not from_standby(api, lambda: find(api, "reader"))


def test_a_right_that_is_taken_away_counts_at_once(api: Api, database: Settings, primary: EmbeddedPostgres) -> None:
    headers = api.log_in("reader")
    with paused(primary):
        with agents_of(database, empty=False) as auth:
            accounts_of(auth).revoke("reader", "analysis_view")
        assert api.client.get("/calls", headers=headers).status_code == 403
        assert api.client.post("/auth/logout", headers=headers).status_code == 204
        assert api.client.get("/calls", headers=headers).status_code == 401


def test_the_trail_shows_a_read_of_a_moment_ago(api: Api, primary: EmbeddedPostgres) -> None:
    with paused(primary):
        find(api, "admin")
        entries = api.client.get("/audit", headers=api.log_in("admin"), params={"limit": 1}).json()["entries"]
        assert (entries[0]["action"], entries[0]["agent"]) == ("calls.find", "admin")


def test_it_says_where_reads_go(api: Api, standby: StandbyServer) -> None:
    assert api.client.get("/health").json()["standbys"] == [{"state": "ready", "lag_seconds": 0.0}]
    metrics = api.client.get("/metrics").text
    assert 'callytics_read_standby_ready{standby="1"} 1.0' in metrics
    assert f'callytics_reads_total{{server="standby"}} {api.service.reads.by_standby}.0' in metrics
    with frozen(standby):
        find(api, "reader")
        answer = api.client.get("/health")
        assert (answer.status_code, answer.json()["standbys"]) == (200, [{"state": "away", "lag_seconds": None}])
        assert STANDBY not in answer.text
        assert 'callytics_read_standby_ready{standby="1"} 0.0' in api.client.get("/metrics").text
        assert api.client.get("/status").json()["counts"] is not None
    assert eventually(lambda: from_standby(api, lambda: find(api, "reader")), 20)
