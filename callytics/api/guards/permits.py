"""Who may call a route, and for how long: strangers are refused before the body is read, then the work begins."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from typing import Any, TypeVar

from fastapi import Request, Response
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from callytics.agents.auth import Agent
from callytics.agents.permissions import allows
from callytics.agents.trail import Entry, Outcome
from callytics.api import service
from callytics.api.guards.waiting import bounded, departure
from callytics.api.telemetry.logs import CLIENT_GONE
from callytics.calls import MultiDatabaseManager
from callytics.exceptions import NotAuthenticated, NotPermitted

# For OpenAPI only: Permitted does the work.
BEARER = HTTPBearer(auto_error=False, description="The token that POST /auth/login returned")

Handler = Callable[[Request], Coroutine[Any, Any, Response]]
Result = TypeVar("Result")


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


# What the trail calls each thing that agents may do; None: only their own account is shown, which is not noted.
# A route that is not here can't be made.
ACTIONS: dict[str, str | None] = {
    "GET /calls": "calls.find",
    "GET /transcripts": "transcripts.search",
    "GET /analyses/{audio_file_id}": "call.read",
    "POST /analyses": "call.store",
    "GET /imports/latest": "import.read",
    "GET /audit": "audit.read",
    "POST /auth/logout": "logout",
    "POST /auth/password": "account.password",
    "DELETE /auth/sessions": "logout",
    "DELETE /auth/sessions/{session_id}": "logout",
    "GET /auth/sessions": None,
    "GET /auth/me": None,
}


def permitted(permission_type: str | None = None, level: str = "read") -> type[APIRoute]:
    """Return a route class for agents who are logged in and have a permission.

    Raises NotAuthenticated before the body is read where the token is none of ours, and that or NotPermitted before
    the body is parsed, which a dependency of FastAPI would not. The agent is then in ``request.state.agent``.
    What was read, refused or not found is in the audit trail before the answer leaves.
    """

    class Permitted(Bounded):
        def admit(self, request: Request) -> None:
            service.of(request).auth.check(token(request))

        def unbounded(self) -> Handler:
            handle = super().unbounded()
            [method] = set(self.methods or ())
            action = ACTIONS[f"{method} {self.path}"]

            async def guarded(request: Request) -> Response:
                auth = service.of(request).auth
                agent = request.state.agent = await auth.aauthenticate(token(request))
                try:
                    if permission_type:
                        auth.require(agent, permission_type, level)
                        request.state.visible = await auth.avisible(agent) if agent.scope != "all" else None
                    response = await handle(request)
                except NotPermitted:
                    await _note(request, action, "refused")
                    raise
                except HTTPException as error:
                    if error.status_code == 404:
                        await _note(request, action, "absent")
                    raise
                # Writes have noted it with what they wrote, in one transaction.
                if method == "GET":
                    await _note(request, action, "done")
                return response

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


async def _note(request: Request, action: str | None, outcome: Outcome) -> None:
    if action:
        await service.of(request).noting.note(entry(request, action, outcome))


def entry(request: Request, action: str, outcome: Outcome = "done", calls: Sequence[int] | None = None) -> Entry:
    """Return what the trail is told of a request, with the calls that it has shown."""
    return Entry(
        action,
        outcome,
        agent_id=request.state.agent.id,
        calls=calls or getattr(request.state, "calls", None),
        request_id=getattr(request.state, "request_id", None),
        ip_address=address(request) or None,
    )


def shown(request: Request, calls: Iterable[int | None]) -> None:
    """Tell the trail which calls the answer shows."""
    request.state.calls = sorted({call for call in calls if call is not None})


async def read(request: Request, work: Callable[[MultiDatabaseManager], Awaitable[Result]]) -> Result:
    """Return what ``work`` reads of the calls that the agent may see: any other is as if it were not there.

    A standby may be read from, which may lack what others have stored of late. Who may store calls reads everything
    that is stored, and so whatever is their own.
    """
    visible, stores = request.state.visible, allows(agent(request).permissions, "audio_upload", "write")
    reads = service.of(request).reads
    return await reads.read(lambda postgres: work(MultiDatabaseManager(postgres, visible)), fresh=stores)


def agent(request: Request) -> Agent:
    """Return the agent who is logged in, for ``Depends``."""
    found: Agent = request.state.agent
    return found
