"""What were the application's audio and quality databases: calls, what was measured of them, said and concluded."""

from __future__ import annotations

from callytics.calls.reading import Reading
from callytics.calls.recordings import Recordings
from callytics.calls.search import Search
from callytics.calls.sessions import Sessions


class MultiDatabaseManager(Recordings, Sessions, Reading, Search):
    """Calls in PostgreSQL: stored all or nothing, read whichever generation they were imported from.

    Every method has an async counterpart, prefixed with ``a``. All join the manager's open transaction.
    Elements are dicts whose fields are their table's columns (the application's short names are understood too), or
    the models of `callytics.calls.models`. Whatever does not fit raises InvalidAnalysis before anything is stored; it
    names index and field (``segments[3].start_time: is required``) and no value. A recording or session that is not
    there raises AnalysisNotFound. Rows come as dicts by column, times as datetimes with a zone.
    """
