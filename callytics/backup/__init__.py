"""Backups of a provisioned database, and the proof that they can be restored: pgBackRest does the copying.

Everything here runs on the database's host as the account that PostgreSQL runs as; deploy/backup.py provisions it.
"""
