"""How a server's connections are divided among its roles, so that no role can use up another's."""

from __future__ import annotations

from dataclasses import dataclass

# Per host, besides the service's pool: the partitions timer, and commands that an administrator runs.
SPARE = 3
# superuser_reserved_connections, as PostgreSQL has it.
RESERVED = 3
MONITOR = 3
MOST_OWNER, MOST_READONLY = 20, 10
# An import with its usual two jobs has five connections: its session's, and two for each worker.
LEAST_OWNER, LEAST_READONLY = 5, 1
USUAL = 100


@dataclass(frozen=True)
class Demand:
    """What the application hosts need: each runs one service with a pool of this many connections."""

    app_hosts: int
    pool: int

    @property
    def application(self) -> int:
        """Return the most connections that the application's role uses."""
        return self.app_hosts * (self.pool + SPARE)

    @property
    def wanted(self) -> int:
        """Return how many connections a server should have to give every role its most."""
        return max(USUAL, self.application + RESERVED + MONITOR + MOST_OWNER + MOST_READONLY)

    def limits(self, max_connections: int) -> dict[str, int]:
        """Return each role's connection limit on a server with ``max_connections``; their sum never exceeds it.

        The application and the monitor get all they need; the owner and the readers share the rest. Raises ValueError,
        with what to change, if the application's pools do not fit.
        """
        rest = max_connections - RESERVED - MONITOR - self.application
        if rest < LEAST_OWNER + LEAST_READONLY:
            raise ValueError(self._too_many(max_connections))
        # Imports come first: the owner keeps its least, and two thirds of what is above it.
        readonly = min(MOST_READONLY, max(LEAST_READONLY, (rest - LEAST_OWNER) // 3))
        return {
            "callytics_owner": min(MOST_OWNER, rest - readonly),
            "callytics_user": self.application,
            "callytics_readonly": readonly,
            "callytics_monitor": MONITOR,
        }

    def _too_many(self, max_connections: int) -> str:
        others = RESERVED + MONITOR + LEAST_OWNER + LEAST_READONLY
        fits = (max_connections - others) // self.app_hosts - SPARE
        hosts = f"{self.app_hosts} application host{'s' * (self.app_hosts > 1)}"
        return (
            f"POSTGRES_MAX_CONNECTIONS {self.pool}: {hosts} and those who administer the database take up to "
            f"{self.application + others} connections, its machine has memory for {max_connections}: "
            + (f"set it to {fits} at most, or give the machine more memory" if fits > 0 else "give it more memory")
        )
