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
from tests.infra.failing import HEALED_SECONDS
from tests.infra.fault import Fault, Scene
from tests.infra.faults import FAULTS
from tests.infra.histories import Verdict, judge, read
from tests.infra.lab import LabHost, wait_until

LISTS = """
create schema if not exists failover;
grant usage on schema failover to callytics_user;
drop table if exists failover.lists;
create table failover.lists (key bigint primary key, list bigint[]);
grant select, insert, update on failover.lists to callytics_user;
"""
CLIENTS = 4
# These take a person, or minutes.
LEFT_OUT = ("etcd's data of one member lost", "disk of the primary full")
SHORTEST, LONGEST, BEGIN_SECONDS = 2.0, 30.0, 60


def drawn(seed: int) -> Iterator[tuple[Fault, float, float]]:
    """Yield a fault, for how many seconds it lasts and how many pass before the next, the same ones for a seed."""
    chance = random.Random(seed)
    faults = [fault for fault in FAULTS if fault.name not in LEFT_OUT]
    while True:
        yield chance.choice(faults), chance.uniform(SHORTEST, LONGEST), chance.uniform(1.0, 5.0)


def disturbed(
    cluster: Cluster, seed: int, minutes: float, say: Callable[[str], object]
) -> tuple[Verdict, list[str | None]]:
    """Have a cluster fail again and again, and judge what clients were told by the lists as they are at the end.

    Returns with it why each fault could not be had or healed, None for one that was.
    """
    ask(cluster.leader, LISTS)
    had: list[str | None] = []
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "history")
        with appending(cluster.deployment.app, file, seed):
            began = time.monotonic()
            for fault, seconds, pause in drawn(seed):
                if time.monotonic() - began > minutes * 60:
                    break
                say(f"{time.monotonic() - began:4.0f} s  {fault.name} ({seconds:.0f} s)")
                had.append(_had(cluster, fault, seconds))
                if had[-1]:
                    say(f"       {had[-1]}")
                time.sleep(pause)
        lists = json.loads(ask(cluster.leader, "select coalesce(json_object_agg(key, list), '{}') from failover.lists"))
        history = read(file.read_text().splitlines())
    return judge(history, {int(key): values for key, values in lists.items()}), had


def _had(cluster: Cluster, fault: Fault, seconds: float) -> str | None:
    try:
        found: list[str] = []
        with fault.around(cluster, found):
            scene, began = Scene.of(cluster, found), time.monotonic()
            fault.inflict(scene)
            time.sleep(max(0.0, began + seconds - time.monotonic()))
            fault.heal(scene)
            assert cluster.healed(HEALED_SECONDS) is not None, cluster.health()
    except Exception as error:
        cluster.put_right(HEALED_SECONDS)
        return repr(error)
    return None


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
        # Not before they are at work: without a database they would not begin.
        wait_until(lambda: file.stat().st_size > 0 or process.poll() is not None, BEGIN_SECONDS, "no client begins")
        yield
    finally:
        assert process.stdin is not None
        process.stdin.close()
        code = process.wait(90)
    assert code == 0, f"the clients ended with {code}"
