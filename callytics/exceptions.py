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


class MigrationError(CallyticsError):
    """The schema can't be brought to where this version needs it."""


class SourceError(CallyticsError):
    """A SQLite file that can't be used."""


class TargetError(CallyticsError):
    """A PostgreSQL database that can't take the import."""


class Interrupted(CallyticsError):
    """The user stopped a command that can go on later."""

    exit_code = 130
