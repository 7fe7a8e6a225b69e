"""The metrics of the service: requests by route, searches, statements, and the connection pool.

Slow ones are exemplars in OpenMetrics: the id of their request, by which the log knows more, and nothing they held.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from callytics.agents.asking import REQUEST_ID
from callytics.postgres import PostgreSQLManager
from callytics.postgres.standbys import Reads

# In seconds, up to the limit of an answer and past it.
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
# Most statements take a millisecond; the server ends one after 15 s.
STATEMENT_BUCKETS = (0.001, 0.0025, *BUCKETS)
# Of these there are few enough for each to be worth a look.
SLOW_SECONDS = 0.25

# Metric: (field of the pool's statistics, help text). Metrics keep their names: dashboards and alerts use them.
GAUGES = {
    "callytics_pool_connections": ("size", "Open connections to the database"),
    "callytics_pool_connections_in_use": ("in_use", "Connections in use"),
    "callytics_pool_connections_idle": ("idle", "Idle connections"),
    "callytics_pool_connections_limit": ("limit", "Most connections that may be open"),
    "callytics_pool_waiting": ("waiting", "Callers waiting for a connection"),
    "callytics_database_waits_for_standby": (
        "waits_for_standby",
        "Whether the last health check found that nothing is stored until a standby confirms it",
    ),
}
COUNTERS = {
    "callytics_database_queries": ("queries", "Statements run"),
    "callytics_database_query_errors": ("errors", "Statements that failed"),
    "callytics_database_query_seconds": ("query_seconds", "Time spent running statements"),
    "callytics_pool_waits": ("waits", "Callers that had to wait for a connection"),
    "callytics_pool_wait_seconds": ("wait_seconds", "Time spent waiting for a connection"),
    "callytics_pool_timeouts": ("timeouts", "Callers that got no connection in time"),
    "callytics_pool_connections_opened": ("opened", "Connections opened"),
    "callytics_pool_connections_closed": ("closed", "Connections closed"),
}


class Metrics:
    """One application's metrics, in their own registry: prometheus_client's default one is global."""

    def __init__(self, postgres: PostgreSQLManager, reads: Reads) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "callytics_http_requests",
            "Requests answered, by route template",
            ("method", "route", "status"),
            registry=self.registry,
        )
        self._seconds = Histogram(
            "callytics_http_request_seconds",
            "Time until a request was answered",
            ("method", "route"),
            buckets=BUCKETS,
            registry=self.registry,
        )
        self._searches = Histogram(
            "callytics_search_seconds",
            "Time that a page of a search for words took",
            ("of",),
            buckets=BUCKETS,
            registry=self.registry,
        )
        self._statements = Histogram(
            "callytics_database_statement_seconds",
            "Time that a statement took",
            ("outcome",),
            buckets=STATEMENT_BUCKETS,
            registry=self.registry,
        )
        self._in_progress = Gauge(
            "callytics_http_requests_in_progress", "Requests being answered", registry=self.registry
        )
        self.registry.register(PoolCollector(postgres))
        if reads.standbys:
            self.registry.register(ReadsCollector(reads))
        postgres.observe(self.executed)

    def in_progress(self) -> AbstractContextManager[None]:
        """Count a request as being answered."""
        return self._in_progress.track_inprogress()

    def count(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request that was answered."""
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(method, route).observe(seconds, _exemplar(seconds))

    @contextmanager
    def searching(self, of: Literal["calls", "transcripts"]) -> Iterator[None]:
        """Time what runs inside as a search, also where it fails."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.searched(of, time.perf_counter() - began)

    def searched(self, of: Literal["calls", "transcripts"], seconds: float) -> None:
        """Count a page of a search that took so long."""
        self._searches.labels(of).observe(seconds, _exemplar(seconds))

    def executed(self, seconds: float, failed: bool) -> None:
        """Count a statement that took so long."""
        self._statements.labels("failed" if failed else "done").observe(seconds, _exemplar(seconds))

    def exposed(self, accept: str) -> tuple[bytes, str]:
        """Return all metrics, without a query, and their media type: OpenMetrics for who accepts it, else plain."""
        encode, media_type = choose_encoder(accept)
        return encode(self.registry), media_type


def _exemplar(seconds: float) -> dict[str, str] | None:
    request_id = REQUEST_ID.get()
    return {"request_id": request_id} if request_id and seconds >= SLOW_SECONDS else None


class PoolCollector(Collector):
    """The pool's own numbers, read when Prometheus asks."""

    def __init__(self, postgres: PostgreSQLManager) -> None:
        self.postgres = postgres

    def describe(self) -> Iterator[Metric]:
        """Name nothing beforehand: registering must not read the pool."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """Yield the numbers."""
        now = self.postgres.statistics()
        for name, (field, text) in GAUGES.items():
            yield GaugeMetricFamily(name, text, value=getattr(now, field))
        for name, (field, text) in COUNTERS.items():
            yield CounterMetricFamily(name, text, value=getattr(now, field))


class ReadsCollector(Collector):
    """Where reads went, with standbys by their places in POSTGRES_READ_HOST: whoever scrapes need not learn names."""

    def __init__(self, reads: Reads) -> None:
        self.reads = reads

    def describe(self) -> Iterator[Metric]:
        """Name nothing beforehand."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """Yield the numbers."""
        counted = CounterMetricFamily("callytics_reads", "Reads that standbys may serve", labels=("server",))
        counted.add_metric(("primary",), self.reads.by_primary)
        counted.add_metric(("standby",), self.reads.by_standby)
        ready = GaugeMetricFamily("callytics_read_standby_ready", "Whether reads go to a standby", labels=("standby",))
        lag = GaugeMetricFamily("callytics_read_standby_lag_seconds", "At most, at the last read", labels=("standby",))
        for number, standby in enumerate(self.reads.standbys, 1):
            ready.add_metric((str(number),), standby.state == "ready")
            if standby.lag is not None:
                lag.add_metric((str(number),), standby.lag)
        yield from (counted, ready, lag)
