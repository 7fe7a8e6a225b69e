"""A member whose data were put back to an earlier second leads a cluster that begins anew from there.

Patroni would not have it lead: etcd knows that the others had more.
"""

from __future__ import annotations

import base64
import json
import time
import urllib.request
from collections.abc import Callable
from typing import Any

from callytics.cluster.members import Cluster
from callytics.cluster.patroni import look, sent
from callytics.cluster.place import Place
from callytics.exceptions import ClusterError

ETCD_PORT = 2379
ASK_SECONDS = 10.0
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


def forget(place: Place) -> None:
    """Have etcd forget who led and how far, but not what the members have agreed on.

    Raises ClusterError where no etcd answers.
    """
    folder = f"/service/{place.scope}/"
    keys = _etcd(place, "range", key=_text(folder), range_end=_text(f"{folder[:-1]}0"), keys_only=True)
    for entry in keys.get("kvs", ()):
        if entry["key"] != _text(f"{folder}config"):
            _etcd(place, "deleterange", key=entry["key"])


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


def _etcd(place: Place, verb: str, **document: Any) -> dict[str, Any]:
    body = json.dumps(document).encode()
    for address in place.addresses:
        try:
            request = urllib.request.Request(f"https://{address}:{ETCD_PORT}/v3/kv/{verb}", body, method="POST")
            found: dict[str, Any] = json.loads(sent(place, request, ASK_SECONDS))
            return found
        except (OSError, ValueError):
            continue
    raise ClusterError("etcd does not answer on any member: start callytics-etcd on two of them")


def _text(key: str) -> str:
    return base64.b64encode(key.encode()).decode()
