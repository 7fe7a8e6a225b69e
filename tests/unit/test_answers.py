"""What writers and readers of a failing cluster were told is judged as it happened."""

from __future__ import annotations

from pathlib import Path

from tests.infra.failing import Answers


def answers(file: Path, *lines: str) -> Answers:
    file.write_text("".join(f"{line}\n" for line in lines))
    return Answers(file)


def test_a_read_is_stale_that_lacks_what_was_acknowledged_before_it_began(tmp_path: Path) -> None:
    written = answers(tmp_path / "pool", "1.0 1.5 1 stored", "2.0 2.5 2 unknown", "3.0 3.5 3 stored")
    read = answers(
        tmp_path / "kept",
        "1.2 1.6 0 stored",
        "1.6 1.7 0 stored",
        "2.6 2.7 1 stored",
        "3.4 3.9 1 stored",
        "3.6 3.7 2 stored",
        "3.8 3.9 0 refused",
        "3.9 4.0 3 stored",
        "5.1 5.2 2 stored",
    )
    assert (read.stale(written), read.stale(written, 1.5)) == (3, 1)


def test_the_gap_is_the_longest_time_between_two_that_succeeded(tmp_path: Path) -> None:
    read = answers(tmp_path / "kept", "1 2 1 stored", "2 4 2 stored", "4 5 3 refused", "5 7.5 4 stored")
    assert (read.gap(0), read.gap(8)) == (3.5, 0.0)


def test_half_a_line_is_none_yet(tmp_path: Path) -> None:
    file = tmp_path / "pool"
    file.write_text("1.0 1.5 1 stored\n2.0 2.5 2 sto")
    assert Answers(file).ids("stored") == {1}
