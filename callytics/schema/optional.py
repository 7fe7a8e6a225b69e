"""Migrations that can be left out: applied and taken back one by one, by name."""

from __future__ import annotations

from yoyo.migrations import MigrationList

from callytics.exceptions import MigrationError
from callytics.schema import versions
from callytics.schema.migrate import Backend, Report, failures_of, migrate, read
from callytics.settings import Settings


def add(settings: Settings, name: str, *, report: Report) -> list[str]:
    """Apply an optional migration, those that are missing before it, and return the ids of all that were applied.

    Killed at any moment, it is gone on with by the same call. Raises MigrationError for a name that there is not, and
    as :func:`migrate` does.
    """
    _check(name)
    applied = migrate(settings, report=report)
    with failures_of("the migrations", settings), Backend(settings=settings, report=report) as backend, backend.lock():
        missing = backend.to_apply(_named(name))
        backend.apply_migrations(missing)
    return [*applied, *(migration.id for migration in missing)]


def take_back(settings: Settings, name: str, *, report: Report) -> list[str]:
    """Roll an optional migration back, and return its id, or nothing where it was not applied.

    Raises MigrationError for a name that there is not, and as :func:`migrate` does.
    """
    _check(name)
    with failures_of("the way back", settings), Backend(settings=settings, report=report) as backend, backend.lock():
        applied = backend.to_rollback(_named(name))
        backend.rollback_migrations(applied)
    return [migration.id for migration in applied]


def _named(name: str) -> MigrationList:
    return read(optional=True).filter(lambda one: one.id == name)


def _check(name: str) -> None:
    if name not in versions.optional():
        raise MigrationError(f"there is no optional migration {name}, only {', '.join(versions.optional())}")
