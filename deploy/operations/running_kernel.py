"""The running kernel gets the settings that its files declare for the next boot."""

from __future__ import annotations

from collections.abc import Generator, Mapping

from pyinfra import host
from pyinfra.api import FactBase, StringCommand, operation

TRANSPARENT_HUGE_PAGES = "/sys/kernel/mm/transparent_hugepage/enabled"


class KernelSettings(FactBase[dict[str, str]]):
    """The running kernel's settings, and as ``thp`` how it uses transparent huge pages."""

    default = dict

    def command(self) -> str:
        """Return the command that asks."""
        return f"/sbin/sysctl -a -r '^vm\\.' 2>/dev/null; echo \"thp = $(cat {TRANSPARENT_HUGE_PAGES} 2>/dev/null)\""

    def process(self, output: list[str]) -> dict[str, str]:
        """Return the settings by name."""
        found = dict(line.split(" = ", 1) for line in output if " = " in line)
        chosen = found.get("thp", "").partition("[")[2].partition("]")[0]
        return found | {"thp": chosen}


@operation()
def in_force(sysctl: Mapping[str, str], thp: str) -> Generator[StringCommand, None, None]:
    """Set what differs, without a reboot; a kernel without transparent huge pages is left as it is.

    sysctl and tmpfiles would do it too, but report a change on every run.
    """
    found = host.get_fact(KernelSettings)
    for name, value in sysctl.items():
        if found.get(name) != value:
            yield StringCommand(f"/sbin/sysctl -q -w {name}={value}")
    if found["thp"] not in ("", thp):
        yield StringCommand(f"echo {thp} >{TRANSPARENT_HUGE_PAGES}")
