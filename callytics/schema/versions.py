"""Which migrations this version brings, and which of them a database has; read without yoyo, which takes a while."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from callytics.exceptions import MigrationError, NewerSchema, NotMigrated
from callytics.postgres.sql import Connection, Queries
from callytics.postgres.text import counted

SQL = Queries(Path(__file__).with_name("migrate.sql"))

# What yoyo calls its own table, and ours: the contents of what was applied.
APPLIED = "_yoyo_migration"
CONTENTS = "_callytics_migration"
# A folder of its own, since yoyo applies whatever lies beside the others.
OPTIONAL = "optional"


def migrations_folder() -> Path:
    """Return where the migrations lie: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).parents[1]
    inside = package / "migrations"
    return inside if inside.is_dir() else package.parent / "migrations"


def migrations() -> dict[str, Path]:
    """Return the files of this version's migrations by id, in their order; MigrationError where there are none."""
    folder = migrations_folder()
    if not (found := _in(folder)):
        raise MigrationError(f"no migrations in {folder}: install the package again")
    return found


def optional() -> dict[str, Path]:
    """Return the files of the migrations that can be left out, by id."""
    return _in(migrations_folder() / OPTIONAL)


def paths() -> dict[str, Path]:
    """Return the files of all migrations by id, those that can be left out included."""
    return migrations() | optional()


def newest() -> str:
    """Return the number of the newest migration that this version brings: ``0057``."""
    return list(migrations())[-1].partition(".")[0]


def check(connection: Connection) -> None:
    """Refuse a database that lacks migrations of this version (NotMigrated) or has newer ones (NewerSchema).

    Nothing is written or locked; the database has to be asked once.
    """
    if missing := pending(connection):
        count = f"{counted(len(missing), 'migration')} not applied, {missing[0]} first"
        raise NotMigrated(f"database {connection.info.dbname} has {count}: run 'callytics migrate'")
    check_not_newer(connection)


def check_not_newer(connection: Connection) -> None:
    """Refuse a database that has migrations after all of this version's, which then knows less than is there."""
    last = list(migrations())[-1]
    if foreign := [migration for migration in unknown(connection) if migration > last]:
        raise NewerSchema(
            f"database {connection.info.dbname} was migrated by a newer version of Callytics ({foreign[-1]}): "
            "install that version"
        )


def pending(connection: Connection) -> list[str]:
    """Return the ids of the migrations that are not applied, in their order; nothing is written or locked."""
    applied = _recorded(connection, APPLIED, "migration_id")
    return [migration for migration in migrations() if migration not in applied]


def edited(connection: Connection) -> list[str]:
    """Return the ids of the applied migrations whose file is not what was applied; nothing is written or locked."""
    contents = {migration: sha256(path) for migration, path in paths().items()}
    recorded = _recorded(connection, CONTENTS, "sha256")
    return sorted(known for known, content in recorded.items() if contents.get(known, content) != content)


def unknown(connection: Connection) -> list[str]:
    """Return the ids of the applied migrations that this version does not bring; nothing is written or locked."""
    return sorted(_recorded(connection, APPLIED, "migration_id").keys() - paths().keys())


def check_way_back(ids: Iterable[str]) -> None:
    """Raise NewerSchema for a migration that is not this version's, MigrationError for one that has no rollback."""
    known = paths()
    for migration in ids:
        if migration not in known:
            raise NewerSchema(
                f"migration {migration} is of a newer version of Callytics: go back with that version's command"
            )
        if not known[migration].with_suffix(".rollback.sql").is_file():
            raise MigrationError(f"migration {migration} can't be rolled back: restore a backup from before it")


def last(connection: Connection) -> str | None:
    """Return the id of the migration that was applied last, by the clock; None where none is."""
    applied = _recorded(connection, APPLIED, "applied_at_utc")
    return max(applied, key=lambda one: (applied[one], one), default=None)


def later(connection: Connection, to: str) -> list[str]:
    """Return the ids of what was applied after the migration ``to``, the newest first; nothing is written or locked.

    ``to`` is an id or its number, as ``callytics --version`` shows it. Raises MigrationError where it is not applied.
    """
    applied = _recorded(connection, APPLIED, "applied_at_utc")
    found = [one for one in applied if to in (one, one.partition(".")[0])]
    if not found:
        raise MigrationError(f"migration {to} is not applied: name one that is, or leave everything as it is")
    by_time = sorted(applied, key=lambda one: (applied[one], one), reverse=True)
    return by_time[: by_time.index(found[0])]


def sha256(path: Path) -> str:
    """Return the digest of a migration's SQL, the same wherever git has put other line ends."""
    # Read as text, which turns CR LF into LF.
    return hashlib.sha256(path.read_text(encoding="utf-8").encode()).hexdigest()


def _in(folder: Path) -> dict[str, Path]:
    return {path.stem: path for path in sorted(folder.glob("*.sql")) if not path.stem.endswith(".rollback")}


def _recorded(connection: Connection, table: str, column: str) -> dict[str, Any]:
    """Return a column of what is recorded of each applied migration, by the migration's id."""
    if not SQL.value(connection, "relation_exists", {"name": table}):
        return {}
    return dict(SQL.rows(connection, "recorded", table=table, column=column))
