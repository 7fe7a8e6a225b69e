"""PostgreSQL's cluster: there, complete and with checksums."""

from __future__ import annotations

from collections.abc import Generator

from pyinfra import host
from pyinfra.api import FactBase, StringCommand, operation

from deploy.operations.cluster.server_settings import SettingsState, unit_of, wait_until_ready
from deploy.operations.debian_packages import to_the_end
from deploy.operations.hosts import failing


class ClusterState(FactBase[dict[str, bool]]):
    """Whether a cluster has its configuration, whether it has data, and whether it is Patroni's."""

    default = dict

    def command(self, cluster: str) -> str:
        """Return the command that asks."""
        return (
            f"[ -f /etc/postgresql/{cluster}/postgresql.conf ] && echo configured; "
            f"grep -qs disabled /etc/postgresql/{cluster}/start.conf && echo handed over; "
            f'[ -n "$(ls -A /var/lib/postgresql/{cluster} 2>/dev/null)" ] && echo filled; true'
        )

    def process(self, output: list[str]) -> dict[str, bool]:
        """Return the answers."""
        return {word: word in output for word in ("configured", "filled", "handed over")}


class Identifier(FactBase[str]):
    """The number that initdb gave the data of a cluster and that copies keep; empty where there is none."""

    default = str

    def command(self, cluster: str) -> str:
        """Return the command that asks."""
        # Its first eight bytes, whatever version's programs the host has, or none yet.
        control = f"/var/lib/postgresql/{cluster}/global/pg_control"
        return f"[ ! -f {control} ] || od -A n -N 8 -t u8 {control} | tr -d ' '"

    def process(self, output: list[str]) -> str:
        """Return the number."""
        return output[0] if output else ""


@operation()
def present(cluster: str) -> Generator[StringCommand, None, None]:
    """Create the cluster if the package did not; never removes anything that holds data.

    Fails if only its configuration or only its data is there: a volume is not mounted, or a creation was killed.
    Creating it anew would hide the data of the first case, so an administrator decides.
    """
    state = host.get_fact(ClusterState, cluster=cluster)
    if state.get("handed over") or (state.get("configured") and state.get("filled")):
        host.noop(f"cluster {cluster} is there")
    elif state.get("configured") or state.get("filled"):
        yield failing(
            f"cluster {cluster} is half there: is /var/lib/postgresql mounted? If it never held anything, "
            f"remove /var/lib/postgresql/{cluster} and /etc/postgresql/{cluster}, and run again"
        )
    else:
        yield to_the_end(f"pg_createcluster --start {cluster.replace('/', ' ')}")


@operation()
def checksums(cluster: str) -> Generator[StringCommand, None, None]:
    """Turn data checksums on if the cluster was created without; the server is stopped while they are computed.

    pg_checksums marks them as enabled last, so a killed run leaves them off, and a later one does it again.
    """
    state = host.get_fact(SettingsState, cluster=cluster)
    if state is None or state["checksums"]:
        host.noop("data checksums are on")
        return
    version, unit, data = cluster.split("/")[0], unit_of(cluster), f"/var/lib/postgresql/{cluster}"
    yield StringCommand(f"systemctl stop {unit}")
    yield StringCommand(
        f"cd / && runuser -u postgres -- /usr/lib/postgresql/{version}/bin/pg_checksums --enable -D {data}"
    )
    yield StringCommand(f"systemctl start {unit}")
    yield wait_until_ready(cluster)
