"""The SQLite side: snapshots, reading, and the mappings of source tables to target tables."""
