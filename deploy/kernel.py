"""The kernel's memory settings, on a database's own machine; a container's kernel belongs to somebody else."""

from pyinfra import host, logger
from pyinfra.operations import files

from deploy.operations import kernel
from deploy.operations.machine import Machine
from deploy.operations.templates import JINJA, template

if "database" in host.groups:
    if host.get_fact(Machine)["in_container"]:
        logger.info(f"{host.print_prefix}A container: its kernel's memory settings are left to its host")
    else:
        files.template(
            name="Write the kernel's memory settings",
            src=template("sysctl.conf.j2"),
            jinja_env_kwargs=JINJA,
            dest="/etc/sysctl.d/60-callytics.conf",
            user="root",
            group="root",
            mode="0644",
            settings=host.data.kernel_sysctl,
        )
        files.template(
            name="Write how transparent huge pages are used",
            src=template("tmpfiles.conf.j2"),
            jinja_env_kwargs=JINJA,
            dest="/etc/tmpfiles.d/callytics.conf",
            user="root",
            group="root",
            mode="0644",
            thp=host.data.kernel_thp,
        )
        kernel.in_force(
            name="Run the kernel with these settings", sysctl=host.data.kernel_sysctl, thp=host.data.kernel_thp
        )
