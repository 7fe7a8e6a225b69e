"""Where things are."""

from __future__ import annotations

from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
# Real installations, which are not shipped: what needs them skips without them.
SHARED = REPOSITORY.parent / "shared" / "data"
