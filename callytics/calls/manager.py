"""The application's MultiDatabaseManager, whose two SQLite databases are now one in PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence

from callytics.calls.finding.search import Search
from callytics.calls.reading import Reading
from callytics.calls.recordings import Recordings
from callytics.calls.sessions import Sessions


class MultiDatabaseManager(Recordings, Sessions, Reading, Search):
    """Store calls in PostgreSQL, all or nothing, and read them, whichever generation they were imported from.

    Every method has an async counterpart, prefixed with ``a``. All join the
    manager's open transaction.
    Elements are dicts whose fields are their table's columns (the application's short names are understood too), or
    the models of `callytics.calls.models`. Invalid input raises InvalidAnalysis before anything is stored; the
    message names index and field (``segments[3].start_time: is required``) but no value. A recording or session that
    does not exist raises AnalysisNotFound. Rows are dicts by column, times are datetimes with a zone.
    """

    def seen_by(self, visible: Sequence[str] | None) -> MultiDatabaseManager:
        """Return a manager that reads the calls of these agents only, known by their names; with None, of all."""
        return MultiDatabaseManager(self.postgres, visible)
