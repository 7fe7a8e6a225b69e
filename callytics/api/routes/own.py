"""Routes for agents' own accounts: a new password, their sessions."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, SecretStr
from starlette.exceptions import HTTPException

from callytics.agents.auth import Agent
from callytics.agents.own import OwnAccount
from callytics.api import problems, service
from callytics.api.guards import permits
from callytics.exceptions import LoginRefused, PasswordRefused

router = APIRouter(
    prefix="/auth",
    tags=["agents"],
    route_class=permits.permitted(),
    dependencies=[Depends(permits.BEARER)],
    responses=problems.declared(401),
)
Password = Annotated[SecretStr, Field(min_length=1, max_length=1024)]
SessionId = Annotated[str, Path(pattern=r"^[A-Za-z0-9_-]{1,64}$", description="A session's id")]
Asking = Annotated[Agent, Depends(permits.agent)]


class NewPassword(BaseModel):
    """A new password, and the one until now."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"current": "…", "new": "…"}})

    current: Password
    new: Password


class SessionView(BaseModel):
    """A login in force."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    issued_at: datetime
    expires_at: datetime
    idle_at: datetime | None = Field(description="When it ends unless it is used before")
    is_current: bool = Field(description="Whether this request belongs to it", examples=[True])
    ip_address: str | None = Field(description="Where the agent logged in from", examples=["192.0.2.7"])
    user_agent: str | None = Field(examples=["curl/7.88.1"])


class Sessions(BaseModel):
    """The agent's logins in force, the newest first."""

    sessions: list[SessionView]


@router.post(
    "/password",
    summary="Change one's own password",
    status_code=204,
    response_class=Response,
    responses=problems.declared(429),
)
async def change_password(request: Request, passwords: NewPassword, agent: Asking) -> None:
    """Replace the password, and end every other session. Wrong current passwords count like wrong logins."""
    ours, address = service.of(request), permits.address(request)
    ours.login_limits.take(address, agent.username)
    current, new = passwords.current.get_secret_value(), passwords.new.get_secret_value()
    try:
        await OwnAccount(ours.auth).achange_password(agent, current, new, ip_address=address or None)
    except LoginRefused:
        raise _invalid("current", "is not right, or was tried too often: try again later") from None
    except PasswordRefused as refusal:
        raise _invalid("new", str(refusal)) from None
    ours.login_limits.note(address, agent.username, entered=True)


@router.get("/sessions", summary="List one's own sessions")
async def sessions(request: Request, agent: Asking) -> Sessions:
    """Return the agent's logins in force, the newest first."""
    found = await OwnAccount(service.of(request).auth).asessions(agent)
    return Sessions(sessions=[SessionView.model_validate(one) for one in found])


@router.delete("/sessions", summary="Log out everywhere", status_code=204, response_class=Response)
async def end_all(request: Request, agent: Asking) -> None:
    """End all of the agent's sessions, this one too."""
    await OwnAccount(service.of(request).auth).aend(agent)


@router.delete(
    "/sessions/{session_id}",
    summary="End a session",
    status_code=204,
    response_class=Response,
    responses=problems.declared(404),
)
async def end(request: Request, session_id: SessionId, agent: Asking) -> None:
    """End one of the agent's sessions."""
    if not await OwnAccount(service.of(request).auth).aend(agent, session_id):
        raise HTTPException(404, "there is no such session in force")


def _invalid(field: str, detail: str) -> RequestValidationError:
    return RequestValidationError([{"loc": ("body", field), "msg": detail}])
