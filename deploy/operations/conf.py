"""Configuration files of templates, found from wherever pyinfra is started."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pyinfra.operations import files

FOLDER = Path(__file__).resolve().parent.parent / "templates"
# Lines that only hold a tag leave none.
JINJA = {"trim_blocks": True, "lstrip_blocks": True}


def template(name: str) -> str:
    """Return the path of ``deploy/templates/NAME``."""
    return str(FOLDER / name)


def conf(name: str, *, src: str, dest: str, group: str = "root", mode: str = "0644", **values: Any) -> None:
    """Write ``dest`` from the template ``src`` with these values, root's and readable by everybody unless told."""
    files.template(
        name=name,
        src=template(src),
        dest=dest,
        user="root",
        group=group,
        mode=mode,
        jinja_env_kwargs=JINJA,
        **values,
    )
