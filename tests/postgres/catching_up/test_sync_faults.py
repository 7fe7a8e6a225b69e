"""A sync that is killed in either act, or between them: it has happened or not, and the next command works."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable

import pytest

from tests.support import commands
from tests.support.installation import Installation, contents

UNPROVED = """
select count(*)
from imports.tables as t
join imports.sources as s on s.id = t.source_id
where s.undone_at is null and t.verified_rows is distinct from t.source_rows
"""
# Ends the process as a power cut would, as soon as a step is told of or a function is done.
PROGRAM = """
import os, signal, sys
from callytics.cli import main
from callytics.cli.terminal.progress import Display
from callytics.importer.catching_up import imported, proof

point = {point!r}

def die(*_arguments, **_options):
    os.kill(os.getpid(), signal.SIGKILL)

def then_die(function):
    def both(*arguments, **options):
        function(*arguments, **options)
        die()
    return both

update, say = Display.update, Display.say
Display.update = lambda self, what, done, total: die() if what.startswith(point) else update(self, what, done, total)
Display.say = lambda self, line: die() if point in line else say(self, line)
if point == "snapshot":
    imported.take_snapshot = then_die(imported.take_snapshot)
if point == "excerpt":
    imported.excerpt = then_die(imported.excerpt)
if point == "proved":
    proof.prove_snapshot = then_die(proof.prove_snapshot)
main()
"""
# Before the changes are committed, and after that.
CRITICAL = ["snapshot", "excerpt", "compare audio_files", "apply"]
PROOF = ["cut over now", "verify transcriptions", "proved"]


def synced(office: Installation) -> None:
    """The same command goes on, and everything is as SQLite holds it."""
    assert office.finish("sync", *office.files) == 0


def verified(office: Installation) -> None:
    """Before the changes were written `verify` says what is to be done; afterwards it makes up for the proof."""
    assert office.finish("verify", *office.files) in (0, 1)
    synced(office)


def undone(office: Installation) -> None:
    """The import can be taken back, and imported again."""
    assert office.finish("undo", "1", "--yes") == 0
    assert office.one("select count(*) from audio_files") == 0
    assert office.finish("import", *office.files, "--yes") == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("point", "next_command"),
    [
        pytest.param(point, then, marks=[pytest.mark.quick] if (point, then) == ("apply", synced) else [])
        for point in (*CRITICAL, *PROOF)
        for then in (synced, verified, undone)
    ],
)
def test_whatever_it_was_doing_the_next_command_works(
    point: str, next_command: Callable[[Installation], None], office: Installation
) -> None:
    office.write(
        "update audio_files set channels = 9 where id = 1; delete from processing_logs where id < 5;"
        "update transcriptions set text_content = text_content || '!' where id % 7 = 0;"
        "insert into audio_files (file_path, file_name, processing_status) values ('/new', 'new', 'processing');"
    )
    before = contents(office.connection, records=False)
    program = (sys.executable, "-c", PROGRAM.format(point=point))
    killed = commands.start(office.settings, "sync", *office.files, folder=office.folder, program=program)
    _, said = killed.communicate()
    assert killed.returncode == -signal.SIGKILL, said
    assert (contents(office.connection, records=False) == before) == (point in CRITICAL)
    assert (office.problems() == []) == (point in PROOF)
    next_command(office)
    assert (office.problems(), office.verify().exit_code) == ([], 0)
    assert office.one(UNPROVED) == 0
    # Nothing is left over, but what the records name.
    kept = {path for (path,) in office.all("select snapshot_path from imports.sources where snapshot_path is not null")}
    first = {path for (path,) in office.all("select snapshot_before from imports.syncs")}
    assert {str(path) for path in office.options.snapshots.iterdir()} <= kept | first
    assert office.sync().changed == 0
