"""The server runs with what its files say. Reloads and restarts follow from its state, not from what this run changed.

So the next run completes one that was killed after it wrote a file and before it restarted the server.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import Any

from pyinfra import host
from pyinfra.api import FactBase, StringCommand, operation

from deploy.operations.cluster.psql import JsonFact, port_of, run_sql
from deploy.operations.file_times import ModificationTimes
from deploy.operations.hosts import failing

# A reload returns before the server has read its files.
WAIT_SECONDS = 30


class SettingsState(JsonFact):
    """When the server last read its files, what is wrong in them, and which settings await a restart."""

    query = "settings"


class Startable(FactBase[bool]):
    """Whether Debian's unit has a server here that may be started by it."""

    def command(self, cluster: str) -> str:
        """Return the command that asks."""
        folder = f"/etc/postgresql/{cluster}"
        return f"[ -f {folder}/postgresql.conf ] && ! grep -qs disabled {folder}/start.conf && echo yes || echo no"

    def process(self, output: list[str]) -> bool:
        """Return the answer."""
        return output == ["yes"]


def is_stale(state: Mapping[str, Any], written: dict[str, float]) -> bool:
    """Return whether a file was written after the server had read it."""
    return any(time > state["loaded"] for time in written.values())


@operation()
def none_past_the_files(cluster: str) -> Generator[StringCommand, None, None]:
    """Reset what was set by ALTER SYSTEM or ALTER ROLE ALL, both of which take precedence over the files.

    A standby has its own of the first kind, which would count once it leads.
    """
    state = host.get_fact(SettingsState, cluster=cluster) or {"altered": [], "everybody": []}
    statements = []
    if state["altered"]:
        statements.append("alter system reset all")
    if state["everybody"] and not state.get("standby"):
        # The roles' own settings stay: deploy/roles.py declares them.
        statements.append("alter role all reset all")
    if statements:
        yield run_sql(statements, cluster=cluster, transaction=False)
    else:
        host.noop("nothing was set past the files")


@operation()
def in_force(cluster: str, files: Sequence[str]) -> Generator[StringCommand, None, None]:
    """Start the server if it is down, reload it if ``files`` are newer, restart it if a setting requires that.

    Fails, and names the mistake, if the files have one: the server is then left running as it is, as it might not come
    back from a restart.
    """
    state = host.get_fact(SettingsState, cluster=cluster)
    members = "cluster" in host.groups
    if state is None and members and not host.get_fact(Startable, cluster=cluster):
        host.noop("Patroni starts this member's server")
        return
    if state is None:
        yield StringCommand("systemctl start", unit_of(cluster))
        yield wait_until_ready(cluster)
        state = host.get_fact(SettingsState, cluster=cluster)
    if wrong := _errors(state):
        yield failing(wrong)
        return
    # While changes are collected, mistakes pass the check above: the files that correct them are yet to be written.
    if is_stale(state, host.get_fact(ModificationTimes, paths=files)) or _mistakes(state):
        yield _reload(cluster)
        state = host.get_fact(SettingsState, cluster=cluster)
        if wrong := _errors(state):
            yield failing(wrong)
            return
    # Those of a cluster are restarted at the end, in turn: deploy/failover.py.
    if state["pending_restart"] and not members:
        yield StringCommand("systemctl restart", unit_of(cluster))
        yield wait_until_ready(cluster)


def unit_of(cluster: str) -> str:
    """Return the systemd unit of ``cluster``: postgresql@15-main of 15/main."""
    return f"postgresql@{cluster.replace('/', '-')}"


def wait_until_ready(cluster: str) -> StringCommand:
    """Return the command that waits until the server accepts connections, and fails after half a minute."""
    return StringCommand(
        f"for _ in $(seq {WAIT_SECONDS * 10}); do pg_isready -q -p {port_of(cluster)} && exit 0; sleep 0.1; done;",
        f"pg_isready -p {port_of(cluster)}",
    )


def _reload(cluster: str) -> StringCommand:
    """Return the command that reloads the server and waits until new sessions have the new settings.

    Without the wait, the next operation could be refused by the pg_hba.conf that has just been replaced.
    """
    loaded = f"runuser -u postgres -- psql -X -qAt -p {port_of(cluster)} -d postgres -c 'select pg_conf_load_time()'"
    # Without Debian's unit where Patroni has started the server.
    handed_over = f"kill -HUP $(head -n 1 /var/lib/postgresql/{cluster}/postmaster.pid)"
    reload = handed_over if "cluster" in host.groups else f"systemctl reload {unit_of(cluster)}"
    return StringCommand(
        f"cd / && before=$({loaded}) && {reload} &&",
        f'for _ in $(seq {WAIT_SECONDS * 10}); do [ "$({loaded})" != "$before" ] && exit 0; sleep 0.1; done;',
        "echo 'the server does not read its files' >&2; exit 1",
    )


def _errors(state: Mapping[str, Any] | None) -> str:
    # In a dry run and while changes are collected, the mistake may be what this run is about to correct.
    if not host.state.is_executing:
        return ""
    if state is None:
        return "the server does not answer on its local socket: see its log"
    mistakes = "; ".join(_mistakes(state))
    return mistakes and f"the server was left as it runs, its files have mistakes: {mistakes}"


def _mistakes(state: Mapping[str, Any]) -> list[str]:
    return [*state["errors"], *(f"pg_hba.conf {error}" for error in state["hba_errors"])]
