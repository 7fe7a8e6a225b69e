#!/usr/bin/python3
"""Bring this host from one release of Callytics to another, or back to where it was if anything fails.

Written by deploy/app.py, which runs it; it needs nothing but Python, as the release that it brings may be the one that
is broken. What it began is in switching.json beside the releases until it has ended: the next run goes on from there.
Where it came from is in switched.json until all application hosts have come along: if one of them can't, the others go
back, too, as the release before does not run on a newer database.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# The environment wins over env files, and sudo or sshd may pass one on: commands run without it.
CLEAN = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}
HEALTHY_SECONDS = 60
LOCK_SECONDS = 900


class Failed(Exception):
    """A step that ended badly, with what it said last."""


@dataclass(frozen=True)
class Switch:
    """Which release is wanted of the folder that holds them, and what the host runs of it."""

    folder: Path
    release: str
    settings: Path
    unit: str
    url: str
    migrates: bool = False
    back_to: str | None = None
    back_because_of: str | None = None

    @property
    def current(self) -> Path:
        """The link that everything on the host uses."""
        return self.folder / "current"

    @property
    def used(self) -> str:
        """The release that the link names."""
        return str(self.current.readlink())

    @property
    def journal(self) -> Path:
        """What was begun: where this host came from, and what the database was like."""
        return self.folder / "switching.json"

    @property
    def record(self) -> Path:
        """What has ended here and perhaps not on every host, written like the journal."""
        return self.folder / "switched.json"

    def forward(self, begun: dict[str, Any]) -> None:
        """Migrate, link, restart and look whether all is well; raises Failed."""
        if self.migrates:
            self.callytics(self.release, "migrate")
            self.callytics(self.release, "grants")
        else:
            # The first application host has brought the database to this release, or has gone back.
            self.callytics(self.release, "migrate", "--check")
        self.link(self.release)
        self.restart()
        if begun["sound"]:
            self.callytics(self.release, "doctor")

    def back(self, begun: dict[str, Any]) -> None:
        """Bring the host to where it was; raises Failed."""
        if begun["last"]:
            # By the new release, as the old one does not know how to take back what it does not know.
            self.callytics(begun["to"], "migrate", "--back-to", begun["last"])
            self.callytics(begun["from"], "grants")
        linked = self.used != begun["from"]
        self.link(begun["from"])
        if linked or not self.is_active():
            self.restart()

    def begin(self) -> dict[str, Any]:
        """Return what was begun and not ended, or begin; an attempt at another release is taken back first."""
        begun = self.begun(self.journal)
        if begun and begun["to"] != self.release:
            # The database is taken back by who migrates: another host may have gone on meanwhile.
            begun = self.given_up(begun if self.migrates else begun | {"last": None})
        if begun is None:
            begun = (self.begun(self.record) or self.now()) | {"to": self.release}
        self.write(self.journal, json.dumps(begun))
        return begun

    def now(self) -> dict[str, Any]:
        """Return what the host is like; the migration to go back to is known before the first host migrates."""
        last = self.last() if self.migrates else self.back_to
        return {"from": self.used, "last": last, "sound": self.is_sound(self.used)}

    def end(self, begun: dict[str, Any]) -> None:
        """Note where the host came from, and what the database had last unless nothing was migrated."""
        migrated = not self.migrates or self.last() != begun["last"]
        self.write(self.record, json.dumps(begun | {"last": begun["last"] if migrated else None}))
        self.journal.unlink()

    def begun(self, file: Path) -> dict[str, Any] | None:
        """Return what was begun and not ended, on this host or on all."""
        found: dict[str, Any] | None = json.loads(file.read_text()) if file.exists() else None
        return found if found and (self.folder / found["from"] / "bin/callytics").exists() else None

    def given_up(self, begun: dict[str, Any]) -> dict[str, Any] | None:
        """Take an attempt back, or take it over where that fails and another release is wanted than the one before."""
        try:
            self.back(begun)
        except Failed:
            if begun["from"] == self.release:
                raise
            return begun | {"to": self.release}
        self.journal.unlink()
        return None

    def last(self) -> str | None:
        """Return the migration that the database has last, None where there is none."""
        answer = self.ask(self.release, "migrate", "--check", "--json")
        try:
            last: str | None = json.loads(answer.stdout)["last"]
        except (ValueError, KeyError):
            raise Failed(f"the database can't be asked: {said(answer)}") from None
        return last

    def is_sound(self, release: str) -> bool:
        """Return whether a release's doctor is content: an error from before is nobody's reason to go back."""
        return self.ask(release, "doctor").returncode == 0

    def is_active(self) -> bool:
        """Return whether the service runs."""
        return run("systemctl", "is-active", "--quiet", self.unit).returncode == 0

    def restart(self) -> None:
        """Restart the service and wait until it is healthy; raises Failed."""
        if run("systemctl", "restart", self.unit).returncode != 0:
            raise Failed(f"{self.unit} does not start: {self.log()}")
        deadline = time.monotonic() + HEALTHY_SECONDS
        while not is_healthy(self.url):
            if time.monotonic() > deadline:
                raise Failed(f"{self.unit} is not healthy: {self.log()}")
            time.sleep(0.2)

    def log(self) -> str:
        """Return the service's last words."""
        return said(run("journalctl", f"--unit={self.unit}", "--lines=3", "--output=cat", "--no-pager"))

    def link(self, release: str) -> None:
        """Point the link at a release, at once for whoever looks."""
        new = self.current.with_name("current.new")
        new.unlink(missing_ok=True)
        new.symlink_to(release)
        new.replace(self.current)

    def write(self, path: Path, text: str) -> None:
        """Write a file as a whole or not at all."""
        new = path.with_name(f"{path.name}.new")
        new.write_text(text)
        new.replace(path)

    def callytics(self, release: str, *arguments: str) -> None:
        """Run a release's command as the owner; raises Failed with its last words."""
        answer = self.ask(release, *arguments)
        if answer.returncode != 0:
            raise Failed(f"callytics {' '.join(arguments)} of {release}: {said(answer)}")

    def ask(self, release: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a release's command as the owner and return its answer."""
        return run(str(self.folder / release / "bin/callytics"), "--env-file", str(self.settings), *arguments)


def run(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a program in an environment of its own; one that is not there answers like one that failed."""
    try:
        # What a release asks of a person is answered so: an older one would not know the option that keeps it quiet.
        return subprocess.run(command, cwd="/", env=CLEAN, capture_output=True, text=True, check=False, input="y\n")
    except OSError as error:
        return subprocess.CompletedProcess(command, 127, "", str(error))


def said(answer: subprocess.CompletedProcess[str]) -> str:
    """Return the last lines of what a program said."""
    return " · ".join((answer.stdout + answer.stderr).split("\n")[-6:]).strip(" ·")


def is_healthy(url: str) -> bool:
    """Return whether the service answers 200."""
    try:
        # No proxy: it is this host that is asked.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(url, timeout=5) as answer:
            return int(answer.status) == 200
    except (OSError, ValueError):
        return False


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Wait for another run that is at it, left behind by a lost connection for one; raises Failed after a while."""
    with (folder / ".switching").open("w") as file:
        deadline = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise Failed("another run has not ended yet: wait for it") from None
                time.sleep(0.5)
        yield


def switch(wanted: Switch) -> None:
    """Go forward, or back and raise Failed, which says why."""
    if wanted.used == wanted.release and not wanted.journal.exists():
        return
    begun = wanted.begin()
    if begun["from"] == wanted.release:
        if wanted.used != wanted.release:
            wanted.back(begun)
        forget(wanted)
        return
    try:
        wanted.forward(begun)
        wanted.end(begun)
    except Failed as reason:
        try:
            wanted.back(begun)
        except Failed as error:
            raise Failed(f"{reason}\nand the way back to {begun['from']} failed, too: {error}") from None
        forget(wanted)
        raise Failed(f"{reason}\n{wanted.folder / begun['from']} is back, and the database as it was") from None


def take_back(wanted: Switch) -> None:
    """Go back because another host could not come along, and raise Failed, which says so.

    Where the database can't be taken back the release stays: it is the one that the database is made for.
    """
    begun = wanted.begun(wanted.record)
    if begun is None:
        return
    reason = f"{wanted.back_because_of} failed"
    try:
        wanted.back(begun)
    except Failed as error:
        raise Failed(f"{reason}, and this host can't go back: {error}") from None
    forget(wanted)
    raise Failed(f"{reason}: {wanted.folder / begun['from']} is back here, too, and the database as it was")


def forget(wanted: Switch) -> None:
    """Have nothing begun; the journal goes first, as the record alone says where to go on."""
    wanted.journal.unlink(missing_ok=True)
    wanted.record.unlink(missing_ok=True)


def arguments() -> Switch:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("release", help="as the link is to name it: releases/NAME")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--settings", type=Path, required=True, help="the owner's settings")
    parser.add_argument("--unit", required=True)
    parser.add_argument("--url", required=True)
    parser.add_argument("--migrates", action="store_true", help="this host brings the database along")
    parser.add_argument("--back-to", metavar="MIGRATION", help="what the database had before another host migrated it")
    parser.add_argument("--back-because-of", metavar="HOST", help="go back, as this one could not come along")
    return Switch(**vars(parser.parse_args()))


def main() -> int:
    """Switch; 1 with the reason where the host has gone back."""
    wanted = arguments()
    try:
        with locked(wanted.folder):
            (take_back if wanted.back_because_of else switch)(wanted)
    except Failed as error:
        sys.stderr.write(f"Error: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
