"""A clock that jumps under the member that leads, for its Patroni and PostgreSQL.

The hosts of a lab share the kernel's clock: what asks libc for the time gets another answer. etcd, a Go program, asks
the kernel without libc and is not reached; its leases count on the monotonic clock, which no jump changes.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.infra.cluster import CALLYTICS, Cluster, ask
from tests.infra.fault import Scene
from tests.infra.lab import LabHost, run

HOUR, NEAR, EACH_SECONDS, HEALED_SECONDS = 3600, 60, 20, 150
SOURCE = Path(__file__).with_name("clock.c")
LIBRARY, OFFSET = Path("/opt/patroni/clock.so"), Path("/opt/patroni/clock.offset")
DROP_IN = "/etc/systemd/system/patroni.service.d/clock.conf"
UNIT = f"[Service]\nEnvironment=LD_PRELOAD={LIBRARY} CLOCK_OFFSET={OFFSET}\n"


@contextmanager
def own_clock(cluster: Cluster, _found: list[str]) -> Iterator[None]:
    """Have a member lead whose clock can be set, and take that back; needs a C compiler."""
    scene = Scene.of(cluster, [])
    member = scene.standbys[0]
    run("cc", "-shared", "-fPIC", "-O2", "-o", str(_seen(member, LIBRARY)), str(SOURCE))
    _seen(member, OFFSET).write_bytes(struct.pack("l", 0))
    member.run(f"mkdir -p {DROP_IN.rpartition('/')[0]}; cat >{DROP_IN}", input=UNIT)
    try:
        _restarted(cluster, member)
        _leads(member)
        yield
        if cluster.leader is member:
            _leads(scene.leader)
    finally:
        member.run(f"rm {DROP_IN}")
        _restarted(cluster, member)


def jumps(scene: Scene) -> None:
    """Have the clock jump an hour ahead and then an hour behind; fail where the server does not see that."""
    for offset in (HOUR, -HOUR):
        _set(scene.leader, offset)
        seen = float(ask(scene.leader, "select extract(epoch from clock_timestamp())")) - time.time()
        assert abs(seen - offset) < NEAR, f"clock_timestamp() is {seen:.0f} s off, and not {offset}"
        scene.found.append(f"clock_timestamp() {seen:+.0f} s")
        time.sleep(EACH_SECONDS)


def right(scene: Scene) -> None:
    """Have the clock jump back to what it is."""
    _set(scene.leader, 0)


def _set(member: LabHost, offset: int) -> None:
    # In place: whoever has the file mapped would die of one that is cut off.
    with _seen(member, OFFSET).open("r+b") as file:
        file.write(struct.pack("l", offset))


def _seen(member: LabHost, path: Path) -> Path:
    return member.root / path.relative_to("/")


def _leads(member: LabHost) -> None:
    # Patroni takes a loop until it counts on a standby that is back.
    switch = f"{CALLYTICS} cluster switchover --to {member.address} --yes --quiet"
    member.run(f"timeout 60 sh -c 'until {switch}; do sleep 1; done'")


def _restarted(cluster: Cluster, member: LabHost) -> None:
    member.run("systemctl daemon-reload && systemctl restart patroni")
    assert cluster.healed(HEALED_SECONDS) is not None, cluster.health()
