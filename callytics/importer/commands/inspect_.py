"""Inspect: what is in a file, and what an import would do with it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from psycopg2.extensions import connection as Connection

from callytics.exceptions import DatabaseUnavailable, MigrationError, PrivilegeMissing, TargetError
from callytics.importer.options import Options, Progress
from callytics.importer.profile import Profile, profile_file
from callytics.importer.session import borrowed_snapshot
from callytics.importer.source.reader import Source
from callytics.postgres import errors
from callytics.schema.readiness.importing import check_ready, import_connection
from callytics.settings import Settings


def inspect_file(file: Path, options: Options, progress: Progress, settings: Settings | None = None) -> Profile:
    """Return what is in a file and what an import would do with each value, by the import's own conversion.

    Needs no server, and leaves nothing behind: the snapshot that it reads is removed. With ``settings``, the codes of
    the file are looked up in that database, if it has any; the profile notes why where that is not possible. Raises
    ``SourceError`` if the file is not an intact SQLite database or holds no tables.
    """
    with borrowed_snapshot(file, options) as snapshot:
        source = Source(snapshot.path, str(file), options.limits)
        if settings is None or not _has_codes(source):
            return profile_file(source, snapshot, options, progress)
        try:
            with _target(settings) as target:
                return profile_file(source, snapshot, options, progress, target)
        except (DatabaseUnavailable, MigrationError, PrivilegeMissing, TargetError) as error:
            profile = profile_file(source, snapshot, options, progress)
            profile.uncompared = str(error)
            return profile


def _has_codes(source: Source) -> bool:
    mapped = (one for table_mappings in source.table_mappings.values() for one in table_mappings)
    return any(one.mapping.same_by for one in mapped)


@contextmanager
def _target(settings: Settings) -> Iterator[Connection]:
    with errors.translated(settings, owner=True), closing(import_connection(settings)) as connection:
        check_ready(connection, writes=False)
        yield connection
