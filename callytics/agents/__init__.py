"""Accounts of agents: who they are, how they log in, what they may do."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from callytics.agents.accounts import Account, AgentAccounts, Grant, Profile
    from callytics.agents.auth import AgentAuth
    from callytics.agents.passwords import Passwords

__all__ = ["Account", "AgentAccounts", "AgentAuth", "Grant", "Passwords", "Profile"]

HOMES = {
    "Account": "accounts",
    "AgentAccounts": "accounts",
    "AgentAuth": "auth",
    "Grant": "accounts",
    "Passwords": "passwords",
    "Profile": "accounts",
}


def __getattr__(name: str) -> object:
    # Only when asked for: argon2 and jwt take longer to import than `callytics --help` may take.
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{HOMES[name]}"), name)
