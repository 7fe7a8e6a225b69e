"""Storing consultations: the session, its assessment, and the conclusions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from callytics.calls.models import (
    AnalysisHistory,
    CallQuality,
    CommunicationPattern,
    ConsultationAnalysis,
    ConsultationSession,
    ImprovementSuggestion,
    QualityAnalysis,
    QualityMetric,
    Sentiment,
    SessionStatus,
    Utterance,
)
from callytics.calls.parts import Part, checked, checked_all
from callytics.calls.store import OnCalls
from callytics.exceptions import InvalidAnalysis
from callytics.postgres.as_async import as_async


class Sessions(OnCalls):
    """Saves consultations and their assessments."""

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
        with self._store.belonging("audio_file", audio_file_id) as found:
            return self._store.add(checked(ConsultationSession, session, "session"), audio_file_id=found)

    acreate_consultation_session = as_async(create_consultation_session)

    def save_quality_metrics(self, session_id: int, metrics: Sequence[Mapping[str, Any]]) -> list[int]:
        """Add metrics (name, value, description, weight, category) to a session; return their ids in order."""
        return self._add_to_session(QualityMetric, "metrics", session_id, metrics)

    asave_quality_metrics = as_async(save_quality_metrics)

    def save_sentiment_analysis(self, session_id: int, sentiment: Sequence[Mapping[str, Any]]) -> list[int]:
        """Add sentiments (speaker_type, sentiment_score, emotion_category, confidence); return their ids in order."""
        return self._add_to_session(Sentiment, "sentiment", session_id, sentiment)

    asave_sentiment_analysis = as_async(save_sentiment_analysis)

    def save_communication_patterns(self, session_id: int, patterns: Sequence[Mapping[str, Any]]) -> list[int]:
        """Add patterns (pattern_type, frequency, severity_score, …) to a session; return their ids in order."""
        return self._add_to_session(CommunicationPattern, "patterns", session_id, patterns)

    asave_communication_patterns = as_async(save_communication_patterns)

    def save_improvement_suggestions(self, session_id: int, suggestions: Sequence[Mapping[str, Any]]) -> list[int]:
        """Add suggestions (category, text, priority, …) to a session; return their ids in order."""
        return self._add_to_session(ImprovementSuggestion, "suggestions", session_id, suggestions)

    asave_improvement_suggestions = as_async(save_improvement_suggestions)

    def save_communication_quality(self, data: Mapping[str, Any]) -> int:
        """Store the communication quality of the recording with this audio_file_id or audio_path; return its id."""
        return self._add_of_call(checked(CallQuality, data, "communication_quality"))

    asave_communication_quality = as_async(save_communication_quality)

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
        """Set the state of a session's analysis and its results; values that are None stay unchanged."""
        values = {
            "status": status,
            "overall_quality_score": overall_quality_score,
            "customer_satisfaction_score": customer_satisfaction_score,
            "summary": summary,
            "key_issues": key_issues,
            "resolution_status": resolution_status,
        }
        self._store.update("session", session_id, SessionStatus, values)

    aupdate_consultation_analysis_status = as_async(update_consultation_analysis_status)

    def save_quality_analysis(self, analysis: Mapping[str, Any] | QualityAnalysis) -> dict[str, Any]:
        """Store a consultation with its whole assessment, in one transaction, and return the ids.

        ``analysis`` holds ``audio_file_id`` and ``session`` (its scores, summary and resolution_status too), and
        optionally ``metrics``, ``sentiment``, ``patterns``, ``suggestions``, ``communication_quality`` and
        ``status`` (default: completed). Returns session_id, communication_quality_id (None without one) and
        metric_ids, sentiment_ids, pattern_ids and suggestion_ids.
        """
        given = checked(QualityAnalysis, analysis)
        with self._store.belonging("audio_file", given.audio_file_id) as found:
            session_id = self._store.add(given.session, audio_file_id=found)
            ids: dict[str, Any] = {"session_id": session_id, "communication_quality_id": None}
            for name in ("metrics", "sentiment", "patterns", "suggestions"):
                added = self._store.add_all(getattr(given, name), session_id=session_id)
                ids[f"{name.removesuffix('s')}_ids"] = added
            if given.communication_quality is not None:
                ids["communication_quality_id"] = self._store.add(given.communication_quality, audio_file_id=found)
            self.update_consultation_analysis_status(session_id, given.status)
        return ids

    asave_quality_analysis = as_async(save_quality_analysis)

    def insert_consultation_analysis(self, data: Mapping[str, Any]) -> int:
        """Store the consultation analysis of the recording with this audio_file_id or audio_path; return its id."""
        return self._add_of_call(checked(ConsultationAnalysis, data, "consultation_analysis"))

    ainsert_consultation_analysis = as_async(insert_consultation_analysis)

    def insert_utterance(self, data: Mapping[str, Any]) -> int:
        """Store what was said in the recording with this audio_file_id or audio_path; return its id."""
        return self._add_of_call(checked(Utterance, data, "utterances"))

    ainsert_utterance = as_async(insert_utterance)

    insert_communication_quality = save_communication_quality
    ainsert_communication_quality = asave_communication_quality

    def insert_analysis_history(self, data: Mapping[str, Any]) -> int:
        """Record one analysis of the session with this session_id; return the record's id."""
        note = checked(AnalysisHistory, data, "analysis_history")
        with self._store.belonging("session", note.session_id):
            return self._store.add(note)

    ainsert_analysis_history = as_async(insert_analysis_history)

    def _add_to_session(self, model: type[Part], name: str, session_id: int, elements: Any) -> list[int]:
        with self._store.belonging("session", session_id) as found:
            return self._store.add_all(checked_all(model, elements, name), session_id=found)

    def _add_of_call(self, part: CallQuality | ConsultationAnalysis | Utterance) -> int:
        """Insert a row that belongs to a recording, by its id or else by its path, which need not be stored."""
        if part.audio_file_id is not None:
            with self._store.belonging("audio_file", part.audio_file_id):
                return self._store.add(part)
        if part.audio_path is None:
            raise InvalidAnalysis(f"{part.table}.audio_file_id: is required, or audio_path")
        return self._store.add(part)
