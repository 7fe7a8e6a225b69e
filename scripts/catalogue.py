"""Compare what the migrations make with what is written down of it: ``python -m scripts.catalogue [--update]``.

``callytics doctor`` and ``callytics migrate`` compare databases with ``callytics/schema/catalogue/catalogue.json``.
This starts a private PostgreSQL, applies the migrations and asks its catalogue; a test does the same.
"""

from __future__ import annotations

import secrets
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from yoyo.migrations import MigrationList

from callytics.postgres import connect
from callytics.schema.catalogue.catalogue import EXPECTED, Contents, text_of
from callytics.schema.migrate import Backend, read
from callytics.schema.optional import take_back
from callytics.schema.versions import optional
from callytics.settings import Settings
from callytics.trial.embedded import EmbeddedPostgres


@contextmanager
def migrated() -> Iterator[Settings]:
    """Lend a database that has all migrations and nothing else; nothing that is written down is read."""
    with tempfile.TemporaryDirectory() as folder, EmbeddedPostgres(Path(folder) / "server") as server:
        settings = Settings(("127.0.0.1",), server.port, "catalogue", "callytics_user", secrets.token_hex())
        server.provide(settings)
        with Backend(settings=settings, report=lambda line: None) as backend:
            backend.init_database()
        apply(settings, read())
        yield settings


def apply(settings: Settings, migrations: MigrationList) -> None:
    """Apply migrations, without a look at what is written down of them."""
    with Backend(settings=settings, report=lambda line: None) as backend, backend.lock():
        backend.apply_migrations(backend.to_apply(migrations))


def contents(settings: Settings) -> Contents:
    """Return what the database consists of."""
    with closing(connect(settings, owner=True)) as connection:
        return Contents.of(connection)


def with_each(settings: Settings, names: Iterable[str]) -> dict[str, Contents]:
    """Return what the database consists of with each optional migration, of which it keeps none."""
    found = {}
    for name in names:
        apply(settings, read(optional=True).filter(lambda one, name=name: one.id == name))
        found[name] = contents(settings)
        take_back(settings, name, report=lambda line: None)
    return found


def main() -> None:
    """Write the file, or end with 1 where it is not what the migrations make."""
    with migrated() as settings:
        text = text_of(contents(settings), with_each(settings, optional()))
    if "--update" in sys.argv:
        EXPECTED.write_text(text, encoding="utf-8")
    elif text != EXPECTED.read_text(encoding="utf-8"):
        sys.exit(f"{EXPECTED} is not what the migrations make: python -m scripts.catalogue --update")


if __name__ == "__main__":
    main()
