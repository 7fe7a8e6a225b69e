"""Routes for agents to log in, to log out, and to ask who is logged in."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from callytics.agents.auth import Agent, LoginSession
from callytics.agents.names import LONGEST
from callytics.api import problems, service
from callytics.api.guards import permits
from callytics.api.guards.text import Text
from callytics.exceptions import LoginRefused

public = APIRouter(prefix="/auth", tags=["agents"], route_class=permits.Counted)
router = APIRouter(
    prefix="/auth",
    tags=["agents"],
    route_class=permits.permitted(),
    dependencies=[Depends(permits.BEARER)],
    responses=problems.declared(401),
)


class Credentials(BaseModel):
    """The username and password of a login."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"username": "kim", "password": "…"}})

    username: Text = Field(min_length=1, max_length=LONGEST)
    password: Annotated[SecretStr, Field(min_length=1, max_length=1024)]


class AgentView(BaseModel):
    """The agent who is logged in."""

    model_config = ConfigDict(from_attributes=True)

    id: int = Field(description="The profile's", examples=[7])
    username: str = Field(examples=["kim"])
    full_name: str = Field(examples=["Kim Min-su"])
    permissions: dict[str, str] = Field(
        description="The level of each type: read, write or admin", examples=[{"analysis_view": "read"}]
    )


class Login(BaseModel):
    """A new session."""

    access_token: str = Field(description="Send it as Authorization: Bearer …", examples=["eyJhbGciOi…"])
    token_type: Literal["bearer"] = "bearer"
    expires_at: datetime
    agent: AgentView


@public.post("/login", summary="Log in", responses=problems.declared(401, 429))
async def login(request: Request, credentials: Credentials) -> Login:
    """Log in. Unknown names, wrong passwords and locked accounts are refused alike."""
    ours, address = service.of(request), permits.address(request)
    ours.login_limits.take(address, credentials.username)
    session = await _entered(request, credentials)
    ours.login_limits.note(address, credentials.username, entered=True)
    # For the log, which names who asked: this request brought no token.
    request.state.agent = session.agent
    agent = AgentView.model_validate(session.agent)
    return Login(access_token=session.token, expires_at=session.expires_at, agent=agent)


async def _entered(request: Request, credentials: Credentials) -> LoginSession:
    ours, address = service.of(request), permits.address(request)
    try:
        return await ours.auth.alogin(
            credentials.username,
            credentials.password.get_secret_value(),
            ip_address=address or None,
            user_agent=request.headers.get("user-agent"),
            rank=await _rank(ours, address, credentials.username),
        )
    except LoginRefused:
        ours.login_limits.note(address, credentials.username, entered=False)
        raise


async def _rank(ours: service.Service, address: str, username: str) -> int:
    rank = ours.login_limits.rank(address, username)
    # What was before this process began is in the database alone, which is asked only when it matters.
    if rank > 1 and ours.auth.turns.crowded and await ours.auth.aknows(username, address):
        return 1
    return rank


@router.post("/logout", summary="Log out", status_code=204, response_class=Response)
async def logout(request: Request) -> None:
    """End the session; its token is no longer valid."""
    await service.of(request).auth.alogout(permits.token(request))


@router.get("/me", summary="Ask who is logged in")
async def me(agent: Annotated[Agent, Depends(permits.agent)]) -> AgentView:
    """Return who is logged in, with their permissions."""
    return AgentView.model_validate(agent)
