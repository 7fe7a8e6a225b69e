"""Whether a database can take our schema, and an import."""
