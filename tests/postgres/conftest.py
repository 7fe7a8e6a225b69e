"""Fixtures that several files of tests share."""

from __future__ import annotations

from tests.support.house import homes, house

__all__ = ["homes", "house"]
