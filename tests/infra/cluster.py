"""An installation on four hosts, three of which are the database's, and how such hosts are made to fail."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.infra.deployment import Deployment
from tests.infra.lab import Lab, LabHost, boot, end, forget, processes_of, run, wait_for_ssh

NAMES = ("one", "two", "three")
# What deploy/failover.py leaves on members for itself; it waits for health, and answers where the program may not.
MEMBERS = "cd / && /opt/patroni/bin/python -I /etc/patroni/members.py"
CALLYTICS = "cd / && /opt/callytics/current/bin/callytics"


@dataclass
class Cluster:
    """An installation on four hosts."""

    deployment: Deployment
    members: dict[str, LabHost]

    @classmethod
    def made(cls, lab: Lab, folder: Path) -> Cluster:
        """Boot the hosts and run the one command."""
        with ThreadPoolExecutor() as executor:
            *members, app = executor.map(lab.host, (*NAMES, "service"))
        deployment = Deployment.prepare(folder, members[0], app)
        hosts = ",".join(one.address for one in members)
        deployment.set(DATABASE_HOSTS=hosts, POSTGRES_READ_HOST=hosts, BACKUP_HOST=app.address, MONITORING="off")
        deployment.first_run = deployment.run(check=False)
        return cls(deployment, {one.address: one for one in members})

    def health(self) -> dict[str, Any]:
        """Return what a member that answers says of all; an empty document where none does."""
        for member in self.members.values():
            try:
                found: dict[str, Any] = json.loads(member.run(f"{MEMBERS} health", timeout=20).stdout)
                return found
            except (subprocess.SubprocessError, ValueError):
                pass
        return {}

    @property
    def leader(self) -> LabHost:
        """Return the member that leads."""
        return self.members[self.health()["leader"]]

    def standbys(self) -> list[LabHost]:
        """Return those that do not lead."""
        leader = self.health()["leader"]
        return [member for address, member in self.members.items() if address != leader]

    def healed(self, seconds: float) -> float | None:
        """Return after how many seconds every member followed again; None where that took longer."""
        began = time.monotonic()
        while time.monotonic() - began < seconds:
            if self.health().get("ok"):
                return time.monotonic() - began
            time.sleep(0.5)
        return None

    def put_right(self, seconds: float) -> bool:
        """Take back whatever a fault has done that did not come to its end; return whether the cluster is well then."""
        for member in self.members.values():
            room(member, None)
            if not processes_of(member):
                power_on(member)
            mended(member)
            member.run("systemctl kill --signal=CONT patroni; systemctl start --no-block callytics-etcd patroni")
        return self.healed(seconds) is not None

    def status(self, member: LabHost) -> dict[str, Any]:
        """Return what `callytics cluster --json` says on a member."""
        said = member.run(f"{CALLYTICS} cluster status --json", check=False)
        found: dict[str, Any] = json.loads(said.stdout)
        return found


def ask(member: LabHost, query: str, database: str = "callytics") -> str:
    """Return what a member's server answers its superuser, over the socket."""
    return member.run(
        "cd / && runuser -u postgres --", "psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-d", database, input=query
    ).stdout.strip()


def power_off(host: LabHost) -> None:
    """End a host at once, with nothing written."""
    end(host)
    # Its network goes when the kernel gets to it, and would be in the way of the next boot.
    run("ip", "link", "delete", f"vb-{host.machine}", check=False)
    forget(host)


def power_on(host: LabHost) -> None:
    """Boot a host that was ended, with its disk as it was left; return when it answers SSH."""
    boot(host)
    wait_for_ssh(host)


def within(host: LabHost, *command: str, **options: Any) -> None:
    """Run a program of this machine in a host's network, which may be cut off from everybody."""
    process = next(one for one in sorted(processes_of(host)) if _is_init(one))
    run("nsenter", "--net", f"--target={process}", *command, **options)


def cut(host: LabHost, rules: Mapping[str, str]) -> None:
    """Drop what rules of nftables match of what a host receives (``input``) or sends (``output``)."""
    chains = "".join(
        f"chain {hook} {{ type filter hook {hook} priority 0; {rule}\n }}\n" for hook, rule in rules.items()
    )
    within(host, "nft", "-f", "-", input=f"table inet cut {{\n{chains}}}\n")


def mended(host: LabHost) -> None:
    """Take the rules back."""
    within(host, "nft", "delete", "table", "inet", "cut", check=False)


def room(host: LabHost, megabytes: int | None) -> None:
    """Leave a host's disk so many megabytes, or what it had before."""
    used = int(run("df", "--output=used", "-B1M", str(host.folder)).stdout.split()[1])
    run("mount", "-o", f"remount,size={'50%' if megabytes is None else f'{used + megabytes}M'}", str(host.folder))


def _is_init(process: int) -> bool:
    """Tell whether a process is a host's first one."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return False
    numbers = next(line.split()[1:] for line in status.splitlines() if line.startswith("NSpid:"))
    return numbers[-1] == "1" and len(numbers) > 1
