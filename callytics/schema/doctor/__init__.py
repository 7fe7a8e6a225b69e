"""The doctor: what it asks, what it finds, and what to do about it."""
