"""The doctor's words for privileges that are missing or too much, where no other check has said it in its own."""

from __future__ import annotations

import re
from collections.abc import Iterator

from callytics.schema import roles
from callytics.schema.doctor.findings import GRANTS, Site, Words
from callytics.schema.grants import Difference

ROWS = {"SELECT", "INSERT", "UPDATE", "DELETE"}
RELATION = re.compile(r"(table|view|sequence) (?!.* of )")
TRAIL = re.compile(r"table (agent_activity_logs|audit_log)(_default|_\d{4}_\d\d)?")


def difference(found: Difference, site: Site) -> Iterator[Words]:
    """What is missing stops somebody; what is too much may be meant, and 'callytics grants' would take it."""
    told = _told_when_missing if found.kind == "missing" else _told_when_too_much
    which = ", ".join(one for one in found.privileges if not told(found, one, site))
    if which and found.kind == "missing":
        yield "error", f"role {found.role} lacks {which} on {found.object}", GRANTS
    elif which:
        has = "everybody has" if found.role == "everybody" else f"role {found.role} has"
        yield "warning", f"{has} {which} on {found.object}, which the migrations do not give", GRANTS


def _told_when_missing(found: Difference, privilege: str, site: Site) -> bool:
    """Whether the check of what the application needs says it, with fewer words for many tables."""
    if found.role != site.application:
        return False
    if found.object.startswith("sequence "):
        return privilege == "USAGE"
    is_relation = RELATION.match(found.object) is not None
    return (is_relation and privilege in ROWS) or "keep_partitions_ahead" in found.object


def _told_when_too_much(found: Difference, privilege: str, site: Site) -> bool:
    """Whether the checks of the roles that look, of the trails, or of what is open to everybody say it."""
    writes = privilege in {"INSERT", "UPDATE", "DELETE", "TRUNCATE"}
    if found.role == "everybody":
        return RELATION.match(found.object) is not None
    if found.role in roles.READERS:
        return found.object.startswith("table ") and writes
    if found.role == site.application:
        is_trail = TRAIL.fullmatch(found.object) is not None and writes
        return is_trail or (found.object, privilege) == ("schema public", "CREATE")
    return False
