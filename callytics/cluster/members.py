"""The members of a cluster as they were found, and what is wrong with them; nothing is asked here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from callytics.postgres.text import counted

Level = Literal["error", "warning"]
RENEW = "run 'pyinfra inventory.py deploy/site.py', which renews certificates"
RESUME = "/opt/patroni/bin/patronictl -c /etc/patroni/patroni.yml resume"


@dataclass(frozen=True)
class Member:
    """What a member says of itself; None for what nobody could tell. ``lag_bytes`` is WAL that it lacks.

    ``untrusted`` is why nothing that it says counts: its certificate, or this host's, is not accepted.
    """

    name: str
    answers: bool = True
    leads: bool = False
    state: str = ""
    follows: bool | None = None
    synchronous: bool | None = None
    timeline: int | None = None
    position: int | None = None
    lag_bytes: int | None = None
    pending_restart: bool | None = None
    untrusted: str | None = None


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong, and what to do about it."""

    level: Level
    what: str
    remedy: str


@dataclass(frozen=True)
class Cluster:
    """All members, in the order of the settings, and what only all together have.

    ``waiting`` sessions have committed and await a standby. ``failsafe`` means that the leader goes on without etcd,
    ``paused`` that nobody takes over by itself. ``holder`` leads where several take themselves for the one that does,
    and ``synchronous`` tells whether commits wait where no standby confirms; None for what nobody could tell.
    ``former`` are members no more, whose Patroni still takes part.
    """

    members: Sequence[Member]
    waiting: int | None = None
    failsafe: bool = False
    paused: bool = False
    holder: str | None = None
    synchronous: bool | None = None
    former: Sequence[str] = ()

    @property
    def leader(self) -> Member | None:
        """Return the member that leads, None where none or several do."""
        leading = [member for member in self.members if member.leads]
        return leading[0] if len(leading) == 1 else None

    @property
    def confirming(self) -> list[Member]:
        """Return the members whose confirmation a commit waits for, or any one of which is enough."""
        return [member for member in self.members if member.synchronous]

    @property
    def faults(self) -> list[Fault]:
        """Return what is wrong, the worst first."""
        return sorted([*_leading(self), *_storing(self), *_standing_by(self)], key=lambda fault: fault.level)

    @property
    def exit_code(self) -> int:
        """Return 1 where anything is wrong: the next fault may find nobody to take over."""
        return int(bool(self.faults))

    def as_dict(self) -> dict[str, Any]:
        """Return everything, for JSON."""
        return {
            "ok": not self.faults,
            "hosts": len(self.members),
            "leader": self.leader.name if self.leader else None,
            "members": [asdict(member) for member in self.members],
            "waiting": self.waiting,
            "failsafe": self.failsafe,
            "paused": self.paused,
            "holder": self.leader.name if self.leader else self.holder,
            "synchronous": True if self.confirming else self.synchronous,
            "former": list(self.former),
            "faults": [asdict(fault) for fault in self.faults],
        }


def with_lags(members: Sequence[Member]) -> list[Member]:
    """Return the members with how much WAL each lacks of what the one that leads had."""
    ends = [member.position for member in members if member.leads and member.position is not None]
    return [
        member
        if not ends or member.position is None
        else replace(member, lag_bytes=max(0, max(ends) - member.position))
        for member in members
    ]


def followed(members: Sequence[Member], confirmed: Mapping[str, AbstractSet[str]]) -> str | None:
    """Return the one that leads and whose standbys both confirm and say that they are on its timeline.

    None where there are several such, or none: a connection that is dead is found so only after a while. ``confirmed``
    are the names of the standbys by that of the member that they confirm to.
    """
    on = {member.name: member.timeline for member in members if member.follows}
    found = [
        member.name
        for member in members
        if member.leads and any(on.get(name, 0) == member.timeline for name in confirmed.get(member.name, ()))
    ]
    return found[0] if len(found) == 1 else None


def _leading(cluster: Cluster) -> Iterator[Fault]:
    leading = [member.name for member in cluster.members if member.leads]
    # One that is not listened to may lead all the same, by the connections that it has.
    if not leading and not any(member.untrusted for member in cluster.members):
        remedy = "start Patroni and etcd on two members at least: systemctl status patroni callytics-etcd"
        yield Fault("error", "nobody leads: nothing is stored", remedy)
    if len(leading) > 1:
        yield _several(cluster, leading)
    if cluster.failsafe:
        what = "etcd does not answer: the leader goes on for as long as all others hear it, and nobody can take over"
        yield Fault("error", what, "systemctl status callytics-etcd on every member")
    if cluster.paused:
        yield Fault("warning", "Patroni was told to pause: nobody takes over by itself", RESUME)


def _several(cluster: Cluster, leading: Sequence[str]) -> Fault:
    what = f"{' and '.join(leading)} take themselves for the one that leads"
    if cluster.holder not in leading:
        remedy = "leave them as they are, see that callytics-etcd runs on two members, and ask on one of them, as root"
        return Fault("error", f"{what}, and nobody here can tell who does", remedy)
    others = [name for name in leading if name != cluster.holder]
    first = RESUME if cluster.paused else f"systemctl restart patroni on {' and '.join(others)}"
    # A copy would look for the history that the other has archived meanwhile, until the leader's is a newer one.
    then = "; ".join(["callytics cluster switchover", *(f"callytics cluster reinit {name}" for name in others)])
    remedy = f"{first}; where that is not enough: {then}. What was stored on {' and '.join(others)} alone goes with it"
    return Fault("error", f"{what}; {cluster.holder} does", remedy)


def _storing(cluster: Cluster) -> Iterator[Fault]:
    if cluster.leader and not cluster.confirming and cluster.synchronous is False:
        what = f"{cluster.leader.name} stores alone: what it acknowledges waits for no standby, and is lost with it"
        yield Fault("error", what, "run 'pyinfra inventory.py deploy/site.py', which has commits wait again")
    elif cluster.leader and not cluster.confirming and not any(one.synchronous is None for one in cluster.members):
        what = "nothing is stored: no standby confirms what the leader writes"
        waiting = f" ({counted(cluster.waiting, 'session')} waiting)" if cluster.waiting else ""
        yield Fault("error", what + waiting, "bring one of the two others back: systemctl status patroni there")


def _standing_by(cluster: Cluster) -> Iterator[Fault]:
    timelines = {member.timeline for member in cluster.members if member.leads}
    for member in cluster.members:
        if member.untrusted:
            yield Fault("error", f"{member.name} is not listened to: {member.untrusted}", RENEW)
            continue
        if not member.answers:
            yield Fault("warning", f"{member.name} does not answer", "start that host, or its patroni.service")
            continue
        if not member.leads and member.follows is False:
            remedy = f"journalctl -u patroni there; if it stays so: callytics cluster reinit {member.name}"
            yield Fault("warning", f"{member.name} does not follow ({member.state or 'unknown'})", remedy)
        elif member.timeline is None and (member.leads or member.follows):
            remedy = "let it connect to itself as the replication role: see pg_hba.conf, and PostgreSQL's log there"
            yield Fault("error", f"{member.name} can't tell its timeline: it can never lead", remedy)
        elif timelines and member.timeline not in {None, *timelines}:
            remedy = f"it catches up by itself; if it stays so: callytics cluster reinit {member.name}"
            yield Fault("warning", f"{member.name} is on timeline {member.timeline}, the leader is not", remedy)
        if member.pending_restart:
            yield Fault("warning", f"{member.name} awaits a restart for a setting", "callytics cluster restart")
    for name in cluster.former:
        remedy = "there: systemctl disable --now patroni callytics-etcd"
        yield Fault("warning", f"{name} is a member no more, and its Patroni still runs: WAL is kept for it", remedy)
