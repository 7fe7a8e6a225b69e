"""The proof of a sync: what differs of all rows, as of the moment at which the changes were committed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Protocol

from callytics.importer.catching_up.file import File
from callytics.importer.outcome import Synced
from callytics.importer.session import Session
from callytics.importer.source.snapshot import prove_snapshot
from callytics.importer.target.comparing.compare import Ranges
from callytics.importer.target.comparing.findings import Clash, Difference
from callytics.importer.target.comparing.found import Found, Pair


class Compare(Protocol):
    """Compares pairs as of the proof's moment, all rows or those of some ranges."""

    def __call__(self, pairs: Sequence[Pair], ranges: Sequence[Ranges | None] = ()) -> list[Found]: ...


class Proof:
    """The comparison of all rows of files with what PostgreSQL held when their changes had been committed.

    ``written`` is what was found and written of each table. What differs among the rows that were looked at then was
    written wrongly, or by somebody at that very moment; all others were changed in PostgreSQL before.
    """

    def __init__(self, session: Session, files: Sequence[File], written: Sequence[Found], compare: Compare) -> None:
        self.session, self.files, self.compare = session, files, compare
        self.written = {one.pair.record.id: one for one in written}
        self.began = time.monotonic()

    def run(self, outcome: Synced, pairs: Sequence[Pair] = ()) -> None:
        """Compare all rows of pairs, and those that were written once more; record what was found, and the verdict.

        Commits. Without ``pairs`` all other rows were found equal before anything was written. Raises ``SourceError``
        if a snapshot is damaged or is no longer the one that was taken.
        """
        everything = {one.pair.record.id: one for one in self.compare(pairs)}
        again = {one.pair.record.id: one for one in self._compare_written()}
        for file in self.files:
            prove_snapshot(file.snapshot)
        for number, written in self.written.items():
            if written.pair.theirs:
                self._conclude(outcome, written, again.get(number), everything.get(number))
        self.session.connection.commit()
        for run in sorted({file.record.run for file in self.files}):
            self.session.conclude(outcome, run)

    def _compare_written(self) -> list[Found]:
        """Compare the rows in which something was written once more, apart from the others."""
        changed = [one for one in self.written.values() if one.changed and one.pair.theirs]
        pairs = [one.pair.written() for one in changed]
        return self.compare(pairs, [[(theirs, theirs) for theirs, _ in one.changed] for one in changed])

    def _conclude(self, outcome: Synced, written: Found, again: Found | None, whole: Found | None) -> None:
        record = written.pair.record
        # Rows that "ours" left as they are still differ, as the user wants it.
        left = written.clashed if outcome.choice == "ours" else 0
        wrong = max(0, again.changes + again.clashed - left) if again else 0
        if again and wrong:
            outcome.differences += [
                Difference(clash.table, clash.key, ", ".join(clash.columns) or None, clash.finding)
                for clash in again.clashes or [Clash(record.target_table, 0, (), "is not what SQLite holds")]
            ]
        changed = max(0, whole.changes + whole.clashed - left - wrong) if whole else 0
        if whole and changed:
            known = {clash.key for clash in [*written.clashes, *(again.clashes if again else ())]}
            outcome.clashes += [clash for clash in whole.clashes if clash.key not in known]
            outcome.clashed += changed
        different = wrong if outcome.choice == "ours" else wrong + changed
        self.session.ledger.verified_table(record.id, (whole or written).rows, different, self.began)
