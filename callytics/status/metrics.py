"""What the database is like, as Prometheus reads it: a file for node exporter's textfile collector.

A program of its own beside the database needs no port and no password: it asks over the socket, and the exporter that
watches the machine reads the file.
"""

from __future__ import annotations

import re
import ssl
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from psycopg2 import errors
from psycopg2.extensions import connection as Connection

from callytics.exceptions import CallyticsError, ListenError
from callytics.postgres.connect import connected
from callytics.postgres.sql import Queries, Row
from callytics.settings import Settings
from callytics.status import member, overview, top

SQL = Queries(Path(__file__).with_suffix(".sql"))
PREFIX = "callytics_"
OTHER_CERTIFICATES = {
    "etcd": "/etc/etcd/server.crt",
    "pgBackRest": "/etc/pgbackrest/tls/server.crt",
    "node exporter": "/etc/callytics/monitoring/tls/server.crt",
}
# What a role may not see, what is locked, and what the server does not have is untold, and does not stop the rest.
UNTOLD = (
    errors.InsufficientPrivilege,
    errors.LockNotAvailable,
    errors.ObjectNotInPrerequisiteState,
    errors.QueryCanceled,
    errors.UndefinedColumn,
    errors.UndefinedTable,
)
HELP = {
    "database_up": "Whether PostgreSQL answers",
    "untold": "Whether a part could not be told, by its name",
    "metrics_seconds": "How long it took to ask for all of this",
    "server_start_timestamp_seconds": "When the server started",
    "standby": "Whether the server is a standby",
    "database_bytes": "Size of the database",
    "transactions": "Transactions that ended",
    "deadlocks": "Deadlocks",
    "temporary_bytes": "Bytes of temporary files",
    "blocks_hit": "Blocks that were found in memory",
    "blocks_read": "Blocks that were not",
    "connections": "Connections of all roles",
    "connections_limit": "Most connections that there can be",
    "schema": "The last migration that was applied",
    "role_connections": "Connections of a role with a limit of its own",
    "role_connections_limit": "That limit",
    "sessions": "Sessions by what they do",
    "longest_transaction_seconds": "Age of the oldest open transaction",
    "standby_waits": "Commits that wait for a standby to confirm them",
    "longest_standby_wait_seconds": "The longest such wait: nothing is stored meanwhile",
    "lock_waits": "Locks that are waited for",
    "longest_lock_wait_seconds": "The longest wait for a lock",
    "wal_bytes": "How much room the WAL takes",
    "wal_written_bytes": "Bytes of WAL that were written",
    "archived_files": "WAL files that were archived",
    "archive_failures": "Attempts to archive that failed",
    "archived_timestamp_seconds": "When WAL was archived last",
    "archive_failing": "Whether the last attempt to archive failed",
    "archive_waiting_files": "WAL files that wait for the archive",
    "archive_waiting_seconds": "How long the oldest of them has waited",
    "standby_streaming": "Whether a standby streams",
    "standby_behind_bytes": "How much WAL a standby has yet to apply",
    "standby_behind_seconds": "How long that takes it",
    "slot_active": "Whether a replication slot is read",
    "slot_lost": "Whether it has lost WAL that its reader needs",
    "slot_held_bytes": "How much WAL it keeps",
    "standbys_confirming": "Standbys that can confirm what is stored, where one has to",
    "standby_follows": "Whether a standby receives what another server writes",
    "timeline": "The timeline, which changes whenever another server leads",
    "table_rows": "Rows of a table, as the server estimates",
    "table_dead_rows": "Rows that vacuum has yet to remove",
    "table_inserted_rows": "Rows that were added",
    "table_bytes": "Size of a table with its indexes",
    "invalid_indexes": "Indexes that no query uses because their making failed",
    "sequence_used_ratio": "How much of its numbers a sequence has given out",
    "transaction_ids_used_ratio": "How much of the transaction ids is used up until a vacuum",
    "multixact_ids_used_ratio": "The same of multixact ids",
    "imports": "Imports by verdict",
    "import_timestamp_seconds": "When the newest import with that verdict began",
    "statement_calls": "How often a statement ran, by its number",
    "statement_seconds": "How long it took in all",
    "statement_rows": "How many rows it touched",
    "statement_blocks_read": "Blocks that it did not find in memory",
    "partitions_ahead_months": "Months after this one for which there are partitions, -1 without this month's",
    "certificate_expires_timestamp_seconds": "When a certificate of the host ends, by whose it is",
    "etcd_healthy": "Whether the member's etcd has a leader and takes writes",
    "etcd_used_ratio": "How much of its quota etcd takes",
    "failsafe": "Whether the leader goes on without etcd, so that nobody can take over",
}


class Database(Collector):
    """Everything that the database tells at one moment; ``error`` is why it told nothing.

    Where this host is a cluster's member etcd and Patroni tell how they are, too.
    """

    def __init__(self, settings: Settings) -> None:
        self.error: CallyticsError | None = None
        self._families: dict[str, Metric] = {}
        began = time.monotonic()
        try:
            with connected(settings) as connection:
                # Each query is on its own: what one can't tell must not end the others.
                connection.set_session(readonly=True, autocommit=True)
                top.SQL.run(connection, "settle")
                for part, ask in PARTS.items():
                    self._told(part, ask, connection)
        except CallyticsError as error:
            self.error = error
            self._families.clear()
        if address := member.here():
            self._add([*member.told(address), *_ends({"Patroni": member.certificate(address)})])
        self._add([{"database_up": self.error is None, "metrics_seconds": time.monotonic() - began}])

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics."""
        yield from self._families.values()

    def text(self) -> str:
        """Return them in Prometheus's text format."""
        registry = CollectorRegistry(auto_describe=False)
        registry.register(self)
        return generate_latest(registry).decode()

    def _told(self, part: str, ask: Callable[[Connection], Iterable[Row]], connection: Connection) -> None:
        try:
            found, untold = [*ask(connection)], False
        except UNTOLD:
            found, untold = [], True
        self._add([*found, {"part": part, "untold": untold}])

    def _add(self, rows: Iterable[Row]) -> None:
        for row in rows:
            labels = {name: value for name, value in row.items() if isinstance(value, str)}
            for name, value in row.items():
                if name not in labels and value is not None:
                    self._family(name, [*labels]).add_metric([*labels.values()], float(value))

    def _family(self, name: str, labels: list[str]) -> Any:
        short = name.removesuffix("_total")
        kind = GaugeMetricFamily if short == name else CounterMetricFamily
        if name not in self._families:
            self._families[name] = kind(PREFIX + short, HELP[short], labels=labels)
        return self._families[name]


class _Asking(Collector):
    """The database anew for each scrape."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def collect(self) -> Iterator[Metric]:
        yield from Database(self.settings).collect()


def serve(settings: Settings, host: str, port: int) -> None:
    """Answer whoever asks at an address with the metrics of that moment, until the process is stopped.

    A database that does not answer is a metric, too. Raises ListenError where nobody can listen there.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Asking(settings))
    try:
        _server, thread = start_http_server(port, host, registry)
    except OSError as error:
        raise ListenError(f"can't listen on {host}:{port} ({error.strerror}): name another address") from error
    thread.join()


def _asked(query: str) -> Callable[[Connection], list[Row]]:
    return lambda connection: SQL.all(connection, query)


def _statements(connection: Connection) -> list[Row]:
    place = top.SQL.one(connection, "statistics_of_statements")
    return SQL.all(connection, "statements", None, view=place["view"]) if place else []


def _partitions(connection: Connection) -> list[Row]:
    return [{"partitions_ahead_months": overview.SQL.value(connection, "months_ahead")}]


def _certificate(connection: Connection) -> Iterator[Row]:
    """Yield when the certificates end, where this program runs beside the server and may read them.

    Besides the server's own those by which a cluster's members, the backups' hosts and those of monitoring know each
    other.
    """
    path = SQL.value(connection, "certificate")
    if path and Path(path).is_absolute() and Path(path).is_file():
        files = {name: Path(file) for name, file in {"PostgreSQL": path, **OTHER_CERTIFICATES}.items()}
        yield from _ends({name: _read(file) for name, file in files.items()})


def _read(file: Path) -> str | None:
    """Return a file's text, None where there is none or it is not this account's to read."""
    try:
        return file.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return None


def _ends(certificates: Mapping[str, str | None]) -> Iterator[Row]:
    """Yield when each certificate ends that is one."""
    for name, text in certificates.items():
        command = ["openssl", "x509", "-noout", "-enddate"]
        said = subprocess.run(command, input=text or "", capture_output=True, text=True, check=False).stdout
        if found := re.search("notAfter=(.+)", said):
            ends = ssl.cert_time_to_seconds(found[1])
            yield {"certificate": name, "certificate_expires_timestamp_seconds": ends}


PARTS: dict[str, Callable[[Connection], Iterable[Row]]] = {
    **{query: _asked(query) for query in SQL if query not in ("statements", "certificate")},
    "statements": _statements,
    "partitions": _partitions,
    "certificate": _certificate,
}
