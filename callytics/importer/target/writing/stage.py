"""What is staged: the changes of one table on their way into it, and what can keep them out."""

from __future__ import annotations

from dataclasses import dataclass, field

from psycopg2 import sql

from callytics.importer.target.writing.refusals import Refusal


class ForeignKeysInTheWay(Exception):
    """The changes leave rows without a parent, or need rows to go and come back: the foreign keys must be deferred."""


class Overtaken(Exception):
    """Somebody has written to the same rows meanwhile: the comparison has to be made again."""


@dataclass(frozen=True)
class ForeignKey:
    """A foreign key, on the table or partition that declares it."""

    table: str
    name: str
    definition: str
    child: str
    column: str
    parent: str
    valid: bool
    parent_column: str


@dataclass(frozen=True)
class Child:
    """A row that refers to a deleted one; `run` is the import it came with, None for the application's own."""

    table: str
    key: int
    parent: str
    run: int | None


@dataclass
class Refused:
    """A staged row that PostgreSQL did not take."""

    table_id: int
    rowid: int
    refusal: Refusal
    # Whether PostgreSQL held the row before, as it was then.
    was_there: bool


@dataclass
class Stage:
    """The staged changes of one target table."""

    target: str
    key: str
    columns: dict[str, str]
    rows: int = 0
    keys: int = 0
    refused: list[Refused] = field(default_factory=list)
    # Rows that could not be updated, and went to come back as new ones.
    moved: set[int] = field(default_factory=set)

    @property
    def staged(self) -> sql.Identifier:
        """Return the temporary table of rows to be written."""
        return sql.Identifier("pg_temp", f"staged_{self.target}")

    @property
    def gone(self) -> sql.Identifier:
        """Return the temporary table of keys to be deleted."""
        return sql.Identifier("pg_temp", f"gone_{self.target}")

    @property
    def parts(self) -> dict[str, sql.Composable]:
        """Return the identifiers of its queries."""
        names = list(map(sql.Identifier, self.columns))
        return {
            "staged": self.staged,
            "gone": self.gone,
            "target": sql.Identifier(self.target),
            "key": sql.Identifier(self.key),
            "columns": sql.SQL(", ").join(names),
            "staged_columns": sql.SQL(", ").join(sql.SQL("s.{}").format(name) for name in names),
        }
