"""What can go wrong for a reason the user can do something about.

``str(error)`` is the one line a user sees: it names the thing, what is wrong with it and what to do. It never
holds a password.
"""


class CallyticsError(Exception):
    """Something the user can put right; ``exit_code`` is what the process ends with."""

    exit_code = 1


class SettingsError(CallyticsError):
    """The environment or the .env file does not say how to reach the database."""


class DatabaseUnavailable(CallyticsError):
    """PostgreSQL can't be reached, refuses the login, or can't be started."""


class ReadOnlyServer(DatabaseUnavailable):
    """The server takes no writes: it is a standby, or was set to read only."""


class OutcomeUnknown(DatabaseUnavailable):
    """The connection was lost while something was being stored; it may be stored, or not."""


class PoolExhausted(CallyticsError):
    """Every connection was in use for as long as the caller was willing to wait."""


class PrivilegeMissing(CallyticsError):
    """The role that is connected has not been granted what it tried to do."""


class TooSlow(CallyticsError):
    """A statement, or its wait for a lock, took longer than it may and was stopped; nothing of it was stored."""


class RowRefused(CallyticsError):
    """A value that can't be stored as it is in the column it is meant for."""


class InvalidAnalysis(CallyticsError):
    """A part of a call's result that can't be stored; tells which element and field, and nothing of what was said."""


class AnalysisNotFound(CallyticsError):
    """A recording or a session that is not there."""


class InvalidSearch(CallyticsError):
    """An invalid filter, cursor or page size."""


class MigrationError(CallyticsError):
    """The schema can't be brought to where this version needs it."""


class NotMigrated(MigrationError):
    """The database lacks tables, columns or functions that this version needs."""


class NewerSchema(MigrationError):
    """The database was migrated by a newer version of Callytics than this."""


class SourceError(CallyticsError):
    """A SQLite file that can't be used."""


class TargetError(CallyticsError):
    """A PostgreSQL database that can't take the import."""


class OutputRefused(CallyticsError):
    """A file that a report must not be written to."""


class AgentError(CallyticsError):
    """An agent's account that is not there, or can't be made or changed that way."""


class PasswordRefused(CallyticsError):
    """A new password that is not good enough."""


class LoginRefused(CallyticsError):
    """Username and password let nobody in; nothing tells why."""

    def __init__(self) -> None:
        super().__init__("the login was refused: check username and password, or try again later")


class NotAuthenticated(CallyticsError):
    """The token is not one of a login in force; nothing tells why."""

    def __init__(self) -> None:
        super().__init__("nobody is logged in, or no longer: log in again")


class NotPermitted(CallyticsError):
    """The agent's permissions do not reach that far."""


class ListenError(CallyticsError):
    """An address that the service can't listen on."""


class Interrupted(CallyticsError):
    """The user stopped a command that can go on later."""

    exit_code = 130
