"""Env files that systemd, a shell, Docker Compose and python-dotenv read alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pyinfra.api import HiddenValue

from deploy.operations.secret.keys import KeptKey


def env_file(values: Mapping[str, object]) -> Callable[[], HiddenValue]:
    """Return a function that makes the text of an env file, every value between single quotes.

    It is a function because a kept key may not exist yet when deploy/app.py is read. It raises ValueError for a value
    with a quote, a backslash or a control character: the readers disagree on how to escape them.
    """
    return lambda: HiddenValue("".join(f"{name}={_quoted(name, value)}\n" for name, value in values.items()))


def _quoted(name: str, value: object) -> str:
    text = value.unmask() if isinstance(value, HiddenValue | KeptKey) else str(value)
    if any(character in "'\\" or not character.isprintable() for character in text):
        raise ValueError(f"{name} holds a quote, a backslash or a control character")
    return f"'{text}'"
