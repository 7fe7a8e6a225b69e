"""Rows into the target: loaded, staged, refused, handed over."""
