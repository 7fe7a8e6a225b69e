"""How far one thing travels through the code: files and hops of five walks, followed as they run.

    scripts/house --walks [PATH]

PATH is any checkout. Files are those of the package in which a function ran, functions the different ones that ran,
hops the ways on which one file called another, and depth is the longest chain of calls. What a first use prepares (the
pool, caches) is not counted for requests, and is for commands, which start anew each time.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

PASSWORD = "walk-through-the-house-7"
AGENT = [
    *("agent", "add", "walker", "--last-name", "Kim", "--first-name", "Minsu", "--department", "Service"),
    *("--position", "agent", "--permission", "audio_upload:write", "--password-stdin"),
]
CALL = {
    "audio_file": {
        "file_path": "/calls/1.wav",
        "file_name": "1.wav",
        "file_size": 640_044,
        "duration_seconds": 20.0,
        "sample_rate": 16_000,
        "channels": 1,
        "format_type": "wav",
    },
    "segments": [{"speaker_id": "SPEAKER_00", "speaker_type": "customer", "start_time": 0.0, "end_time": 4.2}],
}


class Tracer:
    """What runs of a folder while ``active``, in every thread that starts after :meth:`install`."""

    def __init__(self, folder: Path) -> None:
        self.folder = f"{folder}{os.sep}"
        self.active = False
        self.functions: set[tuple[str, str]] = set()
        self.hops: set[tuple[str, str]] = set()
        self.depth = 0

    def install(self) -> None:
        threading.setprofile(self._see)
        sys.setprofile(self._see)

    def _see(self, frame: FrameType, event: str, _argument: Any) -> None:
        if self.active and event == "call" and self._is_ours(frame):
            chain = [frame.f_code.co_filename, *self._callers(frame)]
            self.functions.add((chain[0], frame.f_code.co_qualname))
            self.depth = max(self.depth, len(chain))
            if len(chain) > 1 and chain[1] != chain[0]:
                self.hops.add((chain[1], chain[0]))

    def _is_ours(self, frame: FrameType) -> bool:
        # A module's body runs at import: it is no step of the walk.
        return frame.f_code.co_filename.startswith(self.folder) and frame.f_code.co_name[0] != "<"

    def _callers(self, frame: FrameType) -> Iterator[str]:
        caller = frame.f_back
        while caller:
            if self._is_ours(caller):
                yield caller.f_code.co_filename
            caller = caller.f_back

    @contextmanager
    def following(self) -> Iterator[None]:
        self.active = True
        try:
            yield
        finally:
            self.active = False

    def figures(self) -> dict[str, int]:
        files = {file for file, _ in self.functions}
        return {"files": len(files), "functions": len(self.functions), "hops": len(self.hops), "depth": self.depth}


def walk_command(tracer: Tracer, *arguments: str) -> None:
    """Run a command in this process."""
    from callytics.cli import cli

    with tracer.following():
        cli.main(list(arguments), standalone_mode=False)


def walk_request(tracer: Tracer, ask: Callable[[Any, dict[str, str]], Any]) -> None:
    """Send one request to the application, after another login has prepared it."""
    from fastapi.testclient import TestClient

    from callytics.api import create_app
    from callytics.settings import ServiceSettings, Settings

    with TestClient(create_app(Settings.load(env_file=None), ServiceSettings.load(env_file=None))) as client:
        headers = {"Authorization": f"Bearer {log_in(client, {}).json()['access_token']}"}
        with tracer.following():
            answer = ask(client, headers)
        assert answer.status_code < 300, answer.text


def log_in(client: Any, _headers: dict[str, str]) -> Any:
    return client.post("/auth/login", json={"username": "walker", "password": PASSWORD})


def store_call(client: Any, headers: dict[str, str]) -> Any:
    return client.post("/analyses", json=CALL, headers=headers)


REQUESTS = {"login": log_in, "analysis": store_call}


def follow(tree: Path, walk: str, arguments: list[str]) -> None:
    """Run one walk in this process and print its figures to the stream that nothing else writes to."""
    tracer = Tracer(tree / "callytics")
    tracer.install()
    if walk == "command":
        walk_command(tracer, *arguments)
    else:
        walk_request(tracer, REQUESTS[walk])
    sys.setprofile(None)
    print(json.dumps(tracer.figures()), file=sys.stderr)


class CannotWalk(Exception):
    """A command or a request of the checkout failed; holds what it wrote to stderr."""


class Walks:
    """The walks of a checkout, on a private PostgreSQL with its tables and an agent."""

    def __init__(self, tree: Path, folder: Path) -> None:
        self.tree, self.folder = tree, folder
        self.environ = {name: value for name, value in os.environ.items() if not name.startswith(("POSTGRES_", "PG"))}
        # The checkout's package, whichever is installed.
        self.environ |= {"PYTHONPATH": str(tree), "JWT_SECRET_KEY": "0123456789abcdef" * 4}

    def run(self, *arguments: str, given: str = "", must: bool = True) -> None:
        command = [sys.executable, "-c", "from callytics.cli import main; main()", *arguments]
        done = subprocess.run(command, cwd=self.folder, env=self.environ, input=given, capture_output=True, text=True)
        if must and done.returncode:
            raise CannotWalk(done.stderr)

    def figures(self, walk: str, *arguments: str, **changes: str) -> dict[str, int]:
        command = [sys.executable, __file__, str(self.tree), walk, *arguments]
        environ = self.environ | changes
        done = subprocess.run(command, cwd=self.folder, env=environ, capture_output=True, text=True, check=False)
        lines = [line for line in done.stderr.splitlines() if line.startswith('{"files"')]
        if not lines:
            raise CannotWalk(done.stderr)
        figures: dict[str, int] = json.loads(lines[-1])
        return figures

    @contextmanager
    def server(self) -> Iterator[None]:
        self.run("server", "start", "server")
        try:
            for line in (self.folder / "server/.env").read_text(encoding="utf-8").splitlines():
                name, equals, value = line.partition("=")
                if equals and not name.startswith("#") and name not in self.environ:
                    self.environ[name] = value.strip("'\"")
            yield
        finally:
            self.run("server", "stop", "--remove", "server", must=False)


def main(tree: Path) -> None:
    # Under root the server runs as another account, which must reach its folder.
    folder = Path(tempfile.mkdtemp(prefix="walks-"))
    folder.chmod(0o755)
    walks = Walks(tree, folder)
    try:
        with walks.server():
            walks.run("migrate")
            walks.run("sample", "--generation", "2", "--calls", "5", "calls.sqlite")
            walks.run(*AGENT, given=f"{PASSWORD}\n")
            table = {
                "a value: callytics import FILE": walks.figures("command", "import", "--yes", "calls.sqlite"),
                "POST /analyses": walks.figures("analysis"),
                "a login: POST /auth/login": walks.figures("login"),
                "a setting: callytics env check": walks.figures("command", "env", "check"),
                "an error: the password is wrong": walks.figures("command", "report", POSTGRES_OWNER_PASSWORD="wrong"),
            }
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(f"{'':34}{'files':>8}{'functions':>11}{'hops':>8}{'depth':>8}")
    for name, told in table.items():
        print(f"{name:34}{told['files']:>8}{told['functions']:>11}{told['hops']:>8}{told['depth']:>8}")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("path", nargs="?", type=Path, default=Path(__file__).parents[1], help="a checkout")
    # How it starts itself for each walk, in a process that has prepared nothing.
    parser.add_argument("walk", nargs="?", choices=("command", *REQUESTS), help=argparse.SUPPRESS)
    parser.add_argument("command", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if not (given.path / "callytics/__init__.py").is_file():
        parser.error(f"{given.path} is not a checkout of Callytics")
    return given


if __name__ == "__main__":
    given = arguments()
    if given.walk:
        follow(given.path, given.walk, given.command)
    else:
        try:
            main(given.path.resolve())
        except CannotWalk as error:
            sys.exit(f"{error}Error: {given.path} can't be walked through with {sys.executable}")
