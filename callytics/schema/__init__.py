"""The database's schema: migrations, and whether all of it is as it should be."""
