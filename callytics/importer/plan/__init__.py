"""The plan of an import: its steps, the ids it takes, and the workers that do it."""
