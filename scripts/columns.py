"""Write the columns that an import fills, as a migrated database has them: ``python -m scripts.columns``.

``callytics inspect`` has no server to ask and reads them from ``callytics/importer/target/columns.toml``. This starts a
private PostgreSQL, applies the migrations and asks its catalogue; a test compares the file with that of its own.
"""

from __future__ import annotations

import secrets
import tempfile
from contextlib import closing
from pathlib import Path

from psycopg2.extensions import connection as Connection

from callytics.importer.source.mapping import mappings
from callytics.importer.target.catalogue import COLUMNS, Target
from callytics.schema.migrate import migrate
from callytics.schema.readiness.importing import import_connection
from callytics.settings import Settings
from callytics.trial.embedded import EmbeddedPostgres

HEAD = "# Written by `python -m scripts.columns`: the tables of the mappings, with the columns that can be written.\n"


def columns_text(connection: Connection) -> str:
    """Return the file's text for a migrated database: a table a mapping's target, a line a column."""
    target = Target(connection)
    tables = [
        f"\n[{table}]\n" + "".join(f'{name} = "{kind}"\n' for name, kind in target.columns(table).items())
        for table in sorted({mapping.target for mapping in mappings()})
    ]
    return HEAD + "".join(tables)


def main() -> None:
    """Write the file."""
    with tempfile.TemporaryDirectory() as folder, EmbeddedPostgres(Path(folder) / "server") as server:
        password = secrets.token_hex()
        settings = Settings(("127.0.0.1",), server.port, "columns", "callytics_user", password)
        server.provide(settings)
        migrate(settings, report=print)
        with closing(import_connection(settings)) as connection:
            COLUMNS.write_text(columns_text(connection), encoding="utf-8")


if __name__ == "__main__":
    main()
