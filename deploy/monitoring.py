"""Monitoring: what the database tells each half minute, Prometheus with our alerts, and Alertmanager that sends them.

Every host has node exporter; beside the database a timer writes what its textfile collector reads, by 'callytics
metrics' over the socket, where 'callytics backup watch' writes as well. That is one program fewer than an exporter of
its own for PostgreSQL, without a port, a password or another language for queries. MONITORING=off leaves all of it out,
and takes back what an earlier run has made.
"""

from io import StringIO
from pathlib import Path

from pyinfra import host
from pyinfra.operations import files, server, systemd

from deploy.operations import debian_packages, units
from deploy.operations.alerting import alertmanager, node_exporter, paced, prometheus
from deploy.operations.cluster.server_settings import unit_of
from deploy.operations.conf import conf, template
from deploy.operations.failover import patroni
from deploy.operations.program import beside_the_database
from deploy.operations.secret import certificates, secret_files
from deploy.operations.secret.certificates import Authority

data = host.data
is_database = "database" in host.groups
watches = data.monitoring_on and "monitoring" in host.groups
apart = len(data.monitoring_hosts) > 1

settings_folder = f"{data.app_settings_folder}/monitoring"
textfiles, account = "/var/lib/prometheus/node-exporter", "callytics_monitor"
metrics_folder = "/var/lib/callytics-monitor"
METRICS = ("callytics-metrics.service", "callytics-metrics.timer")
# Each packaged service with the file without which it does not start: the package starts it at once, as Debian has it.
packaged = {
    "prometheus-node-exporter": ("node-exporter.yml", True),
    "prometheus-alertmanager": ("alertmanager.yml", watches),
    "prometheus": ("prometheus.yml", watches),
}
wanted = {name: file for name, (file, here) in packaged.items() if here and data.monitoring_on}
unwanted = [name for name in packaged if name not in wanted]

if data.monitoring_on:
    for folder in (data.app_settings_folder, settings_folder):
        files.directory(name=f"Make {folder} for monitoring", path=folder, user="root", group="root", mode="0755")
    for name, file in wanted.items():
        files.directory(
            name=f"Make the folder of {name}'s settings",
            path=f"/etc/systemd/system/{name}.service.d",
            user="root",
            group="root",
            mode="0755",
        )
        conf(
            name=f"Write how {name} runs",
            src=f"{name}.conf.j2",
            dest=f"/etc/systemd/system/{name}.service.d/callytics.conf",
            folder=settings_folder,
            file=file,
            address="127.0.0.1" if watches else host.name,
            textfiles=textfiles,
            days=data.monitoring_days,
        )
    units.unmasked(name="Let what monitors run again", units=[f"{name}.service" for name in wanted])
    debian_packages.present(name="Install what monitors", packages=list(wanted))

    if apart:
        authority = Authority(Path(data.deploy_folder, "monitoring-tls"), peers=True)
        tls = f"{settings_folder}/tls"

        files.directory(name=f"Make {tls}", path=tls, user="root", group="root", mode="0755")
        certificates.server_certificate(
            name="Install the certificate of monitoring",
            authority=authority,
            server=host.name,
            alternatives=[host.name],
            folder=tls,
            owner="prometheus",
        )
        certificates.authority_certificate(
            name="Install the authority of monitoring's certificates", authority=authority, dest=f"{tls}/ca.crt"
        )
    files.put(
        name="Write whom node exporter answers",
        src=StringIO(node_exporter(settings_folder, alone=watches)),
        dest=f"{settings_folder}/node-exporter.yml",
        user="root",
        group="root",
        mode="0644",
    )

if data.monitoring_on and is_database:
    server.group(name="Create the monitor's group", group=account, system=True)
    server.user(
        name="Create the monitor's account, without a shell",
        user=account,
        group=account,
        home="/nonexistent",
        shell="/usr/sbin/nologin",
        create_home=False,
        ensure_home=False,
        system=True,
    )
    files.directory(
        name="Make the folder of the metrics", path=metrics_folder, user=account, group=account, mode="0755"
    )
    beside_the_database("metrics")
    conf(
        name="Write whom to ask as the monitor",
        src="monitor.env.j2",
        dest=f"{data.app_settings_folder}/monitor.env",
        account=account,
        database=data.postgres_database,
        port=data.postgres_port,
        watches=watches,
    )
    files.link(
        name="Let node exporter read the metrics",
        path=f"{textfiles}/callytics.prom",
        target=f"{metrics_folder}/callytics.prom",
    )
    files.link(
        name="Let node exporter read those of the backups",
        path=f"{textfiles}/callytics_backup.prom",
        target=f"{data.backup_folder}/callytics_backup.prom",
        present=data.backup_on,
    )
    for unit in METRICS:
        conf(
            name=f"Write {unit}",
            src=f"{unit}.j2",
            dest=f"/etc/systemd/system/{unit}",
            account=account,
            app_folder=data.app_folder,
            database=data.postgres_database,
            port=data.postgres_port,
            folder=metrics_folder,
            database_unit=patroni.UNIT if "cluster" in host.groups else f"{unit_of(data.postgres_cluster)}.service",
        )

if watches:
    files.put(
        name="Write the alerts",
        src=StringIO(paced(Path(template("alerts.yml")).read_text(), data.monitoring_pace)),
        dest=f"{settings_folder}/alerts.yml",
        user="root",
        group="root",
        mode="0644",
    )
    files.put(
        name="Write whom Prometheus asks",
        src=StringIO(prometheus(data, settings_folder)),
        dest=f"{settings_folder}/prometheus.yml",
        user="root",
        group="root",
        mode="0644",
    )
    files.put(
        name="Write what keeps addresses out of Alertmanager's log",
        src=template("alertmanager.sh"),
        dest=f"{settings_folder}/alertmanager.sh",
        user="root",
        group="root",
        mode="0755",
    )
    secret_files.secret(
        name="Write whom Alertmanager tells",
        content=alertmanager(data),
        dest=f"{settings_folder}/alertmanager.yml",
        user="prometheus",
        group="prometheus",
        mode=0o600,
    )

if data.monitoring_on:
    loaded = {f"{name}.service": [f"/etc/systemd/system/{name}.service.d/callytics.conf"] for name in wanted}
    if is_database:
        loaded |= {unit: [f"/etc/systemd/system/{unit}"] for unit in METRICS}
    units.loaded(name="Make systemd know what monitors", units=loaded)
    if is_database:
        systemd.service(name="Run the metrics' timer", service=METRICS[1], running=True, enabled=True)
    for name, file in wanted.items():
        read = [file, *{"prometheus": ["alerts.yml"], "prometheus-alertmanager": ["alertmanager.sh"]}.get(name, [])]
        units.running(
            name=f"Run {name} with its files as they are",
            unit=f"{name}.service",
            files=[*loaded[f"{name}.service"], *(f"{settings_folder}/{one}" for one in read)]
            + ([f"{settings_folder}/tls/server.crt"] if apart and name != "prometheus-alertmanager" else []),
        )

if unwanted:
    units.released(
        name="Take back what monitors and is not to run here", units=[f"{name}.service" for name in unwanted]
    )
if not watches:
    # It holds where alerts were sent, with what lets somebody in there; the others are about what does not run here.
    for file in ("alertmanager.yml", "alertmanager.sh", "prometheus.yml", "alerts.yml"):
        files.file(name=f"Remove {file}, as this host does not watch", path=f"{settings_folder}/{file}", present=False)
if is_database and not data.monitoring_on:
    units.absent(name="Remove the metrics' units", units=METRICS)
    files.file(name="Remove whom to ask", path=f"{data.app_settings_folder}/monitor.env", present=False)
    for file in ("callytics.prom", "callytics_backup.prom"):
        files.link(name=f"Let nobody read {file}", path=f"{textfiles}/{file}", present=False)
