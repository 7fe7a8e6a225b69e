"""A network of the kernel's own, in which packets to a port can get lost."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.support.needs import lacking

# For networks inside one machine, which nobody routes (RFC 2544).
ADDRESSES = "198.18.{}.{}"


@dataclass(frozen=True)
class Network:
    """A network namespace: programs in it are reached at ``inside``, and reach this machine at ``outside``."""

    name: str
    inside: str
    outside: str

    @property
    def command(self) -> tuple[str, ...]:
        """What runs a program in it, put before the program."""
        return ("ip", "netns", "exec", self.name)

    @contextmanager
    def dropping(self, port: int) -> Iterator[None]:
        """Lose every packet to and from a port outside meanwhile, without a word to either side."""
        self._run("nft", "add table inet lost")
        for hook, direction in (("input", "sport"), ("output", "dport")):
            self._run("nft", f"add chain inet lost {hook} {{ type filter hook {hook} priority 0; }}")
            self._run("nft", f"add rule inet lost {hook} tcp {direction} {port} drop")
        try:
            yield
        finally:
            self._run("nft", "delete table inet lost")

    def _run(self, *command: str) -> None:
        subprocess.run([*self.command, *command], check=True)


@contextmanager
def network(name: str) -> Iterator[Network]:
    """Lend a network; it takes root, and the programs ip and nft."""
    if os.geteuid() != 0 or not (shutil.which("ip") and shutil.which("nft")):
        lacking("network namespaces: run as root, with iproute2 and nftables")
    # Two runs of the tests at once each have their own.
    number = os.getpid() % 250
    made = Network(f"{name}-{os.getpid()}", ADDRESSES.format(number, 2), ADDRESSES.format(number, 1))
    wire = f"{name[:6]}{os.getpid()}"
    _ip("netns", "add", made.name)
    try:
        _ip("link", "add", wire, "type", "veth", "peer", "name", "eth0", "netns", made.name)
        _ip("address", "add", f"{made.outside}/24", "dev", wire)
        _ip("link", "set", wire, "up")
        _ip("-n", made.name, "address", "add", f"{made.inside}/24", "dev", "eth0")
        _ip("-n", made.name, "link", "set", "eth0", "up")
        _ip("-n", made.name, "link", "set", "lo", "up")
        yield made
    finally:
        _ip("netns", "delete", made.name)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


def free_port() -> int:
    """Return a port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
