"""Two of a cluster's three hosts that are lost for good, disks and all, so that one has all that is left."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from tests.infra.cluster import power_off
from tests.infra.fault import Fault, Scene
from tests.infra.lab import Lab


def two_lost(scene: Scene) -> None:
    """End both standbys at once: the one that leads has all that was acknowledged."""
    with ThreadPoolExecutor() as executor:
        [*executor.map(power_off, scene.standbys)]


def replaced(scene: Scene) -> None:
    """Boot two empty hosts in their place, and go on with what is left, once that is accepted."""
    lab, names = Lab(scene.leader.folder.parent.name, in_memory=True), [one.name for one in scene.standbys]
    lab.down(*names)
    with ThreadPoolExecutor() as executor:
        empty = [*executor.map(lab.host, names)]
    members, deployment = scene.cluster.members, scene.cluster.deployment
    members.clear()
    members.update({one.address: one for one in (scene.leader, *empty)})
    deployment.set(DATABASE_HOSTS=",".join(members), POSTGRES_READ_HOST=",".join(members))
    refused = deployment.run(check=False)
    assert f"accept by CLUSTER_SURVIVOR={scene.leader.address} in .env" in refused.output, refused.output[-6000:]
    assert not refused.changed
    deployment.set(CLUSTER_SURVIVOR=scene.leader.address)
    deployment.run()
    deployment.set(CLUSTER_SURVIVOR="")


FAULT = Fault("two hosts are lost for good", two_lost, replaced, least=30, most=30, person="CLUSTER_SURVIVOR")
