"""Old months of the partitioned tables as files: written, proved, dropped from the database, and brought back."""

from callytics.archives.archive import archive_months, months_to_archive
from callytics.archives.months import Archived, Month, all_months
from callytics.archives.restore import restore_month

__all__ = [
    "Archived",
    "Month",
    "all_months",
    "archive_months",
    "months_to_archive",
    "restore_month",
]
