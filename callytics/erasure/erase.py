"""Erase: all that belongs to calls, or to an agent, leaves the tables, on record and for good.

keys of all rows, parents first → record of what goes → rows, children first, in one transaction for a batch of calls

Killed at any moment, a batch is there or gone as a whole, and the same command goes on with the others.
"""

from __future__ import annotations

import os
import pwd
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from psycopg2.extensions import connection as Connection
from psycopg2.extras import Json

from callytics import __version__
from callytics.archives.months import owners_session
from callytics.erasure.agents import Agent, found_agent
from callytics.erasure.elsewhere import Sought, archives_with, backups_left, files_left
from callytics.erasure.keys import CONDITIONS, SQL, Keys, keys_of
from callytics.erasure.sources import SourceTables
from callytics.exceptions import ErasureError
from callytics.importer.records.entries import MASK
from callytics.postgres.sql import Composed, identifier
from callytics.postgres.text import counted, quoted
from callytics.schema.belongings import Belonging, personal
from callytics.settings import Settings

# Of a transaction: what it locks waits for so many calls, or rows with a name, at most.
CALLS_AT_ONCE, NAMES_AT_ONCE = 50, 1000
LOCK_TIME = "5s"
Report = Callable[[str], None]


@dataclass(frozen=True)
class Person:
    """Whom to erase: calls by their ids, or an agent by username or full name, with the agent's calls or without.

    Without them these calls stay, and the agent's name in them is masked.
    """

    calls: Sequence[int] = ()
    agent: str | None = None
    with_calls: bool = False


@dataclass
class Erasure:
    """What was erased, or would be: rows by table; and where else it is, with what to do, one line each."""

    dry_run: bool
    calls: list[int] = field(default_factory=list)
    deleted: Counter[str] = field(default_factory=Counter)
    masked: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    # Their numbers in the record of erasures.
    erasures: list[int] = field(default_factory=list)


def check(settings: Settings, person: Person) -> None:
    """Raise what :func:`erase` would raise before it begins; archives are not looked into."""
    with owners_session(settings) as connection:
        _Erasing(connection, person, Erasure(dry_run=True), lambda _line: None).subjects()
        connection.rollback()


def erase(
    settings: Settings, person: Person, report: Report, *, dry_run: bool = False, archives: bool = True
) -> Erasure:
    """Delete every row of calls or of an agent, and mask what has to stay; ``dry_run`` only counts.

    Rows of imported files are remembered by number, so that no verification misses them, and no sync or later import of
    the file brings them back. The space of deleted rows, and what statistics hold of them, is cleaned at the end.
    ``archives`` looks into the files of archived months.

    Raises ``ErasureError`` where there is no such call or agent, and where rows are in an archived month or in one that
    can't be read; ``TargetError`` while an import runs, and for a role that does not own the tables; ``TooSlow`` where
    others hold the rows.
    """
    with owners_session(settings) as connection:
        erasure = Erasure(dry_run)
        erasing = _Erasing(connection, person, erasure, report)
        erasing.run(archives)
        connection.commit()
        if not dry_run:
            erasure.left += files_left(connection, erasure.erasures)
            connection.commit()
            _clean(connection, erasure)
        erasure.left.append(backups_left(connection))
        connection.rollback()
        return erasure


class _Erasing:
    """One run of the command on the owner's connection."""

    def __init__(self, connection: Connection, person: Person, erasure: Erasure, report: Report) -> None:
        self.connection, self.person, self.erasure, self.report = connection, person, erasure, report
        self.sources = SourceTables.read(connection)

    def subjects(self) -> tuple[list[int], Agent | None]:
        """Return the calls and the agent that are there; raises ``ErasureError`` where there is nothing to erase."""
        if self.person.agent is None:
            return self._calls_there(), None
        agent = found_agent(self.connection, self.person.agent)
        values = {"names": agent.names}
        calls = [call for (call,) in SQL.rows(self.connection, "calls_of", values)] if self.person.with_calls else []
        return calls, agent

    def _calls_there(self) -> list[int]:
        asked = list(dict.fromkeys(self.person.calls))
        there = [call for (call,) in SQL.rows(self.connection, "calls_there", {"ids": asked})]
        gone = [call for call in asked if call not in there]
        for call, when in SQL.rows(self.connection, "erased_before", {"ids": gone}):
            if when is None:
                raise ErasureError(f"there is no call {call}: its number is the id of its recording, audio_files.id")
            self.erasure.notes.append(f"call {call} was erased on {when:%Y-%m-%d}: nothing is left of it here")
        return there

    def run(self, archives: bool) -> None:
        """Erase it all, batch by batch."""
        calls, agent = self.subjects()
        self.erasure.calls = calls
        if agent:
            self.erasure.notes += agent.notes
        if archives:
            self._look_into_archives(calls, agent)
        self.connection.commit()
        for start in range(0, len(calls), CALLS_AT_ONCE):
            self.report(f"calls {min(start + CALLS_AT_ONCE, len(calls)):,} of {len(calls):,}")
            self._erase_calls(calls[start : start + CALLS_AT_ONCE])
        if agent:
            self._mask_names(agent)
            self._erase_agent(agent)

    def _look_into_archives(self, calls: Sequence[int], agent: Agent | None) -> None:
        ids = {"audio_files": calls, "agent_profiles": agent.profiles if agent else []}
        sought = Sought({table: found for table, found in ids.items() if found}, self._paths(calls))
        away: dict[str, None] = {}
        for archive, path in archives_with(self.connection, sought):
            if archive["away"]:
                away[archive["month"]] = None
                self.erasure.left.append(
                    f"{path} holds it: {quoted('callytics partitions restore', archive['month'])} comes first"
                )
            else:
                self.erasure.left.append(f"{path} holds it still: delete it, the month is back in the database")
        if away and not self.erasure.dry_run:
            command = "; ".join(f"callytics partitions restore {month}" for month in away)
            raise ErasureError(
                f"rows of it are in archived months ({', '.join(away)}): bring them back with '{command}'"
            )

    def _paths(self, calls: Sequence[int]) -> list[str]:
        return [path for (path,) in SQL.rows(self.connection, "paths_of", {"ids": list(calls)})]

    def _erase_calls(self, calls: Sequence[int]) -> None:
        self._begin()
        self._note_analyses()
        values = {"ids": list(calls)}
        keys = Keys(self.connection, self.sources, {"idempotency_keys": self._condition("answers", values)})
        keys.gather("audio_files", calls, hold=not self.erasure.dry_run)
        self._apply("call", calls, keys, "mask_calls")

    def _note_analyses(self) -> None:
        for (other,) in SQL.rows(self.connection, "same_recording", {"ids": self.erasure.calls}):
            erases = quoted("callytics erase --call", other)
            line = f"call {other} is an analysis of the same recording, and stays: {erases}"
            self.erasure.notes += [line] if line not in self.erasure.notes else []

    def _erase_agent(self, agent: Agent) -> None:
        if not agent.accounts:
            return
        self._begin()
        values = {"accounts": [str(account) for account in agent.accounts]}
        keys = Keys(self.connection, self.sources, {"agent_activity_logs": self._condition("refused_logins", values)})
        keys.gather("agent_accounts", agent.accounts, hold=not self.erasure.dry_run)
        self._apply("agent", agent.profiles, keys, "mask_agent")

    def _mask_names(self, agent: Agent) -> None:
        for one in personal():
            for column in one.names:
                while self._mask_some(agent, one, column):
                    self.report(f"{one.table}: {counted(self.erasure.masked[one.table], 'row', 'masked')}")

    def _mask_some(self, agent: Agent, one: Belonging, column: str) -> bool:
        """Mask the name in some rows; False where none are left."""
        self._begin()
        values = {"names": agent.names, "most": None if self.erasure.dry_run else NAMES_AT_ONCE}
        place = {"table": one.table, "keys": keys_of(one.table)}
        # Two statements: servers log those that make tables, with all their values.
        SQL.run(self.connection, "keys", keys=place["keys"])
        rows = SQL.run(self.connection, "named", values, **place, column=column)
        self.erasure.masked[one.table] += rows
        if self.erasure.dry_run or not rows:
            self.connection.rollback()
            return False
        number = self._record("agent", agent.profiles, Counter(), Counter({one.table: rows}))
        remembered = {"kind": "mask", "table": one.table, "erasure": number, "key": one.key, "columns": [column]}
        SQL.run(self.connection, "remember", remembered, keys=place["keys"])
        SQL.run(self.connection, "mask", {"mask": MASK}, **place, column=column)
        self.connection.commit()
        return True

    def _apply(self, kind: str, subjects: Sequence[int], keys: Keys, mask: str) -> None:
        """Count what was gathered, and unless that is all that is wanted, delete it, mask the trail, and commit."""
        values = {"ids": list(subjects)}
        deleted = keys.count()
        masked = keys.count_masked()
        masked["audit_log"] = SQL.value(self.connection, f"count_{mask}", values)
        self.erasure.deleted.update(deleted)
        self.erasure.masked.update(masked)
        if self.erasure.dry_run:
            self.connection.rollback()
            return
        number = self._record(kind, subjects, deleted, masked)
        keys.remember(number)
        keys.mask(number)
        keys.delete()
        SQL.run(self.connection, mask, values)
        self.connection.commit()

    def _record(self, kind: str, subjects: Sequence[int], deleted: Counter[str], masked: Counter[str]) -> int:
        rows = {"deleted": +deleted, "masked": +masked}
        values = {"kind": kind, "subjects": list(subjects), "who": whoami(), "version": __version__, "rows": Json(rows)}
        number = int(SQL.value(self.connection, "record", values))
        self.erasure.erasures.append(number)
        return number

    def _condition(self, query: str, values: dict[str, Any]) -> Composed:
        with self.connection.cursor() as cursor:
            return Composed(cursor.mogrify(CONDITIONS[query], values).decode())

    def _begin(self) -> None:
        """Begin a transaction that makes nobody wait for long."""
        self.connection.commit()
        SQL.value(self.connection, "bounded", {"time": LOCK_TIME})


def whoami() -> str:
    """Return the account of whoever runs the command, who may have become root by sudo."""
    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        name = str(os.getuid())
    before = os.environ.get("SUDO_USER")
    return f"{before} ({name})" if before and before != name else name


def _clean(connection: Connection, erasure: Erasure) -> None:
    """Free what deleted rows took, and renew the statistics: both hold their values until then."""
    connection.autocommit = True
    for table in sorted(+(erasure.deleted + erasure.masked)):
        with connection.cursor() as cursor:
            # Where another maintenance holds the table, that one does it.
            cursor.execute(f"vacuum (analyze, skip_locked) {identifier(table)}")
    connection.autocommit = False
