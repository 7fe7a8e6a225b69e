"""Erasing persons: all that belongs to a call or an agent leaves the database, and does not come back."""

from callytics.erasure.erase import Erasure, Person, check, erase

__all__ = ["Erasure", "Person", "check", "erase"]
