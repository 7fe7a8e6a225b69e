"""An import survives everything: after any fault the same command ends verified, with what a clean import leaves."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from callytics.exceptions import DiskFull
from callytics.postgres.connect import connect
from callytics.settings import Settings
from tests.support.faults import (
    SECONDS,
    STATEMENTS,
    Attempt,
    Site,
    Wire,
    delays,
    differences,
    kill,
    kill_server,
    lost,
    small_disk,
    write_calls,
)
from tests.support.needs import lacking
from tests.support.servers import VOLATILE, Databases, migrated, private_server, superuser

pytestmark = pytest.mark.slow

KILLS = 10
GO_ON = "run the same command again"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A server that may be killed."""
    folder = tmp_path_factory.mktemp("site")
    with private_server(folder / "server", VOLATILE | {"synchronous_commit": "on"}) as server:
        template = migrated(server, "template_callytics")
        yield Site(server, template, folder, Databases(server))
        # Nothing of it is wanted any more.
        kill_server(server)


@dataclass
class Clean:
    """A file, what its undisturbed import leaves, and how long that took."""

    file: Path
    state: dict[str, Any]
    seconds: float
    growth: int


@pytest.fixture(scope="module")
def clean(site: Site) -> Clean:
    """An undisturbed import."""
    file = write_calls(site.folder / "calls.sqlite", calls=600)
    attempt = site.attempt(file)
    seconds = attempt.duration()
    assert attempt.left_behind() == []
    state = attempt.state()
    assert lost(site.template, state) == []
    assert state["runs"] == [("rejects",)]
    assert len(state["rejected"]) > 10
    assert len(state["unmapped"]) > 100
    assert any(orphans for *_, orphans in state["restored"])
    with closing(psycopg2.connect(attempt.settings.conninfo(owner=True))) as connection, connection.cursor() as cursor:
        cursor.execute(
            "select sum(table_bytes_after + index_bytes_after - table_bytes_before - index_bytes_before) "
            "from imports.sizes"
        )
        ((growth,),) = cursor.fetchall()
    return Clean(file, state, seconds, int(growth))


@pytest.fixture
def attempt(site: Site, clean: Clean) -> Iterator[Attempt]:
    """The same file, and a fresh database."""
    attempt = site.attempt(clean.file)
    yield attempt
    attempt.end()


def recovered(attempt: Attempt, clean: Clean) -> None:
    """Require that the same command, once, leaves what a clean import leaves, and nothing else."""
    attempt.finish()
    assert differences(clean.state, attempt.state()) == []
    assert attempt.left_behind() == []


def one_line(errors: str, words: str) -> None:
    """Require a message that a person can use."""
    (line,) = errors.splitlines()
    assert line.startswith("Error: ")
    assert words in line


def test_a_second_clean_import_is_the_same(attempt: Attempt, clean: Clean) -> None:
    """Otherwise comparing with one would mean nothing."""
    recovered(attempt, clean)


def test_killed_again_and_again(site: Site, clean: Clean) -> None:
    """Killed at random moments, half of them in the middle of a statement, the same command goes on."""
    rng = random.Random(20240501)
    moments = delays(rng, clean.seconds)
    phases: Counter[str] = Counter()
    for _ in range(KILLS):
        attempt = site.attempt(clean.file)
        for _ in range(3):
            process = attempt.start()
            attempt.connected(process)
            delay = next(moments)
            if rng.random() < 0.5:
                time.sleep(delay * rng.random())
                attempt.at_work(process, rng.choice(STATEMENTS))
                delay = 0.0
            if not kill(process, delay):
                break
            phases[attempt.phase] += 1
        recovered(attempt, clean)
        if phases.total() >= KILLS:
            break
    assert phases.total() >= KILLS, phases
    assert len(phases) > 1, phases


@pytest.mark.parametrize("phase", ["load", "build"])
def test_the_server_is_killed(phase: str, site: Site, attempt: Attempt, clean: Clean) -> None:
    """The import says that it lost the server; when that is back, it goes on."""
    process = attempt.start()
    assert attempt.reached(process, phase)
    kill_server(site.server)
    _, errors = process.communicate(timeout=SECONDS)
    site.server.start()
    assert process.returncode == 1
    one_line(errors, GO_ON)
    recovered(attempt, clean)


def test_the_server_is_killed_at_random(site: Site, attempt: Attempt, clean: Clean) -> None:
    process = attempt.start()
    attempt.connected(process)
    time.sleep(random.Random(3).uniform(0, clean.seconds))
    kill_server(site.server)
    process.communicate(timeout=SECONDS)
    site.server.start()
    recovered(attempt, clean)


@pytest.mark.parametrize("phase", ["load", "verify"])
def test_sessions_are_terminated(phase: str, attempt: Attempt, clean: Clean) -> None:
    """As an administrator or a failover does."""
    process = attempt.start()
    assert attempt.terminated(process, phase) > 0
    _, errors = process.communicate(timeout=SECONDS)
    assert process.returncode == 1
    one_line(errors, GO_ON)
    recovered(attempt, clean)


def test_the_network_is_cut(attempt: Attempt, clean: Clean) -> None:
    """The server learns nothing of it at first, and must not keep the import locked."""
    with Wire(attempt.settings.port) as wire:
        process = attempt.start(settings=replace(attempt.settings, port=wire.port))
        assert attempt.reached(process, "load")
        wire.cut()
        _, errors = process.communicate(timeout=SECONDS)
    assert process.returncode == 1
    one_line(errors, GO_ON)
    recovered(attempt, clean)


def interrupted(process: subprocess.Popen[str]) -> None:
    """Require that Ctrl-C ends an import within a second, with a line that says how to go on."""
    os.killpg(process.pid, signal.SIGINT)
    began = time.monotonic()
    _, errors = process.communicate(timeout=SECONDS)
    assert time.monotonic() - began < 1.0
    assert process.returncode == 130
    one_line(errors, GO_ON)


@pytest.mark.parametrize("phase", ["load", "build", "verify"])
def test_interrupted(phase: str, attempt: Attempt, clean: Clean) -> None:
    process = attempt.start()
    assert attempt.reached(process, phase)
    interrupted(process)
    recovered(attempt, clean)


def test_interrupted_while_another_session_holds_a_table(attempt: Attempt, clean: Clean) -> None:
    """Waiting for a lock in the server is no reason not to listen."""
    with closing(psycopg2.connect(attempt.settings.conninfo(owner=True))) as holder, holder.cursor() as cursor:
        cursor.execute("lock table audio_files in access exclusive mode")
        process = attempt.start()
        attempt.connected(process)
        waiting = "select count(*) from pg_locks where not granted"
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            cursor.execute(waiting)
            if cursor.fetchall() != [(0,)]:
                break
            time.sleep(0.05)
        interrupted(process)
    recovered(attempt, clean)


def test_interrupted_while_another_session_holds_a_table_being_loaded(attempt: Attempt, clean: Clean) -> None:
    """The same for a COPY."""
    process = attempt.start()
    assert attempt.reached(process, "load")
    with closing(psycopg2.connect(attempt.settings.conninfo(owner=True))) as holder, holder.cursor() as cursor:
        with suppress(psycopg2.errors.DeadlockDetected):
            # Partition by partition: the import may hold one and wait for another. Then PostgreSQL ends one of both.
            cursor.execute("lock table utterances in access exclusive mode")
        time.sleep(0.3)
        interrupted(process)
    recovered(attempt, clean)


MEBIBYTE = 1 << 20


def test_the_server_s_disk_is_full(site: Site, clean: Clean, tmp_path: Path) -> None:
    """PostgreSQL says so, the import says it on; with a little more room it gets a little further."""
    with on_small_disk(site) as (settings, disk):
        attempt = Attempt(settings, clean.file, tmp_path)
        phases = [phase for room in ROOMS for phase in out_of_room(attempt, disk, int(room * clean.growth))]
        attempt.end()
        (disk / "filler").unlink()
        recovered(attempt, clean)
    assert phases[0] == "load"
    assert len(phases) >= 2


def test_a_session_that_begins_on_a_full_disk(site: Site) -> None:
    """The first one after a change of the schema writes down what it has read of it, and is refused if it can't."""
    with on_small_disk(site) as (settings, disk):
        for written in disk.rglob("pg_internal.init"):
            written.unlink()
        fill(disk)
        for owner in (True, False):
            with pytest.raises(DiskFull, match=r"^PostgreSQL has no disk space left: free some, then try again$"):
                connect(settings, owner=owner)


ROOMS = (0.1, 0.5, 0.8)
"""Shares of what an import takes."""


@contextmanager
def on_small_disk(site: Site) -> Iterator[tuple[Settings, Path]]:
    """Lend a migrated database on a disk of its own, and that disk."""
    disk, settings = site.server.home / "small", replace(site.template, database="on_small")
    with ExitStack() as stack:
        stack.callback(disk.rmdir)
        try:
            stack.enter_context(small_disk(disk, 500 * MEBIBYTE, disk.parent.owner()))
        except PermissionError as error:
            lacking(f"root that may mount: {error}")
        superuser(site.server, "create tablespace small owner callytics_owner location {}", disk)
        stack.callback(superuser, site.server, "drop tablespace small")
        # Otherwise its files have holes until the next checkpoint, which needs room then.
        statement = "create database {} template {} owner callytics_owner tablespace small strategy file_copy"
        superuser(site.server, statement, settings.database, site.template.database)
        stack.callback(superuser, site.server, "drop database {} with (force)", settings.database)
        # On a full one, nothing can be dropped.
        stack.callback((disk / "filler").unlink, missing_ok=True)
        yield settings, disk


def fill(disk: Path, room: int = 0) -> None:
    """Leave so many bytes free."""
    filler = disk / "filler"
    filler.unlink(missing_ok=True)
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(disk).free - room)


def out_of_room(attempt: Attempt, disk: Path, room: int) -> Iterator[str]:
    """Import with so many bytes free; yields the phase in which they were used up, if they were."""
    fill(disk, room)
    process = attempt.start()
    _, errors = process.communicate(timeout=SECONDS)
    if process.returncode == 1:
        one_line(errors, "PostgreSQL has no disk space left: free some, then run the same command again")
        # Whoever asks needs some, too.
        fill(disk, room + MEBIBYTE)
        yield attempt.phase
    else:
        assert process.returncode == 3, errors


def test_the_snapshots_disk_is_full(attempt: Attempt, clean: Clean, tmp_path: Path) -> None:
    """There seems to be room, but a crashed writer's WAL needs more: one line, nothing left, and then it works."""
    source, crashed = tmp_path / "live.sqlite", tmp_path / "crashed.sqlite"
    source.write_bytes(clean.file.read_bytes())
    with closing(sqlite3.connect(source)) as writer:
        writer.executescript(
            "pragma journal_mode = wal; pragma wal_autocheckpoint = 0; create table w (a); drop table w;"
        )
        for suffix in ("", "-wal"):
            Path(f"{crashed}{suffix}").write_bytes(Path(f"{source}{suffix}").read_bytes())
    attempt.file = crashed
    disk = tmp_path / "disk"
    size = crashed.stat().st_size
    try:
        with small_disk(disk, size + size // 2) as resize:
            process = attempt.start("--snapshots", disk)
            _, errors = process.communicate(timeout=SECONDS)
            assert process.returncode == 1
            one_line(errors, str(crashed))
            assert "No space left" in errors or "no room" in errors
            assert list(disk.iterdir()) == []
            assert attempt.phase == "snapshot"
            resize(5 * size)
            attempt.finish("--snapshots", disk)
    except PermissionError as error:
        lacking(f"root that may mount: {error}")
    assert differences(clean.state, attempt.state()) == []


def test_two_imports_at_once(attempt: Attempt, clean: Clean) -> None:
    """While one import runs a second one refuses, and does not disturb the first."""
    first = attempt.start()
    assert attempt.reached(first, "load")
    os.killpg(first.pid, signal.SIGSTOP)
    try:
        second = attempt.start()
        _, errors = second.communicate(timeout=SECONDS)
        assert second.returncode == 1
        one_line(errors, "another import is running on this database: wait until it is done")
    finally:
        os.killpg(first.pid, signal.SIGCONT)
    output, _ = first.communicate(timeout=SECONDS)
    assert first.returncode == 3, output
    assert differences(clean.state, attempt.state()) == []
    assert json.loads(attempt.finish("--json"))["notes"][0].endswith("nothing changed")
