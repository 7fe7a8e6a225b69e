"""Connections to PostgreSQL, one by one or from a pool; the driver's errors become ours here."""

from callytics.postgres.connect import connect, connected
from callytics.postgres.manager import Health, PostgreSQLManager, Row, Statistics

__all__ = ["Health", "PostgreSQLManager", "Row", "Statistics", "connect", "connected"]
