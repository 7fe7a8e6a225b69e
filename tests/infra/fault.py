"""What a fault is: how a cluster is made to fail, how that ends, and what goes on besides."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from tests.infra.cluster import Cluster
from tests.infra.lab import LabHost


@dataclass
class Scene:
    """A cluster as it is when a fault begins; what a fault has to show goes into ``found``."""

    cluster: Cluster
    leader: LabHost
    standbys: list[LabHost]
    found: list[str]

    @classmethod
    def of(cls, cluster: Cluster, found: list[str]) -> Scene:
        """Look who leads."""
        leader = cluster.leader
        return cls(cluster, leader, [one for one in cluster.members.values() if one is not leader], found)

    def others(self) -> str:
        """Return the standbys' addresses, as nftables takes a set."""
        return f"{{ {', '.join(one.address for one in self.standbys)} }}"

    def everybody(self, command: str) -> None:
        """Run a command on all members."""
        for member in self.cluster.members.values():
            member.run(command)


Step = Callable[[Scene], object]


@contextmanager
def nothing(_cluster: Cluster, _found: list[str]) -> Iterator[None]:
    """Have nothing else go on."""
    yield


@dataclass(frozen=True)
class Fault:
    """How to make a cluster fail and how to end that; it lasts ``least`` seconds and ``most``.

    Between the two it lasts until both writers have stored something again. ``person`` is what somebody has to do
    besides, where the cluster does not heal by itself. ``around`` prepares what the fault needs before anything is
    written, and looks afterwards at what became of that: what it has found goes into the list, and an AssertionError
    says what should not be.
    """

    name: str
    inflict: Step
    heal: Step = lambda _scene: None
    least: float = 1.0
    most: float = 60.0
    person: str = ""
    around: Callable[[Cluster, list[str]], AbstractContextManager[None]] = nothing
