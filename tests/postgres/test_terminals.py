"""What every command with a table prints fits the terminal, and goes to a pipe in full."""

from __future__ import annotations

import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest
from click.exceptions import Exit

from callytics.cli import cli
from callytics.importer import Limits
from callytics.settings import Settings
from callytics.trial.sample import write_sample
from tests.support.commands import environment, invoke
from tests.support.servers import execute
from tests.support.terminal import Terminal, at_terminal, on_terminal, too_wide

pytestmark = pytest.mark.slow

KOREAN = "상담품질평가결과요약및개선제안내역전체기간부서별통계현황표본"
# As long as PostgreSQL lets a name be, of letters that hardly occur otherwise.
LONG = "zqx" * 21
ORPHAN = "insert into utterances (audio_properties_id, speaker, text) values (987654321, 'q', 'x')"
PERSON = ("--last-name", KOREAN, "--first-name", "z", "--department", KOREAN, "--position", "팀장")
# What only names and figures are made of, unlike the heads of columns that may be left out.
TELLING = frozenset(f"{KOREAN}123456789zqx")
# Done, problems were found, rows were rejected, rows were changed on both sides.
ENDINGS = {0, 1, 3, 4}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file of generation 2 with names of every length, rows without a parent and values that are refused."""
    write_sample(path := tmp_path / f"{KOREAN}.sqlite", generation=2, calls=8, seed=1)
    with closing(sqlite3.connect(path)) as sqlite:
        for name in (KOREAN, LONG):
            sqlite.execute(f'create table "{name}" (id integer primary key, "{KOREAN[::-1]}" text)')
            sqlite.execute(f'insert into "{name}" values (1, ?)', (KOREAN,))
        sqlite.execute(f'alter table utterances add column "{LONG}" text')
        sqlite.execute("update utterances set start_time = 'zqx' where id = 1")
        sqlite.execute(ORPHAN)
        sqlite.commit()
    return path


class Typist:
    """Types commands at a terminal of one width, and again into a pipe where a command changes nothing."""

    def __init__(self, columns: int, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
        self.columns, self.settings, self.monkeypatch = columns, settings, monkeypatch

    def types(self, *words: object) -> Terminal:
        with at_terminal(self.columns, self.monkeypatch) as seen:
            try:
                code = cli.main([*map(str, words)], prog_name="callytics", standalone_mode=False, obj=Limits())
            except Exit as exit:
                code = exit.exit_code
        assert (code or 0) in ENDINGS, seen.text
        assert seen.text.strip(), words
        assert too_wide(seen) == [], words
        return seen

    def reads(self, *words: object) -> Terminal:
        """Type it, and require that all of what a pipe gets is there."""
        # What the machine has free may change between the two.
        for _ in range(3):
            seen = self.types(*words)
            piped = invoke(self.settings, *words).output
            if TELLING.isdisjoint(missing := Counter(piped) - Counter(seen.text)):
                return seen
        raise AssertionError((words, missing, seen.text))


@pytest.mark.parametrize("columns", [80, 60, 40])
def test_what_every_command_prints_fits(
    columns: int, file: Path, database: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in environment(database).items():
        monkeypatch.setenv(name, value)
    typist = Typist(columns, database, monkeypatch)
    typist.types("sample", "--generation", "2", "--calls", "3", tmp_path / "sample.sqlite")
    typist.reads("env", "show")
    typist.reads("env", "check")
    typist.reads("migrate", "--check")
    typist.reads("inspect", file)
    typist.types("import", "--dry-run", "--plan", file)
    typist.types("import", file)
    typist.reads("import", file)
    typist.reads("verify", file)
    with closing(sqlite3.connect(file)) as sqlite:
        sqlite.execute("update utterances set sequence = 12345 where id in (2, 3)")
        sqlite.execute(f'insert into "{LONG}" values (2, ?)', (KOREAN,))
        sqlite.commit()
    execute(database, "update utterances set sequence = 7 where id = 2")
    typist.reads("sync", "--dry-run", file)
    typist.types("sync", "--theirs", file)
    typist.reads("undo", "--dry-run", "1")
    typist.types("undo", "1", "--yes", "--force")
    invoke(database, "agent", "add", KOREAN, *PERSON, "--password-stdin", input="Correct-horse-battery-7\n")
    assert KOREAN[:5] in "".join(typist.reads("agent", "list").lines)
    typist.types("partitions", "ahead", "--months", "5")
    execute(database, "revoke select on audio_files from callytics_user")
    typist.reads("grants", "--check")
    typist.reads("doctor")
    typist.types("grants")


def test_a_process_of_its_own_does_the_same(file: Path, database: Settings, tmp_path: Path) -> None:
    """Its streams are ours, which go on without a reader."""
    seen = on_terminal(40, "inspect", file, folder=tmp_path, variables=environment(database))
    assert too_wide(seen) == []
    # The table is stacked.
    assert f"{'utterances':<40}".rstrip() in seen.lines
