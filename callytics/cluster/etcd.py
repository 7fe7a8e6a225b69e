"""What etcd of the members keeps for Patroni: who leads, how far each is, and what they have agreed on."""

from __future__ import annotations

import base64
import json
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from callytics.cluster.place import Place
from callytics.exceptions import ClusterError

PORT = 2379
ASK_SECONDS = 10.0
# Every command on a member begins with it, also where another one is off.
COUNT_SECONDS = 3.0


def holder(place: Place) -> str | None:
    """Return the member that holds the leader key, None where none does.

    A majority of the members answers, so it is nothing of before. Raises ClusterError where no etcd answers.
    """
    kept = _asked(place, "range", key=_base64(f"/service/{place.scope}/leader")).get("kvs", ())
    return base64.b64decode(kept[0]["value"]).decode() if kept else None


def refuse_taken_out(place: Place) -> None:
    """Raise ClusterError where the others' etcd answers and counts this host among its members no more.

    What this host knows of the cluster is of before then, and the one in its place would be taken for a stranger.
    """
    others = [one for one in place.addresses if one != place.address]
    with ThreadPoolExecutor() as threads:
        for found in threads.map(partial(_members, place), others):
            if found and place.address not in found:
                raise ClusterError(
                    f"this host was taken out of the cluster of {', '.join(found)}: 'systemctl disable --now patroni "
                    "callytics-etcd' has it stay away, and 'callytics cluster' there shows the members"
                )


def _members(place: Place, address: str) -> Sequence[str]:
    """Return the addresses of the members that one of them counts, none where it does not answer."""
    request = urllib.request.Request(f"https://{address}:{PORT}/v3/cluster/member/list", b"{}", method="POST")
    try:
        found = json.loads(place.send(request, COUNT_SECONDS))["members"]
        return sorted(urlsplit(url).netloc.rpartition(":")[0] for one in found for url in one["peerURLs"])
    except (OSError, ValueError, KeyError):
        return []


def forget(place: Place) -> None:
    """Have etcd forget who led and how far, but not what the members have agreed on.

    Raises ClusterError where no etcd answers.
    """
    folder = f"/service/{place.scope}/"
    keys = _asked(place, "range", key=_base64(folder), range_end=_base64(f"{folder[:-1]}0"), keys_only=True)
    for entry in keys.get("kvs", ()):
        if entry["key"] != _base64(f"{folder}config"):
            _asked(place, "deleterange", key=entry["key"])


def _asked(place: Place, verb: str, **document: Any) -> dict[str, Any]:
    body = json.dumps(document).encode()
    for address in place.addresses:
        try:
            request = urllib.request.Request(f"https://{address}:{PORT}/v3/kv/{verb}", body, method="POST")
            found: dict[str, Any] = json.loads(place.send(request, ASK_SECONDS))
            return found
        except (OSError, ValueError):
            continue
    raise ClusterError("etcd does not answer on any member: start callytics-etcd on two of them")


def _base64(key: str) -> str:
    return base64.b64encode(key.encode()).decode()
