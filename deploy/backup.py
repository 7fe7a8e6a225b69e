"""Backups: pgBackRest with continuous archiving, its encrypted repository, and the timers that back up and prove it.

The repository is a folder of the database's host, of another host that is reached by TLS, or a store that speaks S3;
BACKUP_REPOSITORY=off leaves all of it out. Timers and servers of an earlier run go where they are not wanted any more.
"""

from pathlib import Path

from pyinfra import host, logger
from pyinfra.operations import files, systemd

from deploy import policy
from deploy.operations import backups, debian_packages, units
from deploy.operations.cluster import server_settings
from deploy.operations.cluster.primary import on_the_primary
from deploy.operations.cluster.server_settings import unit_of
from deploy.operations.conf import conf
from deploy.operations.failover import patroni
from deploy.operations.hosts import wait_for_each_other
from deploy.operations.pgbackrest import TLS, jobs_of, keeps_backups, secrets, sections
from deploy.operations.program import beside_the_database
from deploy.operations.secret import certificates, keys, secret_files
from deploy.operations.secret.certificates import Authority

data = host.data
is_database, is_member = "database" in host.groups, "cluster" in host.groups
primary = on_the_primary()
apart = bool(data.backup_host)
keeps = keeps_backups(data, host.name, is_database=is_database)
takes_part = keeps or (data.backup_on and is_database)

settings_file, secrets_file = "/etc/pgbackrest/pgbackrest.conf", "/etc/pgbackrest/conf.d/callytics.conf"
server_file = f"/etc/postgresql/{data.postgres_cluster}/conf.d/callytics-backup.conf"
database_unit = patroni.UNIT if is_member else f"{unit_of(data.postgres_cluster)}.service" if is_database else ""
command = f"{data.app_folder}/bin/callytics backup"
pgbackrest = f"/usr/bin/pgbackrest --stanza={data.backup_stanza} --log-level-console=warn"
commands = {
    "full": f"{pgbackrest} --type=full backup" if apart else f"{command} now --type full",
    "diff": f"{pgbackrest} --type=diff backup" if apart else f"{command} now --type diff",
    "verify": f"{pgbackrest} --output=text verify" if apart else f"{command} check --verify",
    "drill": f"{command} drill",
    "watch": f"{command} watch",
}
jobs = jobs_of(data, host.name, is_database=is_database)
every_job = {**data.backup_jobs["repository"], **data.backup_jobs["database"]}

if data.backup_on and "backup" in host.groups and not apart:
    logger.warning(f"{host.print_prefix}a store keeps the backups: what BACKUP_HOST did ends, leave it out from now on")

if takes_part:
    kept_key = keys.KeptKey(Path(data.deploy_folder, "backup_key"))

    debian_packages.present(name="Install pgBackRest", packages=data.backup_packages)
    for folder in ("/etc/pgbackrest", "/etc/pgbackrest/conf.d"):
        files.directory(name=f"Make {folder}", path=folder, user="root", group="root", mode="0755")
    conf(
        name="Write pgBackRest's settings",
        src="pgbackrest.conf.j2",
        dest=settings_file,
        group="postgres",
        mode="0640",
        sections=sections(data, "both" if not apart else "database" if is_database else "repository"),
    )
    if keeps:
        if not data.backup_key:
            keys.kept(name="Make the repository's key, on the control machine", key=kept_key)
        secret_files.secret(
            name="Write the repository's key",
            content=secrets(data, kept_key),
            dest=secrets_file,
            user="postgres",
            group="postgres",
            mode=0o600,
        )
    if keeps and data.backup_options["repo1-type"] == "posix":
        files.directory(
            name="Make the repository's folder",
            path=data.backup_options["repo1-path"],
            user="postgres",
            group="postgres",
            mode="0750",
        )
    if apart:
        authority = Authority(Path(data.deploy_folder, "backup-tls"), peers=True)
        me = host.name if is_database else data.backup_host

        files.directory(
            name="Make the folder of pgBackRest's certificates",
            path=TLS,
            user="root",
            group="root",
            mode="0755",
        )
        certificates.server_certificate(
            name="Install pgBackRest's certificate",
            authority=authority,
            server=me,
            alternatives=[me],
            folder=TLS,
        )
        certificates.authority_certificate(
            name="Install the authority of pgBackRest's certificates",
            authority=authority,
            dest=f"{TLS}/ca.crt",
        )
        units.running(
            name="Run pgBackRest's server with its files as they are",
            unit="pgbackrest.service",
            files=[
                settings_file,
                f"{TLS}/server.crt",
                f"{TLS}/server.key",
                f"{TLS}/ca.crt",
            ],
        )

if data.backup_on and apart:
    wait_for_each_other(name="Wait until database and repository can talk")

if keeps:
    # Of a cluster's members with a store the one that leads does it.
    backups.stanza(name="Make the repository's stanza", stanza=data.backup_stanza, **primary)

if data.backup_on and (apart or is_member):
    wait_for_each_other(name="Wait until the repository is there")

if data.backup_on and is_database and not is_member:
    conf(
        name="Let PostgreSQL archive its WAL",
        src="backup.conf.j2",
        dest=server_file,
        group="postgres",
        mode="0640",
        settings=data.backup_server,
    )
    server_settings.in_force(
        name="Run PostgreSQL with archiving", cluster=data.postgres_cluster, files=[server_file, settings_file]
    )

if data.backup_on and is_member:
    # What Patroni has them archive by was told in deploy/patroni.py; those that did not archive before are restarted.
    patroni.restarted(
        name="Restart the servers that do not archive yet, one after another",
        place=patroni.Place(data.postgres_cluster, data.cluster_patroni_settings_folder, data.cluster_patroni_folder),
        _run_once=True,
    )
    wait_for_each_other(name="Wait until every member archives when it leads")

if data.backup_on and is_database:
    # A standby without a repository's host finds no primary that it could ask.
    backups.checked(
        name="Check that WAL arrives in the repository",
        stanza=data.backup_stanza,
        cluster=data.postgres_cluster,
        **({} if apart else primary),
    )

    beside_the_database("backups")
    files.directory(
        name="Make the folder of the settings for the backups",
        path=data.app_settings_folder,
        user="root",
        group="root",
        mode="0755",
    )
    files.link(
        name="Make callytics a command for the backups",
        path="/usr/local/bin/callytics",
        target=f"{data.app_folder}/bin/callytics",
    )
    files.directory(
        name="Make the folder of trial restores and of the backups' state",
        path=data.backup_folder,
        user="postgres",
        group="postgres",
        mode="0755",
    )
    version = data.postgres_cluster.partition("/")[0]
    conf(
        name="Say where the backups are",
        src="backup.toml.j2",
        dest=f"{data.app_settings_folder}/backup.toml",
        settings={
            "stanza": data.backup_stanza,
            "repository_host": data.backup_host,
            "database": data.postgres_database,
            "port": data.postgres_port,
            "socket": "/var/run/postgresql",
            "data": f"/var/lib/postgresql/{data.postgres_cluster}",
            "binaries": f"/usr/lib/postgresql/{version}/bin",
            "account": "postgres",
            "unit": patroni.UNIT if is_member else unit_of(data.postgres_cluster),
            "folder": data.backup_folder,
            "owner": data.postgres_database_owner,
        },
    )

for job, described in jobs.items():
    service, timer = f"callytics-backup-{job}.service", f"callytics-backup-{job}.timer"
    conf(
        name=f"Write {service}",
        src="callytics-backup.service.j2",
        dest=f"/etc/systemd/system/{service}",
        says=described["says"],
        command=commands[job],
        condition=policy.LEADS.format(port=data.postgres_port) if is_member and described.get("leads") else "",
        again=described.get("again"),
        database_unit=database_unit,
    )
    conf(
        name=f"Write {timer}",
        src="callytics-backup.timer.j2",
        dest=f"/etc/systemd/system/{timer}",
        says=described["says"],
        when=described["when"],
    )
if jobs:
    written = [f"callytics-backup-{job}.{kind}" for job in jobs for kind in ("service", "timer")]
    units.loaded(
        name="Make systemd know the backups' units",
        units={unit: [f"/etc/systemd/system/{unit}"] for unit in written},
    )
for job in jobs:
    systemd.service(
        name=f"Run the timer of callytics-backup-{job}",
        service=f"callytics-backup-{job}.timer",
        running=True,
        enabled=True,
    )
if keeps:
    backups.first_backup(
        name="Begin the first backup", stanza=data.backup_stanza, unit="callytics-backup-full.service", **primary
    )

# On every host: a service's may have kept the backups before.
unwanted = sorted(every_job.keys() - jobs.keys())
if unwanted:
    units.absent(
        name="Remove the backups' units that this host is not to have",
        units=[f"callytics-backup-{job}.{kind}" for job in unwanted for kind in ("timer", "service")],
    )
if not (takes_part and apart):
    backups.served_no_more(name="Stop pgBackRest's server where nobody is to ask it")
if is_database and not data.backup_on:
    files.file(name="Say nothing of backups", path=f"{data.app_settings_folder}/backup.toml", present=False)
if is_database and not data.backup_on and not is_member:
    # Not a file that is removed: PostgreSQL takes a setting that is gone, and needs a restart, for a mistake.
    conf(
        name="Let PostgreSQL archive nothing",
        src="backup.conf.j2",
        dest=server_file,
        group="postgres",
        mode="0640",
        settings={"archive_mode": "off"},
    )
    server_settings.in_force(
        name="Run PostgreSQL without archiving",
        cluster=data.postgres_cluster,
        files=[server_file],
    )
