"""The outcome of a command, as values for the caller to show."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

from callytics.importer.records.entries import NormalisationSummary, OrphanedKey, RejectSummary, TableSummary
from callytics.importer.records.zones import RunZones, zones_of_run
from callytics.importer.target.comparing.findings import Clash, Difference

# The process's exit code for each verdict on a run. A larger code is a worse verdict: ``Outcome.add_run`` relies on it.
EXIT_CODES = {"verified": 0, "rejects": 3, "different": 4}


class Records(Protocol):
    """Where the records of runs are read: the ledger."""

    def timezone(self, run: int) -> str:
        """Return the name of the zone of a run's local times."""

    def summary(self, run: int) -> list[TableSummary]:
        """Return what became of each table of a run."""

    def rejects(self, run: int) -> list[RejectSummary]:
        """Return the rejected rows of a run."""

    def normalisations(self, run: int) -> list[NormalisationSummary]:
        """Return the normalised values of a run."""

    def not_validated(self, run: int) -> list[OrphanedKey]:
        """Return the foreign keys that a run left NOT VALID."""


@dataclass
class Outcome:
    """What a command did: notes for the user, the runs concerned with their records, and what verification found.

    ``status`` is the worst verdict on any of the runs, a key of ``EXIT_CODES``.
    """

    status: str = "verified"
    runs: list[int] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    zones: list[RunZones] = field(default_factory=list)
    tables: list[TableSummary] = field(default_factory=list)
    rejects: list[RejectSummary] = field(default_factory=list)
    normalisations: list[NormalisationSummary] = field(default_factory=list)
    not_validated: list[OrphanedKey] = field(default_factory=list)
    differences: list[Difference] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """Return the process's exit code for the status."""
        return EXIT_CODES[self.status]

    def add_run(self, run: int, status: str, ledger: Records) -> None:
        """Add a run and its records; the worst verdict so far becomes the status."""
        self.runs.append(run)
        # Files of several runs may be named at once: the exit code is that of the worst.
        self.status = max(self.status, status, key=lambda verdict: EXIT_CODES[verdict])
        tables = ledger.summary(run)
        self.zones.append(zones_of_run(run, ledger.timezone(run), tables))
        self.tables += tables
        self.rejects += ledger.rejects(run)
        self.normalisations += ledger.normalisations(run)
        self.not_validated += ledger.not_validated(run)


@dataclass
class Synced(Outcome):
    """What a sync or an undo did, in addition to an ``Outcome``.

    ``refused`` means that nothing was written because of clashes. ``clashes`` lists the first clashes of each table,
    ``clashed`` counts all of them, and ``unsolvable`` those that no choice settles. ``choice`` is what the user chose.
    ``seconds`` are those from the start to the commit of a sync, or to where it would have been with ``dry_run``.
    """

    dry_run: bool = False
    refused: bool = False
    changes: list[dict[str, Any]] = field(default_factory=list)
    clashes: list[Clash] = field(default_factory=list)
    clashed: int = 0
    unsolvable: int = 0
    choice: str | None = None
    seconds: float = 0.0

    def refuse(self) -> None:
        """Record that nothing was written because of clashes."""
        self.refused, self.status = True, "different"

    @property
    def changed(self) -> int:
        """The number of rows that were written, or would be without ``dry_run`` or the refusal."""
        return sum(row["inserted"] + row["updated"] + row["deleted"] for row in self.changes)
