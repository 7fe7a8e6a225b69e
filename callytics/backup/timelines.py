"""Which history of a database a backup belongs to, where the archive holds several.

PostgreSQL takes the newest. A standby that somebody promoted by hand archives one of its own, and a backup that another
server has made since is not on it: no restore of it would start.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

BEGAN = re.compile(r"^CHECKPOINT LOCATION: (?P<location>\S+)$.*^START TIMELINE: (?P<timeline>\d+)$", re.M | re.S)


def newest(data: Path, history: Callable[[str], str | None]) -> str:
    """Return the newest timeline that a restored backup lies on, as recovery_target_timeline takes it.

    ``history`` gives a file of the archive by its name, None where there is none.
    """
    labels = [label for name in ("backup_label", "backup_label.old") if (label := data / name).exists()]
    found = BEGAN.search(labels[0].read_text()) if labels else None
    if found is None:
        return "latest"
    began = chosen = int(found["timeline"])
    number = began + 1
    while (text := history(f"{number:08X}.history")) is not None:
        if _holds(text, began, _position(found["location"])):
            chosen = number
        number += 1
    # Its own by name would need its history in the archive, which a repository that came later has not.
    return str(chosen) if chosen != began else "current"


def _holds(history: str, timeline: int, position: int) -> bool:
    """Tell whether a history left ``timeline`` only after ``position``."""
    lines = [line.split() for line in history.splitlines() if line[:1].isdigit()]
    return any(int(parent) == timeline and _position(left) >= position for parent, left, *_ in lines)


def _position(location: str) -> int:
    high, _, low = location.partition("/")
    return (int(high, 16) << 32) + int(low, 16)
