"""The completion report's words and figures in a language: words/en.toml, words/ko.toml."""

from __future__ import annotations

import re
import tomllib
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).with_name("words")
UNITS = ("B", "kB", "MB", "GB", "TB", "PB")
# Stands where nothing was recorded.
NOTHING = "–"


class Words:
    """Everything that is said in one language (`en`, `ko`), with times of one zone."""

    def __init__(self, language: str, zone: tzinfo = UTC) -> None:
        self.language = language
        self.zone = zone
        self.texts: dict[str, Any] = tomllib.loads((FOLDER / f"{language}.toml").read_text(encoding="utf-8"))

    def __call__(self, name: str, **values: object) -> str:
        """Return a text with its values filled in; those are taken as they are."""
        return str(self.texts[name]).format(**values)

    def count(self, noun: str, number: int) -> str:
        """Return a number with its noun: 1 row, 2 rows; 2개 행."""
        forms: list[str] = self.texts["counted"][noun]
        return forms[0 if number == 1 else -1].format(n=self.number(number))

    def number(self, number: float | None) -> str:
        """Return a number with its thousands apart."""
        return NOTHING if number is None else f"{number:,.0f}"

    def rate(self, rows: int, seconds: float | None) -> str:
        """Return rows per second."""
        return self("per_second", n=self.number(rows / seconds)) if seconds else NOTHING

    def bytes(self, size: int | None) -> str:
        """Return a size in decimal units, to three digits or so."""
        if size is None:
            return NOTHING
        value, power = float(size), 0
        # Where three digits would round up to the next unit: 999.6 kB is 1.0 MB.
        while abs(value) >= 999.5 and power < len(UNITS) - 1:
            value, power = value / 1000, power + 1
        return f"{value:,.0f} {UNITS[power]}" if power == 0 or abs(value) >= 99.95 else f"{value:.1f} {UNITS[power]}"

    def seconds(self, seconds: float | None) -> str:
        """Return a duration: 41 ms, 7.3 s, 4 min 12 s, 3 h 20 min."""
        if seconds is None:
            return NOTHING
        # The limits of units lie where the rounded figure would read 1000 ms or 60.0 s.
        if seconds < 0.9995:
            return self("milliseconds", n=f"{seconds * 1000:.0f}")
        if seconds < 59.95:
            return self("seconds", n=f"{seconds:.1f}")
        minutes, rest = divmod(round(seconds), 60)
        if minutes < 60:
            return self("minutes_seconds", m=minutes, s=rest)
        return self("hours_minutes", h=self.number(minutes // 60), m=minutes % 60)

    def moment(self, moment: datetime | None) -> str:
        """Return a moment in the zone, with the zone's name."""
        if moment is None:
            return NOTHING
        return self("moment", day=self.day(moment), time=f"{moment.astimezone(self.zone):%H:%M:%S}", zone=self.zone)

    def day(self, moment: datetime) -> str:
        """Return the day that a moment has in the zone."""
        local = moment.astimezone(self.zone)
        return self("day", year=local.year, month=self.texts["months"][local.month - 1], day=local.day)

    def normalisation(self, name: str) -> str:
        """Return what a normalisation means; its own name where it is not known."""
        return str(self.texts["normalisation"].get(name, name))

    def reason(self, reason: str) -> str:
        """Return the reason of a reject in the language, as far as its words are known."""
        for pattern, text in self.texts["reason"].items():
            if match := re.fullmatch(pattern, reason):
                return str(text).format(*match.groups())
        return reason
