"""The hosts and everything about them that is a value; deploy/ holds the verbs.

What differs between installations comes from the environment or .env, which deploy/environment.py reads:
DATABASE_HOSTS, APP_HOSTS and how to reach them, and the roles' passwords. Both lists are this machine by default.
"""

from __future__ import annotations

import sys
from pathlib import Path

# deploy/ is imported by its files, from wherever pyinfra is started.
sys.path.insert(0, str(Path(__file__).resolve().parent))

from deploy import environment

environment.refuse_other_roles()
_database_hosts, _app_hosts = environment.hosts("DATABASE_HOSTS"), environment.hosts("APP_HOSTS")
_all_hosts = environment.all_hosts()
_local, _clients = ["127.0.0.1/32", "::1/128"], environment.clients()
_dedicated = not set(_database_hosts) & set(_app_hosts)
_database_name = environment.value("POSTGRES_DB", "callytics")
_pool = environment.number("POSTGRES_MAX_CONNECTIONS", 20)

all = (
    _all_hosts,
    {
        **environment.connection(_all_hosts),
        "deploy_checkout": str(environment.CHECKOUT),
        # What the control machine makes and keeps: the authority, the servers' keys, the key that signs logins, wheels.
        "deploy_folder": environment.value("DEPLOY_FOLDER", str(environment.CHECKOUT / ".deploy")),
        "postgres_cluster": "15/main",
        "postgres_port": int(environment.value("POSTGRES_PORT", "5432")),
        "postgres_database": _database_name,
        **environment.certificates(),
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
                "tls_names": ["localhost", "127.0.0.1", "::1"] + ([] if host == "@local" else [host]),
                "tls_server_name": host.removeprefix("@"),
            },
        )
        for host in _database_hosts
    ],
    {
        # Where the database has the machine to itself, memory is never promised twice: PostgreSQL gets an error that it
        # survives, instead of being killed. https://www.postgresql.org/docs/15/kernel-resources.html
        "kernel_sysctl": {"vm.swappiness": "10"}
        | ({"vm.overcommit_memory": "2", "vm.overcommit_ratio": "90"} if _dedicated else {}),
        "kernel_thp": "madvise",
        "postgres_packages": ["postgresql-15", "postgresql-client-15"],
        # What the connections are shared out by: deploy/operations/connections.py.
        "postgres_app_hosts": len(_app_hosts),
        "postgres_app_pool": _pool,
        "postgres_disk": environment.value("DATABASE_DISK", "ssd"),
        # An application on the same machine wants memory too.
        "postgres_memory_share": 1.0 if _dedicated else 0.75,
        "postgres_security": {
            "password_encryption": "scram-sha-256",
            "ssl": "on",
            "ssl_min_protocol_version": "TLSv1.2",
            "ssl_prefer_server_ciphers": "on",
            "ssl_ciphers": "HIGH:!aNULL:!MD5:!3DES",
            "authentication_timeout": "30s",
            "tcp_keepalives_idle": "60s",
            "tcp_keepalives_interval": "10s",
            "tcp_keepalives_count": "6",
            "idle_in_transaction_session_timeout": "1h",
            "unix_socket_permissions": "0777",
        },
        # What an operator wants to know, and nothing of the calls: neither statements that failed, nor their
        # parameters, nor the rows that an error's detail quotes.
        "postgres_logging": {
            "logging_collector": "off",
            "log_destination": "stderr",
            "log_line_prefix": "%m [%p] %q%u@%d %h %a ",
            "log_timezone": "Etc/UTC",
            "log_connections": "on",
            "log_disconnections": "on",
            "log_checkpoints": "on",
            "log_lock_waits": "on",
            "log_temp_files": "10MB",
            "log_autovacuum_min_duration": "10s",
            "log_statement": "ddl",
            "log_replication_commands": "on",
            "log_min_messages": "warning",
            "log_min_error_statement": "panic",
            "log_error_verbosity": "terse",
            "log_min_duration_statement": "-1",
            "log_parameter_max_length": "0",
            "log_parameter_max_length_on_error": "0",
            "debug_print_parse": "off",
            "debug_print_plan": "off",
            "debug_print_rewritten": "off",
        },
        "postgres_superuser": {
            "name": "postgres",
            "superuser": True,
            "createdb": True,
            "createrole": True,
            "replication": True,
            "bypassrls": True,
        },
        # In this order: settings as PostgreSQL keeps them.
        "postgres_roles": [
            {
                "name": "callytics_owner",
                # Loading and building indexes take hours on a large import.
                "settings": {
                    "statement_timeout": "0",
                    "lock_timeout": "10min",
                    "idle_in_transaction_session_timeout": "1h",
                },
                "password": environment.password("POSTGRES_OWNER_PASSWORD"),
            },
            {
                "name": "callytics_user",
                "settings": {
                    "statement_timeout": "1min",
                    "lock_timeout": "10s",
                    "idle_in_transaction_session_timeout": "1min",
                },
                "password": environment.password("POSTGRES_PASSWORD"),
            },
            {
                "name": "callytics_readonly",
                "settings": {
                    "default_transaction_read_only": "on",
                    "statement_timeout": "5min",
                    "lock_timeout": "10s",
                    "idle_in_transaction_session_timeout": "5min",
                },
                "password": environment.password("POSTGRES_READONLY_PASSWORD", required=False),
            },
            {
                "name": "callytics_monitor",
                "member_of": ["pg_monitor"],
                "settings": {
                    "default_transaction_read_only": "on",
                    "statement_timeout": "15s",
                    "lock_timeout": "1s",
                    "idle_in_transaction_session_timeout": "15s",
                },
                "password": environment.password("POSTGRES_MONITOR_PASSWORD", required=False),
            },
        ],
        # Who comes from where, always by TLS and with a password. The monitor watches from the machine itself.
        "postgres_access": [
            {"role": "callytics_owner", "databases": [_database_name], "sources": _local + _clients},
            {"role": "callytics_user", "databases": [_database_name], "sources": _local + _clients},
            {"role": "callytics_readonly", "databases": [_database_name], "sources": _local + _clients},
            {"role": "callytics_monitor", "databases": [_database_name, "postgres"], "sources": _local},
        ],
        "postgres_database_owner": "callytics_owner",
        "postgres_database_privileges": {
            _database_name: {
                "callytics_user": ["connect"],
                "callytics_readonly": ["connect"],
                "callytics_monitor": ["connect"],
            },
            "postgres": {"callytics_monitor": ["connect"]},
            "template1": {},
        },
    },
)

app = (
    _app_hosts,
    {
        "app_packages": ["python3", "python3-venv", "ca-certificates", "curl"],
        "app_user": "callytics",
        "app_folder": "/opt/callytics",
        "app_settings_folder": "/etc/callytics",
        # The names that the servers' certificates carry.
        "app_database_hosts": _database_hosts,
        "app_password": environment.password("POSTGRES_PASSWORD"),
        "app_owner_password": environment.password("POSTGRES_OWNER_PASSWORD"),
        "app_signing_key": environment.signing_key(),
        "app_service_settings": environment.service_settings(),
        "app_min_connections": environment.number("POSTGRES_MIN_CONNECTIONS", 5),
        "app_max_connections": _pool,
        # Partitions of this many months to come.
        "app_months_ahead": 3,
    },
)
