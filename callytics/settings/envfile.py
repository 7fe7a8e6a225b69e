"""The .env file: read as it stands, and written once, for its owner only."""

from __future__ import annotations

import io
import os
import re
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

from dotenv.parser import Binding, parse_stream

from callytics.exceptions import SettingsError
from callytics.settings.checks import Problem

TEMPLATE = Path(__file__).with_name("env.template")
# What a shell that reads the file takes as it is meant: nothing to expand, no space that ends the value, no second
# quote. The roles are made by a shell.
AS_A_SHELL = re.compile(
    r"""(export[ \t]+)?\w+=('([^'\\]|\\[^'\\])*'|"[^"$`\\]*"|(?!~)[^\s'"$`\\&;|<>()]*)([ \t]+\#.*)?""", re.ASCII
)


def read_env_file(path: Path | None) -> tuple[dict[str, str], list[Problem]]:
    """Return the file's variables with what is wrong with the file; there may be no file, or no path to one."""
    if path is None:
        return {}, []
    try:
        # Windows editors begin the file with a byte order mark.
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        return {}, [Problem("note", f"{path} is not there, only the environment counts")]
    except UnicodeDecodeError:
        return {}, [Problem("error", f"{path} is not UTF-8: save it as UTF-8")]
    except OSError as error:
        return {}, [Problem("error", f"{path} can't be read: {error.strerror}")]
    values, problems = _parse(path, text.replace("\r\n", "\n"))
    return values, [*problems, *_check_line_ends(path, text), *_check_mode(path)]


def _parse(path: Path, text: str) -> tuple[dict[str, str], list[Problem]]:
    """Read the file's lines, ``$`` meaning nothing special, as a password may hold one."""
    values: dict[str, str] = {}
    problems = []
    for binding in parse_stream(io.StringIO(text)):
        if binding.error:
            # The line itself stays out of the message: it may be half of a password.
            problems.append(Problem("error", f"{path} line {_line(binding)} can't be read: write it as NAME='value'"))
        elif binding.key and binding.value is not None:
            values[binding.key] = binding.value
            if not AS_A_SHELL.fullmatch(binding.original.string.strip()):
                problem = f"{path} line {_line(binding)} is read differently by a shell: write it as NAME='value'"
                problems.append(Problem("warning", problem))
    return values, problems


def _line(binding: Binding) -> int:
    """Return the line of a variable; what was parsed begins with the empty lines before it."""
    text = binding.original.string
    return binding.original.line + text[: len(text) - len(text.lstrip())].count("\n")


def _check_line_ends(path: Path, text: str) -> Iterator[Problem]:
    if "\r" in text:
        trap = "a shell that reads the file ends each value, passwords too, with an invisible character"
        yield Problem("warning", f"{path} has Windows line ends, with which {trap}: save it with Unix line ends")


def _check_mode(path: Path) -> Iterator[Problem]:
    mode = stat.S_IMODE(path.stat().st_mode)
    # Its group may read it: so a provisioned host gives the settings to its service (0640).
    if mode & 0o027:
        yield Problem("warning", f"{path} is open to other accounts (mode {mode:04o}): chmod 600 {path}")


def init(path: Path) -> None:
    """Write a new .env with a strong random key and passwords, readable by its owner only.

    Never overwrites: raises SettingsError where there is one.
    """
    password, owner_password, superuser_password, key = (secrets.token_urlsafe(32) for _ in range(4))
    text = env_text(password, owner_password, superuser_password=superuser_password, jwt_secret_key=key)
    create_env_file(path, text)


def create_env_file(path: Path, text: str) -> None:
    """Create ``path`` with mode 0600 from its first moment; raise SettingsError when it exists."""
    try:
        # O_EXCL: of two commands that write it at once one is refused, and no link is followed.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        message = f"{path} is already there and was left as it is: edit it, or move it away first"
        raise SettingsError(message) from None
    except OSError as error:
        raise SettingsError(f"{path} can't be written: {error.strerror}") from None
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)


def env_text(
    password: str,
    owner_password: str,
    *,
    superuser_password: str = "",
    jwt_secret_key: str = "",
    host: str = "localhost",
    port: int = 5432,
    database: str = "callytics",
) -> str:
    """Return the text of a .env file; the passwords must not hold a quote or a backslash.

    In single quotes a value means the same to a shell, Docker Compose and python-dotenv.
    """
    return TEMPLATE.read_text(encoding="utf-8").format(
        host=host,
        port=port,
        database=database,
        password=password,
        owner_password=owner_password,
        superuser_password=superuser_password,
        jwt_secret_key=jwt_secret_key,
    )
