"""What were the application's audio and quality databases: calls, what was measured of them, said and concluded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, time
from functools import cached_property
from pathlib import Path
from typing import Any

from psycopg2 import errors, sql
from psycopg2.extras import execute_values

from callytics.calls.elements import DEFAULT, Elements, identifier, read_elements, unknown
from callytics.calls.paging import Page, Position, check_limit, make_page, read_cursor
from callytics.exceptions import AnalysisNotFound, InvalidAnalysis, InvalidSearch
from callytics.postgres import PostgreSQLManager, Row
from callytics.postgres.sql import queries
from callytics.postgres.twins import twin

SQL = queries(Path(__file__).with_name("manager.sql"))
FILTERS = queries(Path(__file__).with_name("conditions.sql"))
# The tables that are written, with the application's short names of their columns.
TABLES: Mapping[str, Mapping[str, str]] = {
    "audio_files": {"format_type": "format", "status": "processing_status"},
    "audio_features": {},
    "audio_metrics": {},
    "speaker_segments": {},
    "transcriptions": {"text": "text_content"},
    "consultation_sessions": {"status": "analysis_status"},
    "quality_metrics": {
        "name": "metric_name",
        "value": "metric_value",
        "description": "metric_description",
    },
    "sentiment_analysis": {},
    "communication_patterns": {},
    "improvement_suggestions": {"category": "suggestion_category", "text": "suggestion_text"},
    "communication_quality": {},
    "consultation_analysis": {},
    "utterances": {},
    "analysis_history": {},
}
# What others belong to: the queries about one.
PARENTS = {
    "audio_file": ("audio_files", "lock_audio_file", "update_audio_status"),
    "session": ("consultation_sessions", "lock_session", "update_session_status"),
}
# The lists of a session's analysis: under which name, and into which table.
SESSION_LISTS = {
    "metrics": "quality_metrics",
    "sentiment": "sentiment_analysis",
    "patterns": "communication_patterns",
    "suggestions": "improvement_suggestions",
}
AUDIO_PARTS = frozenset({"audio_file", "segments", "transcriptions", "metrics", "features", "status", "error_message"})
STATUS_FIELDS = ("processing_status", "error_message")
QUALITY_PARTS = frozenset({"audio_file_id", "session", "communication_quality", "status", *SESSION_LISTS})
# The conditions of find_calls, and the values that each is about.
CONDITIONS = {
    "calls_after": ("after_time",),
    "calls_since": ("since",),
    "calls_until": ("until",),
    "calls_status": ("status",),
    "calls_path": ("path",),
    "calls_name": ("name",),
    "calls_topic": ("topic",),
    "calls_session": ("agent", "consultation_type", "analysis_status"),
    "calls_search": ("query",),
}
# Rows of one INSERT; and rows up to which a table is counted, not estimated.
INSERT_ROWS = 1_000
COUNTED_ROWS = 50_000
LONGEST_SEARCH = 1_000


class MultiDatabaseManager:
    """Calls in PostgreSQL: stored all or nothing, read whichever generation they were imported from.

    Every method has a coroutine of the same name with an ``a`` before it. All join the manager's open transaction.
    Elements are dicts whose fields are their table's columns (the application's short names are understood too).
    Whatever does not fit raises InvalidAnalysis before anything is stored; it names index and field
    (``segments[3].start_time: is required``) and no value. What refers to a recording or session that is not there
    raises AnalysisNotFound. Rows come as dicts by column, times as datetimes with a zone.
    """

    def __init__(self, postgres: PostgreSQLManager) -> None:
        self._postgres = postgres

    @property
    def postgres(self) -> PostgreSQLManager:
        """The manager whose connections are used."""
        return self._postgres

    @cached_property
    def elements(self) -> Mapping[str, Elements]:
        """What each table takes, read from the database once."""
        return read_elements(self.postgres, TABLES)

    # ---- recordings

    def save_audio_file(
        self,
        file_path: str,
        file_name: str,
        file_size: int | None = None,
        duration_seconds: float | None = None,
        sample_rate: int | None = None,
        channels: int | None = None,
        format_type: str | None = None,
    ) -> int:
        """Store what a recording is and return its id; the same path again is another recording."""
        file = {
            "file_path": file_path,
            "file_name": file_name,
            "file_size": file_size,
            "duration_seconds": duration_seconds,
            "sample_rate": sample_rate,
            "channels": channels,
            "format": format_type,
        }
        return self._add("audio_files", file, "audio_file")

    asave_audio_file = twin(save_audio_file)

    def save_speaker_segments(self, audio_file_id: int, segments: Sequence[Mapping[str, Any]]) -> list[int]:
        """Add segments (speaker_id, start_time, end_time in seconds, …) to a recording; return their ids in order."""
        with self._belonging("audio_file", audio_file_id):
            return self._add_all("speaker_segments", segments, "segments", {"audio_file_id": audio_file_id})

    asave_speaker_segments = twin(save_speaker_segments)

    def save_transcriptions(self, audio_file_id: int, transcriptions: Sequence[Mapping[str, Any]]) -> list[int]:
        """Add transcriptions (text, start_time, end_time, …) to a recording; return their ids in order.

        A speaker_segment_id must be of the same recording.
        """
        with self._belonging("audio_file", audio_file_id):
            rows = self._rows("transcriptions", transcriptions, "transcriptions", {"audio_file_id": audio_file_id})
            self._check_segments(audio_file_id, rows)
            return self._insert("transcriptions", rows)

    asave_transcriptions = twin(save_transcriptions)

    def save_audio_metrics(self, audio_file_id: int, metrics: Mapping[str, Any]) -> int:
        """Store what was measured of a recording's sound, in place of what was before; return the recording's id."""
        with self._belonging("audio_file", audio_file_id):
            return self._replace("audio_metrics", metrics, "metrics", audio_file_id)

    asave_audio_metrics = twin(save_audio_metrics)

    def save_audio_features(self, audio_file_id: int, features: Mapping[str, Any]) -> int:
        """Store frequencies, loudness, topic_id, summary, … of a recording, in place of those before; return its id."""
        with self._belonging("audio_file", audio_file_id):
            return self._replace("audio_features", features, "features", audio_file_id)

    asave_audio_features = twin(save_audio_features)

    def update_audio_processing_status(self, audio_file_id: int, status: str, error_message: str | None = None) -> None:
        """Set how far a recording's processing is; ``completed`` notes the time."""
        values = {"status": status, "error_message": error_message}
        self._update("audio_file", audio_file_id, values)

    aupdate_audio_processing_status = twin(update_audio_processing_status)

    def save_audio_analysis(self, analysis: Mapping[str, Any]) -> dict[str, Any]:
        """Store a recording with all that was found in it, in one transaction, and return the ids.

        ``analysis`` holds ``audio_file``, and as far as there are any ``segments``, ``transcriptions`` (each may name
        its segment by ``segment_index``, counted from 0), ``metrics``, ``features``, ``status`` (completed, if not
        given) and ``error_message``. Returns audio_file_id, segment_ids and transcription_ids.
        """
        _check_parts(analysis, AUDIO_PARTS, "audio_file")
        segments = _list(analysis, "segments")
        transcriptions, indexes = _without_indexes(_list(analysis, "transcriptions"), len(segments))
        with self.postgres.transaction():
            file_id = self._add("audio_files", analysis["audio_file"], "audio_file", dict.fromkeys(STATUS_FIELDS))
            segment_ids = self._add_all("speaker_segments", segments, "segments", {"audio_file_id": file_id})
            linked = [segment_ids[index] if index is not None else None for index in indexes]
            transcription_ids = self._add_linked(file_id, transcriptions, linked)
            for name, table in {"metrics": "audio_metrics", "features": "audio_features"}.items():
                if analysis.get(name) is not None:
                    self._replace(table, analysis[name], name, file_id)
            status = analysis.get("status", "completed")
            self.update_audio_processing_status(file_id, status, analysis.get("error_message"))
        return {"audio_file_id": file_id, "segment_ids": segment_ids, "transcription_ids": transcription_ids}

    asave_audio_analysis = twin(save_audio_analysis)

    # ---- sessions

    def create_consultation_session(
        self,
        audio_file_id: int,
        session_date: date | str,
        duration_minutes: float,
        agent_name: str | None = None,
        customer_id: str | None = None,
        consultation_type: str | None = "other",
    ) -> int:
        """Store a recording's consultation and return the session's id."""
        session = {
            "session_date": session_date,
            "duration_minutes": duration_minutes,
            "agent_name": agent_name,
            "customer_id": customer_id,
            "consultation_type": consultation_type,
        }
        with self._belonging("audio_file", audio_file_id):
            return self._add("consultation_sessions", session, "session", {"audio_file_id": audio_file_id})

    acreate_consultation_session = twin(create_consultation_session)

    def save_quality_metrics(self, session_id: int, metrics: Sequence[Mapping[str, Any]]) -> list[int]:
        """Add metrics (name, value, description, weight, category) to a session; return their ids in order."""
        return self._add_to_session("metrics", session_id, metrics)

    asave_quality_metrics = twin(save_quality_metrics)

    def save_sentiment_analysis(self, session_id: int, sentiment: Sequence[Mapping[str, Any]]) -> list[int]:
        """Add sentiments (speaker_type, sentiment_score, emotion_category, confidence); return their ids in order."""
        return self._add_to_session("sentiment", session_id, sentiment)

    asave_sentiment_analysis = twin(save_sentiment_analysis)

    def save_communication_patterns(self, session_id: int, patterns: Sequence[Mapping[str, Any]]) -> list[int]:
        """Add patterns (pattern_type, frequency, severity_score, …) to a session; return their ids in order."""
        return self._add_to_session("patterns", session_id, patterns)

    asave_communication_patterns = twin(save_communication_patterns)

    def save_improvement_suggestions(self, session_id: int, suggestions: Sequence[Mapping[str, Any]]) -> list[int]:
        """Add suggestions (category, text, priority, …) to a session; return their ids in order."""
        return self._add_to_session("suggestions", session_id, suggestions)

    asave_improvement_suggestions = twin(save_improvement_suggestions)

    def save_communication_quality(self, data: Mapping[str, Any]) -> int:
        """Store the communication quality of the recording with this audio_file_id or audio_path; return its id."""
        return self._add_of_call("communication_quality", data)

    asave_communication_quality = twin(save_communication_quality)

    def update_consultation_analysis_status(
        self,
        session_id: int,
        status: str,
        overall_quality_score: float | None = None,
        customer_satisfaction_score: float | None = None,
        summary: str | None = None,
        key_issues: str | None = None,
        resolution_status: str | None = None,
    ) -> None:
        """Set how far a session's analysis is, and what it came to; what is None stays as it is."""
        values = {
            "status": status,
            "overall_quality_score": overall_quality_score,
            "customer_satisfaction_score": customer_satisfaction_score,
            "summary": summary,
            "key_issues": key_issues,
            "resolution_status": resolution_status,
        }
        self._update("session", session_id, values)

    aupdate_consultation_analysis_status = twin(update_consultation_analysis_status)

    def save_quality_analysis(self, analysis: Mapping[str, Any]) -> dict[str, Any]:
        """Store a consultation with its whole assessment, in one transaction, and return the ids.

        ``analysis`` holds ``audio_file_id`` and ``session`` (its scores, summary and resolution_status too), and as
        far as there are any ``metrics``, ``sentiment``, ``patterns``, ``suggestions``, ``communication_quality`` and
        ``status`` (completed, if not given). Returns session_id, communication_quality_id (None without one) and
        metric_ids, sentiment_ids, pattern_ids and suggestion_ids.
        """
        _check_parts(analysis, QUALITY_PARTS, "audio_file_id", "session")
        file = {"audio_file_id": analysis["audio_file_id"]}
        with self._belonging("audio_file", analysis["audio_file_id"]):
            known = file | {"analysis_status": None}
            session_id = self._add("consultation_sessions", analysis["session"], "session", known)
            ids: dict[str, Any] = {"session_id": session_id, "communication_quality_id": None}
            for name, table in SESSION_LISTS.items():
                elements = _list(analysis, name)
                ids[f"{name.removesuffix('s')}_ids"] = self._add_all(table, elements, name, {"session_id": session_id})
            if (quality := analysis.get("communication_quality")) is not None:
                ids["communication_quality_id"] = self._add(
                    "communication_quality", quality, "communication_quality", file
                )
            self.update_consultation_analysis_status(session_id, analysis.get("status", "completed"))
        return ids

    asave_quality_analysis = twin(save_quality_analysis)

    # ---- the application's other ways to write

    def insert_consultation_analysis(self, data: Mapping[str, Any]) -> int:
        """Store the consultation analysis of the recording with this audio_file_id or audio_path; return its id."""
        return self._add_of_call("consultation_analysis", data)

    ainsert_consultation_analysis = twin(insert_consultation_analysis)

    def insert_utterance(self, data: Mapping[str, Any]) -> int:
        """Store what was said in the recording with this audio_file_id or audio_path; return its id."""
        return self._add_of_call("utterances", data)

    ainsert_utterance = twin(insert_utterance)

    insert_communication_quality = save_communication_quality
    ainsert_communication_quality = asave_communication_quality

    def insert_analysis_history(self, data: Mapping[str, Any]) -> int:
        """Note how an analysis of the session with this session_id went; return the note's id."""
        row = self.elements["analysis_history"].check(data, "analysis_history")
        with self._belonging("session", row["session_id"]):
            return self._insert("analysis_history", [row])[0]

    ainsert_analysis_history = twin(insert_analysis_history)

    # ---- reading

    def get_audio_file_by_path(self, file_path: str) -> Row | None:
        """Return the newest recording of a path."""
        return self._one("audio_file_by_path", file_path=_searched(file_path))

    aget_audio_file_by_path = twin(get_audio_file_by_path)

    def get_session_by_audio_file_id(self, audio_file_id: int) -> Row | None:
        """Return the newest session of a recording."""
        return self._one("session_by_audio_file", id=identifier(audio_file_id, "audio_file_id"))

    aget_session_by_audio_file_id = twin(get_session_by_audio_file_id)

    def get_audio_features(self, audio_file_id: int) -> Row | None:
        """Return what was measured of a recording, and its topic's name as ``topic``."""
        return self._one("audio_features", id=identifier(audio_file_id, "audio_file_id"))

    aget_audio_features = twin(get_audio_features)

    def get_communication_quality(self, audio_file_id: int | None = None, audio_path: str | None = None) -> Row | None:
        """Return the newest communication quality of a recording by its id (which finds those by path too) or path."""
        if audio_file_id is None and audio_path is not None:
            return self._one("communication_quality_by_path", audio_path=_searched(audio_path))
        return self._one("communication_quality", id=identifier(audio_file_id, "audio_file_id"))

    aget_communication_quality = twin(get_communication_quality)

    def get_transcript(self, audio_file_id: int) -> list[Row]:
        """Return what was said in a recording, in order, from whichever table holds it; ``source`` tells which.

        Each has speaker, speaker_role (customer, agent or None), start_time and end_time in seconds, text, confidence,
        and of utterances sequence, sentiment and profane. Utterances count where there are no transcriptions.
        """
        return self._all("transcript", id=identifier(audio_file_id, "audio_file_id"))

    aget_transcript = twin(get_transcript)

    def get_complete_analysis_result(self, audio_file_id: int) -> dict[str, Any] | None:
        """Return all that is known of a recording, as of one moment, or None where there is no such recording.

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

    aget_complete_analysis_result = twin(get_complete_analysis_result)

    def get_analysis_statistics(self) -> list[Row]:
        """Return the consultation analyses counted by business type, classification and result."""
        return self._all("analysis_statistics")

    aget_analysis_statistics = twin(get_analysis_statistics)

    def get_database_stats(self) -> dict[str, Any]:
        """Return the database's size in bytes, and of each table ``rows`` and whether that is ``exact``.

        Tables of about 50,000 rows and more are not counted: theirs is the planner's estimate.
        """
        with self.postgres.transaction(isolation="repeatable read", read_only=True):
            estimates = {row["name"]: row["estimate"] for row in self._all("table_sizes")}
            big = {name: rows for name, rows in estimates.items() if rows is not None and rows >= COUNTED_ROWS}
            counted = self._count([name for name in estimates if name not in big])
            size = self.postgres.execute_query(SQL["database_size"], fetch="val")
        tables = {name: {"rows": counted.get(name, big.get(name)), "exact": name in counted} for name in estimates}
        return {"size_bytes": size, "tables": tables}

    aget_database_stats = twin(get_database_stats)

    # ---- finding

    def find_calls(
        self,
        *,
        since: date | datetime | None = None,
        until: date | datetime | None = None,
        status: str | None = None,
        agent: str | None = None,
        consultation_type: str | None = None,
        analysis_status: str | None = None,
        path: str | None = None,
        name: str | None = None,
        topic: str | None = None,
        search: str | None = None,
        after: str | None = None,
        limit: int = 50,
    ) -> Page:
        """Return a page of the recordings that all filters let through, newest first.

        ``since`` is included and ``until`` is not; a date is its day's beginning in UTC. ``name`` is any part of the
        file's name, ``search`` words of the transcript as in :meth:`search_transcripts`, the rest exact. A page's
        ``next`` is the ``after`` of the one that follows; what is stored meanwhile shifts no page.
        Raises InvalidSearch.
        """
        position = read_cursor("calls", after, 1)
        filters: dict[str, Any] = {
            "since": _instant(since, "since"),
            "until": _instant(until, "until"),
            "status": _searched(status),
            "path": _searched(path),
            "name": _searched(name),
            "topic": _searched(topic),
            "query": None if search is None else self._prefix_query(search),
        }
        session = {"agent": agent, "consultation_type": consultation_type, "analysis_status": analysis_status}
        values = filters | {field: _searched(value) for field, value in session.items()} | _after_call(position)
        values["limit"] = check_limit(limit) + 1
        if not values["query"] and search is not None:
            return Page([], None)
        query = sql.SQL(SQL["find_calls"]).format(conditions=_conditions(values))
        rows = self._by_index(query, values) if search is not None else self.postgres.execute_query(query, values)
        return make_page("calls", rows, limit, ["id"])

    afind_calls = twin(find_calls)

    def search_transcripts(
        self, query: str, after: str | None = None, limit: int = 50, *, snippets: bool = False
    ) -> Page:
        """Return a page of what was said with all words of ``query`` in it, newest first, as transcripts show it.

        A word finds all that begin with it, in either case: 배송 finds 배송이. Any text is a query; one without a word
        finds nothing. Each row has source, id, audio_file_id (None where the recording is not known), file_name,
        speaker, speaker_role, start_time, end_time, text, created_at, and with ``snippets`` a part of the text with
        what was found between « and ». Pages as in :meth:`find_calls`.
        """
        position = read_cursor("transcripts", after, 2) or Position("infinity", (0, 0))
        words = self._prefix_query(query)
        values = {
            "query": words,
            "snippets": snippets,
            "limit": check_limit(limit) + 1,
            "after_time": position.time,
            "after_source": position.numbers[0],
            "after_id": position.numbers[1],
        }
        rows = self._by_index(SQL["search_transcripts"], values) if words else []
        return make_page("transcripts", rows, limit, ["source_number", "id"])

    asearch_transcripts = twin(search_transcripts)

    # ---- the parts

    def _one(self, name: str, **values: Any) -> Row | None:
        return self.postgres.execute_query(SQL[name], values, fetch="one")

    def _all(self, name: str, **values: Any) -> list[Row]:
        return self.postgres.execute_query(SQL[name], values)

    def _by_index(self, query: str | sql.Composable, values: Mapping[str, Any]) -> list[Row]:
        """Run a search by the index of words, however many sentences have them.

        The planner takes making a tsvector for as cheap as adding two numbers, so that with a frequent word it would
        make those of the whole table again, which takes several times as long. What is off makes plans look dear, and
        dear ones would be compiled, which takes longer than running them.
        """
        with self.postgres.transaction():
            self.postgres.execute_query("set local enable_seqscan = off; set local jit = off", fetch="none")
            rows = self.postgres.execute_query(query, values)
            self.postgres.execute_query("set local enable_seqscan to default; set local jit to default", fetch="none")
        return rows

    def _consultation_quality(self, audio_file_id: int) -> dict[str, Any]:
        session = self.get_session_by_audio_file_id(audio_file_id)
        lists = {name: self._all(table, id=session["id"]) if session else [] for name, table in SESSION_LISTS.items()}
        return {
            "session": session,
            **lists,
            "communication_quality": self._one("communication_quality", id=audio_file_id),
            "consultation_analysis": self._one("consultation_analysis", id=audio_file_id),
        }

    def _count(self, tables: Iterable[str]) -> dict[str, int]:
        counts = [
            sql.SQL("select {} as name, count(*) as rows from {}").format(sql.Literal(table), sql.Identifier(table))
            for table in tables
        ]
        found = self.postgres.execute_query(sql.SQL(" union all ").join(counts)) if counts else []
        return {row["name"]: row["rows"] for row in found}

    def _prefix_query(self, text: str) -> str:
        value = {"text": _searchable(text)}
        return str(self.postgres.execute_query(SQL["prefix_query"], value, fetch="val"))

    @contextmanager
    def _belonging(self, parent: str, parent_id: Any) -> Iterator[None]:
        """Open a transaction in which a recording or session stays, so that something can be stored with it."""
        found = identifier(parent_id, f"{parent}_id")
        with self.postgres.transaction():
            if self._one(PARENTS[parent][1], id=found) is None:
                raise _not_found(parent, found)
            yield

    def _update(self, parent: str, parent_id: Any, values: Mapping[str, Any]) -> None:
        table, _, query = PARENTS[parent]
        found = identifier(parent_id, f"{parent}_id")
        if values["status"] is None:
            raise InvalidAnalysis(f"{parent}.status: is required")
        row = self.elements[table].check(values, parent, partly=True)
        if not self.postgres.execute_query(SQL[query], row | {"id": found}, fetch="none"):
            raise _not_found(parent, found)

    def _add_to_session(self, name: str, session_id: int, elements: Any) -> list[int]:
        with self._belonging("session", session_id):
            return self._add_all(SESSION_LISTS[name], elements, name, {"session_id": session_id})

    def _add_of_call(self, table: str, element: Mapping[str, Any]) -> int:
        row = self.elements[table].check(element, table)
        if row.get("audio_file_id") is not None:
            with self._belonging("audio_file", row["audio_file_id"]):
                return self._insert(table, [row])[0]
        if row.get("audio_path") is None:
            raise InvalidAnalysis(f"{table}.audio_file_id: is required, or audio_path")
        return self._insert(table, [row])[0]

    def _add(self, table: str, element: Any, name: str, known: Mapping[str, Any] | None = None) -> int:
        """Insert one element, and of what is known besides that has a value."""
        row = self.elements[table].check(element, name, frozenset(known or ()))
        given = {column: value for column, value in (known or {}).items() if value is not None}
        return self._insert(table, [row | given])[0]

    def _add_all(self, table: str, elements: Any, name: str, known: Mapping[str, Any]) -> list[int]:
        return self._insert(table, self._rows(table, elements, name, known))

    def _add_linked(self, audio_file_id: int, transcriptions: Any, segment_ids: Sequence[int | None]) -> list[int]:
        known = {"audio_file_id": audio_file_id, "speaker_segment_id": None}
        rows = self._rows("transcriptions", transcriptions, "transcriptions", known)
        linked = [row | {"speaker_segment_id": found} for row, found in zip(rows, segment_ids, strict=True)]
        return self._insert("transcriptions", linked)

    def _rows(self, table: str, elements: Any, name: str, known: Mapping[str, Any]) -> list[Row]:
        return [row | dict(known) for row in self.elements[table].check_all(elements, name, frozenset(known))]

    def _insert(self, table: str, rows: Sequence[Row]) -> list[int]:
        """Insert rows, a thousand in a statement; a column that a row does not have takes its default."""
        if not rows:
            return []
        with self.postgres.transaction() as connection, connection.cursor() as cursor:
            ids: list[int] = self._one("reserve_ids", table=table, count=len(rows))["ids"]  # type: ignore[index]
            columns = [column for column in self.elements[table].columns if any(column in row for row in rows)]
            statement = sql.SQL("insert into {} (id, {}) values %s").format(
                sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, columns))
            )
            values = [
                (row_id, *(row.get(column, DEFAULT) for column in columns))
                for row_id, row in zip(ids, rows, strict=True)
            ]
            execute_values(cursor, statement, values, page_size=INSERT_ROWS)
        return ids

    def _replace(self, table: str, element: Any, name: str, audio_file_id: int) -> int:
        """Insert a recording's only row in a table, or put it in the place of the one there."""
        elements = self.elements[table]
        row = elements.check(element, name, frozenset({"audio_file_id"})) | {"audio_file_id": audio_file_id}
        assignment = sql.SQL("{0} = excluded.{0}")
        replaced = [column for column in elements.columns if column not in ("audio_file_id", "created_at")]
        statement = sql.SQL(
            "insert into {} ({}) values ({}) on conflict (audio_file_id) do update set {} returning audio_file_id"
        ).format(
            sql.Identifier(table),
            sql.SQL(", ").join(map(sql.Identifier, row)),
            sql.SQL(", ").join(map(sql.Placeholder, row)),
            sql.SQL(", ").join(assignment.format(sql.Identifier(column)) for column in replaced),
        )
        try:
            return int(self.postgres.execute_query(statement, row, fetch="val"))
        except errors.ForeignKeyViolation:
            raise InvalidAnalysis(f"{name}.topic_id: there is no such topic") from None

    def _check_segments(self, audio_file_id: int, rows: Sequence[Row]) -> None:
        """Refuse transcriptions of segments that another recording has, or none."""
        wanted = {row["speaker_segment_id"] for row in rows if row.get("speaker_segment_id") is not None}
        elsewhere = self._all("segments_elsewhere", ids=list(wanted), audio_file_id=audio_file_id) if wanted else []
        strange = {row["id"] for row in elsewhere}
        for index, row in enumerate(rows):
            if row.get("speaker_segment_id") in strange:
                raise InvalidAnalysis(f"transcriptions[{index}].speaker_segment_id: the recording has no such segment")


def _not_found(parent: str, parent_id: int) -> AnalysisNotFound:
    return AnalysisNotFound(f"{parent}_id {parent_id}: there is no such {parent.replace('_', ' ')}")


def _check_parts(analysis: Any, parts: frozenset[str], *required: str) -> None:
    if not isinstance(analysis, Mapping):
        raise InvalidAnalysis("analysis: must be a dict")
    for part in analysis:
        if part not in parts:
            raise InvalidAnalysis(f"{unknown(part, 'part')}: use {', '.join(sorted(parts))}")
    for part in required:
        if analysis.get(part) is None:
            raise InvalidAnalysis(f"{part}: is required")


def _list(analysis: Mapping[str, Any], name: str) -> Sequence[Any]:
    """Return a part that is a list, empty where there is none."""
    elements = analysis.get(name)
    if elements is None:
        return ()
    if not isinstance(elements, Sequence) or isinstance(elements, str | bytes):
        raise InvalidAnalysis(f"{name}: must be a list")
    return elements


def _without_indexes(transcriptions: Sequence[Any], segments: int) -> tuple[list[Any], list[int | None]]:
    """Part transcriptions from the indexes of their segments."""
    parted, indexes = [], []
    for number, element in enumerate(transcriptions):
        index = element.get("segment_index") if isinstance(element, Mapping) else None
        if index is not None:
            index = identifier(index, f"transcriptions[{number}].segment_index")
            if not 0 <= index < segments:
                reason = f"there are {segments} segments, counted from 0"
                raise InvalidAnalysis(f"transcriptions[{number}].segment_index: {reason}")
        indexes.append(index)
        parted.append(_without_index(element))
    return parted, indexes


def _without_index(element: Any) -> Any:
    if not isinstance(element, Mapping):
        return element
    return {field: value for field, value in element.items() if field != "segment_index"}


def _conditions(values: Mapping[str, Any]) -> sql.Composable:
    """Return the conditions of the filters that are used, so that each can use its index."""
    used = [name for name, given in CONDITIONS.items() if any(values[value] is not None for value in given)]
    return sql.SQL(" and ").join([sql.SQL(FILTERS[name]) for name in used] or [sql.SQL("true")])


def _after_call(position: Position | None) -> dict[str, Any]:
    if position is None:
        return {"after_time": None, "after_id": None}
    return {"after_time": position.time, "after_id": position.numbers[0]}


def _instant(moment: Any, name: str) -> datetime | None:
    if moment is None:
        return None
    if isinstance(moment, date) and not isinstance(moment, datetime):
        return datetime.combine(moment, time(), UTC)
    if not isinstance(moment, datetime) or moment.utcoffset() is None:
        raise InvalidSearch(f"{name}: must be a date, or a datetime with a time zone")
    return moment


def _searched(text: Any) -> str | None:
    """Return a text that may stand in the database; no other can be found."""
    if text is not None and (not isinstance(text, str) or text != _searchable(text, len(text))):
        raise InvalidSearch("what is looked for must be text, without NUL and half characters")
    return text


def _searchable(text: Any, longest: int = LONGEST_SEARCH) -> str:
    """Return what PostgreSQL can take of a text; NUL and lone surrogates part words."""
    if not isinstance(text, str):
        raise InvalidSearch("what is looked for must be text")
    return "".join(" " if char == "\0" or "\ud800" <= char <= "\udfff" else char for char in text[:longest])
