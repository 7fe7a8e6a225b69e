"""The errors that a user can do something about.

``str(error)`` is the one line that a user sees: it names the thing, what is wrong with it and what to do. It never
contains a password.
"""


class CallyticsError(Exception):
    """The base of all errors that a user can correct; ``exit_code`` is the process's."""

    exit_code = 1


class SettingsError(CallyticsError):
    """The environment or the .env file does not say how to reach the database."""


class DatabaseUnavailable(CallyticsError):
    """PostgreSQL can't be reached, refuses the login, or can't be started."""


class ReadOnlyServer(DatabaseUnavailable):
    """The server takes no writes: it is a standby, or was set to read only."""


class LacksResources(DatabaseUnavailable):
    """The server lacks memory or another resource; nothing was stored."""


class DiskFull(LacksResources):
    """The server has no disk space left; nothing was stored."""


class SchemaChanged(DatabaseUnavailable):
    """A table was changed while a session held a prepared statement that reads it; nothing was stored."""


class OutcomeUnknown(DatabaseUnavailable):
    """A write that may or may not be stored: its connection was lost, or no standby has confirmed it."""


class PoolExhausted(CallyticsError):
    """Every connection was in use for as long as the caller was willing to wait."""


class PrivilegeMissing(CallyticsError):
    """The connected role lacks a privilege."""


class TooSlow(CallyticsError):
    """A statement or its wait for a lock exceeded the time limit and was cancelled; nothing of it was stored."""


class RowRefused(CallyticsError):
    """A value that its column can't store unchanged."""


class InvalidAnalysis(CallyticsError):
    """An invalid part of a call's analysis; the message names element and field, but no value."""


class AnalysisNotFound(CallyticsError):
    """A recording or session that does not exist."""


class InvalidSearch(CallyticsError):
    """An invalid filter, cursor or page size."""


class MigrationError(CallyticsError):
    """The schema can't be migrated to the version that this program needs."""


class NotMigrated(MigrationError):
    """The database lacks tables, columns or functions that this version needs."""


class NewerSchema(MigrationError):
    """The database was migrated by a newer version of Callytics."""


class SourceError(CallyticsError):
    """A SQLite file that can't be used."""


class SnapshotUnreadable(SourceError):
    """A snapshot that SQLite can no longer read, or has no room or memory to."""


class TargetError(CallyticsError):
    """A PostgreSQL database that can't take the import."""


class ArchiveError(CallyticsError):
    """A month that can't be archived or restored, or a file of one that is gone or was changed."""


class ErasureError(CallyticsError):
    """A call or an agent that is not there to be erased, or that an archived month holds."""


class OutputRefused(CallyticsError):
    """A file that a report, or metrics, must not be written to."""


class BackupError(CallyticsError):
    """A backup, a restore or a trial of one that can't be made."""


class DrillFailed(BackupError):
    """A trial restore that did not give back what was backed up."""

    exit_code = 4


class ClusterError(CallyticsError):
    """A cluster that can't be asked, or can't be told something without a loss."""


class AgentError(CallyticsError):
    """An agent's account that does not exist, or can't be created or changed that way."""


class PasswordRefused(CallyticsError):
    """A new password that is not acceptable."""


class LoginRefused(CallyticsError):
    """The login was refused. The message is the same for every reason, so that it does not help to guess."""

    def __init__(self) -> None:
        super().__init__("the login was refused: check username and password, or try again later")


class TooManyLogins(CallyticsError):
    """More logins arrived than passwords can be checked. This one was neither checked nor counted."""

    def __init__(self) -> None:
        super().__init__("too many are logging in at once: try again in a moment")


class NotAuthenticated(CallyticsError):
    """The token is not, or no longer, that of a login. The message is the same for every reason."""

    def __init__(self) -> None:
        super().__init__("nobody is logged in, or no longer: log in again")


class NotPermitted(CallyticsError):
    """The agent lacks the permission."""


class ListenError(CallyticsError):
    """An address that the service can't listen on."""


class Interrupted(CallyticsError):
    """The user interrupted a command that can be resumed."""

    exit_code = 130
