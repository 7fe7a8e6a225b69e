"""Finding calls: conditions, pages, and what was said."""
