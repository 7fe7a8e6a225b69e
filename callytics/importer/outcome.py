"""What became of a command: values for whoever shows them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from callytics.importer.records.entries import NormalisationSummary, OrphanedKey, RejectSummary, TableSummary
from callytics.importer.records.ledger import Ledger
from callytics.importer.target.findings import Clash, Difference

EXIT_CODES = {"verified": 0, "rejects": 3, "different": 4}
"""The process's exit code for each verdict on a run."""


@dataclass
class Outcome:
    """What became of a command: notes for the user, the runs concerned, and what verification found."""

    status: str = "verified"
    runs: list[int] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    tables: list[TableSummary] = field(default_factory=list)
    rejects: list[RejectSummary] = field(default_factory=list)
    normalisations: list[NormalisationSummary] = field(default_factory=list)
    not_validated: list[OrphanedKey] = field(default_factory=list)
    differences: list[Difference] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        return EXIT_CODES[self.status]

    def add_run(self, run: int, status: str, ledger: Ledger) -> None:
        """Take a run's records into the outcome; the worst verdict counts."""
        self.runs.append(run)
        self.status = max(self.status, status, key=lambda verdict: EXIT_CODES[verdict])
        self.tables += ledger.summary(run)
        self.rejects += ledger.rejects(run)
        self.normalisations += ledger.normalisations(run)
        self.not_validated += ledger.not_validated(run)


@dataclass
class Synced(Outcome):
    """What became of a sync or an undo, besides what an `Outcome` has."""

    dry_run: bool = False
    refused: bool = False
    """True where nothing was written because of clashes."""
    changes: list[dict[str, Any]] = field(default_factory=list)
    clashes: list[Clash] = field(default_factory=list)
    """Rows that were changed in PostgreSQL since: the first of each table."""
    clashed: int = 0
    unsolvable: int = 0
    choice: str | None = None

    def refuse(self) -> None:
        """Note that nothing was written because of clashes."""
        self.refused, self.status = True, "different"

    @property
    def changed(self) -> int:
        """Rows that were, or would be, written."""
        return sum(row["inserted"] + row["updated"] + row["deleted"] for row in self.changes)
