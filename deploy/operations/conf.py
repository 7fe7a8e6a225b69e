"""Configuration files from templates, whatever folder pyinfra is started in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pyinfra.operations import files

FOLDER = Path(__file__).resolve().parent.parent / "templates"
# A line that holds only a tag leaves no empty line behind.
JINJA = {"trim_blocks": True, "lstrip_blocks": True}


def template(name: str) -> str:
    """Return the path of ``deploy/templates/NAME``."""
    return str(FOLDER / name)


def conf(name: str, *, src: str, dest: str, group: str = "root", mode: str = "0644", **values: Any) -> None:
    """Write ``dest`` from the template ``src`` with ``values``; root owns it, and by default everyone may read it.

    Not for secrets, as pyinfra may show how a file differs: see :mod:`deploy.operations.secret.secret_files`.
    """
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
