"""The kernel's memory settings on database hosts. A container shares its host's kernel, so there nothing is set."""

from pyinfra import host, logger

from deploy.operations import running_kernel
from deploy.operations.cluster.machine import Machine
from deploy.operations.conf import conf

if "database" in host.groups:
    if host.get_fact(Machine)["in_container"]:
        logger.info(f"{host.print_prefix}A container: its kernel's memory settings are left to its host")
    else:
        conf(
            name="Write the kernel's memory settings",
            src="sysctl.conf.j2",
            dest="/etc/sysctl.d/60-callytics.conf",
            settings=host.data.kernel_sysctl,
        )
        conf(
            name="Write how transparent huge pages are used",
            src="tmpfiles.conf.j2",
            dest="/etc/tmpfiles.d/callytics.conf",
            thp=host.data.kernel_thp,
        )
        running_kernel.in_force(
            name="Run the kernel with these settings", sysctl=host.data.kernel_sysctl, thp=host.data.kernel_thp
        )
