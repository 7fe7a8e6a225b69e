"""The application: its routes, its middleware, and the services that the routes use."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from callytics import __version__
from callytics.agents.auth import AgentAuth
from callytics.agents.trail import Trail
from callytics.api import problems
from callytics.api.guards.answers import KnownNames, LastResort, OneLength, SecurityHeaders
from callytics.api.guards.limits import BodyLimit, LoginLimits
from callytics.api.guards.noting import Noting
from callytics.api.routes import analyses, audit, calls, health, imports, logins, metrics, own, page, status
from callytics.api.service import Service
from callytics.api.telemetry.glance import Glance
from callytics.api.telemetry.logs import RequestLog
from callytics.api.telemetry.meters import Metrics
from callytics.api.telemetry.state import Counting, Probe
from callytics.calls import MultiDatabaseManager
from callytics.postgres import PostgreSQLManager
from callytics.postgres.standbys import Reads
from callytics.settings import ServiceSettings, Settings

DESCRIPTION = "Calls and what was found in them. Errors are problem details (RFC 9457)."
# A client waits at most this long for a connection and for a statement.
POOL_SECONDS, STATEMENT_SECONDS = 5.0, 15.0
ROUTERS = (
    page.router,
    health.router,
    status.router,
    metrics.router,
    logins.public,
    logins.router,
    own.router,
    analyses.writing,
    analyses.reading,
    calls.router,
    imports.router,
    audit.router,
)


class Application(FastAPI):
    """FastAPI whose OpenAPI description includes the schema of errors."""

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI description."""
        described = super().openapi()
        described["components"]["schemas"] |= problems.schemas() | analyses.SENT.schemas()
        return described


def create_app(settings: Settings, service: ServiceSettings) -> FastAPI:
    """Return an application with its own connection pool.

    Connects to nothing yet: the pool opens when the application starts, and closes when it stops. Starting raises
    DatabaseUnavailable if the database can't be reached.
    """
    postgres = PostgreSQLManager(settings, timeout=POOL_SECONDS, statement_timeout=STATEMENT_SECONDS)
    reads = Reads(postgres)
    counted = Metrics(postgres, reads)
    app = Application(
        title="Callytics",
        version=__version__,
        description=DESCRIPTION,
        lifespan=_lifespan,
        # It would redirect to wherever the request's Host says.
        redirect_slashes=False,
        # Their pages load scripts from a CDN, which our Content-Security-Policy forbids.
        docs_url=None,
        redoc_url=None,
        middleware=_middleware(service, counted),
        responses=problems.declared(400, 408, 413, 421, 422, 500, 503),
    )
    app.state.service = Service(
        postgres=postgres,
        reads=reads,
        databases=MultiDatabaseManager(postgres),
        auth=AgentAuth(postgres, service),
        probe=Probe(postgres, reads),
        counting=Counting(reads),
        glance=Glance(reads, service.prometheus_url),
        metrics=counted,
        login_limits=LoginLimits(),
        noting=Noting(Trail(postgres)),
        large=asyncio.Semaphore(1),
    )
    problems.install(app)
    for router in ROUTERS:
        app.include_router(router)
    return app


def _middleware(service: ServiceSettings, counted: Metrics) -> list[Middleware]:
    """Return the middleware, outermost first."""
    # The log comes first, so that it counts and times whatever those below it answer. CORS must enclose LastResort:
    # a browser hides a 500 from a page unless the answer has the CORS headers.
    return [
        Middleware(RequestLog, metrics=counted),
        Middleware(SecurityHeaders),
        Middleware(OneLength),
        Middleware(KnownNames, names=service.api_names),
        Middleware(
            CORSMiddleware,
            allow_origins=service.cors_origins,
            allow_methods=("GET", "POST", "DELETE"),
            allow_headers=("Authorization", "Content-Type", "Idempotency-Key", "X-Request-ID"),
            expose_headers=("Link", "Location", "Retry-After", "X-Request-ID"),
        ),
        Middleware(LastResort),
        Middleware(BodyLimit),
    ]


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    ours: Service = app.state.service
    await ours.postgres.ainitialize()
    await ours.reads.aopen()
    try:
        yield
    finally:
        await ours.reads.aclose()
        await ours.postgres.aclose()
