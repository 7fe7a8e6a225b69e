"""Storing recordings: the file, who spoke when, what was said, and what was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from callytics.calls.models import (
    AudioAnalysis,
    AudioFeatures,
    AudioFile,
    AudioMetrics,
    AudioStatus,
    LinkedLine,
    SpeakerSegment,
    Transcription,
)
from callytics.calls.parts import checked, checked_all
from callytics.calls.store import OnCalls
from callytics.exceptions import InvalidAnalysis
from callytics.postgres import Row
from callytics.postgres.as_async import as_async
from callytics.postgres.text import counted


class Recordings(OnCalls):
    """Saves recordings and what was found in them."""

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
        """Store a recording and return its id. Storing the same path again adds another recording."""
        file = {
            "file_path": file_path,
            "file_name": file_name,
            "file_size": file_size,
            "duration_seconds": duration_seconds,
            "sample_rate": sample_rate,
            "channels": channels,
            "format": format_type,
        }
        return self._store.add(checked(AudioFile, file, "audio_file"))

    asave_audio_file = as_async(save_audio_file)

    def save_speaker_segments(self, audio_file_id: int, segments: Sequence[Mapping[str, Any]]) -> list[int]:
        """Add segments (speaker_id, start_time, end_time in seconds, …) to a recording; return their ids in order."""
        with self._store.belonging("audio_file", audio_file_id) as found:
            return self._store.add_all(checked_all(SpeakerSegment, segments, "segments"), audio_file_id=found)

    asave_speaker_segments = as_async(save_speaker_segments)

    def save_transcriptions(self, audio_file_id: int, transcriptions: Sequence[Mapping[str, Any]]) -> list[int]:
        """Add transcriptions (text, start_time, end_time, …) to a recording; return their ids in order.

        A speaker_segment_id must be of the same recording.
        """
        with self._store.belonging("audio_file", audio_file_id) as found:
            lines = checked_all(LinkedLine, transcriptions, "transcriptions")
            rows = [line.row() | {"audio_file_id": found} for line in lines]
            self._store.check_segments(found, rows)
            return self._store.insert("transcriptions", rows)

    asave_transcriptions = as_async(save_transcriptions)

    def save_audio_metrics(self, audio_file_id: int, metrics: Mapping[str, Any]) -> int:
        """Store the sound measurements of a recording, replacing earlier ones; return the recording's id."""
        with self._store.belonging("audio_file", audio_file_id) as found:
            return self._store.replace(checked(AudioMetrics, metrics, "metrics"), "metrics", found)

    asave_audio_metrics = as_async(save_audio_metrics)

    def save_audio_features(self, audio_file_id: int, features: Mapping[str, Any]) -> int:
        """Store frequencies, loudness, topic_id, summary, … of a recording, replacing earlier ones; return its id."""
        with self._store.belonging("audio_file", audio_file_id) as found:
            return self._store.replace(checked(AudioFeatures, features, "features"), "features", found)

    asave_audio_features = as_async(save_audio_features)

    def update_audio_processing_status(self, audio_file_id: int, status: str, error_message: str | None = None) -> None:
        """Set the state of a recording's processing; ``completed`` also records the time."""
        values = {"status": status, "error_message": error_message}
        self._store.update("audio_file", audio_file_id, AudioStatus, values)

    aupdate_audio_processing_status = as_async(update_audio_processing_status)

    def save_audio_analysis(self, analysis: Mapping[str, Any] | AudioAnalysis) -> dict[str, Any]:
        """Store a recording with all that was found in it, in one transaction, and return the ids.

        ``analysis`` holds ``audio_file``, and optionally ``segments``, ``transcriptions`` (each may name
        its segment by ``segment_index``, counted from 0), ``metrics``, ``features``, ``status`` (default:
        completed) and ``error_message``. Returns audio_file_id, segment_ids and transcription_ids.
        """
        given = checked(AudioAnalysis, analysis)
        _check_indexes(given)
        with self.postgres.transaction():
            file_id = self._store.add(given.audio_file)
            segment_ids = self._store.add_all(given.segments, audio_file_id=file_id)
            lines = [_linked(line, segment_ids) | {"audio_file_id": file_id} for line in given.transcriptions]
            transcription_ids = self._store.insert("transcriptions", lines)
            for name in ("metrics", "features"):
                if part := getattr(given, name):
                    self._store.replace(part, name, file_id)
            # By the statement that also records when it was completed.
            self.update_audio_processing_status(file_id, given.status, given.error_message)
        return {"audio_file_id": file_id, "segment_ids": segment_ids, "transcription_ids": transcription_ids}

    asave_audio_analysis = as_async(save_audio_analysis)


def _check_indexes(analysis: AudioAnalysis) -> None:
    """Refuse the index of a segment that does not exist."""
    segments = len(analysis.segments)
    for number, line in enumerate(analysis.transcriptions):
        if line.segment_index is not None and not 0 <= line.segment_index < segments:
            reason = f"the recording has {counted(segments, 'segment')}, counted from 0"
            raise InvalidAnalysis(f"transcriptions[{number}].segment_index: {reason}")


def _linked(line: Transcription, segment_ids: Sequence[int]) -> Row:
    """Return a transcription's row, with its segment's id in place of the segment's index."""
    row = line.row()
    index = row.pop("segment_index", None)
    return row | {"speaker_segment_id": None if index is None else segment_ids[index]}
