"""The lab itself: hosts that are up in seconds, as bare as a new machine, and gone without a trace."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.infra.lab import LABS, Lab, LabError, LabHost, base_system, boot_time, lacks, main, processes_of


@pytest.fixture(scope="module")
def bare(lab: Lab) -> Iterator[LabHost]:
    """A host that nothing was done to."""
    yield lab.host("bare")
    lab.down("bare")


def interfaces() -> str:
    return subprocess.run(["ip", "-o", "link"], check=True, capture_output=True, text=True).stdout


def is_alive(process: int) -> bool:
    """Whether a process is there and not just waiting for somebody to ask how it ended, see proc(5)."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(") ")[2][0] not in "ZX"
    except OSError:
        return False


def test_a_host_is_up_in_seconds(lab: Lab) -> None:
    """The base system is kept; a host needs no copy of it."""
    base_system(lab.stock.packages)
    begin = time.monotonic()
    lab.host("quick")
    lab.down("quick")
    # Three, where nobody else has the processors; making the base takes half a minute.
    assert time.monotonic() - begin < 60


def test_a_host_is_a_whole_debian(bare: LabHost) -> None:
    assert "VERSION_CODENAME=bookworm" in bare.run("cat /etc/os-release").stdout
    assert bare.run("systemctl is-system-running --wait").stdout.strip() == "running"


def test_a_host_is_bare(bare: LabHost) -> None:
    """What a deploy installs must not be there already."""
    packages = bare.run("dpkg-query -W -f '${Package}\\n'").stdout.split()
    assert not [name for name in packages if name.startswith(("postgresql", "libpq", "python3-venv"))]


def test_packages_are_installed_through_this_machine(bare: LabHost) -> None:
    bare.run("apt-get update -qq && apt-get install -qq -y tree")
    assert bare.run("command -v tree").stdout.strip() == "/usr/bin/tree"


def test_a_host_has_an_identity_of_its_own(lab: Lab, bare: LabHost) -> None:
    """Two machines with one machine id, or one host key, are taken for each other."""
    other = lab.host("other")
    for question in ("cat /etc/machine-id", "cat /etc/ssh/ssh_host_ed25519_key.pub", "hostname", "hostname -I"):
        answers = [host.run(question, check=False).stdout for host in (bare, other)]
        assert answers[0] != answers[1] or not any(answers), question
    lab.down("other")


def test_services_of_two_hosts_are_apart(lab: Lab, bare: LabHost) -> None:
    """Hosts that shared a control group would stop each other's services."""
    other = lab.host("other")
    other.run("systemctl stop systemd-networkd.socket systemd-networkd")
    assert bare.run("systemctl is-active systemd-networkd").stdout.strip() == "active"
    assert not processes_of(bare) & processes_of(other)
    lab.down("other")


def test_a_host_comes_back_from_a_reboot(lab: Lab, bare: LabHost) -> None:
    bare.run("echo kept >/root/kept")
    before = boot_time(bare)
    lab.reboot(bare)
    assert boot_time(bare) != before
    assert bare.run("cat /root/kept").stdout == "kept\n"


def test_the_lab_s_key_is_its_owner_s_alone(lab: Lab, bare: LabHost) -> None:
    assert bare.ssh_key.stat().st_mode & 0o777 == 0o600
    assert lab.folder.stat().st_mode & 0o077 == 0
    assert bare.run("grep -c . /root/.ssh/authorized_keys").stdout == "1\n"


def test_a_host_with_another_key_is_refused(bare: LabHost, tmp_path: Path) -> None:
    """Nobody is trusted at first sight."""
    unknown = tmp_path / "known_hosts"
    unknown.touch()
    options = ["-F", str(bare.ssh_config), "-o", f"UserKnownHostsFile={unknown}"]
    answer = subprocess.run(["ssh", *options, bare.name, "true"], capture_output=True, text=True)
    assert answer.returncode == 255
    assert "Host key verification failed" in answer.stderr


def test_a_host_stays_the_same_when_asked_for_again(lab: Lab, bare: LabHost) -> None:
    assert lab.host("bare") == bare


def test_a_host_that_was_killed_is_booted_anew(lab: Lab) -> None:
    host = lab.host("killed")
    host.run("touch /root/old; systemctl halt", check=False)
    deadline = time.monotonic() + 20
    while processes_of(host) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert lab.host("killed").run("ls /root").stdout == ""
    lab.down("killed")


@pytest.mark.parametrize("in_memory", [False, True], ids=["on disk", "in memory"])
def test_down_leaves_nothing(lab: Lab, bare: LabHost, in_memory: bool) -> None:
    """No process, interface, mount, control group or file of the host stays."""
    with Lab("leavesnothing", in_memory=in_memory, stock=lab.stock) as another:
        host = another.host("gone")
        assert "vb-leaves" in interfaces()
        running = processes_of(host)
        assert running
    assert not processes_of(host)
    assert not [process for process in running if is_alive(process)]
    assert "vb-leaves" not in interfaces()
    assert "leavesnothing" not in Path("/proc/self/mounts").read_text()
    assert not list(Path("/sys/fs/cgroup").glob("*/callytics-lab/leavesnothing*"))
    assert not list(Path("/run/systemd/nspawn/propagate").glob("leavesnothing*"))
    assert not (LABS / "leavesnothing").exists()


def test_other_hosts_stay_when_one_goes(lab: Lab, bare: LabHost) -> None:
    with Lab("another", stock=lab.stock) as another:
        another.host("gone")
    assert bare.run("hostname", check=False).returncode == 0 or bare.run("cat /etc/hostname").stdout == "bare\n"


@pytest.mark.parametrize("name", ["", "Upper", "../up", "a b", "-x", "x" * 40])
def test_an_invalid_name_is_refused(lab: Lab, name: str) -> None:
    with pytest.raises(LabError, match="is no name for a host"):
        lab.host(name)


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_where_there_is_no_linux_it_says_so(monkeypatch: pytest.MonkeyPatch, platform: str) -> None:
    monkeypatch.setattr("sys.platform", platform)
    assert "needs Linux" in str(lacks())


def test_who_is_not_root_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert "needs root" in str(lacks())


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    assert "mmdebstrap" in str(lacks())


def test_people_are_told_how_to_use_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "python -m tests.infra.lab up" in capsys.readouterr().out
