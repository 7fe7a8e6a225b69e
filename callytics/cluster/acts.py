"""What a cluster can be told: to let another member lead, to restart servers, to copy a member anew.

Each refuses first where something would be lost by it, or where nothing could be stored until a person came.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from callytics.cluster.members import Cluster, Member
from callytics.cluster.patroni import look, tell
from callytics.cluster.place import Place
from callytics.exceptions import ClusterError
from callytics.postgres.text import sized

# As Patroni has it (maximum_lag_on_failover): who lacks more is no candidate.
MOST_LAG = 1024**2
SWITCHOVER_SECONDS, RESTART_SECONDS = 60.0, 180.0
# A large database takes its time to be copied; who waits may leave, and the copy goes on.
COPY_SECONDS = 86_400.0
LOOK_SECONDS = 0.5
# Two of Patroni's loops.
NOTED_SECONDS = 10.0

# Told what is waited for, and of how many steps how many are done.
Progress = Callable[[str, int, int], None]


def candidate(cluster: Cluster, wanted: str | None) -> Member:
    """Return the member that shall lead; raises ClusterError where none could without losing something."""
    leader = _leader(cluster)
    if wanted == leader.name:
        raise ClusterError(f"{wanted} leads already: name another member")
    found = [_named(cluster, wanted)] if wanted else [one for one in cluster.members if not one.leads and one.answers]
    able = [member for member in found if _unable(member) is None]
    if wanted and not able:
        raise ClusterError(f"{wanted} can't lead ({_unable(found[0])}): wait, or name another member")
    if not able:
        raise ClusterError("no standby has all that was stored: wait until 'callytics cluster' says that one confirms")
    return min(able, key=lambda member: member.lag_bytes or 0)


def switchover(place: Place, wanted: str | None, progress: Progress) -> Cluster:
    """Let a standby lead that has all that was stored; return the cluster once all others follow it."""
    before = look(place)
    chosen, leader = candidate(before, wanted), _leader(before)
    what = f"switchover to {chosen.name}"
    progress(what, 0, 2)
    tell(place, _address(place, before, leader), "switchover", {"leader": leader.name, "candidate": chosen.name})
    progress(what, 1, 2)
    after = _awaited(
        place, before, SWITCHOVER_SECONDS, lambda seen: _leads(seen, chosen.name) and _complete(before, seen)
    )
    progress(what, 2, 2)
    return after


def restartable(cluster: Cluster, names: Sequence[str]) -> list[Member]:
    """Return the members to restart, the one that leads last: those of these names, or else those that await it.

    Raises ClusterError where nothing could be stored meanwhile.
    """
    _leader(cluster)
    found = [_named(cluster, name) for name in names] or [one for one in cluster.members if one.pending_restart]
    for member in found:
        others = [one for one in cluster.confirming if one.name != member.name]
        if member.synchronous and not others:
            raise ClusterError(
                f"{member.name} alone confirms what is stored: nothing could be stored meanwhile, bring the other back"
            )
        if member.leads and not others:
            raise ClusterError(f"{member.name} leads and no standby confirms: bring one back before it is restarted")
    return sorted(found, key=lambda member: member.leads)


def restart(place: Place, names: Sequence[str], progress: Progress) -> Cluster:
    """Restart servers one after another; return the cluster.

    Standbys that still await it after the leader get a second one: see `_restarted`.
    """
    seen = look(place)
    chosen = restartable(seen, names)
    seen = _restart_each(place, seen, chosen, progress)
    if chosen and chosen[-1].leads:
        again = [one for one in seen.members if one.pending_restart and one.name in {member.name for member in chosen}]
        seen = _restart_each(place, seen, again, progress)
    return seen


def _restart_each(place: Place, seen: Cluster, chosen: Sequence[Member], progress: Progress) -> Cluster:
    for number, member in enumerate(chosen):
        progress("restart of servers", number, len(chosen))
        # Since the last one's restart another member may have gone.
        restartable(seen, [member.name])
        tell(place, _address(place, seen, member), "restart", {})
        noted = time.monotonic() + NOTED_SECONDS
        seen = _awaited(place, seen, RESTART_SECONDS, partial(_restarted, seen, member.name, noted))
        progress("restart of servers", number + 1, len(chosen))
    return seen


def copyable(cluster: Cluster, name: str) -> Member:
    """Return the member whose data may go; raises ClusterError where it has what no two others have."""
    _leader(cluster)
    member = _named(cluster, name)
    if member.leads:
        raise ClusterError(f"{name} leads: its data are what the others copy; let another member lead first")
    if not member.answers:
        raise ClusterError(f"{name} does not answer: start its patroni.service first")
    if member.synchronous and not [one for one in cluster.confirming if one.name != name]:
        raise ClusterError(
            f"{name} alone confirms what is stored, so the leader would be left alone: bring the other back"
        )
    return member


def reinit(place: Place, name: str, progress: Progress) -> Cluster:
    """Remove a standby's data and copy the leader's, not a backup; return the cluster once it follows again."""
    before = look(place)
    member = copyable(before, name)
    what = f"copy for {member.name}"
    progress(what, 0, 2)
    tell(place, _address(place, before, member), "reinitialize", {"force": True, "from_leader": True})
    progress(what, 1, 2)
    # Patroni answers before it begins.
    _awaited(place, before, RESTART_SECONDS, lambda seen: not _named(seen, name).follows)
    after = _awaited(
        place, before, COPY_SECONDS, lambda seen: bool(_named(seen, name).follows) and _complete(before, seen)
    )
    progress(what, 2, 2)
    return after


def _leader(cluster: Cluster) -> Member:
    leader = cluster.leader
    if leader is None:
        raise ClusterError("not exactly one member leads: wait until 'callytics cluster' says who does")
    if cluster.failsafe:
        # Asked all the same, it closes the connection.
        raise ClusterError(
            "etcd does not answer, without which Patroni does nothing that it is told: start callytics-etcd on two "
            "members first"
        )
    return leader


def _named(cluster: Cluster, name: str | None) -> Member:
    for member in cluster.members:
        if member.name == name:
            return member
    raise ClusterError(f"{name} is no member: one of {', '.join(one.name for one in cluster.members)}")


def _unable(member: Member) -> str | None:
    """Return why a member can't lead, None where it can."""
    if not member.answers:
        return "it does not answer"
    if not member.synchronous:
        return "it does not confirm what is stored"
    if member.timeline is None:
        return "it can't tell its timeline"
    return f"it lacks {sized(member.lag_bytes or 0)} of WAL" if (member.lag_bytes or 0) > MOST_LAG else None


def _leads(cluster: Cluster, name: str) -> bool:
    return cluster.leader is not None and cluster.leader.name == name


def _complete(before: Cluster, now: Cluster) -> bool:
    """Tell whether all who were well before are well again, and as many confirm: the leader counts them anew."""
    well = {one.name for one in before.members if one.leads or one.follows}
    follow = now.leader is not None and well <= {one.name for one in now.members if one.leads or one.follows}
    return follow and len(now.confirming) >= len(before.confirming)


def _restarted(before: Cluster, name: str, noted: float, now: Cluster) -> bool:
    # Patroni notes within a loop that its server awaits a restart no more. A standby still does where a setting was
    # lowered: it keeps the higher one until the leader has the lower one.
    member = _named(now, name)
    return _complete(before, now) and (not member.pending_restart or (not member.leads and time.monotonic() > noted))


def _awaited(place: Place, before: Cluster, seconds: float, done: Callable[[Cluster], bool]) -> Cluster:
    deadline = time.monotonic() + seconds
    while not done(seen := _as_known(before, look(place))):
        if time.monotonic() > deadline:
            raise ClusterError(f"not done after {seconds:.0f} seconds: 'callytics cluster' says what is missing")
        time.sleep(LOOK_SECONDS)
    return seen


def _as_known(before: Cluster, now: Cluster) -> Cluster:
    """Return the members with the names that they had: one that does not answer for a moment has but its address."""
    pairs = zip(before.members, now.members, strict=True)
    return replace(now, members=[one if one.answers else replace(one, name=known.name) for known, one in pairs])


def _address(place: Place, cluster: Cluster, member: Member) -> str:
    # A member has changed since it was chosen, but neither its name nor the order.
    return place.addresses[[one.name for one in cluster.members].index(member.name)]
