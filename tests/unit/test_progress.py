"""What a person, a log and a program see of an import's progress."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from callytics.cli.terminal import progress
from callytics.cli.terminal.progress import Display, Tracked, bars_line
from tests.support.terminal import places, terminal, too_wide

KOREAN = "상담품질평가결과요약및개선제안내역전체기간부서별통계현황표본"


class Screen(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, to be set by the test."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def tell(display: Display, clock: list[float], *steps: tuple[float, str, int, int]) -> None:
    """Report steps, each at its moment."""
    for moment, what, done, total in steps:
        clock[0] = moment
        display.update(what, done, total)


def test_a_terminal_shows_every_step_under_way_with_rate_and_time_left(clock: list[float]) -> None:
    stream = Screen()
    tell(
        Display(stream=stream),
        clock,
        (100.0, "load transcriptions", 0, 1000),
        (110.0, "load transcriptions", 250, 1000),
        (111.0, "load utterances", 0, 500),
    )
    *_, alone, both = stream.getvalue().split("\r\033[K")
    assert alone == "load transcriptions [#####...............] 25% of 1,000, 25/s, 30 s left"
    assert both == "load transcriptions: 25% of 1,000, 25/s, 30 s left · load utterances: 0% of 500"
    assert "\n" not in stream.getvalue()


def step(what: str, done: int, total: int, seconds: float = 10.0) -> Tracked:
    return Tracked(what, 100.0, 0, 100.0 + seconds, done, total)


STEPS = [
    step("load transcriptions", 250, 1000),
    step("load 상담품질평가결과요약및개선제안내역", 40, 80),
    step(f"index {'a' * 63}", 0, 1),
    step("verify utterances", 1, 1000),
    step("foreign key utterances_audio_file_id_fkey", 0, 1),
]


@pytest.mark.parametrize("many", [0, 1, 2, 3, 5])
@pytest.mark.parametrize("room", [39, 59, 79, 119, 1000])
def test_the_steps_fit_the_line_that_is_drawn_over(many: int, room: int) -> None:
    """Names that are cut are marked, and steps that are left out are counted."""
    line = bars_line(STEPS[:many], room)
    assert places(line) <= room
    shown, _, more = line.partition(" +")
    steps = shown.split(" · ") if shown else []
    assert len(steps) + int(more or 0) == many
    for tracked, said in zip(STEPS, steps, strict=False):
        assert tracked.what in said or "…" in said
        assert f"{tracked.done / tracked.total:.0%}" in said if tracked.total > 1 else said.endswith(" 10 s")


def test_less_room_takes_the_bar_then_the_rate_then_the_name() -> None:
    [loading, korean, *_] = STEPS
    lines = {room: bars_line([loading], room) for room in (79, 59, 49, 39, 20)}
    assert lines == {
        79: "load transcriptions [#####...............] 25% of 1,000, 25/s, 30 s left",
        59: "load transcriptions: 25% of 1,000, 25/s, 30 s left",
        49: "load transcriptions 25%",
        39: "load transcriptions 25%",
        20: "load transcript… 25%",
    }
    assert bars_line([loading, korean], 39) == "load transcri… 25% · load 상담품질… 50%"
    assert bars_line([loading, korean, loading], 39) == "load transcriptions 25% +2"


def test_a_terminal_that_is_narrow_gets_one_line(clock: list[float]) -> None:
    with terminal(40) as lent:
        tell(
            Display(stream=lent.slave),
            clock,
            (101.0, "load transcriptions", 0, 1000),
            (102.0, f"index {KOREAN}", 0, 1),
        )
    assert too_wide(lent) == []
    assert lent.text.count("\n") == 0
    assert lent.lines == ["load transcrip… 0% · index 상담품… 0 s"]


def test_a_notice_is_wrapped_at_a_terminal(clock: list[float]) -> None:
    with terminal(40) as lent:
        Display(stream=lent.slave).say("audio_files.created_at looks as if it held local time, not UTC")
    assert lent.lines == ["audio_files.created_at looks as if it", "  held local time, not UTC"]


def test_a_log_gets_a_line_now_and_then_and_one_at_the_end_of_a_long_step(clock: list[float]) -> None:
    stream = io.StringIO()
    tell(
        Display(stream=stream),
        clock,
        (100.0, "load audio_files", 0, 10),
        (100.5, "load audio_files", 10, 10),
        *((101.0 + second, "load transcriptions", second * 100, 2000) for second in range(21)),
    )
    assert stream.getvalue().splitlines() == [
        "load transcriptions: 45% of 2,000, 100/s, 11 s left",
        "load transcriptions: 95% of 2,000, 100/s, 1 s left",
        "load transcriptions: done in 20.0 s, 100/s",
    ]


def events(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_program_gets_events_even_on_a_terminal(clock: list[float]) -> None:
    stream = Screen()
    tell(
        Display(stream=stream, events=True),
        clock,
        (100.0, "load transcriptions", 0, 1000),
        (100.2, "load transcriptions", 100, 1000),
        (102.0, "load transcriptions", 500, 1000),
        (104.0, "load transcriptions", 1000, 1000),
    )
    assert [(event["event"], event["done"], event["rate"], event["seconds_left"]) for event in events(stream)] == [
        ("progress", 0, 0.0, None),
        ("progress", 500, 250.0, 2.0),
        ("finished", 1000, 250.0, 0.0),
    ]


def test_a_phase_of_the_server_belongs_to_its_step(clock: list[float]) -> None:
    """That the server is through with a phase does not end the step; the end of the step ends its phases."""
    stream = io.StringIO()
    display = Display(stream=stream, events=True)
    tell(
        display,
        clock,
        (100.0, "foreign key a_b_fkey", 0, 1),
        (101.0, "index a_idx: building index: scanning table", 7, 7),
        (102.0, "index a_idx", 0, 1),
        (103.0, "index a_idx", 1, 1),
        (104.0, "index a_idx: building index: scanning table", 1, 7),
    )
    shown = [(event["event"], event["step"], event["name"], event["phase"]) for event in events(stream)]
    assert shown == [
        ("progress", "foreign key", "a_b_fkey", None),
        ("progress", "index", "a_idx", "building index: scanning table"),
        ("progress", "index", "a_idx", None),
        ("finished", "index", "a_idx", None),
        ("progress", "index", "a_idx", "building index: scanning table"),
    ]
    assert events(stream)[-1]["seconds"] == 0.0


@pytest.mark.parametrize("events_wanted", [True, False])
def test_quiet_shows_nothing(clock: list[float], events_wanted: bool) -> None:
    stream = Screen()
    with Display(quiet=True, stream=stream, events=events_wanted) as display:
        tell(display, clock, (100.0, "load a", 0, 10), (120.0, "load a", 5, 10), (140.0, "load a", 10, 10))
    assert stream.getvalue() == ""
