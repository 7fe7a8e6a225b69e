"""Who may call a route, and for how long: strangers are refused before the body is read, then the work begins."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer
from starlette.requests import ClientDisconnect

from callytics.agents.auth import Agent
from callytics.api import service
from callytics.api.guards.waiting import bounded, departure
from callytics.api.telemetry.logs import CLIENT_GONE
from callytics.exceptions import NotAuthenticated

# For OpenAPI only: Permitted does the work.
BEARER = HTTPBearer(auto_error=False, description="The token that POST /auth/login returned")

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class Bounded(APIRoute):
    """A route that answers 503 if the database keeps it waiting, and that stops working when its client has left."""

    def get_route_handler(self) -> Handler:
        """Return the handler with its limits."""
        handle = self.unbounded()

        async def in_time(request: Request) -> Response:
            try:
                self.admit(request)
                # First, since the body has a time limit of its own: the database is not to blame for a slow client.
                await request.body()
                return await bounded(handle(request), departure=departure(request))
            except ClientDisconnect:
                # For the log; nobody receives it.
                return Response(status_code=CLIENT_GONE)

        return in_time

    def admit(self, request: Request) -> None:
        """Refuse a request by its head alone, before its body is read and the database is asked."""

    def unbounded(self) -> Handler:
        """Return the handler without its time limit; subclasses wrap this one, so that their part is limited too."""
        return super().get_route_handler()


class Counted(Bounded):
    """A route for strangers, who are counted before anything that they send is read."""

    def admit(self, request: Request) -> None:
        """Raise HTTPException 429 where an address or its network asked too often."""
        service.of(request).login_limits.arrive(address(request))


def permitted(permission_type: str | None = None, level: str = "read") -> type[APIRoute]:
    """Return a route class for agents who are logged in and have a permission.

    Raises NotAuthenticated before the body is read where the token is none of ours, and that or NotPermitted before
    the body is parsed, which a dependency of FastAPI would not. The agent is then in ``request.state.agent``.
    """

    class Permitted(Bounded):
        def admit(self, request: Request) -> None:
            service.of(request).auth.check(token(request))

        def unbounded(self) -> Handler:
            handle = super().unbounded()

            async def guarded(request: Request) -> Response:
                auth = service.of(request).auth
                agent = request.state.agent = await auth.aauthenticate(token(request))
                if permission_type:
                    auth.require(agent, permission_type, level)
                return await handle(request)

            return guarded

    return Permitted


def address(request: Request) -> str:
    """Return where a request comes from, empty for a socket without addresses."""
    return request.client.host if request.client else ""


def token(request: Request) -> str:
    """Return the request's bearer token; raise NotAuthenticated without one."""
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not given.strip():
        raise NotAuthenticated
    return given.strip()


def agent(request: Request) -> Agent:
    """Return the agent who is logged in, for ``Depends``."""
    found: Agent = request.state.agent
    return found
