"""SQLite to PostgreSQL: one public function a verb, and what they take and return.

Nothing in this package knows the command line: progress and outcomes are plain values, and the caller that receives
Ctrl-C passes it on through ``Options.cancellation``. Errors are ``CallyticsError`` with a one-line message that never
quotes a value.
"""

from callytics.importer.commands.import_ import check_target, import_files, plan_files
from callytics.importer.commands.inspect_ import inspect_file
from callytics.importer.commands.sync import sync_files
from callytics.importer.commands.timezone import Wanted, change_timezone
from callytics.importer.commands.undo import check_undo, undo_import
from callytics.importer.commands.verify_ import verify_files
from callytics.importer.options import PHASE, Cancellation, Limits, Options, Progress, zone_named
from callytics.importer.outcome import EXIT_CODES, Outcome, Synced
from callytics.importer.plan.graph import Group, Plan, drawing
from callytics.importer.plan.zones import Choice
from callytics.importer.profile import Profile, TableProfile
from callytics.importer.records.zones import RunZones
from callytics.importer.session import INTERRUPTED
from callytics.importer.source.folders import FolderContents, files_of
from callytics.importer.times import Disagreement, TimeColumn

__all__ = [
    "EXIT_CODES",
    "INTERRUPTED",
    "PHASE",
    "Cancellation",
    "Choice",
    "Disagreement",
    "FolderContents",
    "Group",
    "Limits",
    "Options",
    "Outcome",
    "Plan",
    "Profile",
    "Progress",
    "RunZones",
    "Synced",
    "TableProfile",
    "TimeColumn",
    "Wanted",
    "change_timezone",
    "check_target",
    "check_undo",
    "drawing",
    "files_of",
    "import_files",
    "inspect_file",
    "plan_files",
    "sync_files",
    "undo_import",
    "verify_files",
    "zone_named",
]
