"""The models of a call that are rows of tables."""

from __future__ import annotations

from collections.abc import Iterator

from callytics.calls import models
from callytics.calls.parts import Part


def every_model(model: type[Part] = Part) -> Iterator[type[Part]]:
    for child in model.__subclasses__():
        if child.table and child.__module__ == models.__name__:
            yield child
        yield from every_model(child)


def tables() -> list[str]:
    """Return the tables that a call's analysis is stored in."""
    return sorted({model.table for model in every_model()})
