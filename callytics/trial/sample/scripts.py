"""What is said in calls: scripts of conversations, composed from the files in words/ and measured as calls are."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from datetime import date
from itertools import pairwise
from math import fsum
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

WORDS = Path(__file__).parent / "words"
PHASES = (
    "greeting",
    "problem_identification",
    "information_gathering",
    "solution_proposal",
    "objection_handling",
    "resolution",
    "closing",
)
SCRIPTS_PER_SCENARIO = 40
# Speaker diarization returns multiples of its frame, hence times such as 1.26284375.
FRAME_SECONDS = 0.016875

# The bits of a turn's marks, in this order.
PATTERNS = ("honorific", "positive", "negative", "euphonious", "empathy", "apology")

LINE = re.compile(r"(?P<speaker>[AC])(?P<marks>[-+!?~]*) (?P<texts>.+)")


class Scenario(NamedTuple):
    """What a call is about; empty where a generation has no such column. The last three may have slots as {amount}."""

    n: int
    topic: str
    business_type: str
    classification_type: str
    detail_classification: str
    consultation_type: str
    customer_request: str
    issue: str
    summary: str
    solution: str
    additional_info: str


class Keyword(NamedTuple):
    """A word the analysis finds in the calls of a scenario."""

    scenario: int
    salt: int
    keyword: str
    category: str


class Turn(NamedTuple):
    """A sentence of a script; times in seconds from the script's start, ``marks`` a bit for each kind of pattern."""

    script: int
    n: int
    salt: int
    phase: int
    speaker: str
    tone: int
    profane: int
    has_slots: bool
    text: str
    start: float
    end: float
    marks: int
    patterns: str


class Phase(NamedTuple):
    """A stretch of a script, from its first turn to its last."""

    script: int
    n: int
    salt: int
    name: str
    start: float
    end: float


class Script(NamedTuple):
    """A conversation and what its analysis measures; ratios in percent unless they are shares of the time."""

    n: int
    scenario: int
    turns: int
    agent_turns: int
    duration: float
    honorific: float
    positive: float
    negative: float
    euphonious: float
    empathy: float
    apology: float
    early: float
    late: float
    latency: float
    task_ratio: float
    silence_ratio: float
    talk_ratio: float
    interruptions: int
    profane: int


class Agent(NamedTuple):
    """Somebody who answers calls; the first ones lead the teams."""

    n: int
    salt: int
    surname: str
    given: str
    name: str
    team: int
    hired: str
    years: int


class Language:
    """The words of one language and the scripts written from them, numbered from ``first_script``."""

    def __init__(self, name: str, rng: Random, *, first_script: int, first_scenario: int) -> None:
        self.words = read_words(name)
        self.scenarios = [_scenario(first_scenario + n, entry) for n, entry in enumerate(self.words["scenarios"])]
        self.keywords = list(self._keywords(rng))
        self.agents: list[Agent] = []
        self.scripts: list[Script] = []
        self.turns: list[Turn] = []
        self.phases: list[Phase] = []
        for scenario, entry in zip(self.scenarios, self.words["scenarios"], strict=True):
            for _ in range(SCRIPTS_PER_SCENARIO):
                self._write_script(first_script + len(self.scripts), scenario.n, entry, rng)

    def _keywords(self, rng: Random) -> Iterator[Keyword]:
        for scenario, entry in zip(self.scenarios, self.words["scenarios"], strict=True):
            for text in entry.get("keywords", []):
                keyword, category = text.split(":")
                yield Keyword(scenario.n, salt(rng), keyword, category)

    def _write_script(self, number: int, scenario: int, entry: dict[str, Any], rng: Random) -> None:
        turns = list(self._timed(number, self._conversation(entry, rng), rng))
        self.turns += turns
        self.phases += _phases(number, turns, rng)
        self.scripts.append(_measured(number, scenario, turns))

    def _conversation(self, entry: dict[str, Any], rng: Random) -> Iterator[tuple[int, str, str, str]]:
        """Choose the sentences: phase, speaker, marks, text."""
        for number, phase in enumerate(PHASES):
            # Not every customer objects, nor does every call have all sentences.
            if phase == "objection_handling" and rng.random() < 0.5:
                continue
            for line in entry.get(phase) or self.words["phases"][phase]:
                speaker, marks, texts = _parsed(line)
                if "?" not in marks or rng.random() < 0.6:
                    yield number, speaker, marks, pick(rng, texts.split(" | "))

    def _timed(self, script: int, conversation: Iterator[tuple[int, str, str, str]], rng: Random) -> Iterator[Turn]:
        """Give the sentences their times: pauses, now and then an interruption, a long wait after a ~."""
        clock, start = 0.2, 0.0
        for n, (phase, speaker, marks, text) in enumerate(conversation):
            pause = -0.1 - 0.5 * rng.random() if n and rng.random() < 0.04 else 0.15 + 1.5 * rng.random() ** 2
            start = _on_frame(max(start + 0.1, clock + pause))
            spoken = 0.3 + len(text) * self.words["seconds_per_letter"] * (0.85 + 0.4 * rng.random())
            end = _on_frame(start + spoken)
            clock = end + (6.0 + 20.0 * rng.random() if "~" in marks else 0.0)
            found = _patterns(self.words["patterns"], text) if speaker == "A" else {}
            yield Turn(
                script=script,
                n=n,
                salt=salt(rng),
                phase=phase,
                speaker=speaker,
                tone=("+" in marks) - ("-" in marks or "!" in marks),
                profane=int("!" in marks),
                has_slots="{" in text,
                text=text + self.words["text_end"],
                start=start,
                end=end,
                marks=sum(1 << bit for bit, kind in enumerate(PATTERNS) if kind in found),
                patterns=json.dumps(found, ensure_ascii=False),
            )

    def name(self, rng: Random) -> tuple[str, str, str]:
        """Draw a person: surname, given name, both as the language writes them."""
        surname, given = pick(rng, self.words["surnames"]), pick(rng, self.words["given_names"])
        return surname, given, self.words["name_form"].format(surname=surname, given=given)

    def date(self, day: date) -> str:
        """Return a date as a caller would say it."""
        return str(self.words["date_form"].format(month=self.words["months"][day.month - 1], day=day.day))


def read_words(name: str) -> dict[str, Any]:
    """Read a file of words/."""
    return tomllib.loads((WORDS / f"{name}.toml").read_text(encoding="utf-8"))


def pick(rng: Random, values: list[Any]) -> Any:
    """Draw one of the values; `Random.choice` is several times slower."""
    return values[int(rng.random() * len(values))]


def salt(rng: Random) -> int:
    """Draw the factor that a row applies to a call's noise: odd, and the product of the two fits 64 bits."""
    return rng.getrandbits(30) | 1


def _scenario(n: int, entry: dict[str, Any]) -> Scenario:
    texts = {name: entry.get(name, "") for name in Scenario._fields[1:]}
    if "summary" not in entry:
        texts["summary"] = "{customer} 고객, " + f"{entry['customer_request']}. {entry['solution']}."
    return Scenario(n, **texts)


def _parsed(line: str) -> tuple[str, str, str]:
    match = LINE.fullmatch(line)
    if match is None:
        raise ValueError(f"not a line of a conversation: {line!r}")
    return match["speaker"], match["marks"], match["texts"]


def _on_frame(seconds: float) -> float:
    # As real diarization does: times with many digits, all of which have to survive the import.
    return round(seconds / FRAME_SECONDS) * FRAME_SECONDS


def _patterns(patterns: dict[str, list[str]], text: str) -> dict[str, list[str]]:
    found = {kind: [part for part in parts if part in text] for kind, parts in patterns.items()}
    return {kind: parts for kind, parts in found.items() if parts}


def _phases(script: int, turns: list[Turn], rng: Random) -> Iterator[Phase]:
    for n, name in enumerate(PHASES):
        part = [turn for turn in turns if turn.phase == n]
        if part:
            yield Phase(script, n, salt(rng), name, part[0].start, part[-1].end)


def _measured(number: int, scenario: int, turns: list[Turn]) -> Script:
    """Measure a script as the application measured a call."""
    agent = [turn for turn in turns if turn.speaker == "A"]
    customer = [turn for turn in turns if turn.speaker == "C"]
    latencies = [b.start - a.end for a, b in pairwise(turns) if a.speaker == "C" and b.speaker == "A"]
    agent_seconds, customer_seconds = _seconds(agent), _seconds(customer)
    half = len(customer) // 2
    return Script(
        n=number,
        scenario=scenario,
        turns=len(turns),
        agent_turns=len(agent),
        duration=turns[-1].end,
        **{kind: 100.0 * sum(t.marks >> bit & 1 for t in agent) / len(agent) for bit, kind in enumerate(PATTERNS)},
        early=_tone(customer[:half]),
        late=_tone(customer[half:]),
        latency=fsum(latencies) / len(latencies),
        task_ratio=customer_seconds / agent_seconds,
        silence_ratio=max(0.0, 1.0 - (agent_seconds + customer_seconds) / turns[-1].end),
        talk_ratio=agent_seconds / (agent_seconds + customer_seconds),
        interruptions=sum(b.start < a.end for a, b in pairwise(turns)),
        profane=int(any(turn.profane for turn in turns)),
    )


def _seconds(turns: list[Turn]) -> float:
    # Not sum(), which rounds otherwise since Python 3.12.
    return fsum(turn.end - turn.start for turn in turns)


def _tone(turns: list[Turn]) -> float:
    """Average sentiment, -2 to 2."""
    return 2.0 * sum(turn.tone for turn in turns) / max(1, len(turns))
