"""The application in this process, on a database of the test's own, with agents who may do different things."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from fastapi import FastAPI
from fastapi.testclient import TestClient

from callytics.agents.accounts import Grant
from callytics.agents.auth import AgentAuth
from callytics.api import create_app
from callytics.api.service import Service
from callytics.settings import Settings
from tests.support.agents import KIM, PASSWORD, SERVICE, Counting, accounts_of, agents_of

MAY = {
    "reader": Grant("analysis_view", "read"),
    "writer": Grant("audio_upload", "write"),
    "half a writer": Grant("audio_upload", "read"),
    "admin": Grant("admin", "admin"),
    "stranger": None,
}


@dataclass(frozen=True)
class Api:
    """The application, and how its agents ask."""

    app: FastAPI
    client: TestClient
    logins: dict[str, dict[str, str]] = field(default_factory=dict)

    @property
    def service(self) -> Service:
        """What it stands on."""
        found: Service = self.app.state.service
        return found

    def log_in(self, username: str) -> dict[str, str]:
        """Return the headers of an agent who is logged in, the same each time."""
        if username not in self.logins:
            self.logins[username] = self._log_in(username)
        return self.logins[username]

    def _log_in(self, username: str) -> dict[str, str]:
        answer = self.client.post("/auth/login", json={"username": username, "password": PASSWORD})
        assert answer.status_code == 200, answer.text
        return {"Authorization": f"Bearer {answer.json()['access_token']}"}


@contextmanager
def api_on(database: Settings, *, passwords: Counting | None = None) -> Iterator[Api]:
    """Lend the application on a database."""
    settings = replace(database, min_connections=1, max_connections=4)
    app = create_app(settings, SERVICE)
    service: Service = app.state.service
    auth = AgentAuth(service.postgres, SERVICE, passwords=passwords or Counting())
    app.state.service = replace(service, auth=auth)
    with TestClient(app, raise_server_exceptions=False) as client:
        yield Api(app, client)


@contextmanager
def api_with_agents(database: Settings, *, empty: bool = True) -> Iterator[Api]:
    """Lend the application, with an agent of each name in MAY; ``empty``: and no others."""
    with agents_of(database, empty=empty) as auth:
        accounts = accounts_of(auth)
        for name, grant in MAY.items():
            accounts.add_agent(name, PASSWORD, replace(KIM, email=None, employee_id=None), [grant] if grant else [])
    with api_on(database) as api:
        yield api


def is_problem(answer: Any, status: int) -> dict[str, Any]:
    """Require a problem document with a status, and return it."""
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), answer.text
    problem: dict[str, Any] = answer.json()
    assert problem["status"] == status
    return problem
