"""Reading calls, whichever generation they were imported from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from callytics.calls.finding.paging import searched
from callytics.calls.parts import identifier
from callytics.calls.store import OnCalls
from callytics.postgres import Row
from callytics.postgres.as_async import as_async
from callytics.postgres.sql import Composed, Queries, literal

SQL = Queries(Path(__file__).with_name("read.sql"))
# Larger tables are estimated: counting scans the whole table.
COUNTED_ROWS = 50_000
# The lists of a session's analysis: the name in the result, and the table.
SESSION_LISTS = {
    "metrics": "quality_metrics",
    "sentiment": "sentiment_analysis",
    "patterns": "communication_patterns",
    "suggestions": "improvement_suggestions",
}


class Reading(OnCalls):
    """Reads calls: single parts, or a whole call in a consistent state."""

    def get_audio_file_by_path(self, file_path: str) -> Row | None:
        """Return the newest recording of a path."""
        return self._one("audio_file_by_path", file_path=searched(file_path))

    aget_audio_file_by_path = as_async(get_audio_file_by_path)

    def get_session_by_audio_file_id(self, audio_file_id: int) -> Row | None:
        """Return the newest session of a recording."""
        return self._one("session_by_audio_file", id=identifier(audio_file_id, "audio_file_id"))

    aget_session_by_audio_file_id = as_async(get_session_by_audio_file_id)

    def get_audio_features(self, audio_file_id: int) -> Row | None:
        """Return the measurements of a recording, with the topic's name as ``topic``."""
        return self._one("audio_features", id=identifier(audio_file_id, "audio_file_id"))

    aget_audio_features = as_async(get_audio_features)

    def get_communication_quality(self, audio_file_id: int | None = None, audio_path: str | None = None) -> Row | None:
        """Return the newest communication quality of a recording by its id (which finds those by path too) or path."""
        if audio_file_id is None and audio_path is not None:
            return self._one("communication_quality_by_path", audio_path=searched(audio_path))
        return self._one("communication_quality", id=identifier(audio_file_id, "audio_file_id"))

    aget_communication_quality = as_async(get_communication_quality)

    def get_transcript(self, audio_file_id: int) -> list[Row]:
        """Return what was said in a recording, in order, from whichever table holds it: ``source`` is its name.

        Each has speaker, speaker_role (customer, agent or None), start_time and end_time in seconds, text, confidence,
        and of utterances sequence, sentiment and profane. Utterances are returned only if there are no transcriptions.
        """
        return self._all("transcript", id=identifier(audio_file_id, "audio_file_id"))

    aget_transcript = as_async(get_transcript)

    def get_complete_analysis_result(self, audio_file_id: int) -> dict[str, Any] | None:
        """Return everything known about a recording, in one consistent state, or None if there is no such recording.

        ``audio_analysis`` holds audio_file, features, metrics, speaker_segments and transcriptions;
        ``consultation_quality`` session (the newest), its metrics, sentiment, patterns and suggestions,
        communication_quality and consultation_analysis; ``transcript`` what :meth:`get_transcript` returns.
        """
        found = identifier(audio_file_id, "audio_file_id")
        with self.postgres.transaction(isolation="repeatable read", read_only=True):
            file = self._one("audio_file", id=found)
            if file is None:
                return None
            return {
                "audio_analysis": {
                    "audio_file": file,
                    "features": self.get_audio_features(found),
                    "metrics": self._one("audio_metrics", id=found),
                    "speaker_segments": self._all("speaker_segments", id=found),
                    "transcriptions": self._all("transcriptions", id=found),
                },
                "consultation_quality": self._consultation_quality(found),
                "transcript": self.get_transcript(found),
            }

    aget_complete_analysis_result = as_async(get_complete_analysis_result)

    def get_analysis_statistics(self) -> list[Row]:
        """Return the consultation analyses counted by business type, classification and result.

        Raises NotPermitted for a manager that does not see all calls.
        """
        self.scope.refuse_all_calls()
        return self._all("analysis_statistics")

    aget_analysis_statistics = as_async(get_analysis_statistics)

    def get_database_stats(self) -> dict[str, Any]:
        """Return the database's size in bytes, and for each table ``rows`` and whether they are ``exact``.

        Tables with about 50,000 rows or more are not counted; their number is the planner's estimate.
        """
        with self.postgres.transaction(isolation="repeatable read", read_only=True):
            estimates = {row["name"]: row["estimate"] for row in self._all("table_sizes")}
            big = {name: rows for name, rows in estimates.items() if rows is not None and rows >= COUNTED_ROWS}
            counted = self._count([name for name in estimates if name not in big])
            size = self.postgres.execute_query(SQL["database_size"], fetch="val")
        tables = {name: {"rows": counted.get(name, big.get(name)), "exact": name in counted} for name in estimates}
        return {"size_bytes": size, "tables": tables}

    aget_database_stats = as_async(get_database_stats)

    def _one(self, name: str, **values: Any) -> Row | None:
        return self.postgres.execute_query(self.scope.text(SQL, name), self.scope.values(values), fetch="one")

    def _all(self, name: str, **values: Any) -> list[Row]:
        return self.postgres.execute_query(self.scope.text(SQL, name), self.scope.values(values))

    def _consultation_quality(self, audio_file_id: int) -> dict[str, Any]:
        session = self.get_session_by_audio_file_id(audio_file_id)
        lists = {name: self._all(table, id=session["id"]) if session else [] for name, table in SESSION_LISTS.items()}
        return {
            "session": session,
            **lists,
            "communication_quality": self._one("communication_quality", id=audio_file_id),
            "consultation_analysis": self._one("consultation_analysis", id=audio_file_id),
        }

    def _count(self, tables: Sequence[str]) -> dict[str, int]:
        if not tables:
            return {}
        # One statement for all tables, or each would cost a round trip.
        counts = [SQL.text("count", label=Composed(literal(table)), table=table) for table in tables]
        found = self.postgres.execute_query(" union all ".join(counts))
        return {row["name"]: row["rows"] for row in found}
