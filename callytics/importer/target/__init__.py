"""The PostgreSQL side: its catalogue, loading, verifying, comparing and staging."""
