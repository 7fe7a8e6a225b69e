"""Calls and their analyses: one model, writing, reading, search, paging."""
