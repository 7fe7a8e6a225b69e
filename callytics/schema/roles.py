"""The four roles of a deployment by their usual names; settings may name another owner and another application."""

from __future__ import annotations

from callytics.settings import Settings

# Owns the tables: migrates and imports.
OWNER = "callytics_owner"
# The application: reads and writes rows.
APPLICATION = "callytics_user"
# These look and never write.
READERS = ("callytics_readonly", "callytics_monitor")


def application(settings: Settings) -> str:
    """Return the role that is granted what the application needs.

    With one login for everything it owns the tables and needs no grant; then the usual name is meant, so that the
    application may still come by a login of its own.
    """
    owner, _password = settings.login(owner=True)
    return APPLICATION if settings.user == owner else settings.user
