"""Bare Debian 12 hosts on this machine: systemd, sshd and an address of their own, up in seconds, gone without a trace.

    python -m tests.infra.lab up NAME…          # boots what is not up yet and prints what .env needs
    python -m tests.infra.lab ssh NAME [CMD…]
    python -m tests.infra.lab list              # hosts of test runs too
    python -m tests.infra.lab down [NAME…]      # without a name: all of them
    python -m tests.infra.lab down --all        # and those of test runs, running or killed

Needs Linux and root. mmdebstrap makes one base system, kept in ~/.cache/callytics-lab; a host is an overlay above it,
booted by systemd-nspawn on the bridge callytics0 (10.77.0.0/24, fd77::/64). Packages come through this machine:
its sources, its certificate authorities, and a masquerade rule that leaves with the last host.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

PEOPLES_LAB = "callytics"
BRIDGE = "callytics0"
NETWORK = "10.77.0.{}"
# The same host by IPv6, which leads to no other machine.
NETWORK_6 = "fd77::{}"
HARDWARE = "02:77:00:00:00:{:02x}"
GATEWAY = NETWORK.format(1)
# One place for all labs of this machine: they share the bridge and must not share addresses.
LABS = Path("/var/lib/callytics-lab")
FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")
TOOLS = ("ip", "mmdebstrap", "mount", "nft", "ssh", "ssh-keygen", "systemd-nspawn")

# What an installed Debian has, and nothing that a deploy would bring.
PACKAGES = (
    "ca-certificates",
    "dbus",
    "iproute2",
    "openssh-server",
    "procps",
    "python3",
    "sudo",
    "systemd",
    "systemd-sysv",
)
# Both would take apt's lock at a moment of their own; nobody looks at a console.
MASKED = ("apt-daily.timer", "apt-daily-upgrade.timer", "console-getty.service")
# Who had an address before is remembered by its neighbours: the next one has the same hardware address. The file's name
# sorts before 80-container-host0.network, which would ask for an address by DHCP.
NETWORK_UNIT = """\
[Match]
Name=host0
[Link]
MACAddress={hardware}
[Network]
Address={address}/24
Gateway={gateway}
IPv6AcceptRA=no
[Address]
Address={address_6}/64
DuplicateAddressDetection=none
"""
MASQUERADE = """\
table ip callytics_lab {
  chain postrouting {
    type nat hook postrouting priority srcnat
    ip saddr 10.77.0.0/24 ip daddr != 10.77.0.0/24 masquerade
  }
}
"""
SSH_CONFIG = """\
Host {name} {address}
  HostName {address}
  User root
  IdentityFile {key}
  IdentitiesOnly yes
  UserKnownHostsFile {known_hosts}
  StrictHostKeyChecking yes
  BatchMode yes
  LogLevel ERROR
"""
# Enters the control groups before "--", then leaves what follows running; 133 is systemd-nspawn's word for "the host
# asked for a reboot".
SUPERVISOR = """\
while [ "$1" != -- ]; do echo $$ >"$1/cgroup.procs"; shift; done
shift
while "$@"; [ $? -eq 133 ]; do :; done &
"""


class LabError(RuntimeError):
    """Why a host could not be brought up, or taken down."""


@dataclass(frozen=True)
class LabHost:
    """One booted machine, and how to reach it as root."""

    name: str
    address: str
    folder: Path
    machine: str
    ssh_key: Path
    ssh_config: Path
    known_hosts: Path

    @property
    def address_6(self) -> str:
        """The host's IPv6 address."""
        return address_6(self.address)

    @property
    def root(self) -> Path:
        """The host's file system, seen from here."""
        return self.folder / "root"

    @property
    def shared_connection(self) -> Path:
        """The socket of the connection that commands share: a new one for each would cost ten times what they do."""
        return self.folder.with_suffix(".ssh")

    def run(self, *command: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run one shell command line, or a program with arguments, over SSH; options go to ``subprocess.run``."""
        options = {"check": True, "text": True, "capture_output": True, "stdin": subprocess.DEVNULL} | options
        if "input" in options:
            options.pop("stdin")
        try:
            return subprocess.run([*self._ssh(ControlMaster="auto", ControlPersist="60"), "--", *command], **options)
        except subprocess.CalledProcessError as error:
            # Its own words are only that it has failed.
            error.add_note(f"{error.stdout or ''}{error.stderr or ''}"[-2000:])
            raise

    def disconnect(self) -> None:
        """End the shared connection: through one to a host that was ended, a command would wait for an answer."""
        if self.shared_connection.exists():
            # By now it may be gone.
            subprocess.run([*self._ssh(), "-O", "exit"], check=False, capture_output=True)

    def _ssh(self, **options: str) -> list[str]:
        options |= {"ControlPath": str(self.shared_connection)}
        return ["ssh", "-F", str(self.ssh_config), *(f"-o{name}={value}" for name, value in options.items()), self.name]


def lacks() -> str | None:
    """Say why no host can be booted here, or nothing when it can."""
    if sys.platform != "linux":
        return "hosts are booted by systemd-nspawn, which needs Linux"
    if os.geteuid() != 0:
        return "hosts are booted by systemd-nspawn, which needs root"
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        return f"missing {', '.join(missing)}: apt-get install mmdebstrap systemd-container nftables openssh-client"
    return None


@dataclass(frozen=True)
class Stock:
    """What hosts have beforehand: packages, and trees that are laid above the base."""

    packages: tuple[str, ...] = ()
    trees: tuple[Path, ...] = ()


class Lab:
    """A group of hosts with one SSH key; leaving the ``with`` block takes all of them down.

    Hosts of two labs see each other, but never share a name, a key or an address. Hosts ``in_memory`` take a gigabyte
    of it each and wait for no disk. They are bare but for what is in ``stock``.
    """

    def __init__(self, name: str = PEOPLES_LAB, *, in_memory: bool = False, stock: Stock = Stock()) -> None:
        if not re.fullmatch("[a-z][a-z0-9]{0,30}", name):
            raise LabError(f"{name!r} is no name for a lab: small letters and digits only")
        self.name = name
        self.in_memory, self.stock = in_memory, stock
        self.folder = LABS / name
        self.key = self.folder / "key"
        self.ssh_config = self.folder / "ssh_config"
        self.known_hosts = self.folder / "known_hosts"

    def __enter__(self) -> Lab:
        return self

    def __exit__(self, *_: object) -> None:
        self.down()

    def hosts(self) -> list[LabHost]:
        """Return the hosts that are up, oldest first."""
        states = sorted(self.folder.glob("*/host.json"), key=lambda path: path.stat().st_mtime_ns)
        return [self._host(path.parent.name, json.loads(path.read_text())["address"]) for path in states]

    def host(self, name: str) -> LabHost:
        """Return the host of this name, booted now unless it is up; it answers SSH then."""
        if not re.fullmatch("[a-z][a-z0-9-]{0,30}", name):
            raise LabError(f"{name!r} is no name for a host: small letters, digits and hyphens only")
        for host in self.hosts():
            if host.name == name and is_running(host):
                return host
        layers = (*self.stock.trees, base_system(self.stock.packages))
        with locked():
            self._make_key()
            connect_network()
            self._remove(self._host(name, ""))
            host = self._host(name, free_address())
            host.folder.mkdir(parents=True)
            if self.in_memory:
                run("mount", "-t", "tmpfs", "-o", "mode=700", "tmpfs", str(host.folder))
            (host.folder / "host.json").write_text(json.dumps({"address": host.address}))
        try:
            mount_overlay(layers, host)
            self._furnish(host)
            boot(host)
            wait_for_ssh(host)
        except BaseException:
            self.down(name)
            raise
        return host

    def reboot(self, host: LabHost, timeout: float = 60) -> None:
        """Restart a host as its administrator would; return when it answers SSH again."""
        before = boot_time(host)
        host.run("systemctl reboot", check=False)
        host.disconnect()
        wait_until(lambda: boot_time(host) not in (None, before), timeout, f"{host.name} did not come back")

    def testinfra(self, host: LabHost) -> Any:
        """Return testinfra's view of a host; its commands share one SSH connection."""
        import testinfra

        return testinfra.get_host(f"ssh://{host.name}", ssh_config=str(host.ssh_config), controlpersist=30)

    def down(self, *names: str) -> None:
        """Take hosts down, all without a name, and leave nothing of them; the last one takes the network along."""
        with locked():
            for path in self.folder.glob("*/"):
                if not names or path.name in names:
                    self._remove(self._host(path.name, ""))
            if not any(self.folder.glob("*/")):
                shutil.rmtree(self.folder, ignore_errors=True)
            self._write_ssh_files()
            if not any(LABS.glob("*/*/")):
                disconnect_network()
                shutil.rmtree(LABS, ignore_errors=True)

    def _host(self, name: str, address: str) -> LabHost:
        machine = f"{self.name}-{name}"
        return LabHost(name, address, self.folder / name, machine, self.key, self.ssh_config, self.known_hosts)

    def _make_key(self) -> None:
        if not self.key.exists():
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            make_ssh_key(self.key, comment=f"lab {self.name}")

    def _furnish(self, host: LabHost) -> None:
        """Give a host its name, address, keys and this machine's name servers."""
        root = host.root
        write(root / "etc/hostname", f"{host.name}\n")
        write(root / "etc/hosts", f"127.0.0.1 localhost\n127.0.1.1 {host.name}\n::1 localhost\n")
        write(root / "etc/resolv.conf", name_servers())
        hardware = HARDWARE.format(int(host.address.rpartition(".")[2]))
        unit = NETWORK_UNIT.format(address=host.address, address_6=host.address_6, hardware=hardware, gateway=GATEWAY)
        write(root / "etc/systemd/network/10-lab.network", unit)
        make_ssh_key(root / "etc/ssh/ssh_host_ed25519_key", comment=host.name)
        (root / "root/.ssh").mkdir(mode=0o700, exist_ok=True)
        write(root / "root/.ssh/authorized_keys", self.key.with_suffix(".pub").read_text(), mode=0o600)
        with locked():
            self._write_ssh_files()

    def _write_ssh_files(self) -> None:
        if not self.folder.exists():
            return
        hosts, known = self.hosts(), []
        for host in hosts:
            public = host.root / "etc/ssh/ssh_host_ed25519_key.pub"
            if public.exists():
                known.append(
                    f"{host.name},{host.address},{host.address_6} {' '.join(public.read_text().split()[:2])}\n"
                )
        write(self.known_hosts, "".join(known), mode=0o600)
        blocks = (SSH_CONFIG.format(**asdict(host), key=self.key) for host in hosts)
        write(self.ssh_config, "".join(blocks), mode=0o600)

    def _remove(self, host: LabHost) -> None:
        end(host)
        # Its other end goes with the host, but when is up to the kernel.
        run("ip", "link", "delete", f"vb-{host.machine}", check=False)
        forget(host)
        for path in (host.root, host.folder):
            if path.is_mount():
                run("umount", str(path))
        shutil.rmtree(host.folder, ignore_errors=True)


def base_system(more: tuple[str, ...] = ()) -> Path:
    """Return the tree that hosts stand on; made once for these packages, sources and certificates."""
    sources, settings, authorities = apt_sources(), apt_settings(), certificate_authorities()
    packages = (*PACKAGES, *more)
    recipe = json.dumps([packages, MASKED, sources, settings, [path.read_text() for path in authorities]])
    return kept("bookworm", recipe, lambda tree: make_base(tree, packages))


def kept(name: str, recipe: str, make: Callable[[Path], None], suffix: str = "") -> Path:
    """Return the tree, or the file, that the cache has under a name by this recipe; made once, whole or not there."""
    place = cache() / f"{name}-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}{suffix}"
    with locked(name):
        if not place.exists():
            unfinished = place.with_suffix(f".unfinished{suffix}")
            remove_tree(unfinished)
            make(unfinished)
            unfinished.rename(place)
    return place


def cache() -> Path:
    # systemd-nspawn refuses a base that others may write to on the way.
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "callytics-lab"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def make_base(tree: Path, packages: tuple[str, ...]) -> None:
    print("making the base system, once", file=sys.stderr)  # noqa: T201
    hooks = (
        # Host keys and the machine's id are each host's own.
        'rm -f "$1"/etc/ssh/ssh_host_*',
        'echo uninitialized >"$1"/etc/machine-id',
        'systemctl --root="$1" enable systemd-networkd ssh',
        f'systemctl --root="$1" mask {" ".join(MASKED)}',
    )
    bootstrap(tree, packages, after=hooks)


def bootstrap(tree: Path, packages: tuple[str, ...], before: Sequence[str] = (), after: Sequence[str] = ()) -> None:
    """Make a Debian with these packages, as a tree or as an archive (.tar), which trusts whom this machine trusts.

    Commands in ``before`` and ``after`` see it as "$1": without the packages, and with them.
    """
    authorities = (f'cp {path} "$1"/usr/local/share/ca-certificates/' for path in certificate_authorities())
    mmdebstrap(
        tree,
        "--variant=custom",
        f"--include={','.join(packages)}",
        *(f"--setup-hook={hook}" for hook in (f'tar -C "$1" -xf {minimal_system()}', *before)),
        *(f"--customize-hook={hook}" for hook in (*after, *authorities, 'chroot "$1" update-ca-certificates')),
    )


def minimal_system() -> Path:
    """Return an archive with the least that all systems have in common; made once, as each would take 20 seconds."""

    def make(archive: Path) -> None:
        mmdebstrap(archive, "--variant=minbase", "--include=ca-certificates")

    return kept("minimal", json.dumps([apt_sources(), apt_settings()]), make, ".tar")


def mmdebstrap(tree: Path, *options: str) -> None:
    wanted, settings = tree.with_suffix(".list"), tree.with_suffix(".conf")
    wanted.write_text(apt_sources())
    settings.write_text(apt_settings())
    # Without any sources, mmdebstrap takes Debian's own, those of updates and security too.
    sources = [str(wanted)] if wanted.read_text() else []
    try:
        run("mmdebstrap", *options, f"--aptopt={settings}", "--skip=output/dev", "bookworm", str(tree), *sources)
    finally:
        wanted.unlink()
        settings.unlink()


def apt_sources() -> str:
    """Return where this machine gets Debian 12 from; nothing where it does not."""
    line = "deb $(REPO_URI) $(RELEASE) $(COMPONENT)"
    wanted = ("Created-By: Packages", "Origin: Debian")
    answer = run("apt-get", "indextargets", "--format", line, *wanted, check=False).stdout
    lines = {line for line in answer.splitlines() if re.search(r" bookworm\S* ", line)}
    if not any(" bookworm " in line for line in lines):
        return ""
    return "\n".join(sorted(lines)) + "\n"


def apt_settings() -> str:
    """Return how this machine's apt reaches its sources: proxies, checks of dates."""
    wanted = re.compile(r"Acquire::(Check-|Languages|https?::|Retries)")
    dump = run("apt-config", "dump", check=False).stdout
    return "".join(f"{line}\n" for line in dump.splitlines() if wanted.match(line) and not line.endswith(' "";'))


def certificate_authorities() -> list[Path]:
    """Return the authorities that somebody added to this machine: a company's proxy, for one."""
    return sorted(Path("/usr/local/share/ca-certificates").glob("**/*.crt"))


def mount_overlay(below: tuple[Path, ...], host: LabHost) -> None:
    """Lay an empty, writable layer above others, of which the first is the topmost; where that can't be, copy them."""
    for name in ("root", "upper", "work"):
        (host.folder / name).mkdir()
    # Volatile: what is thrown away need not reach the disk, where taking a host down would wait for it.
    layers = f"lowerdir={':'.join(map(str, below))},upperdir={host.folder}/upper,workdir={host.folder}/work,volatile"
    if run("mount", "-t", "overlay", "overlay", "-o", layers, str(host.root), check=False).returncode != 0:
        for tree in reversed(below):
            run("cp", "-a", "--reflink=auto", f"{tree}/.", str(host.root))


def boot(host: LabHost) -> None:
    # There may be no systemd here to register with or to make a unit; the lab supervises on its own.
    command = (
        "systemd-nspawn",
        "--quiet",
        "--boot",
        "--register=no",
        "--keep-unit",
        f"--machine={host.machine}",
        f"--directory={host.root}",
        f"--network-bridge={BRIDGE}",
        "--resolv-conf=off",
        "--timezone=off",
        "--link-journal=no",
    )
    groups = control_groups(host)
    for group in groups:
        group.mkdir(parents=True, exist_ok=True)
    with (host.folder / "console").open("wb") as console:
        subprocess.run(
            ("sh", "-c", SUPERVISOR, "sh", *map(str, groups), "--", *command),
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd="/",
            check=True,
        )


def control_groups(host: LabHost) -> list[Path]:
    """Return the host's own groups: systemd in two hosts that shared one would manage each other's services."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    kept_by_systemd = (
        Path(target)
        for _, target, kind, options, *_ in mounts
        if kind == "cgroup2" or (kind == "cgroup" and "name=systemd" in options)
    )
    return [hierarchy / "callytics-lab" / host.machine for hierarchy in kept_by_systemd]


def end(host: LabHost) -> None:
    """End a host at once: it is thrown away, so nothing has to be written."""

    def is_gone() -> bool:
        for process in processes_of(host):
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        return not processes_of(host)

    host.disconnect()
    wait_until(is_gone, 10, f"{host.name} could not be ended")
    for group in control_groups(host):
        for folder in (*(Path(path) for path, _, _ in os.walk(group, topdown=False)), group.parent):
            # The parent stays while another host is in it.
            with suppress(OSError):
                folder.rmdir()


def forget(host: LabHost) -> None:
    """Remove what an ended systemd-nspawn leaves in /run."""
    state = Path("/run/systemd/nspawn")
    with suppress(FileNotFoundError):
        inode = host.root.stat()
        (state / f"locks/inode-{inode.st_dev}:{inode.st_ino}").unlink()
    with suppress(OSError):
        (state / "propagate" / host.machine).rmdir()


def processes_of(host: LabHost) -> set[int]:
    """Return everything in the host's groups: the supervisor, systemd-nspawn and all that runs inside."""
    found: set[int] = set()
    for group in control_groups(host):
        # Services end while we look: unlike Path.glob, os.walk passes over a folder that has gone.
        for folder, _, _ in os.walk(group):
            with suppress(OSError):
                found.update(map(int, Path(folder, "cgroup.procs").read_text().split()))
    return found


def is_running(host: LabHost) -> bool:
    return bool(processes_of(host))


def wait_for_ssh(host: LabHost, timeout: float = 60) -> None:
    wait_until(lambda: boot_time(host) is not None, timeout, f"{host.name} does not answer", host.folder / "console")


def boot_time(host: LabHost) -> str | None:
    """Return when the host's init began, or nothing while it can't be asked."""
    try:
        with socket.create_connection((host.address, 22), timeout=1):
            pass
        return host.run("stat -c %Y.%i /proc/1 /run/systemd/system; cut -d' ' -f22 /proc/1/stat", timeout=10).stdout
    except (OSError, subprocess.SubprocessError):
        return None


def connect_network() -> None:
    """Make the bridge and the way out, once."""
    if Path(f"/sys/class/net/{BRIDGE}").exists():
        return
    if NETWORK.format("") in run("ip", "-4", "address").stdout:
        raise LabError("10.77.0.0/24 is in use on this machine: the lab can't have it")
    LABS.mkdir(parents=True, exist_ok=True)
    (LABS / "forwarding").write_text(FORWARDING.read_text())
    # Without these two a new host is heard after 15 s only, and the others lose their gateway when a host goes.
    run("ip", "link", "add", BRIDGE, "address", HARDWARE.format(1), "type", "bridge", "forward_delay", "0")
    run("ip", "address", "add", f"{GATEWAY}/24", "dev", BRIDGE)
    run("ip", "link", "set", BRIDGE, "up")
    # Not every machine has IPv6.
    run("ip", "address", "add", f"{address_6(GATEWAY)}/64", "dev", BRIDGE, "nodad", check=False)
    run("nft", "-f", "-", input=MASQUERADE)
    FORWARDING.write_text("1")


def disconnect_network() -> None:
    run("ip", "link", "delete", BRIDGE, check=False)
    run("nft", "delete", "table", "ip", "callytics_lab", check=False)
    if (LABS / "forwarding").exists():
        FORWARDING.write_text((LABS / "forwarding").read_text())


def free_address() -> str:
    taken = {json.loads(path.read_text())["address"] for path in LABS.glob("*/*/host.json")}
    return next(address for number in range(11, 250) if (address := NETWORK.format(number)) not in taken)


def address_6(address: str) -> str:
    return NETWORK_6.format(address.rpartition(".")[2])


def name_servers() -> str:
    """Return this machine's name servers, not the address of a resolver on its loopback."""
    behind = Path("/run/systemd/resolve/resolv.conf")
    return (behind if behind.exists() else Path("/etc/resolv.conf")).read_text()


def run(*command: str, check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, check=check, text=True, capture_output=True, **options)
    except subprocess.CalledProcessError as error:
        raise LabError(f"{command[0]} failed: {error.stderr.strip()[-2000:]}") from None


def write(path: Path, text: str, mode: int = 0o644) -> None:
    """Replace a file, or the link that stands in its place."""
    path.unlink(missing_ok=True)
    path.touch(mode)
    path.write_text(text)


def make_ssh_key(path: Path, comment: str) -> None:
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path))


def remove_tree(tree: Path) -> None:
    if tree.exists():
        run("rm", "-rf", "--one-file-system", str(tree))


def wait_until(condition: Callable[[], bool], timeout: float, failure: str, log: Path | None = None) -> None:
    if not until(condition, timeout, every=0.1):
        last = log.read_text(errors="replace")[-2000:] if log and log.exists() else ""
        raise LabError(f"{failure} within {timeout:.0f} s\n{last}".rstrip())


def until(happens: Callable[[], bool], seconds: float, every: float = 0.5) -> bool:
    """Return whether it happened in time: what did not is what tests name. The longer it takes, the rarer it looks."""
    began = time.monotonic()
    while not happens():
        waited = time.monotonic() - began
        if waited > seconds:
            return False
        time.sleep(max(every, min(waited / 20, 1)))
    return True


@contextmanager
def locked(name: str = "labs") -> Iterator[None]:
    """Keep other processes from changing the same things."""
    with Path(f"/run/lock/callytics-{name}").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def labs() -> list[Lab]:
    """Return every lab of this machine."""
    return [Lab(path.name) for path in sorted(LABS.glob("*/"))]


def main(arguments: list[str]) -> int:
    lab = Lab()
    match arguments:
        case ["up", *names] if names:
            for host in map(lab.host, names):
                print(host.name, host.address)  # noqa: T201
            print(f"SSH_USER=root\nSSH_KEY={lab.key}\nSSH_KNOWN_HOSTS={lab.known_hosts}")  # noqa: T201
        case ["down", "--all"]:
            for other in labs():
                other.down()
        case ["down", *names]:
            lab.down(*names)
        case ["ssh", name, *command]:
            return subprocess.run(["ssh", "-F", str(lab.ssh_config), name, *command], check=False).returncode
        case ["list"]:
            for host in (host for each in labs() for host in each.hosts()):
                print(host.machine, host.address, "up" if is_running(host) else "ended")  # noqa: T201
        case _:
            print(__doc__)  # noqa: T201
            return 2
    return 0


if __name__ == "__main__":
    reason = lacks()
    if reason:
        sys.exit(reason)
    try:
        sys.exit(main(sys.argv[1:]))
    except LabError as error:
        sys.exit(f"Error: {error}")
