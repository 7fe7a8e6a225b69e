"""Connections to PostgreSQL, one by one or from a pool; the driver's errors become ours here."""

from typing import TYPE_CHECKING, Any

from callytics.postgres.connect import connect, connected
from callytics.postgres.sql import Row

if TYPE_CHECKING:
    from callytics.postgres.manager import PostgreSQLManager
    from callytics.postgres.pool.health import Health
    from callytics.postgres.pool.statistics import Statistics

__all__ = ["Health", "PostgreSQLManager", "Row", "Statistics", "connect", "connected"]


def __getattr__(name: str) -> Any:
    """Import what needs psycopg when it is asked for: that takes a while, which commands without a pool are spared."""
    if name in __all__:
        from callytics.postgres import manager
        from callytics.postgres.pool import health, statistics

        return next(getattr(module, name) for module in (manager, health, statistics) if hasattr(module, name))
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
