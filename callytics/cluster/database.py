"""A cluster as its databases show it, for hosts that are none of its members: each is asked, and only read."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from callytics.cluster.members import Cluster, Member, followed, with_lags
from callytics.exceptions import CallyticsError
from callytics.postgres.connect import connected
from callytics.postgres.sql import Queries, Row
from callytics.settings import Settings

SQL = Queries(Path(__file__).with_suffix(".sql"))


def look(settings: Settings) -> Cluster:
    """Ask every host of POSTGRES_HOST at once; one that does not answer is told apart.

    Reads as the owner where its login is configured; without pg_monitor nobody knows which standby confirms. Raises
    the error of the hosts where none answers: a wrong password is none of the cluster's.
    """
    with ThreadPoolExecutor(len(settings.hosts)) as threads:
        found = [*threads.map(lambda host: _asked(replace(settings, hosts=(host,))), settings.hosts)]
    seen = [None if isinstance(one, CallyticsError) else one for one in found]
    if not any(seen):
        raise next(one for one in found if isinstance(one, CallyticsError))
    return cluster(dict(zip(settings.hosts, seen, strict=True)))


def cluster(answers: dict[str, Row | None]) -> Cluster:
    """Return what the answers mean, by host."""
    leaders = {host: answer for host, answer in answers.items() if answer and not answer["standby"]}
    leading = [*leaders.values()]
    confirmed = {host: set(answer["confirming"] or ()) for host, answer in leaders.items()}
    confirming = set[str]().union(*confirmed.values())
    untold = not leading or any(answer["untold"] for answer in leading)
    members = [_member(host, answer, None if untold else host in confirming) for host, answer in answers.items()]
    return Cluster(
        with_lags(members),
        waiting=sum(answer["waiting"] for answer in leading),
        holder=followed(members, confirmed),
        synchronous=leading[0]["synchronous"] if len(leading) == 1 else None,
    )


def _asked(settings: Settings) -> Row | CallyticsError | None:
    try:
        with connected(settings, owner=True) as connection:
            connection.set_session(readonly=True, autocommit=True)
            return SQL.one(connection, "member")
    except CallyticsError as error:
        return error


def _member(host: str, answer: Row | None, synchronous: bool | None) -> Member:
    if answer is None:
        return Member(host, answers=False, synchronous=synchronous)
    standby: bool = answer["standby"]
    follows: Any = None if not standby else answer["receiver"] == "streaming" if answer["receiver"] else None
    return Member(
        host,
        leads=not standby,
        state=answer["receiver"] or "running",
        follows=follows,
        synchronous=synchronous,
        timeline=answer["timeline"],
        position=int(answer["position"]) if answer["position"] is not None else None,
    )
