"""The services that the routes use."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from fastapi import Request

from callytics.agents import AgentAuth
from callytics.api.guards.limits import LoginLimits
from callytics.api.guards.noting import Noting
from callytics.api.telemetry.glance import Glance
from callytics.api.telemetry.meters import Metrics
from callytics.api.telemetry.state import Counting, Probe
from callytics.calls import MultiDatabaseManager
from callytics.postgres import PostgreSQLManager
from callytics.postgres.standbys import Reads


@dataclass(frozen=True)
class Service:
    """The services of one application, all on one connection pool, and one for each standby that is read from."""

    postgres: PostgreSQLManager
    reads: Reads
    databases: MultiDatabaseManager
    auth: AgentAuth
    probe: Probe
    counting: Counting
    glance: Glance
    metrics: Metrics
    login_limits: LoginLimits
    noting: Noting
    large: asyncio.Semaphore


def of(request: Request) -> Service:
    """Return the application's service."""
    service: Service = request.app.state.service
    return service
