"""Patroni of each member over its REST interface: what it says of its server, and what it is told.

https://patroni.readthedocs.io/en/latest/rest_api.html. Each member is asked itself: what one says of the others is what
etcd was told last, a few seconds old, and all was well then.
"""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from callytics.cluster import etcd
from callytics.cluster.members import Cluster, Member, followed, with_lags
from callytics.cluster.place import PORT, Place
from callytics.exceptions import ClusterError

ASK_SECONDS = 3.0
# A switchover or a restart is answered once it has ended.
TELL_SECONDS = 120.0
CONFIRMS = {"sync", "quorum"}
# Stands for an answer where the certificate of either side is not accepted, with why.
UNTRUSTED = "untrusted"

Answer = dict[str, Any]


def look(place: Place) -> Cluster:
    """Ask every member at once how it is; one that does not answer within seconds is told apart, no exception."""
    with ThreadPoolExecutor(len(place.addresses)) as threads:
        answers = [*threads.map(lambda address: _asked(place, address), place.addresses)]
    seen = _looked_into(place, cluster(dict(zip(place.addresses, answers, strict=True))))
    if seen.leader is None:
        return seen
    known = _asked(place, place.addresses[seen.members.index(seen.leader)], "cluster")
    return replace(seen, former=former(known, place.addresses))


def _looked_into(place: Place, seen: Cluster) -> Cluster:
    """Ask also what only matters where something is wrong: who of several leads, and whether commits wait."""
    if len([member for member in seen.members if member.leads]) > 1:
        with suppress(ClusterError):
            return replace(seen, holder=etcd.holder(place))
    if seen.leader and not seen.confirming:
        leader = place.addresses[seen.members.index(seen.leader)]
        return replace(seen, synchronous=waits(_asked(place, leader, "config")))
    return seen


def former(known: Answer | None, addresses: Sequence[str]) -> list[str]:
    """Return the names of those who take part, by what etcd is told, and are members no more."""
    found = (known or {}).get("members", ())
    return [one["name"] for one in found if urlsplit(one["api_url"]).netloc.rpartition(":")[0] not in addresses]


def waits(agreed: Answer | None) -> bool | None:
    """Tell whether commits wait although no standby confirms, by what the members have agreed on."""
    if agreed is None:
        return None
    said = [str(agreed.get(name)).lower() for name in ("synchronous_mode", "synchronous_mode_strict")]
    return all(one in ("quorum", "true", "on", "yes", "1") for one in said)


def tell(place: Place, address: str, verb: str, document: Mapping[str, Any]) -> None:
    """Have a member's Patroni do something; raises ClusterError with its own words where it does not."""
    request = urllib.request.Request(f"https://{address}:{PORT}/{verb}", json.dumps(document).encode(), method="POST")
    try:
        place.send(request, TELL_SECONDS)
    except urllib.error.HTTPError as error:
        said = error.read().decode(errors="replace").strip().partition("\n")[0]
        raise ClusterError(f"Patroni refuses ({said}): look at 'callytics cluster', and try again") from None
    except OSError as error:
        raise ClusterError(f"Patroni at {address} does not answer ({error}): look at 'callytics cluster'") from None


def cluster(answers: Mapping[str, Answer | None]) -> Cluster:
    """Return what the answers mean, by address; None stands for a member that gave none."""
    given = [answer for answer in answers.values() if answer and UNTRUSTED not in answer]
    leaders = [answer for answer in given if _leads(answer)]
    confirmed = {answer["patroni"]["name"]: _confirming(answer) for answer in leaders}
    confirming = set[str]().union(*confirmed.values())
    members = [_member(address, answer, confirming) for address, answer in answers.items()]
    return Cluster(
        with_lags(members),
        holder=followed(members, confirmed),
        failsafe=any(answer.get("failsafe_mode_is_active") for answer in leaders),
        paused=any(answer.get("pause") for answer in given),
    )


def _confirming(answer: Answer) -> set[str]:
    streams = [one for one in answer.get("replication", ()) if one.get("state") == "streaming"]
    return {one["application_name"] for one in streams if one.get("sync_state") in CONFIRMS}


def _asked(place: Place, address: str, what: str = "patroni") -> Answer | None:
    request = urllib.request.Request(f"https://{address}:{PORT}/{what}")
    try:
        try:
            return dict(json.loads(place.send(request, ASK_SECONDS)))
        except urllib.error.HTTPError as error:
            # With 503 a member answers that does not lead, or whose server does not run.
            return dict(json.load(error))
    except (OSError, ValueError) as error:
        reason = untrusted(error)
        return {UNTRUSTED: reason} if reason else None


def untrusted(error: Exception) -> str | None:
    """Return why the certificate of this member, or of the one that was asked, is not accepted; None where it is."""
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(reason, ssl.SSLCertVerificationError):
        return reason.verify_message
    # So the other side says it of ours: SSLV3_ALERT_CERTIFICATE_EXPIRED, or _BAD_CERTIFICATE where it is not valid yet.
    said = str(getattr(reason, "reason", "")) if isinstance(reason, ssl.SSLError) else ""
    return said.partition("_ALERT_")[2].lower().replace("_", " ") if "CERT" in said else None


def _member(address: str, answer: Answer | None, confirming: set[str]) -> Member:
    if answer is None or UNTRUSTED in answer:
        return Member(address, answers=False, synchronous=False, untrusted=(answer or {}).get(UNTRUSTED))
    name, wal = answer["patroni"]["name"], answer.get("xlog") or {}
    timeline = answer.get("timeline")
    return Member(
        name,
        leads=_leads(answer),
        state=answer.get("replication_state") or answer.get("state") or "",
        follows=None if _leads(answer) else answer.get("replication_state") == "streaming",
        synchronous=name in confirming,
        timeline=timeline if isinstance(timeline, int) else None,
        position=wal.get("location", wal.get("received_location")),
        pending_restart=bool(answer.get("pending_restart")),
    )


def _leads(answer: Answer) -> bool:
    return answer.get("role") in ("primary", "master") and answer.get("state") == "running"
