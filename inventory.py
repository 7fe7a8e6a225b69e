"""The hosts, their groups, and the values that differ between them or that people change.

What differs between installations comes from the environment or .env, which deploy/environment.py reads:
DATABASE_HOSTS, APP_HOSTS and how to reach them, and the roles' passwords. Both lists are this machine by default.
What all installations have alike, such as roles, logging and security, is in deploy/policy.py.
"""

from __future__ import annotations

import sys
from pathlib import Path

# deploy/ is imported by its files, from wherever pyinfra is started.
sys.path.insert(0, str(Path(__file__).resolve().parent))

from deploy import environment, policy

environment.refuse_other_roles()
_database_hosts, _app_hosts = environment.database_hosts(), environment.hosts("APP_HOSTS")
_members = {host: environment.address(host) for host in environment.cluster_hosts()}
_backup_hosts = environment.backup_hosts()
_backups = environment.backups()
_monitoring_hosts = environment.monitoring_hosts()
_all_hosts = environment.all_hosts()
_clients = environment.clients()
_dedicated = not set(_database_hosts) & set(_app_hosts)
_database_name = environment.value("POSTGRES_DB", "callytics")
_pool = environment.number("POSTGRES_MAX_CONNECTIONS", 20)

all = (
    _all_hosts,
    {
        **environment.connection(_all_hosts),
        "deploy_checkout": str(environment.CHECKOUT),
        # Made and kept on the control machine: the authority, the servers' keys, the key that signs logins, wheels.
        "deploy_folder": environment.value("DEPLOY_FOLDER", str(environment.CHECKOUT / ".deploy")),
        "postgres_cluster": "15/main",
        "postgres_port": int(environment.value("POSTGRES_PORT", "5432")),
        "postgres_database": _database_name,
        **environment.certificates(),
        "log_packages": ["logrotate"],
        "log_limits": policy.LOGS,
        "app_packages": ["python3", "python3-venv", "ca-certificates", "curl"],
        # Application hosts have it for the service, database hosts for the backups: releases side by side, and
        # a link to the one that is used.
        "app_home": "/opt/callytics",
        "app_folder": "/opt/callytics/current",
        "app_kept_releases": 2,
        "app_settings_folder": "/etc/callytics",
        # All of them share one database: the first brings it along.
        "app_first_host": _app_hosts[0],
        **_backups,
        "backup_packages": ["pgbackrest"],
        # Before an upgrade: one day, and what a backup may take.
        "backup_upgrade_hours": 26,
        "backup_database_hosts": _database_hosts,
        "backup_host": environment.backup_host(),
        "backup_port": policy.BACKUP_PORT,
        "backup_server": policy.archiving(_backups["backup_stanza"]),
        "backup_jobs": {"repository": policy.REPOSITORY_JOBS, "database": policy.DATABASE_JOBS},
        "backup_folder": "/var/lib/callytics-backup",
        **environment.monitoring(),
        "monitoring_host": next(iter(_monitoring_hosts), ""),
        "monitoring_hosts": _all_hosts,
        "monitoring_services": environment.scraped_services(next(iter(_monitoring_hosts), "")),
        # Tests divide by it how long something has to last until there is an alert.
        "monitoring_pace": 1,
    },
)

database = (
    [
        (
            host,
            {
                # Empty: only this machine's own programs reach the server.
                "postgres_listen": []
                if not _clients
                else environment.words("DATABASE_LISTEN") or [environment.address(host)],
                "tls_names": ["localhost", "127.0.0.1", "::1"]
                + ([] if host == "@local" else [host])
                + [address for member, address in _members.items() if member == host != address],
                "tls_server_name": host.removeprefix("@"),
            },
        )
        for host in _database_hosts
    ],
    {
        "kernel_sysctl": policy.KERNEL | (policy.DEDICATED_KERNEL if _dedicated else {}),
        "kernel_thp": "madvise",
        "postgres_packages": ["postgresql-15", "postgresql-client-15"],
        # The roles' connection limits follow from these two: deploy/operations/cluster/connections.py.
        "postgres_app_hosts": len(_app_hosts),
        "postgres_app_pool": _pool,
        "postgres_disk": environment.value("DATABASE_DISK", "ssd"),
        # An application on the same machine needs memory, too.
        "postgres_memory_share": 1.0 if _dedicated else 0.75,
        "postgres_security": policy.SECURITY,
        "postgres_logging": policy.LOGGING,
        "postgres_superuser": policy.SUPERUSER,
        "postgres_roles": policy.roles(
            {
                "callytics_owner": environment.password("POSTGRES_OWNER_PASSWORD"),
                "callytics_user": environment.password("POSTGRES_PASSWORD"),
                "callytics_readonly": environment.password("POSTGRES_READONLY_PASSWORD", required=False),
                "callytics_monitor": environment.password("POSTGRES_MONITOR_PASSWORD", required=False),
            }
        ),
        "postgres_access": policy.access(_database_name, _clients)
        + policy.cluster_access([environment.network(address) for address in _members.values()]),
        "postgres_database_owner": "callytics_owner",
        "postgres_database_privileges": policy.database_privileges(_database_name, cluster=bool(_members)),
    },
)

app = (
    _app_hosts,
    {
        "app_user": "callytics",
        "app_accepts_one_way": environment.value("UPGRADE_ONE_WAY") == "yes",
        "app_health": environment.health_url(),
        # The names that the servers' certificates carry.
        "app_database_hosts": _database_hosts,
        # Whose standbys are read from; nothing has every read go to the one that leads.
        "app_read_hosts": sorted(environment.words("POSTGRES_READ_HOST")),
        "app_password": environment.password("POSTGRES_PASSWORD"),
        "app_owner_password": environment.password("POSTGRES_OWNER_PASSWORD"),
        "app_signing_key": environment.signing_key(),
        "app_service_settings": environment.service_settings(),
        "app_min_connections": environment.number("POSTGRES_MIN_CONNECTIONS", 5),
        "app_max_connections": _pool,
        # The daily timer makes the partitions of this many months to come.
        "app_months_ahead": 3,
        **environment.retention(),
        "maintenance_jobs": policy.MAINTENANCE_JOBS,
    },
)

# Empty where one host has the database to itself: etcd and Patroni are for three.
cluster: tuple[list[tuple[str, dict[str, object]]], dict[str, object]] = (
    [(host, {"cluster_member": host, "cluster_address": address}) for host, address in _members.items()],
    {
        "cluster_scope": "callytics",
        "cluster_members": _members,
        "cluster_anew": environment.value("CLUSTER_ANEW") == "yes",
        "cluster_survivor": environment.survivor(),
        "cluster_packages": policy.CLUSTER_PACKAGES,
        "cluster_roles": policy.CLUSTER_ROLES,
        "cluster_server": policy.CLUSTER_SERVER,
        "cluster_dynamic": policy.CLUSTER_DYNAMIC,
        "cluster_parameters": policy.cluster_parameters(_backups["backup_stanza"] if _backups["backup_on"] else None),
        "cluster_patroni": policy.PATRONI,
        "cluster_patroni_folder": "/opt/patroni",
        "cluster_patroni_settings_folder": "/etc/patroni",
        "cluster_etcd_folder": "/etc/etcd",
    },
)

# Empty where the backups are kept on the database's host or in a store, unless what kept them before is to end.
backup: tuple[list[str], dict[str, object]] = (_backup_hosts, {})

monitoring: tuple[list[str], dict[str, object]] = (_monitoring_hosts, {})
