"""The privileges of our roles: what they have, compared with what the migrations give them.

The migrations hold one procedure that grants everything. What it would leave is found by letting it work: in a
transaction everything is taken from the roles and granted anew, and the privileges before and after are compared. So
the privileges are written down in one place only, and what is too much is found as well as what is missing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Literal

from psycopg2.extensions import connection as Connection

from callytics.exceptions import MigrationError
from callytics.postgres.connect import connected
from callytics.postgres.sql import Queries
from callytics.schema import roles
from callytics.settings import Settings

SQL = Queries(Path(__file__).with_suffix(".sql"))

Kind = Literal["missing", "excess"]
# An object, a role ("everybody" is PUBLIC) and a privilege, as PostgreSQL names them.
Privilege = tuple[str, str, str]


@dataclass(frozen=True)
class Difference:
    """What a role lacks on an object, or has without being given it by the migrations."""

    kind: Kind
    object: str
    role: str
    privileges: tuple[str, ...]


def check(settings: Settings) -> list[Difference]:
    """Return how the roles' privileges differ from what the migrations give; nothing is changed.

    For that moment the owner's login writes in a transaction that is rolled back, so that a server that is read-only
    can't be asked. Raises MigrationError where no migration is applied or the tables are another login's, and
    DatabaseUnavailable.
    """
    with _compared(settings) as (connection, differences):
        connection.rollback()
    return differences


def apply(settings: Settings) -> list[Difference]:
    """Give the roles what the migrations give them, no more and no less, and return what differed before.

    It is one transaction: nobody lacks a privilege meanwhile. Roles that are not ours keep what they were granted by
    the owner. Raises as :func:`check` does.
    """
    with _compared(settings) as (connection, differences):
        # Without a difference not even the catalogue's rows are rewritten.
        connection.commit() if differences else connection.rollback()
    return differences


@contextmanager
def _compared(settings: Settings) -> Iterator[tuple[Connection, list[Difference]]]:
    """Yield the owner's connection, in whose open transaction the privileges are right, and what differed before."""
    with connected(settings, owner=True) as connection:
        _refuse_another_login(connection, settings)
        # Before anything is locked: a busy database must not wait for us for long.
        SQL.run(connection, "patience")
        application = roles.application(settings)
        if settings.owner_user:
            _refuse_missing(connection, application)
        SQL.run(connection, "application", {"application": application})
        before = _privileges(connection)
        SQL.run(connection, "revoke")
        SQL.run(connection, "grant")
        after = _privileges(connection)
        yield connection, [*_differences("missing", after - before), *_differences("excess", before - after)]


def _refuse_another_login(connection: Connection, settings: Settings) -> None:
    """Raise MigrationError unless we own the tables: whoever does not could neither grant nor see what is missing."""
    found = SQL.one(connection, "owner")
    if found is None:
        raise MigrationError(f"database {settings.database} has no tables of Callytics: run 'callytics migrate'")
    if found["owner"] != found["login"]:
        raise MigrationError(
            f"the tables of database {settings.database} are {found['owner']}'s: set POSTGRES_OWNER_USER to it"
        )


def _refuse_missing(connection: Connection, application: str) -> None:
    """Raise MigrationError for a role that is not there: all that the usual one has would be revoked for nothing."""
    if not SQL.value(connection, "exists", {"role": application}):
        raise MigrationError(
            f"role {application} does not exist, so no privilege was changed: create it, or correct POSTGRES_USER"
        )


def _privileges(connection: Connection) -> set[Privilege]:
    # One triple for each privilege, so that two states are compared as sets.
    return {(on, role, privilege) for on, role, privilege in SQL.rows(connection, "privileges")}


def _differences(kind: Kind, privileges: set[Privilege]) -> Iterator[Difference]:
    for (on, role), group in groupby(sorted(privileges), key=itemgetter(0, 1)):
        yield Difference(kind, on, role, tuple(privilege for _object, _role, privilege in group))
