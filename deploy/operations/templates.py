"""Templates are found from wherever pyinfra is started, and lines that only hold a tag leave none."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "templates"
JINJA = {"trim_blocks": True, "lstrip_blocks": True}


def template(name: str) -> str:
    """Return the path of ``deploy/templates/NAME``."""
    return str(FOLDER / name)
