"""What one call's analysis is when it comes in: the recording, what was said, and how good the conversation was.

What the columns of the schema accept is accepted here; beyond that a text, a list and a body have bounds.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from callytics.api.text import Count, Day, Float, Text

# A day of talk in pieces of a second.
MOST_SEGMENTS = 100_000
MOST_DETAILS = 10_000

Name = Annotated[Text, Field(min_length=1, max_length=1000)]
LongText = Annotated[Text, Field(max_length=1_000_000)]
Seconds = Annotated[Float, Field(ge=0, le=10_000_000)]
Share = Annotated[Float, Field(ge=0, le=1)]
Polarity = Annotated[Float, Field(ge=-1, le=1)]
Impact = Literal["positive", "negative", "neutral"]
Degree = Literal["high", "medium", "low"]


class Part(BaseModel):
    """A part of an analysis; a field that nobody knows is refused, so that a misspelt one is not lost."""

    model_config = ConfigDict(extra="forbid", strict=True)


class AudioFile(Part):
    """The recording."""

    file_path: Annotated[Text, Field(min_length=1, max_length=4096)] = Field(examples=["/srv/calls/2026/0001.wav"])
    file_name: Name = Field(examples=["0001.wav"])
    file_size: Count = Field(description="Bytes", examples=[1_920_044])
    duration_seconds: Seconds = Field(examples=[60.0])
    sample_rate: Count = Field(description="Samples a second", examples=[16_000])
    channels: Count = Field(examples=[1])
    format_type: Name = Field(examples=["wav"])


class SpeakerSegment(Part):
    """Who spoke when, in seconds from the beginning."""

    speaker_id: Name = Field(examples=["SPEAKER_00"])
    start_time: Seconds = Field(examples=[0.0])
    end_time: Seconds = Field(examples=[4.2])
    confidence: Float | None = Field(default=None, examples=[0.97])
    speaker_type: Literal["customer", "agent", "unknown"] | None = Field(default=None, examples=["agent"])


class Transcription(Part):
    """What was said when."""

    segment_index: Annotated[int, Field(ge=0, lt=MOST_SEGMENTS)] | None = Field(
        default=None, description="Which of the segments it belongs to, counted from 0", examples=[0]
    )
    text: LongText = Field(examples=["안녕하세요, 무엇을 도와드릴까요?"])
    start_time: Seconds = Field(examples=[0.0])
    end_time: Seconds = Field(examples=[4.2])
    confidence: Float | None = Field(default=None, examples=[0.93])
    language: Annotated[Text, Field(max_length=35)] = Field(default="ko", examples=["ko"])
    punctuation_restored: bool = False


class AudioMetrics(Part):
    """How good the recording is."""

    snr_db: Float | None = Field(default=None, examples=[24.5])
    clarity_score: Share | None = Field(default=None, examples=[0.88])
    volume_level: Float | None = None
    background_noise_level: Float | None = None
    speech_rate: Float | None = None
    pause_frequency: Float | None = None
    audio_quality_score: Share | None = Field(default=None, examples=[0.91])


class QualityMetric(Part):
    """One measure of the conversation."""

    name: Name = Field(examples=["empathy"])
    value: Float = Field(examples=[0.8])
    description: LongText | None = None
    weight: Share = 1.0
    category: Literal["communication", "technical", "process", "attitude", "resolution"] | None = Field(
        default=None, examples=["attitude"]
    )


class Sentiment(Part):
    """How one side felt."""

    speaker_type: Literal["customer", "agent"]
    sentiment_score: Polarity = Field(examples=[0.4])
    emotion_category: Literal["happy", "satisfied", "neutral", "frustrated", "angry", "anxious", "confused"] | None = (
        Field(default=None, examples=["satisfied"])
    )
    confidence: Share | None = None


class CommunicationPattern(Part):
    """Something that was done again and again."""

    pattern_type: Literal[
        "interruption",
        "long_silence",
        "rapid_speech",
        "repetition",
        "clarification_request",
        "empathy_expression",
        "solution_proposal",
    ]
    frequency: Count = Field(default=0, examples=[2])
    severity_score: Share | None = None
    description: LongText | None = None
    impact_on_quality: Impact | None = None


class ImprovementSuggestion(Part):
    """What could be done better."""

    category: Literal["communication", "technical", "process", "attitude", "knowledge", "system"]
    text: LongText = Field(examples=["요금제 설명을 먼저 해 주세요."])
    priority: Degree
    implementation_difficulty: Literal["easy", "medium", "hard"] | None = None
    expected_impact: Degree | None = None
    target_audience: Literal["agent", "supervisor", "system", "process"] | None = None


class Session(Part):
    """The conversation, and what its assessment came to."""

    session_date: Day = Field(examples=["2026-11-20"])
    duration_minutes: Annotated[Float, Field(ge=0, le=1_000_000)] = Field(examples=[1.0])
    agent_name: Name | None = Field(default=None, examples=["김민수"])
    customer_id: Name | None = None
    consultation_type: Literal["inquiry", "complaint", "support", "sales", "technical", "billing", "other"] = "other"
    overall_quality_score: Share | None = Field(default=None, examples=[0.82])
    customer_satisfaction_score: Share | None = None
    summary: LongText | None = Field(default=None, examples=["요금 문의에 답했다."])
    key_issues: LongText | None = None
    resolution_status: Literal["resolved", "partially_resolved", "unresolved", "escalated"] | None = None


class CommunicationQuality(Part):
    """How the two sides talked; ratios as the analysis gives them."""

    honorific_ratio: Float | None = Field(default=None, examples=[0.9])
    positive_word_ratio: Float | None = None
    negative_word_ratio: Float | None = None
    euphonious_word_ratio: Float | None = None
    empathy_ratio: Float | None = None
    apology_ratio: Float | None = None
    total_sentences: Count | None = Field(default=None, examples=[24])
    customer_sentiment_early: Float | None = None
    customer_sentiment_late: Float | None = None
    customer_sentiment_trend: Float | None = None
    avg_response_latency: Float | None = Field(default=None, description="Seconds")
    task_ratio: Float | None = None
    suggestions: Float | None = None
    interruption_count: Count | None = None
    silence_ratio: Float | None = None
    talk_ratio: Float | None = None
    analysis_details: dict[Name, JsonValue] | None = None


class Quality(Part):
    """A consultation with its whole assessment."""

    session: Session
    metrics: Annotated[list[QualityMetric], Field(max_length=MOST_DETAILS)] = []
    sentiment: Annotated[list[Sentiment], Field(max_length=MOST_DETAILS)] = []
    patterns: Annotated[list[CommunicationPattern], Field(max_length=MOST_DETAILS)] = []
    suggestions: Annotated[list[ImprovementSuggestion], Field(max_length=MOST_DETAILS)] = []
    communication_quality: CommunicationQuality | None = None


class NewAnalysis(Part):
    """One call's whole analysis."""

    audio_file: AudioFile
    segments: Annotated[list[SpeakerSegment], Field(max_length=MOST_SEGMENTS)] = []
    transcriptions: Annotated[list[Transcription], Field(max_length=MOST_SEGMENTS)] = []
    metrics: AudioMetrics | None = None
    quality: Quality | None = None
