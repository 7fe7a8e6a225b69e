"""Callytics on PostgreSQL: schema, import and proof for call-centre analyses kept in SQLite."""

__version__ = "0.2.0"
