"""Permissions of agents: types, and levels that each include the ones before."""

from __future__ import annotations

from collections.abc import Mapping

# As the CHECK of agent_permissions has them: another one could be asked for, but never granted.
TYPES = ("audio_upload", "analysis_view", "report_generation", "admin", "supervisor", "trainer")
LEVELS = ("read", "write", "admin")
# Which calls an agent may see who may view analyses.
SCOPES = ("own", "team", "all")


def allows(permissions: Mapping[str, str], permission_type: str, level: str) -> bool:
    """Tell whether ``permissions`` (level by type) include ``level`` of a type.

    read < write < admin. The type ``admin`` covers every type: admin:read reads everything, admin:admin may do
    everything. No other type includes another. Raises ValueError for a type or level that does not exist.
    """
    if permission_type not in TYPES:
        raise ValueError(f"permission type '{permission_type}' does not exist: use one of {', '.join(TYPES)}")
    needed = LEVELS.index(level)
    held = (permissions.get(name) for name in (permission_type, "admin"))
    return any(has in LEVELS and LEVELS.index(has) >= needed for has in held if has)
