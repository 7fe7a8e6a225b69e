"""Sample files of which each is made once in a process, since the same arguments give the same bytes."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from callytics.trial import sample


def write_sample(path: Path, *, generation: int, calls: int, seed: int) -> dict[str, int]:
    """Write what callytics.trial.sample.write_sample does: making even one call takes a fifth of a second."""
    rows, files = _made(generation, calls, seed)
    if generation == 3:
        path.mkdir(exist_ok=True)
    for name, content in files.items():
        (path / name).write_bytes(content)
    return dict(rows)


@cache
def _made(generation: int, calls: int, seed: int) -> tuple[dict[str, int], dict[str, bytes]]:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "sample"
        rows = sample.write_sample(path, generation=generation, calls=calls, seed=seed)
        files = {"": path} if path.is_file() else {file.name: file for file in path.iterdir()}
        return rows, {name: file.read_bytes() for name, file in files.items()}
