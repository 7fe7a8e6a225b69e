"""Connections to PostgreSQL, one by one or from a pool; the driver's errors become ours here."""

from callytics.postgres.connect import connect, connected
from callytics.postgres.health import Health
from callytics.postgres.manager import PostgreSQLManager
from callytics.postgres.sql import Row
from callytics.postgres.statistics import Statistics

__all__ = ["Health", "PostgreSQLManager", "Row", "Statistics", "connect", "connected"]
