"""PostgreSQL's cluster as declared: its roles, databases, settings and connections."""
