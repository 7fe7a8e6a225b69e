"""What an import and a later sync cost, before either is done: estimates from what this version took when measured."""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

# Written by benchmarks/cost_model.py.
MEASURED = Path(__file__).with_name("costs.toml")
# A sync is estimated for so many rows that differ: a day's work of most installations is less.
CHANGED = 0.01


@dataclass(frozen=True)
class Costs:
    """Seconds of an import and of a sync's downtime, and the bytes that the database grows by."""

    seconds: float
    downtime_seconds: float
    target_bytes: int


def costs_of(
    rows: int | None, size_bytes: int, tables: int, cores: int | None = None, *, changed: float = CHANGED
) -> Costs:
    """Estimate the costs of files with so many rows, bytes and tables on so many cores (None: this machine's).

    Without rows they are as many as such files usually have. The downtime is that of a sync after a part of the rows
    was ``changed``. Costs were measured on two cores: more are counted as two, since ``--jobs`` is two unless said
    otherwise.
    """
    measured, cores = _measured(), cores or len(os.sched_getaffinity(0))
    loading, catching_up, space = measured["import"], measured["sync"], measured["space"]
    rows = size_bytes // measured["row"]["bytes"] if rows is None else rows
    # A row costs by its values and by their length: half and half.
    units = (rows + size_bytes / measured["row"]["bytes"]) / 2
    # Of small files the tables cost more than the rows.
    shared_cpu = tables * loading["table_seconds"] + units * loading["row_seconds"]
    sync_cpu = (
        catching_up["start_seconds"]
        + rows * changed * catching_up["row_seconds"]
        + size_bytes * catching_up["byte_seconds"]
    )
    return Costs(
        # Until there is a plan, one core is busy.
        loading["start_seconds"] + shared_cpu / min(cores, loading["busy_cores"]),
        sync_cpu / min(cores, catching_up["busy_cores"]),
        int(tables * space["table_bytes"] + rows * space["row_bytes"] + size_bytes * space["bytes_per_byte"]),
    )


@cache
def _measured() -> dict[str, Any]:
    return tomllib.loads(MEASURED.read_text(encoding="utf-8"))
