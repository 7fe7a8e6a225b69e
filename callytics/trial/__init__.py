"""To try things: a private PostgreSQL, and sample databases of every generation."""
