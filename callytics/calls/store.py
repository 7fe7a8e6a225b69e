"""Inserting, replacing and updating rows of a call's tables while their parent row is locked against deletion."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from psycopg import errors

from callytics.calls.parts import Part, checked, identifier
from callytics.calls.scope import Scope
from callytics.exceptions import AnalysisNotFound, InvalidAnalysis
from callytics.postgres import PostgreSQLManager, Row
from callytics.postgres.sql import Composed, Queries, quote

SQL = Queries(Path(__file__).with_name("write.sql"))
# Rows per INSERT: enough to make round trips few, and not so many that composing the statement holds up other threads.
# The protocol counts the values of a statement in 16 bits, which leaves a row 131 of them.
INSERT_ROWS = 500
# The parents of other rows: the queries that lock and update one.
LOCKS = {"audio_file": "lock_audio_file", "session": "lock_session"}
UPDATES = {"audio_file": "update_audio_status", "session": "update_session_status"}
# A replaced row keeps the time it was first stored.
KEPT = ("created_at",)


class Store:
    """Writes rows in the manager's open transaction, or in a new one."""

    def __init__(self, postgres: PostgreSQLManager) -> None:
        self.postgres = postgres

    @contextmanager
    def belonging(self, parent: str, parent_id: Any) -> Iterator[int]:
        """Lock a recording or session against deletion until the transaction ends, and yield its id.

        Raises AnalysisNotFound if it does not exist, and InvalidAnalysis for a value that can't be an id.
        """
        found = identifier(parent_id, f"{parent}_id")
        with self.postgres.transaction():
            if self.postgres.execute_query(SQL[LOCKS[parent]], {"id": found}, fetch="one") is None:
                raise _not_found(parent, found)
            yield found

    def add(self, part: Part, **known: Any) -> int:
        """Insert one row, with the ``known`` columns added, and return its id."""
        return self.add_all([part], **known)[0]

    def add_all(self, parts: Sequence[Part], **known: Any) -> list[int]:
        """Insert rows of one table, with the ``known`` columns added to each, and return their ids in order."""
        return self.insert(parts[0].table, [part.row() | known for part in parts]) if parts else []

    def insert(self, table: str, rows: Sequence[Row]) -> list[int]:
        """Insert rows in batches and return their ids in order; a column that a row lacks takes its default."""
        if not rows:
            return []
        columns = list(dict.fromkeys(column for row in rows for column in row))
        with self.postgres.transaction() as session:
            # Reserved first: INSERT … RETURNING does not guarantee the order of its rows.
            ids: list[int] = SQL.value(session, "reserve_ids", {"table": table, "count": len(rows)})
            given = [{"id": row_id} | row for row_id, row in zip(ids, rows, strict=True)]
            for begin in range(0, len(given), INSERT_ROWS):
                batch = given[begin : begin + INSERT_ROWS]
                statement = SQL.text("insert", table=table, columns=["id", *columns], rows=_places(batch, columns))
                values = [row[column] for row in batch for column in ("id", *columns) if column in row]
                self.postgres.execute_query(statement, values, fetch="none")
        return ids

    def replace(self, part: Part, name: str, audio_file_id: int) -> int:
        """Insert a recording's only row in a table, or replace the existing one."""
        row = part.row() | {"audio_file_id": audio_file_id}
        replaced = [column for column in type(part).columns().values() if column not in KEPT]
        statement = SQL.text(
            "replace",
            table=part.table,
            columns=list(row),
            values=Composed(", ".join(f"%({column})s" for column in row)),
            replaced=replaced,
            excluded=Composed(", ".join(f"excluded.{quote(column)}" for column in replaced)),
        )
        try:
            return int(self.postgres.execute_query(statement, row, fetch="val"))
        # The recording is locked, so only the topic can be missing.
        except errors.ForeignKeyViolation:
            raise InvalidAnalysis(f"{name}.topic_id: there is no such topic") from None

    def update(self, parent: str, parent_id: Any, model: type[Part], values: Mapping[str, Any]) -> None:
        """Set a recording's or session's status; raise AnalysisNotFound if it does not exist."""
        found = identifier(parent_id, f"{parent}_id")
        row = checked(model, values, parent).row()
        if not self.postgres.execute_query(SQL[UPDATES[parent]], row | {"id": found}, fetch="none"):
            raise _not_found(parent, found)

    def check_segments(self, audio_file_id: int, rows: Sequence[Row]) -> None:
        """Refuse transcriptions whose segment does not exist or belongs to another recording."""
        wanted = {row["speaker_segment_id"] for row in rows if row.get("speaker_segment_id") is not None}
        values = {"ids": list(wanted), "audio_file_id": audio_file_id}
        elsewhere = self.postgres.execute_query(SQL["segments_elsewhere"], values) if wanted else []
        strange = {row["id"] for row in elsewhere}
        for index, row in enumerate(rows):
            if row.get("speaker_segment_id") in strange:
                raise InvalidAnalysis(f"transcriptions[{index}].speaker_segment_id: the recording has no such segment")


def _places(rows: Sequence[Row], columns: Sequence[str]) -> Composed:
    """Return the places of the rows' values; a column that a row lacks must not become NULL."""
    texts = (", ".join("%s" if column in row else "default" for column in ("id", *columns)) for row in rows)
    # The query has the outer brackets of all rows, without which it would be no SQL to its linter.
    return Composed("), (".join(texts))


class OnCalls:
    """The base of the parts of MultiDatabaseManager.

    With ``visible`` it reads the calls only that are known by one of these agents' names; any other call, and what
    belongs to it, is as if it were not there. Storing is not limited by it.
    """

    def __init__(self, postgres: PostgreSQLManager, visible: Sequence[str] | None = None) -> None:
        self._postgres = postgres
        self._store = Store(postgres)
        self.scope = Scope(visible)

    @property
    def postgres(self) -> PostgreSQLManager:
        """The manager whose connections are used."""
        return self._postgres


def _not_found(parent: str, parent_id: int) -> AnalysisNotFound:
    return AnalysisNotFound(f"{parent}_id {parent_id}: there is no such {parent.replace('_', ' ')}")
