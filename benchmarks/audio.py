"""The generation 3 audio database that imports are measured with, and its tables as text."""

from __future__ import annotations

import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

from callytics.trial.sample import write_sample

SEGMENTS_A_CALL = 26.5
"""What `callytics.trial.sample` makes on average, a little less: what is too much is cut off."""
TABLES = ("audio_files", "audio_metrics", "processing_logs", "speaker_segments", "transcriptions")


def write_file(path: Path, rows: int) -> None:
    """Write the audio database with so many segments and transcriptions."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        write_sample(Path(folder) / "sample", generation=3, calls=int(rows / SEGMENTS_A_CALL) + 10, seed=1)
        with closing(sqlite3.connect(Path(folder) / "sample" / "audio_analysis.sqlite")) as connection:
            for table in ("transcriptions", "speaker_segments"):
                connection.execute(f"delete from {table} where id > {rows}")  # noqa: S608
                found = connection.execute(f"select count(*) from {table}").fetchone()[0]  # noqa: S608
                if found != rows:
                    raise SystemExit(f"the sample has {found:,} rows of {table}: SEGMENTS_A_CALL is too high")
            connection.commit()
            connection.execute("vacuum")
        (Path(folder) / "sample" / "audio_analysis.sqlite").rename(path)


def export(file: Path, folder: Path) -> None:
    """Write every table as COPY's text."""
    folder.mkdir(exist_ok=True)
    with closing(sqlite3.connect(file)) as connection:
        for table in TABLES:
            with (folder / f"{table}.txt").open("w", encoding="utf-8") as text:
                for row in connection.execute(f"select * from {table} order by id"):  # noqa: S608
                    text.write("\t".join(map(_copy_text, row)) + "\n")


def _copy_text(value: Any) -> str:
    if not isinstance(value, str):
        return "\\N" if value is None else repr(value)
    return value.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")
