"""SQLite to PostgreSQL: snapshot, load, verify; knows nothing of the command line."""
