"""Logs: how much a host keeps of PostgreSQL's, in /var/log/postgresql, and of the service's, in systemd's journal."""

from pyinfra import host
from pyinfra.operations import files, systemd

from deploy.operations import debian_packages, units
from deploy.operations.conf import conf

JOURNAL = "/etc/systemd/journald.conf.d/callytics.conf"
TIMER = "/etc/systemd/system/logrotate.timer.d/callytics.conf"

if "database" in host.groups or "app" in host.groups:
    files.directory(
        name="Make the folder of the journal's limits",
        path="/etc/systemd/journald.conf.d",
        user="root",
        group="root",
        mode="0755",
    )
    conf(name="Bound the journal", src="journald.conf.j2", dest=JOURNAL, limits=host.data.log_limits["journal"])
    units.running(name="Run the journal with its limits", unit="systemd-journald.service", files=[JOURNAL])

if "database" in host.groups:
    debian_packages.present(name="Install logrotate", packages=host.data.log_packages)
    conf(
        name="Bound PostgreSQL's logs",
        src="logrotate.j2",
        dest="/etc/logrotate.d/postgresql-common",
        files=host.data.log_limits["files"],
    )
    conf(name="Look at the size of logs every hour", src="logrotate.timer.conf.j2", dest=TIMER)
    units.loaded(name="Make systemd know logrotate's timer", units={"logrotate.timer": [TIMER]})
    systemd.service(name="Run logrotate's timer", service="logrotate.timer", running=True, enabled=True)
