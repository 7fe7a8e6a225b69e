"""Calls and their analyses: one model, writing, reading, search, paging."""

from callytics.calls.manager import MultiDatabaseManager

__all__ = ["MultiDatabaseManager"]
