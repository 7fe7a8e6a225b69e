"""Whoever asks a host how long its certificates last is told of those that its account may read."""

from __future__ import annotations

import subprocess
from pathlib import Path

from callytics.status import metrics


def test_each_certificate_that_can_be_read_is_told_by_whose_it_is(tmp_path: Path) -> None:
    there, damaged = tmp_path / "server.crt", tmp_path / "damaged.crt"
    command = f"openssl req -x509 -newkey rsa:2048 -nodes -keyout /dev/null -out {there} -subj /CN=db -days 30"
    subprocess.run(command.split(), check=True, capture_output=True)
    damaged.write_bytes(b"\xff\xfe")
    texts = {name: metrics._read(tmp_path / file) for name, file in (("a", "server.crt"), ("b", "none.crt"))}
    # A folder stands for what may not be read: root may read every file.
    texts |= {"c": metrics._read(damaged), "d": metrics._read(tmp_path)}
    assert texts["a"] is not None
    assert {name for name, text in texts.items() if text is None} == {"b", "c", "d"}
    (row,) = metrics._ends(texts)
    assert row["certificate"] == "a"
