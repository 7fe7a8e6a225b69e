"""The import's own records, in the schema imports."""
