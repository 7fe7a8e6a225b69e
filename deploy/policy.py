"""What every installation has alike: how the server is secured, what it logs, its roles and who comes from where.

inventory.py puts these together with the hosts and with what differs between installations. Nothing here reads the
environment, and no operation here runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

KERNEL = {"vm.swappiness": "10"}
# Only where the database has the machine to itself: memory is never promised twice then, so PostgreSQL gets an error
# that it survives, instead of being killed. https://www.postgresql.org/docs/15/kernel-resources.html
DEDICATED_KERNEL = {"vm.overcommit_memory": "2", "vm.overcommit_ratio": "90"}

SECURITY = {
    "password_encryption": "scram-sha-256",
    "ssl": "on",
    "ssl_min_protocol_version": "TLSv1.2",
    "ssl_prefer_server_ciphers": "on",
    "ssl_ciphers": "HIGH:!aNULL:!MD5:!3DES",
    "authentication_timeout": "30s",
    # A client whose machine vanished is noticed after two minutes; the kernel's own default is two hours, in which its
    # transaction would keep its locks.
    "tcp_keepalives_idle": "60s",
    "tcp_keepalives_interval": "10s",
    "tcp_keepalives_count": "6",
    "idle_in_transaction_session_timeout": "1h",
    # pg_hba.conf decides who enters by the socket: the superuser's account alone.
    "unix_socket_permissions": "0777",
}

# What an operator wants to know, and nothing of the calls: neither statements that failed, nor their parameters, nor
# the rows that an error's detail quotes.
LOGGING = {
    # Debian's pg_ctlcluster writes stderr to the file that logrotate knows; a collector would write to another.
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
    # A failed statement holds the values that it was to store: only one that takes the server down is logged.
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "log_min_duration_statement": "-1",
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
    "debug_print_parse": "off",
    "debug_print_plan": "off",
    "debug_print_rewritten": "off",
}

SUPERUSER = {
    "name": "postgres",
    "superuser": True,
    "createdb": True,
    "createrole": True,
    "replication": True,
    "bypassrls": True,
}

# What a statement of ours fails with is told to its program; the server's log could quote a value of a call there
# ("invalid input syntax"). Its own messages, such as waits for locks, rank above errors here and are logged.
QUIET_ERRORS = {"log_min_messages": "log"}

# The settings of each role, written as PostgreSQL keeps them: they are compared with what it says.
ROLES: dict[str, dict[str, Any]] = {
    "callytics_owner": {
        # Loading and building indexes take hours on a large import.
        "settings": {
            "statement_timeout": "0",
            "lock_timeout": "10min",
            "idle_in_transaction_session_timeout": "1h",
            **QUIET_ERRORS,
        },
    },
    "callytics_user": {
        "settings": {
            "statement_timeout": "1min",
            "lock_timeout": "10s",
            "idle_in_transaction_session_timeout": "1min",
            **QUIET_ERRORS,
        },
    },
    "callytics_readonly": {
        "settings": {
            "default_transaction_read_only": "on",
            "statement_timeout": "5min",
            "lock_timeout": "10s",
            "idle_in_transaction_session_timeout": "5min",
            **QUIET_ERRORS,
        },
    },
    "callytics_monitor": {
        "member_of": ["pg_monitor"],
        "settings": {
            "default_transaction_read_only": "on",
            "statement_timeout": "15s",
            # Whoever watches must never stand in a queue that others then stand behind.
            "lock_timeout": "1s",
            "idle_in_transaction_session_timeout": "15s",
            **QUIET_ERRORS,
        },
    },
}

# How much of them a host keeps. The files are looked at every hour: in between they can grow beyond their size.
LOGS = {
    "journal": {"SystemMaxUse": "500M", "RuntimeMaxUse": "100M", "MaxRetentionSec": "3month"},
    "files": {"size": "100M", "kept": 14},
}

LOCAL = ["127.0.0.1/32", "::1/128"]

# Where the repository is another host's, whoever keeps it backs up; the others need the database beside them. Of a
# cluster's members that share a store the one that leads does what names it.
REPOSITORY_JOBS = {
    "full": {"says": "back up everything, every week", "when": "Sun *-*-* 01:30:00", "again": "yes", "leads": "yes"},
    "diff": {
        "says": "back up what differs from the last full backup, every day",
        "when": "Mon..Sat *-*-* 01:30:00",
        "again": "yes",
        "leads": "yes",
    },
    "verify": {"says": "read every backup and verify it, every week", "when": "Wed *-*-* 03:30:00", "leads": "yes"},
}
DATABASE_JOBS = {
    "drill": {"says": "restore the newest backup for trial, every week", "when": "Sun *-*-* 05:30:00", "leads": "yes"},
    "watch": {"says": "look after archiving and the age of backups, every minute", "when": "*-*-* *:*:00"},
}
# After the night's backup: a month is archived only when the newest backup holds it as it is.
MAINTENANCE_JOBS = {
    "freeze": {"says": "freeze the months that are over, once for each", "when": "*-*-* 03:00:00"},
    "archive": {"says": "archive the months that are no longer kept", "when": "*-*-* 04:30:00"},
}
BACKUP_SERVER = {
    "archive_mode": "on",
    # What is committed leaves the host within a minute even when little is written.
    "archive_timeout": "60s",
}
BACKUP_PORT = 8432
# Asked before a job that one member alone is to do: the one that leads, whoever that is by then.
LEADS = """/bin/sh -c 'psql -XqAt -p {port} -d postgres -c "select pg_is_in_recovery()" | grep -qx f'"""

# A cluster of three: https://patroni.readthedocs.io/en/latest/dynamic_configuration.html
CLUSTER_PACKAGES = ["etcd-server", "etcd-client", "python3-venv", "curl"]
# From PyPI: Debian 12 has 3.0.2, without quorum commit and with faults of its strict mode.
PATRONI = ["patroni[etcd3]==4.1.5", "psycopg2-binary==2.9.13"]
# Their passwords are made and kept on the control machine, like the key that signs logins.
CLUSTER_ROLES: dict[str, dict[str, Any]] = {
    "callytics_replicator": {"replication": True},
    "callytics_rewinder": {},
}
# What Debian's postgresql.conf says, which Patroni does not read, and how soon a member notices that another is gone.
CLUSTER_SERVER = {
    "datestyle": "iso, mdy",
    "timezone": "Etc/UTC",
    "lc_messages": "C.UTF-8",
    "lc_monetary": "C.UTF-8",
    "lc_numeric": "C.UTF-8",
    "lc_time": "C.UTF-8",
    "default_text_search_config": "pg_catalog.english",
    # Five seconds by default, which is most of the gap when a primary restarts.
    "wal_retrieve_retry_interval": "500ms",
    "wal_sender_timeout": "10s",
    "wal_receiver_timeout": "10s",
    "wal_receiver_status_interval": "2s",
    "tcp_user_timeout": "10s",
    # A member that stays away must not fill the others' disks: it is copied anew when it is back.
    "max_slot_wal_keep_size": "8GB",
    # Whose client has gone while it waits for a standby.
    "client_connection_check_interval": "1s",
}
CLUSTER_DYNAMIC: dict[str, Any] = {
    # 20 is the least that Patroni takes: who has not renewed its lease for so long is replaced.
    "ttl": 20,
    "loop_wait": 5,
    "retry_timeout": 5,
    "primary_start_timeout": 30,
    "primary_stop_timeout": 20,
    "maximum_lag_on_failover": 1048576,
    "check_timeline": True,
    # Either standby confirms a commit, so that one that is gone holds nobody up; without both nothing is stored.
    "synchronous_mode": "quorum",
    "synchronous_mode_strict": True,
    "synchronous_node_count": 1,
    # The primary goes on without etcd for as long as both others hear it.
    "failsafe_mode": True,
    "postgresql": {"use_pg_rewind": True, "use_slots": True},
}
CLUSTER_PARAMETERS = {
    "wal_level": "replica",
    "wal_log_hints": "on",
    "max_wal_senders": "10",
    "max_replication_slots": "10",
    # A former primary that is to follow goes back to its last checkpoint before the other led, for which its own log
    # must still be there: its last checkpoint removes what is older. Patroni's 128MB are less than an import writes.
    "wal_keep_size": "1GB",
}


def archiving(stanza: str) -> dict[str, str]:
    """Return the settings by which a server hands its WAL over to the repository."""
    return BACKUP_SERVER | {"archive_command": f"pgbackrest --stanza={stanza} archive-push %p"}


def cluster_parameters(stanza: str | None) -> dict[str, str]:
    """Return the settings that Patroni has all members have alike; without a stanza nothing is archived."""
    return CLUSTER_PARAMETERS | (archiving(stanza) if stanza else {"archive_mode": "off", "archive_timeout": "0"})


def roles(passwords: Mapping[str, object]) -> list[dict[str, Any]]:
    """Return every role with its password; one whose password is None cannot log in over the network.

    Raises KeyError for a role that ``passwords`` does not name, rather than leave it without one silently.
    """
    return [{"name": name, **role, "password": passwords[name]} for name, role in ROLES.items()]


def access(database: str, clients: list[str]) -> list[dict[str, Any]]:
    """Return who comes from where, always by TLS and with a password; ``clients`` are networks besides this machine.

    The monitor watches from the machine itself.
    """
    everywhere = LOCAL + clients
    return [
        {"role": "callytics_owner", "databases": [database], "sources": everywhere},
        {"role": "callytics_user", "databases": [database], "sources": everywhere},
        {"role": "callytics_readonly", "databases": [database], "sources": everywhere},
        {"role": "callytics_monitor", "databases": [database, "postgres"], "sources": LOCAL},
    ]


def cluster_access(members: list[str]) -> list[dict[str, Any]]:
    """Return what a cluster's members need of each other; nothing where there are none.

    Each also replicates from itself for a moment, to learn its timeline: without that line nobody is ever promoted,
    and everything else looks healthy.
    """
    everywhere = LOCAL + members
    return (
        [
            {"role": "callytics_replicator", "databases": ["replication"], "sources": everywhere},
            {"role": "callytics_rewinder", "databases": ["postgres"], "sources": everywhere},
        ]
        if members
        else []
    )


def database_privileges(database: str, *, cluster: bool = False) -> dict[str, dict[str, list[str]]]:
    """Return who may do what with which database; whoever is not named may do nothing, PUBLIC included."""
    rewinder = {"callytics_rewinder": ["connect"]} if cluster else {}
    return {
        database: {
            "callytics_user": ["connect"],
            "callytics_readonly": ["connect"],
            "callytics_monitor": ["connect"],
        },
        "postgres": {"callytics_monitor": ["connect"], **rewinder},
        # Every new database is a copy of it, its privileges included.
        "template1": {},
    }
