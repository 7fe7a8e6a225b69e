"""A call's analysis: the one description of valid input, over HTTP and from programs that use this package.

Fields are the columns of their table, some by the application's short name (``text`` for ``text_content``; programs
may use either). Allowed values, ranges, required fields and defaults are those of the schema: a test compares each
with the migrated database. Input over HTTP has further limits, see ``fields``.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AliasChoices, Field

from callytics.calls.fields import (
    AS_TEXT,
    Coefficients,
    Count,
    Day,
    Elements,
    Flag,
    Float,
    InsideOnly,
    Items,
    Json,
    Length,
    LongText,
    Moment,
    Name,
    Outside,
    Path,
    Polarity,
    Seconds,
    Share,
    Text,
    Whole,
)
from callytics.calls.parts import Part

# A day of speech in segments of a second.
MOST_SEGMENTS = 100_000
MOST_DETAILS = 10_000

# What programs may bring along from elsewhere; a client over HTTP must not choose when its row was stored.
OurMoment = Annotated[Moment | None, InsideOnly()]
OurText = Annotated[Text | None, InsideOnly()]
Degree = Annotated[Literal["high", "medium", "low"], AS_TEXT]
AnalysisStatus = Annotated[Literal["pending", "processing", "completed", "failed", "reprocessing"], AS_TEXT]
Resolution = Annotated[Literal["resolved", "partially_resolved", "unresolved", "escalated"], AS_TEXT]


def _short(name: str, column: str) -> AliasChoices:
    return AliasChoices(name, column)


class AudioFile(Part):
    """The recording."""

    table = "audio_files"
    file_path: Path | None = Field(default=None, examples=["/srv/calls/2026/0001.wav"])
    file_name: Name = Field(examples=["0001.wav"])
    file_size: Count | None = Field(default=None, description="Bytes", examples=[1_920_044])
    duration_seconds: Seconds | None = Field(default=None, examples=[60.0])
    sample_rate: Count | None = Field(default=None, description="Samples a second", examples=[16_000])
    channels: Count | None = Field(default=None, examples=[1])
    format_type: Name | None = Field(default=None, validation_alias=_short("format_type", "format"), examples=["wav"])
    upload_timestamp: OurMoment = None
    processing_completed_at: OurMoment = None
    created_at: OurMoment = None
    updated_at: OurMoment = None


class AudioStatus(Part):
    """The state of a recording's processing."""

    table = "audio_files"
    status: Text = Field(validation_alias=_short("status", "processing_status"))
    error_message: Text | None = None


class SpeakerSegment(Part):
    """Who spoke when, in seconds from the beginning."""

    table = "speaker_segments"
    speaker_id: Name = Field(examples=["SPEAKER_00"])
    start_time: Seconds = Field(examples=[0.0])
    end_time: Seconds = Field(examples=[4.2])
    confidence: Float | None = Field(default=None, examples=[0.97])
    speaker_type: Annotated[Literal["customer", "agent", "unknown"], AS_TEXT] | None = Field(
        default=None, examples=["agent"]
    )
    created_at: OurMoment = None


class Line(Part):
    """An utterance and when it was said."""

    table = "transcriptions"
    text: LongText = Field(
        validation_alias=_short("text", "text_content"), examples=["안녕하세요, 무엇을 도와드릴까요?"]
    )
    start_time: Seconds = Field(examples=[0.0])
    end_time: Seconds = Field(examples=[4.2])
    confidence: Float | None = Field(default=None, examples=[0.93])
    language: Annotated[Text, Length(0, 35)] | None = Field(default="ko", examples=["ko"])
    punctuation_restored: Flag | None = False
    created_at: OurMoment = None


class Transcription(Line):
    """An utterance, linked to its segment by the segment's position in the same analysis."""

    segment_index: Annotated[Whole, Outside(0, MOST_SEGMENTS - 1)] | None = Field(
        default=None, description="Which of the segments it belongs to, counted from 0", examples=[0]
    )


class LinkedLine(Line):
    """An utterance, linked to a segment that is already stored."""

    speaker_segment_id: Whole | None = None


class AudioMetrics(Part):
    """The technical quality of the recording."""

    table = "audio_metrics"
    snr_db: Float | None = Field(default=None, examples=[24.5])
    clarity_score: Share | None = Field(default=None, examples=[0.88])
    volume_level: Float | None = None
    background_noise_level: Float | None = None
    speech_rate: Float | None = None
    pause_frequency: Float | None = None
    audio_quality_score: Share | None = Field(default=None, examples=[0.91])
    created_at: OurMoment = None


class AudioFeatures(Part):
    """Measurements of the recording: frequencies in hertz, loudness, topic and summary."""

    table = "audio_features"
    topic_id: Whole | None = 1
    bit_depth: Whole | None = None
    min_frequency: Float | None = None
    max_frequency: Float | None = None
    rms_loudness: Float | None = None
    zero_crossing_rate: Float | None = None
    spectral_centroid: Float | None = None
    eq_20_250_hz: Float | None = None
    eq_250_2000_hz: Float | None = None
    eq_2000_6000_hz: Float | None = None
    eq_6000_20000_hz: Float | None = None
    mfcc: Coefficients | None = None
    summary: Text | None = None
    conflict_flag: Flag | None = False
    silence_value: Float | None = 0.0


class ConsultationSession(Part):
    """The conversation and the results of its assessment."""

    table = "consultation_sessions"
    session_date: Day = Field(examples=["2026-11-20"])
    duration_minutes: Annotated[Float, Outside(0, 1_000_000)] = Field(examples=[1.0])
    agent_name: Name | None = Field(default=None, examples=["김민수"])
    customer_id: Name | None = None
    consultation_type: (
        Annotated[Literal["inquiry", "complaint", "support", "sales", "technical", "billing", "other"], AS_TEXT] | None
    ) = Field(default=None, examples=["billing"])
    overall_quality_score: Share | None = Field(default=None, examples=[0.82])
    customer_satisfaction_score: Share | None = None
    summary: LongText | None = Field(default=None, examples=["요금 문의에 답했다."])
    key_issues: LongText | None = None
    resolution_status: Resolution | None = None
    analysis_started_at: OurMoment = None
    analysis_completed_at: OurMoment = None
    analysis_error_message: OurText = None
    created_at: OurMoment = None
    updated_at: OurMoment = None


class SessionStatus(Part):
    """The state of a session's analysis, and its results."""

    table = "consultation_sessions"
    status: AnalysisStatus = Field(validation_alias=_short("status", "analysis_status"))
    overall_quality_score: Share | None = None
    customer_satisfaction_score: Share | None = None
    summary: Text | None = None
    key_issues: Text | None = None
    resolution_status: Resolution | None = None


class QualityMetric(Part):
    """One measure of the conversation."""

    table = "quality_metrics"
    name: Name = Field(validation_alias=_short("name", "metric_name"), examples=["empathy"])
    value: Float = Field(validation_alias=_short("value", "metric_value"), examples=[0.8])
    description: LongText | None = Field(default=None, validation_alias=_short("description", "metric_description"))
    weight: Share | None = 1.0
    category: Annotated[Literal["communication", "technical", "process", "attitude", "resolution"], AS_TEXT] | None = (
        Field(default=None, examples=["attitude"])
    )
    metric_group: Annotated[
        Annotated[Literal["audio", "communication", "ai_analysis", "business", "technical"], AS_TEXT] | None,
        InsideOnly(),
    ] = None
    created_at: OurMoment = None


class Sentiment(Part):
    """The sentiment of one side."""

    table = "sentiment_analysis"
    speaker_type: Annotated[Literal["customer", "agent"], AS_TEXT]
    sentiment_score: Polarity = Field(examples=[0.4])
    emotion_category: (
        Annotated[Literal["happy", "satisfied", "neutral", "frustrated", "angry", "anxious", "confused"], AS_TEXT]
        | None
    ) = Field(default=None, examples=["satisfied"])
    confidence: Share | None = None
    analysis_timestamp: OurMoment = None
    created_at: OurMoment = None


class CommunicationPattern(Part):
    """A recurring behaviour."""

    table = "communication_patterns"
    pattern_type: Annotated[
        Literal[
            "interruption",
            "long_silence",
            "rapid_speech",
            "repetition",
            "clarification_request",
            "empathy_expression",
            "solution_proposal",
        ],
        AS_TEXT,
    ]
    frequency: Count | None = Field(default=0, examples=[2])
    severity_score: Share | None = None
    description: LongText | None = None
    impact_on_quality: Annotated[Literal["positive", "negative", "neutral"], AS_TEXT] | None = None
    created_at: OurMoment = None


class ImprovementSuggestion(Part):
    """What could be done better."""

    table = "improvement_suggestions"
    category: Annotated[
        Literal["communication", "technical", "process", "attitude", "knowledge", "system"], AS_TEXT
    ] = Field(validation_alias=_short("category", "suggestion_category"))
    text: LongText = Field(
        validation_alias=_short("text", "suggestion_text"), examples=["요금제 설명을 먼저 해 주세요."]
    )
    priority: Degree
    implementation_difficulty: Annotated[Literal["easy", "medium", "hard"], AS_TEXT] | None = None
    expected_impact: Degree | None = None
    target_audience: Annotated[Literal["agent", "supervisor", "system", "process"], AS_TEXT] | None = None
    created_at: OurMoment = None


class CommunicationQuality(Part):
    """How the two sides communicated; ratios as the analysis reports them."""

    table = "communication_quality"
    honorific_ratio: Float | None = Field(default=0.0, examples=[0.9])
    positive_word_ratio: Float | None = 0.0
    negative_word_ratio: Float | None = 0.0
    euphonious_word_ratio: Float | None = 0.0
    empathy_ratio: Float | None = 0.0
    apology_ratio: Float | None = 0.0
    total_sentences: Count | None = Field(default=0, examples=[24])
    customer_sentiment_early: Float | None = 0.0
    customer_sentiment_late: Float | None = 0.0
    customer_sentiment_trend: Float | None = 0.0
    avg_response_latency: Float | None = Field(default=0.0, description="Seconds")
    task_ratio: Float | None = 0.0
    suggestions: Float | None = 0.0
    interruption_count: Count | None = 0
    silence_ratio: Float | None = 0.0
    talk_ratio: Float | None = 0.0
    analysis_details: Json | None = None
    audio_path: OurText = None
    consultation_id: OurText = None
    created_at: OurMoment = None
    updated_at: OurMoment = None


class CallQuality(CommunicationQuality):
    """How the two sides communicated, for a recording identified by id or by path."""

    audio_file_id: Whole | None = None


class ConsultationAnalysis(Part):
    """The subject of a consultation and its outcome."""

    table = "consultation_analysis"
    consultation_id: Text | None = None
    audio_file_id: Whole | None = None
    audio_path: Text | None = None
    business_type: Text | None = None
    classification_type: Text | None = None
    detail_classification: Text | None = None
    consultation_result: Text | None = None
    summary: Text | None = None
    customer_request: Text | None = None
    solution: Text | None = None
    additional_info: Text | None = None
    confidence: Float | None = 0.0
    processing_time: Float | None = None
    created_at: Moment | None = None


class Utterance(Part):
    """An utterance as generation 2 stores it; the schema derives ``speaker_role`` from ``speaker``."""

    table = "utterances"
    audio_file_id: Whole | None = None
    audio_path: Text | None = None
    speaker: Text | None = None
    start_time: Float | None = None
    end_time: Float | None = None
    text: Text | None = None
    confidence: Float | None = 0.0
    sequence: Whole | None = None
    sentiment: Text | None = "중립"
    profane: Whole | None = 0
    created_at: Moment | None = None


class AnalysisHistory(Part):
    """The course of one analysis of a session."""

    table = "analysis_history"
    session_id: Whole
    analysis_type: Text
    status: AnalysisStatus
    started_at: Moment | None = None
    completed_at: Moment | None = None
    error_message: Text | None = None
    reprocess_count: Whole | None = 0
    triggered_by: Text | None = None
    parameters: Json | None = None
    result_summary: Text | None = None
    created_at: Moment | None = None


class Recorded(Part):
    """A recording and what was found in it, as clients may send it."""

    kind = "part"
    audio_file: AudioFile
    segments: Annotated[Elements[SpeakerSegment], Items(0, MOST_SEGMENTS)] = Field(default=[])
    transcriptions: Annotated[Elements[Transcription], Items(0, MOST_SEGMENTS)] = Field(default=[])
    metrics: AudioMetrics | None = None


class AudioAnalysis(Recorded):
    """A recording and what was found in it, with its status, which `AudioStatus` validates when it is set."""

    features: AudioFeatures | None = None
    status: Any = "completed"
    error_message: Any = None


class Quality(Part):
    """A consultation with its whole assessment."""

    kind = "part"
    session: ConsultationSession
    metrics: Annotated[Elements[QualityMetric], Items(0, MOST_DETAILS)] = Field(default=[])
    sentiment: Annotated[Elements[Sentiment], Items(0, MOST_DETAILS)] = Field(default=[])
    patterns: Annotated[Elements[CommunicationPattern], Items(0, MOST_DETAILS)] = Field(default=[])
    suggestions: Annotated[Elements[ImprovementSuggestion], Items(0, MOST_DETAILS)] = Field(default=[])
    communication_quality: CommunicationQuality | None = None


class QualityAnalysis(Quality):
    """A recording's consultation with its assessment and its status, which `SessionStatus` validates when it is set."""

    audio_file_id: Whole
    status: Any = "completed"
