"""Maintenance of the months: made ahead, frozen when they are over, and archived where a policy says so.

RETENTION_MONTHS names how many months stay in the database; without it none leaves. Every application host makes
months, as that costs nothing twice; what the tables' owner does is the first one's. All reach the database as the
application does: of a cluster's members the one that takes writes.
"""

from pyinfra import host
from pyinfra.operations import files, systemd

from deploy.operations import units
from deploy.operations.conf import conf

if "app" in host.groups:
    data = host.data
    is_first = host.name == data.app_first_host
    archives = is_first and bool(data.retention_months)
    archive = f"archive --keep {data.retention_months} --backed-up --into {data.archive_folder} --yes"
    jobs = {
        **({"freeze": {"command": "freeze", "folder": ""}} if is_first else {}),
        **({"archive": {"command": archive, "folder": data.archive_folder}} if archives else {}),
    }
    timers = ["callytics-partitions", *(f"callytics-{job}" for job in jobs)]
    unwanted = [f"callytics-{job}" for job in data.maintenance_jobs if job not in jobs]

    if archives:
        files.directory(
            name="Make the folder of archived months",
            path=data.archive_folder,
            user="root",
            group="root",
            mode="0700",
        )
    for unit in ("callytics-partitions.service", "callytics-partitions.timer"):
        conf(
            name=f"Write {unit}",
            src=f"{unit}.j2",
            dest=f"/etc/systemd/system/{unit}",
            app_user=data.app_user,
            app_folder=data.app_folder,
            settings_folder=data.app_settings_folder,
            months=data.app_months_ahead,
        )
    for job, described in jobs.items():
        for kind in ("service", "timer"):
            conf(
                name=f"Write callytics-{job}.{kind}",
                src=f"callytics-maintenance.{kind}.j2",
                dest=f"/etc/systemd/system/callytics-{job}.{kind}",
                app_folder=data.app_folder,
                settings_folder=data.app_settings_folder,
                **data.maintenance_jobs[job],
                **described,
            )
    written = [f"{timer}.{kind}" for timer in timers for kind in ("service", "timer")]
    units.loaded(
        name="Make systemd know what maintains the months",
        units={unit: [f"/etc/systemd/system/{unit}"] for unit in written},
    )
    # Older deployments had a program for what is a command now. It goes after systemd knows the unit that names the
    # command: until then the timer may start it.
    files.file(
        name="Remove the program that made partitions before",
        path=f"{data.app_home}/keep_partitions_ahead.py",
        present=False,
    )
    systemd.service(name="Run the partitions' timer", service="callytics-partitions.timer", running=True, enabled=True)
    for job in jobs:
        systemd.service(
            name=f"Run the timer of callytics-{job}", service=f"callytics-{job}.timer", running=True, enabled=True
        )
    if unwanted:
        # Files of archived months stay: they are all that there is of them.
        units.absent(
            name="Remove the maintenance that this host is not to do",
            units=[f"{name}.{kind}" for name in unwanted for kind in ("timer", "service")],
        )
