"""What is known of whoever asks, wherever it is needed below the routes."""

from __future__ import annotations

from contextvars import ContextVar

# What the service's log calls the request that is being answered, also in the threads that work for it; the command
# line has none.
REQUEST_ID: ContextVar[str | None] = ContextVar("callytics request id", default=None)
