"""SQL on a database host: as the superuser over the local socket, from stdin, ending at the first error.

Nothing here calls a function that an application role could have defined: the superuser would lend it its rights.
"""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

from pyinfra.api import FactBase, QuoteString, StringCommand

# Nobody's functions or operators in another schema can hide those of the catalogue.
OPTIONS = "-c search_path=pg_catalog -c client_min_messages=warning -c lock_timeout=10s"
# A verifier is a secret too: the statement that sets it stays out of the server's log.
QUIET = "-c log_statement=none -c log_min_error_statement=panic -c log_min_duration_statement=-1"
# psql reads the statements' text from stdin only: an argument would be seen in ps. Terse errors quote no statement.
PSQL = "psql -X -q -A -t -v ON_ERROR_STOP=1 -v VERBOSITY=terse"


def identifier(name: str) -> str:
    """Return ``name`` quoted as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Return ``text`` quoted as an SQL string, with standard_conforming_strings on as it is by default."""
    return "'" + text.replace("'", "''") + "'"


def port_of(cluster: str) -> str:
    """Return shell words for the port where ``cluster``, such as 15/main, listens now, whatever its files say.

    If it does not run, this is port 1, where nothing listens: a default of 5432 could be another cluster.
    """
    return f'"$(sed -n 4p /var/lib/postgresql/{cluster}/postmaster.pid 2>/dev/null | grep . || echo 1)"'


def run_sql(
    statements: list[str], *, cluster: str, database: str = "postgres", quiet: bool = False, transaction: bool = True
) -> StringCommand:
    """Return the command that runs ``statements`` as the superuser, all or none of them.

    ``quiet`` keeps them out of the server's log. Without ``transaction`` each is committed by itself, which CREATE
    DATABASE and ALTER SYSTEM require.
    """
    return StringCommand(
        *_psql(cluster, database, f"{OPTIONS} {QUIET}" if quiet else OPTIONS),
        "--single-transaction -f -" if transaction else "-f -",
        _stdin="".join(f"{statement};\n" for statement in statements),
    )


class JsonFact(FactBase[Any]):
    """The JSON document that a query of ``sql/`` returns; None if no server answers or the database does not exist."""

    abstract = True
    query: str

    def command(self, cluster: str, database: str = "postgres") -> StringCommand:
        """Return the query's command; it succeeds on a host without a server, as before the first run."""
        return StringCommand(
            f"if command -v psql >/dev/null && cd / && runuser -u postgres -- psql -X -p {port_of(cluster)} -c '' -d",
            QuoteString(database),
            ">/dev/null 2>&1; then",
            *_psql(cluster, database, OPTIONS),
            f"-f - <<'END_OF_QUERY'\n{read_query(self.query)}\nEND_OF_QUERY\nfi",
        )

    def process(self, output: list[str]) -> Any:
        """Return the document."""
        return json.loads("\n".join(output))


def read_query(name: str) -> str:
    """Return the text of ``sql/NAME.sql``."""
    return resources.files(__package__).joinpath("sql", f"{name}.sql").read_text(encoding="utf-8")


def _psql(cluster: str, database: str, options: str) -> list[Any]:
    return [
        "cd / && runuser -u postgres -- env",
        QuoteString(f"PGOPTIONS={options}"),
        f"{PSQL} -p {port_of(cluster)} -d",
        QuoteString(database),
    ]
