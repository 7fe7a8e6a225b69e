"""The page on cutting over is followed word for word, while an application writes to the SQLite files."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg2
import pytest

from callytics.settings import Settings
from callytics.trial.sample import write_sample
from tests.support.commands import environment
from tests.support.independent import problems
from tests.support.places import REPOSITORY

pytestmark = pytest.mark.slow

PAGE = REPOSITORY / "docs/cut-over.md"

WRITER = """
import itertools, random, signal, sqlite3, sys, time

audio = sqlite3.connect("audio_analysis.sqlite", timeout=30)
quality = sqlite3.connect("consultation_quality.sqlite", timeout=30)
stopped = []
signal.signal(signal.SIGTERM, lambda *_: stopped.append(True))
chance = random.Random(1)
for number in itertools.count(1):
    file = audio.execute(
        "insert into audio_files (file_path, file_name, processing_status) values (?, ?, 'processing')",
        (f"/{number}", f"{number}"),
    ).lastrowid
    for turn in range(3):
        segment = audio.execute(
            "insert into speaker_segments (audio_file_id, speaker_id, speaker_type, start_time, end_time)"
            " values (?, 's', 'agent', ?, ?)",
            (file, turn, turn + 1),
        ).lastrowid
        audio.execute(
            "insert into transcriptions (audio_file_id, speaker_segment_id, text_content, start_time, end_time)"
            " values (?, ?, ?, ?, ?)",
            (file, segment, f"call {number}, turn {turn}", turn, turn + 1),
        )
    audio.commit()
    quality.execute(
        "insert into consultation_sessions (audio_file_id, session_date, duration_minutes) values (?, '2026-01-01', 5)",
        (file,),
    )
    summary = (f"summary {number}", chance.randint(1, number))
    quality.execute("update consultation_sessions set summary = ? where id = ?", summary)
    quality.execute("delete from quality_metrics where id = ?", (number,))
    quality.commit()
    audio.execute("update audio_files set processing_status = 'completed' where id = ?", (chance.randint(1, file),))
    audio.execute("delete from processing_logs where id = ?", (number,))
    audio.commit()
    print(number, flush=True)
    if stopped:
        break
    time.sleep(0.02)
"""


def steps() -> list[tuple[str, str]]:
    """Return the page's commands and comments, each with the output that is shown."""
    block = re.search(r"^```console\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert block
    parts = re.split(r"^(?=[$#] )", block[1], flags=re.MULTILINE)[1:]
    return [(first, output) for first, _, output in (part.partition("\n") for part in parts)]


def shown(pattern: str, output: str) -> bool:
    """Tell whether an output is what is shown: … stands for the rest of a line, or for any lines."""
    lines = (
        r"(?:.*\n)*" if line == "…" else re.escape(line).replace("…", ".*") + "\n" for line in pattern.splitlines()
    )
    return bool(re.fullmatch("".join(lines), output))


@contextmanager
def writing(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Let an application write to the files until it is stopped."""
    with subprocess.Popen([sys.executable, "-c", WRITER], cwd=folder, stdout=subprocess.PIPE, text=True) as writer:
        try:
            assert writer.stdout
            assert writer.stdout.readline() == "1\n"
            yield writer
        finally:
            writer.kill()


def with_program(folder: Path) -> dict[str, str]:
    """Return the variables with which a shell finds the command `callytics`."""
    command = folder / "bin" / "callytics"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m callytics.cli "$@"\n', encoding="utf-8")
    command.chmod(0o755)
    return os.environ | {"PATH": f"{command.parent}:{os.environ['PATH']}", "PYTHONPATH": str(REPOSITORY)}


def test_the_page_is_followed_while_a_writer_writes(database: Settings, tmp_path: Path) -> None:
    """Every command ends well, and in the end PostgreSQL holds what the writer left, by a check of its own."""
    todo = steps()
    folder = tmp_path / "installation"
    write_sample(folder, generation=3, calls=30, seed=7)
    variables = with_program(tmp_path) | environment(database)
    with writing(folder) as writer:
        for step, output in todo:
            if step.startswith("# Stop"):
                writer.send_signal(signal.SIGTERM)
                assert int(writer.communicate()[0].split()[-1]) > 10
                began = time.monotonic()
            elif step.startswith("# Start"):
                print(f"downtime {time.monotonic() - began:.1f} s")  # noqa: T201
            else:
                done = subprocess.run(
                    ["sh", "-c", step.removeprefix("$ ")], cwd=folder, env=variables, capture_output=True, text=True
                )
                assert (done.returncode, shown(output, done.stdout)) == (0, True), done.stdout + done.stderr
    assert writer.returncode == 0
    with closing(psycopg2.connect(database.conninfo(owner=True))) as connection, connection.cursor() as cursor:
        assert [problem for file in sorted(folder.glob("*.sqlite")) for problem in problems(file, connection)] == []
        cursor.execute("select count(*), sum(inserted), sum(updated), sum(deleted) from imports.syncs")
        ((syncs, *changed),) = cursor.fetchall()
        assert syncs == 4
        assert min(changed) > 10
        cursor.execute("select count(*) from pg_constraint where contype = 'f' and not convalidated")
        assert cursor.fetchall() == [(0,)]
