"""Maintenance: the months to come are made by a timer, and old ones go to files by another where a policy says so.

RETENTION_MONTHS names how many months stay in the database; without it none leaves. Of several application hosts each
makes months, as that costs nothing twice, and the first archives. Both reach the database as the application does: of
a cluster's members the one that takes writes.
"""

from pyinfra import host
from pyinfra.operations import files, systemd

from deploy.operations import units
from deploy.operations.conf import conf

if "app" in host.groups:
    data = host.data
    archives = bool(data.retention_months) and host.name == data.app_first_host
    timers = ["callytics-partitions", *(["callytics-archive"] if archives else [])]

    if archives:
        files.directory(
            name="Make the folder of archived months",
            path=data.archive_folder,
            user="root",
            group="root",
            mode="0700",
        )
    for timer in timers:
        for unit in (f"{timer}.service", f"{timer}.timer"):
            conf(
                name=f"Write {unit}",
                src=f"{unit}.j2",
                dest=f"/etc/systemd/system/{unit}",
                app_user=data.app_user,
                app_folder=data.app_folder,
                settings_folder=data.app_settings_folder,
                months_ahead=data.app_months_ahead,
                months_kept=data.retention_months,
                folder=data.archive_folder,
            )
    units.loaded(
        name="Make systemd know what maintains the months",
        units={
            unit: [f"/etc/systemd/system/{unit}"] for timer in timers for unit in (f"{timer}.service", f"{timer}.timer")
        },
    )
    # Older deployments had a program for what is a command now. It goes after systemd knows the unit that names the
    # command: until then the timer may start it.
    files.file(
        name="Remove the program that made partitions before",
        path=f"{data.app_home}/keep_partitions_ahead.py",
        present=False,
    )
    systemd.service(name="Run the partitions' timer", service="callytics-partitions.timer", running=True, enabled=True)
    if archives:
        systemd.service(name="Run the archive's timer", service="callytics-archive.timer", running=True, enabled=True)
    else:
        # The files stay: they are all that there is of their months.
        units.absent(
            name="Archive nothing on this host", units=["callytics-archive.timer", "callytics-archive.service"]
        )
