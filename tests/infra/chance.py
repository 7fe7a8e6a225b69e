"""Random faults one after another while clients append to lists, and the judgement of what they were told."""

from __future__ import annotations

import json
import random
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.infra.cluster import Cluster, ask
from tests.infra.failing import FAULTS, HEALED_SECONDS, Fault, Scene
from tests.infra.histories import Verdict, judge, read
from tests.infra.lab import LabHost

LISTS = "drop table if exists public.lists; create table public.lists (key bigint primary key, list bigint[]); "
GRANT = "grant select, insert, update on public.lists to callytics_user"
CLIENTS = 4
# These take a person, or minutes.
LEFT_OUT = ("etcd's data of one member lost", "disk of the primary full")
SHORTEST, LONGEST = 2.0, 30.0


def drawn(seed: int) -> Iterator[tuple[Fault, float, float]]:
    """Yield a fault, for how many seconds it lasts and how many pass before the next, the same ones for a seed."""
    chance = random.Random(seed)
    faults = [fault for fault in FAULTS if fault.name not in LEFT_OUT]
    while True:
        yield chance.choice(faults), chance.uniform(SHORTEST, LONGEST), chance.uniform(1.0, 5.0)


def disturbed(cluster: Cluster, seed: int, minutes: float, say: Callable[[str], object]) -> Verdict:
    """Have a cluster fail again and again, and judge what clients were told by the lists as they are at the end."""
    ask(cluster.leader, LISTS + GRANT)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "history")
        with appending(cluster.deployment.app, file, seed):
            began = time.monotonic()
            for fault, seconds, pause in drawn(seed):
                if time.monotonic() - began > minutes * 60:
                    break
                say(f"{time.monotonic() - began:4.0f} s  {fault.name} ({seconds:.0f} s)")
                _had(cluster, fault, seconds)
                time.sleep(pause)
        lists = json.loads(ask(cluster.leader, "select coalesce(json_object_agg(key, list), '{}') from public.lists"))
        history = read(file.read_text().splitlines())
    return judge(history, {int(key): values for key, values in lists.items()})


def _had(cluster: Cluster, fault: Fault, seconds: float) -> None:
    scene, began = Scene(cluster, cluster.leader, cluster.standbys()), time.monotonic()
    fault.inflict(scene)
    time.sleep(max(0.0, began + seconds - time.monotonic()))
    fault.heal(scene)
    assert cluster.healed(HEALED_SECONDS) is not None, (fault.name, cluster.health())


@contextmanager
def appending(app: LabHost, file: Path, seed: int) -> Iterator[None]:
    """Have clients at work on the application's host; what they are told is kept here."""
    app.run("cat >/root/appending.py", input=Path(__file__).with_name("appending.py").read_text())
    command = f"/opt/callytics/current/bin/python /root/appending.py {seed} {CLIENTS} /etc/callytics/app.env"
    with file.open("wb") as output:
        process = subprocess.Popen(
            ["ssh", "-F", str(app.ssh_config), app.name, "--", command], stdin=subprocess.PIPE, stdout=output
        )
    try:
        yield
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.wait(90)
