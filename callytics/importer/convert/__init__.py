"""From what SQLite holds to what PostgreSQL can hold: one value, one column, one chunk."""
