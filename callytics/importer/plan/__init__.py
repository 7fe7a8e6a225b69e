"""The plan of an import: its steps, its ids, and the workers that execute it."""
