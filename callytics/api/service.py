"""What the routes work with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastapi import Request

from callytics.agents.auth import AgentAuth
from callytics.calls import MultiDatabaseManager
from callytics.postgres import PostgreSQLManager

if TYPE_CHECKING:
    from callytics.api.health import Probe
    from callytics.api.logins import LoginLimits
    from callytics.api.metrics import Metrics
    from callytics.api.status import Counting


@dataclass(frozen=True)
class Service:
    """One application: its database and what stands on it."""

    postgres: PostgreSQLManager
    databases: MultiDatabaseManager
    auth: AgentAuth
    probe: Probe
    counting: Counting
    metrics: Metrics
    login_limits: LoginLimits


def of(request: Request) -> Service:
    """Return the application's service."""
    service: Service = request.app.state.service
    return service
