"""A member whose data were put back to an earlier second leads a cluster that begins anew from there.

Patroni would not have it lead: etcd knows that the others had more.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from callytics.cluster.members import Cluster
from callytics.cluster.patroni import look
from callytics.cluster.place import Place
from callytics.exceptions import ClusterError

# A lease that is gone with its etcd ends by itself; then a lone member takes the lead within a loop of Patroni's.
LEAD_SECONDS = 120.0
Progress = Callable[[str, int, int], None]


def refuse(place: Place, cluster: Cluster) -> None:
    """Raise ClusterError unless this member alone runs, and leads, or none does at all.

    Whoever else ran would take the lead while this one is restored. Who leads has all that was stored, and archives
    the end of it first.
    """
    running = [member for member in cluster.members if member.answers]
    if cluster.leader and cluster.leader.name != place.name:
        raise ClusterError(f"{cluster.leader.name} leads and has all that was stored: restore on that member")
    if others := [member.name for member in running if member.name != place.name]:
        raise ClusterError(
            f"{' and '.join(others)} would take the lead meanwhile: run 'systemctl stop patroni' there first"
        )
    if running and not cluster.leader:
        raise ClusterError("this member runs and does not lead: wait until it does, or run 'systemctl stop patroni'")


def wait_until_it_leads(place: Place, progress: Progress) -> None:
    """Wait until this member leads; raises ClusterError where that takes longer than two minutes."""
    what = "wait until this member leads, seconds"
    began = time.monotonic()
    while (waited := time.monotonic() - began) < LEAD_SECONDS:
        progress(what, int(waited), int(LEAD_SECONDS))
        leader = look(place).leader
        if leader and leader.name == place.name:
            progress(what, int(LEAD_SECONDS), int(LEAD_SECONDS))
            return
        time.sleep(0.5)
    raise ClusterError("the data is restored, but this member does not lead yet: see 'journalctl -u patroni'")
