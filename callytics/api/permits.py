"""Who may call a route, and for how long: the bearer token is checked before anything else of a request is read."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer

from callytics.agents.auth import Agent
from callytics.api import service
from callytics.api.limits import bounded
from callytics.exceptions import NotAuthenticated

# For OpenAPI only: Permitted does the work.
BEARER = HTTPBearer(auto_error=False, description="The token that POST /auth/login returned")

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class Bounded(APIRoute):
    """A route that answers 503 if the database keeps it waiting."""

    def get_route_handler(self) -> Handler:
        """Return the handler with its time limit."""
        handle = self.unbounded()

        async def in_time(request: Request) -> Response:
            return await bounded(handle(request))

        return in_time

    def unbounded(self) -> Handler:
        """Return the handler without its time limit; subclasses wrap this one, so that their part is limited too."""
        return super().get_route_handler()


def permitted(permission_type: str | None = None, level: str = "read") -> type[APIRoute]:
    """Return a route class for agents who are logged in and have a permission.

    Raises NotAuthenticated or NotPermitted before the body is read, so that strangers can't make us parse one; a
    dependency of FastAPI would run after that. The agent is then in ``request.state.agent``.
    """

    class Permitted(Bounded):
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
