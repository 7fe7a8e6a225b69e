"""The schema's migrations: applied by yoyo, and proof against being killed, run twice at once, or edited.

``callytics migrate`` and ``yoyo apply`` share one yoyo backend (yoyo.ini names it: ``callytics://``). It connects by
our settings, so that any password works and the owner's credentials are used, and mends what yoyo 9.0.0 leaves open:

- yoyo commits a migration and its mark apart. Here they are one transaction, and what a plain yoyo left half recorded
  is found and repaired.
- yoyo's lock is a row that a killed run leaves behind. Here an advisory lock, which dies with its connection, says who
  runs, so that a row without a run can be removed.
- yoyo knows a migration by its name. Here its content is remembered too, and an edited one is refused.

That is the price of yoyo: twelve of its methods are overridden, two of them private, so that setup.cfg's bound on its
version is a real one. Look at each of them before raising it.
"""

from __future__ import annotations

import glob
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import psycopg2
from psycopg2 import errors
from psycopg2.extensions import connection as Connection
from yoyo import exceptions as yoyo_exceptions
from yoyo import read_migrations
from yoyo.backends.core.postgresql import PostgresqlBackend
from yoyo.connections import DatabaseURI, parse_uri
from yoyo.migrations import Migration, MigrationList, default_migration_table
from yoyo.scripts.main import InvalidArgument

from callytics.exceptions import CallyticsError, MigrationError, NotMigrated
from callytics.postgres.connect import ConfirmedCursor, connect, refuse_read_only
from callytics.postgres.errors import ours, raised_by, summary
from callytics.postgres.sql import Queries
from callytics.schema import made, partitions, roles, versions
from callytics.schema.catalogue import catalogue
from callytics.schema.readiness import fitness
from callytics.settings import Settings, forget_libpq

Report = Callable[[str], None]

SQL = Queries(Path(__file__).with_suffix(".sql"))
URI = parse_uri("callytics://")
ADVISORY_LOCK = int.from_bytes(b"callyti", "big")
# Short enough for a person who waits, long enough not to fill the server's log.
POLL_SECONDS = 0.5
# With lock_timeout = 3s in the migrations, a busy table is tried for about a minute.
LOCK_ATTEMPTS = 15

# A transaction is all or nothing: where it already did something, it did everything.
ALREADY_THERE = (errors.DuplicateTable, errors.DuplicateSchema, errors.DuplicateObject, errors.DuplicateFunction)


class OwnerCursor(ConfirmedCursor):
    """A cursor for migrations of an owner with any name.

    Those before 0058 read current_user as an identifier, which fails for a name in capitals or with a hyphen. They were
    applied elsewhere as they are, and so stay as they are.
    """

    def execute(self, query: Any, vars: Any = None) -> None:
        """Execute a statement, with the owner's name quoted."""
        if isinstance(query, str):
            query = query.replace("current_user::regrole", "quote_ident(current_user)::regrole")
        super().execute(query, vars)


class Refused(MigrationError, InvalidArgument):  # type: ignore[misc]  # yoyo has no types
    """A MigrationError that the ``yoyo`` command shows as one line too."""


def migrate(settings: Settings, *, report: Report) -> list[str]:
    """Apply every migration that is missing, as the owner, and return their ids.

    Waits for another run to end. Each migration is committed together with its mark, so that a killed run is gone on
    with by the next one; building indexes concurrently, which no transaction can hold, is repaired first. The months'
    partitions come last. Raises MigrationError when a migration fails or was edited after it was applied, or when the
    database is not what they make after the last of them; and DatabaseUnavailable.
    """
    with failures_of("the migrations", settings), Backend(settings=settings, report=report) as backend:
        versions.check_not_newer(backend.connection)
        refuse_read_only(backend.connection)
        backend.init_database()
        with backend.lock():
            missing = backend.to_apply(read())
            backend.apply_migrations(missing)
        _check_result(backend, bool(missing))
    return [migration.id for migration in missing]


def roll_back(settings: Settings, to: str, *, report: Report) -> list[str]:
    """Roll back every migration that was applied after ``to``, the newest first, as the owner, and return their ids.

    What counts is when they were applied, not their numbers. Rows of tables that remain are kept. Raises MigrationError
    where ``to`` is not applied, or one of them is another version's or has no way back, before any is rolled back; and
    as :func:`migrate` does.
    """
    with failures_of("the way back", settings), Backend(settings=settings, report=report) as backend:
        refuse_read_only(backend.connection)
        with backend.lock():
            later = versions.later(backend.connection, to)
            known = read(optional=True)
            versions.check_way_back(later)
            backend.rollback_migrations(backend.to_rollback(known.filter(lambda one: one.id in later)))
    return later


class Backend(PostgresqlBackend):  # type: ignore[misc]  # yoyo has no types
    """yoyo's PostgreSQL backend, connected by our settings and safe to kill.

    Without ``settings`` it is the ``yoyo`` command that asks: they come from the environment and .env, errors are what
    that command shows, and progress goes to stderr.
    """

    def __init__(
        self,
        uri: DatabaseURI = URI,
        migration_table: str = default_migration_table,
        *,
        settings: Settings | None = None,
        report: Report | None = None,
    ) -> None:
        self.from_yoyo = settings is None
        if settings is None:
            forget_libpq()
        with self._shown_by_yoyo():
            self.settings = settings or Settings.load()
        self.report = report or _to_stderr
        # yoyo asks for its tables before every step; ours has to be created once.
        self._contents_table_ensured = False
        super().__init__(uri, migration_table)

    def connect(self, _uri: DatabaseURI) -> Connection:
        """Connect as the owner, in yoyo's autocommit mode."""
        with self._shown_by_yoyo():
            connection = connect(self.settings, owner=True)
        connection.autocommit = True
        connection.cursor_factory = OwnerCursor
        SQL.run(connection, "application", {"application": roles.application(self.settings)})
        # Before yoyo makes its own tables, and says of a refusal what it does not mean.
        with self._shown_by_yoyo():
            fitness.check_fit(connection)
        # A schema of the owner's name would otherwise catch the tables.
        self.schema = "public"
        return connection

    def copy(self) -> Backend:
        """Return a backend with a connection of its own."""
        copy = Backend(self.uri, self.migration_table, settings=self.settings, report=self.report)
        copy.from_yoyo = self.from_yoyo
        return copy

    @contextmanager
    def lock(self, timeout: float = 10) -> Iterator[None]:
        """Wait until no other run is left, remove the lock of one that was killed, and lock."""
        if self._is_locked:
            yield
            return
        with self._advisory_lock():
            self._break_stale_lock()
            # yoyo takes whatever refuses its row for a lock: this lets a server that takes no writes say so itself.
            SQL.run(self.connection, "try_to_write")
            with super().lock(timeout):
                yield

    def init_database(self) -> None:
        """Create yoyo's tables, after ours: yoyo passes over what refuses them, and then misses them."""
        # A table of an older yoyo's, or of another program, which yoyo would begin to alter.
        if not SQL.value(self.connection, "relation_exists", {"name": "_yoyo_version"}):
            self._refuse_another_program()
        # IF NOT EXISTS only looks beforehand: of two runs at once, one would fail for what the other has just made.
        with self._advisory_lock():
            SQL.run(self.connection, "create_contents_table")
            super().init_database()

    def ensure_internal_schema_updated(self) -> None:
        """Create yoyo's tables, and ours: the contents of what is applied."""
        super().ensure_internal_schema_updated()
        if not self._contents_table_ensured:
            self._contents_table_ensured = True
            SQL.run(self.connection, "create_contents_table")

    def to_apply(self, migrations: MigrationList) -> MigrationList:
        """Return what is not applied; before that, repair what a killed run left, and refuse edited migrations."""
        # In this order: a repair unmarks migrations, and what is unmarked must not be compared with its file.
        self.ensure_internal_schema_updated()
        self._drop_invalid_indexes(migrations)
        self._unmark_what_is_not_there(migrations)
        self._refuse_edited(migrations)
        missing = super().to_apply(migrations)
        self._refuse_others(missing)
        return missing

    def apply_migrations(self, migrations: MigrationList, force: bool = False) -> None:
        """Apply migrations; where none is left, make the months' partitions, which a killed run may have missed."""
        super().apply_migrations(migrations, force)
        if not versions.pending(self.connection):
            self._make_partitions()

    def apply_one(self, migration: Migration, force: bool = False, mark: bool = True) -> None:
        """Apply a migration and mark it, in one transaction if it allows for one."""
        self.report(f"Applying {migration.id}")
        migration.load()
        with failures_of(f"migration {migration.id}", self.settings):
            try:
                self._until_unlocked(lambda: self._apply_and_mark(migration, force, mark))
            except ALREADY_THERE:
                if not migration.use_transactions or not self._is_there(migration):
                    raise
                self.report(f"{migration.id} was applied by a run that was killed before it was marked: marking it")
                self.mark_migrations([migration])

    def rollback_one(self, migration: Migration, force: bool = False) -> None:
        """Roll a migration back and unmark it, in one transaction if it allows for one."""
        self.report(f"Rolling back {migration.id}")
        migration.load()
        with failures_of(f"the rollback of migration {migration.id}", self.settings):
            self._until_unlocked(lambda: self._rollback_and_unmark(migration, force))

    def mark_one(self, migration: Migration, log: bool = True) -> None:
        """Mark a migration as applied and remember its content."""
        super().mark_one(migration, log)
        self._remember(migration)

    def unmark_one(self, migration: Migration, log: bool = True) -> None:
        """Unmark a migration and forget its content."""
        super().unmark_one(migration, log)
        SQL.run(self.connection, "forget", {"migration": migration.id})

    def _apply_and_mark(self, migration: Migration, force: bool, mark: bool) -> None:
        if not migration.use_transactions:
            super().apply_one(migration, force, mark)
            return
        with self.transaction():
            migration.process_steps(self, "apply", force=force)
            self.log_migration(migration, "apply")
            if mark:
                self.mark_one(migration, log=False)

    def _rollback_and_unmark(self, migration: Migration, force: bool) -> None:
        if not migration.use_transactions:
            super().rollback_one(migration, force)
            return
        with self.transaction():
            migration.process_steps(self, "rollback", force=force)
            self.log_migration(migration, "rollback")
            self.unmark_one(migration, log=False)

    def _make_partitions(self) -> None:
        ahead = {"months": partitions.MONTHS}
        missing = SQL.all(self.connection, "missing_months", ahead)
        for month in missing:
            self._until_unlocked(partial(SQL.run, self.connection, "make_month", month))
        if self._until_unlocked(partial(SQL.value, self.connection, "keep_partitions", ahead)) or missing:
            self.report(f"Partitions made for this month and the next {partitions.MONTHS}")

    def _until_unlocked(self, run: Callable[[], Any]) -> Any:
        """Run again while a table is too busy to be locked; nobody waits behind us between two attempts."""
        for _ in range(LOCK_ATTEMPTS - 1):
            try:
                return run()
            except errors.LockNotAvailable:
                self.report("a table is busy, trying again")
                time.sleep(POLL_SECONDS)
        return run()

    @contextmanager
    def _advisory_lock(self) -> Iterator[None]:
        """Hold the lock that one run at a time can hold.

        It is asked for again and again instead of waited for: a waiting statement keeps a snapshot, and CREATE INDEX
        CONCURRENTLY in the other run would wait for that snapshot to end, as this would wait for the other run.
        """
        told = False
        while not SQL.value(self.connection, "lock", {"lock": ADVISORY_LOCK}):
            if not told:
                self.report("Waiting for another run to end")
            told = True
            time.sleep(POLL_SECONDS)
        try:
            yield
        finally:
            with suppress(psycopg2.Error):
                SQL.run(self.connection, "unlock", {"lock": ADVISORY_LOCK})

    def _insert_lock_row(self, pid: int, timeout: float, poll_interval: float = 0.5) -> None:
        # Negative, so that `stale_lock` tells our runs, which hold the advisory lock, from a plain yoyo's.
        super()._insert_lock_row(-pid, timeout, poll_interval)

    def _delete_lock_row(self, pid: int) -> None:
        super()._delete_lock_row(-pid)

    def _break_stale_lock(self) -> None:
        if SQL.value(self.connection, "stale_lock"):
            self.report("Removing the lock of a run that was killed")
            self.break_lock()

    def _drop_invalid_indexes(self, migrations: MigrationList) -> None:
        """Drop indexes whose building was interrupted, and unmark their migrations, so that they are built again."""
        for migration in migrations:
            for _, index, table in made.indexes(migration):
                if SQL.value(self.connection, "invalid_index", {"index": index}):
                    self._drop_invalid_index(index, table)
                    self._unmark(migration)

    def _drop_invalid_index(self, index: str, table: str) -> None:
        # A killed client's server may still be building it, and holds this lock until it has ended.
        with self.transaction():
            SQL.run(self.connection, "wait_for_builder", table=table)
        if SQL.value(self.connection, "invalid_index", {"index": index}):
            self.report(f"Dropping {index}, whose building was interrupted")
            SQL.run(self.connection, "drop_index", index=index)

    def _unmark_what_is_not_there(self, migrations: MigrationList) -> None:
        """Unmark migrations that a plain yoyo rolled back before it was killed."""
        for migration in self.to_rollback(migrations):
            if self._is_gone(migration):
                self.report(f"{migration.id} is marked but not there: applying it again")
                self._unmark(migration)

    def _is_gone(self, migration: Migration) -> bool:
        """Return whether nothing of a migration is there, or one of the indexes that it built without a transaction.

        One table missing of many is not what a rollback leaves: somebody dropped it, which is not for us to repair.
        """
        return (bool(found := self._found(migration)) and not any(found)) or any(
            SQL.value(
                self.connection, "missing_index", {"index": index, "table": table, "kind": "r" if concurrently else "p"}
            )
            and not self._is_deferred(index)
            for concurrently, index, table in made.indexes(migration)
        )

    def _is_deferred(self, index: str) -> bool:
        """Return whether an import dropped an index for its load and will bring it back."""
        # Their migration may not be applied yet, or may just have been rolled back.
        recorded = SQL.value(self.connection, "relation_exists", {"name": "imports.definitions"})
        return bool(recorded and SQL.value(self.connection, "deferred_index", {"index": index}))

    def _is_there(self, migration: Migration) -> bool:
        return bool(found := self._found(migration)) and all(found)

    def _found(self, migration: Migration) -> list[bool]:
        """Return of every table, view and routine that a migration creates whether it is there."""
        return [SQL.value(self.connection, query, {"name": name}) for query, name in made.created(migration)]

    def _unmark(self, migration: Migration) -> None:
        if self.is_applied(migration):
            self.unmark_migrations([migration])

    def _refuse_edited(self, migrations: MigrationList) -> None:
        """Raise Refused when an applied migration's file is not what was applied; remember what plain yoyo applied."""
        for migration in self.to_rollback(migrations):
            known = SQL.value(self.connection, "content", {"migration": migration.id})
            if known is None:
                self._remember(migration)
            elif known != versions.sha256(Path(migration.path)):
                raise Refused(
                    f"migration {migration.id} was edited after it was applied: restore {migration.path} "
                    "and put the change into a new migration"
                )

    def _refuse_others(self, missing: MigrationList) -> None:
        """Raise Refused where something of another program has the name of what a migration is going to make.

        CREATE … IF NOT EXISTS would take it for ours. A migration of which all is there was applied by a run that was
        killed before it was marked.
        """
        self._refuse_another_program()
        ids = {migration.id for migration in missing}
        known = {name for one in read() if one.id not in ids for name in made.relations(one)}
        for migration in missing:
            names = set(made.relations(migration)) - known
            known |= names
            taken = fitness.taken(self.connection, names)
            if taken and len(taken) < len(names):
                raise Refused(
                    f"{', '.join(taken[:3])} {'is' if len(taken) == 1 else 'are'} in database {self.settings.database} "
                    f"already, and not from Callytics: rename or drop {'it' if len(taken) == 1 else 'them'}, or set "
                    "POSTGRES_DB to a database of its own"
                )

    def _refuse_another_program(self) -> None:
        if foreign := versions.unknown(self.connection):
            raise Refused(
                f"database {self.settings.database} has migrations of another program ({foreign[0]}): give Callytics a "
                "database of its own, and set POSTGRES_DB to it"
            )

    def _remember(self, migration: Migration) -> None:
        content = {"migration": migration.id, "sha256": versions.sha256(Path(migration.path))}
        SQL.run(self.connection, "remember", content)

    @contextmanager
    def _shown_by_yoyo(self) -> Iterator[None]:
        try:
            yield
        except CallyticsError as error:
            if self.from_yoyo:
                raise Refused(str(error)) from None
            raise


def _check_result(backend: Backend, applied: bool) -> None:
    """Raise Refused unless the database is what the migrations make; report it where none had to be applied.

    Then somebody has changed it since, which is for the doctor to tell of and no reason to stop a deployment.
    """
    if not (wrong := catalogue.check(backend.connection)):
        return
    more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
    line = f"every migration is applied, but {wrong[0]}{more}: 'callytics doctor' says what to do"
    if applied:
        raise Refused(line)
    backend.report(line)


def read(*, optional: bool = False) -> MigrationList:
    """Return this version's migrations as yoyo reads them, with ``optional`` those too that can be left out."""
    files = versions.migrations() | (versions.optional() if optional else {})
    return read_migrations(*dict.fromkeys(glob.escape(str(path.parent)) for path in files.values()))


def _to_stderr(line: str) -> None:
    sys.stderr.write(line + "\n")


@contextmanager
def failures_of(subject: str, settings: Settings) -> Iterator[None]:
    """Turn the driver's and yoyo's errors into one line without any row's values."""
    try:
        yield
    except psycopg2.Error as error:
        found = ours(error, settings, owner=True)
        # What a migration misses can't be put right by migrating.
        reason = summary(error) if found is None or isinstance(found, NotMigrated) else str(found)
        raise Refused(f"{subject} failed: {reason}{raised_by(error)}") from error
    except yoyo_exceptions.LockTimeout as error:
        raise Refused(f"{subject} can't run: {error}") from None
