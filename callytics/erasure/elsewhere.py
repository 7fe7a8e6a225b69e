"""Where else a person's rows are: files of archived months, snapshots of imports, and backups, each with what to do."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from psycopg2.extensions import connection as Connection

from callytics.archives.files import reading
from callytics.exceptions import ErasureError
from callytics.postgres.sql import Queries
from callytics.postgres.text import counted, text_path
from callytics.schema.belongings import belongings

SQL = Queries(Path(__file__).with_name("erasure.sql"))
# How COPY writes what would end a value, https://www.postgresql.org/docs/15/sql-copy.html#id-1.9.3.55.9.2
ESCAPES = str.maketrans({"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"})


@dataclass(frozen=True)
class Sought:
    """What tells that a row of a file is a person's: ids by the table they are of, and paths of recordings."""

    ids: Mapping[str, Sequence[int]] = field(default_factory=dict)
    paths: Sequence[str] = ()

    def columns(self, table: str) -> dict[str, set[bytes]]:
        """Return, by column of a table, the values as COPY writes them."""
        declared = belongings()[table]
        refers = dict(declared.goes_with)
        if table == "audit_log":
            refers = {"calls": "audio_files", "agent_id": "agent_profiles", "subject_id": "agent_profiles"}
        wanted = {
            column: {str(number).encode() for number in self.ids[parent]}
            for column, parent in refers.items()
            if parent in self.ids
        }
        if declared.path and self.paths:
            wanted[declared.path] = {path.translate(ESCAPES).encode() for path in self.paths}
        return wanted


def archives_with(connection: Connection, sought: Sought) -> Iterator[tuple[dict[str, Any], Path]]:
    """Yield the archived files, with their records, that hold rows of a person.

    Reads every file of the tables concerned. Raises ``ErasureError`` for one of a month that is away and can't be read:
    what is in it is unknown.
    """
    for archive in SQL.all(connection, "archives"):
        columns = sought.columns(archive["table"])
        path = Path(text_path(archive["folder"]), archive["file"])
        if not columns:
            continue
        try:
            if _holds(path, archive["columns"], columns):
                yield archive, path
        except (OSError, EOFError, zlib.error) as error:
            if archive["away"]:
                raise ErasureError(
                    f"the archive {path} can't be read, so whether rows of it have to be erased is unknown: put it "
                    "back, or leave the archives out with --skip-archives"
                ) from error


def _holds(path: Path, names: Sequence[str], columns: Mapping[str, set[bytes]]) -> bool:
    wanted = {names.index(column): values for column, values in columns.items() if column in names}
    with reading(path) as text:
        for line in text:
            cells = line.rstrip(b"\n").split(b"\t")
            # An array is one value, written as {1,2}.
            if any(
                not values.isdisjoint(cells[place].strip(b"{}").split(b",")) or cells[place] in values
                for place, values in wanted.items()
            ):
                return True
    return False


def files_left(connection: Connection, erasures: Sequence[int]) -> list[str]:
    """Return a line for each file and snapshot of an import that still holds what was erased."""
    found = [Path(text_path(path)) for (path,) in SQL.rows(connection, "files", {"erasures": list(erasures)})]
    return [
        f"{path} ({'here' if path.exists() else 'not on this machine'}) holds it still: delete it once no 'callytics "
        "verify', 'sync' or 'undo' of its import is needed"
        for path in found
    ]


def backups_left(connection: Connection) -> str:
    """Return what to do about backups: none of them can be changed, so each holds it until it goes."""
    count, since = SQL.rows(connection, "backups")[0] if SQL.value(connection, "has_backups") else (0, None)
    if not count:
        return "backups made before, by pg_dump or of disks, hold it until you delete them"
    return (
        f"it stays in {counted(count, 'backup')} since {since:%Y-%m-%d}, and in the WAL between, until that expires: "
        "'callytics backup list' shows them, and after a restore from one this command has to be run again"
    )
