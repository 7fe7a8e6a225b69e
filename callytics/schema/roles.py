"""The four roles of a deployment, by the names that migrations grant to; an installation may have others."""

from __future__ import annotations

# Owns the tables: migrates and imports.
OWNER = "callytics_owner"
# The application: reads and writes rows.
APPLICATION = "callytics_user"
# These look and never write.
READERS = ("callytics_readonly", "callytics_monitor")
