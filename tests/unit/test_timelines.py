"""Of the histories in an archive a restore follows the newest that its backup is part of."""

from __future__ import annotations

from pathlib import Path

import pytest

from callytics.backup.timelines import newest

LABEL = "START WAL LOCATION: 0/5000028 (file 00000003…)\nCHECKPOINT LOCATION: 0/5000060\nBACKUP METHOD: streamed\n" \
        "START TIME: …\nLABEL: x\nSTART TIMELINE: 3\n"  # fmt: skip
EARLIER = "1\t0/1000000\tno recovery target specified\n\n2\t0/2000000\tno recovery target specified\n\n"


@pytest.mark.parametrize(
    ("histories", "wanted"),
    [
        ({}, "current"),
        ({4: f"{EARLIER}3\t0/6000000\tno recovery target specified\n"}, "4"),
        # Promoted by hand before the backup of whoever led on.
        ({4: f"{EARLIER}3\t0/4000000\tno recovery target specified\n"}, "current"),
        ({4: f"{EARLIER}3\t0/4000000\tx\n", 5: f"{EARLIER}3\t1/0\tx\n"}, "5"),
    ],
)
def test_the_newest_that_the_backup_is_part_of(histories: dict[int, str], wanted: str, tmp_path: Path) -> None:
    (tmp_path / "backup_label.old").write_text(LABEL)
    assert newest(tmp_path, lambda name: histories.get(int(name.partition(".")[0], 16))) == wanted


def test_what_is_no_backup_has_none(tmp_path: Path) -> None:
    assert newest(tmp_path, lambda _: None) == "latest"
