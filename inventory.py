"""The hosts and everything about them that is a value; deploy/ holds the verbs.

What differs between installations comes from the environment or .env: DATABASE_HOSTS, APP_HOSTS and how to reach them,
and the roles' passwords. Both lists are this machine by default.
"""

from __future__ import annotations

import os
import re
import socket
import sys
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from dotenv import dotenv_values
from pyinfra.api import HiddenValue, InventoryError

_checkout = Path(__file__).resolve().parent
# deploy/ is imported by its files, from wherever pyinfra is started.
sys.path.insert(0, str(_checkout))

_env_file = Path(os.environ.get("CALLYTICS_ENV_FILE") or _checkout / ".env")
_values = {**dotenv_values(_env_file, interpolate=False), **os.environ}
_placeholder = re.compile(r"change[-_ ]?me.*|your[-_ ].*|1234\d*|<.*>", re.IGNORECASE)


class Secret(HiddenValue):
    """A value that neither the inventory's listing nor an operation's arguments show."""

    def to_json(self) -> str:
        """Return what debug-inventory may print."""
        return str(self)


def _value(name: str, default: str = "") -> str:
    return _values.get(name) or default


def _list(name: str, default: str = "") -> list[str]:
    return [item.strip() for item in _value(name, default).split(",") if item.strip()]


def _path(name: str) -> Path | None:
    return Path(_value(name)).expanduser().absolute() if _value(name) else None


def _password(name: str, *, required: bool = True) -> Secret | None:
    """Read a password that an env file can carry between single quotes, to systemd and to python-dotenv alike."""
    password = _value(name)
    if not password and not required:
        return None
    if not password.strip() or _placeholder.fullmatch(password.strip()):
        raise InventoryError(
            f"{name} is not set or still a placeholder: run 'callytics env init', or set your own in .env"
        )
    if re.search(r"['\\\x00-\x1f\x7f]", password):
        raise InventoryError(f"{name} holds a quote, a backslash or a control character: use another password")
    return Secret(password)


def _number(name: str, default: int) -> int:
    text = _value(name, str(default))
    if not re.fullmatch(r"[0-9]{1,5}", text) or int(text) < 1:
        raise InventoryError(f"{name} '{text}' is not a whole number from 1: correct it")
    return int(text)


def _signing_key() -> Secret | None:
    """Read the key that signs logins; where there is none, one is made and kept on this machine."""
    key = _password("JWT_SECRET_KEY", required=False)
    # RFC 7518, section 3.2.
    if key and len(key.unmask().encode()) < 32:
        raise InventoryError("JWT_SECRET_KEY is shorter than 32 bytes: leave it out, or run 'openssl rand -base64 48'")
    return key


def _service_settings() -> dict[str, str]:
    """Return what .env says of the service; what it does not say is the service's own default."""
    names = ("JWT_EXPIRE_MINUTES", "MAX_LOGIN_ATTEMPTS", "ACCOUNT_LOCK_MINUTES", "API_HOST", "API_PORT", "CORS_ORIGINS")
    return {name: _value(name) for name in names if _value(name)}


def _refuse_other_roles() -> None:
    for variable, role in (("POSTGRES_USER", "callytics_user"), ("POSTGRES_OWNER_USER", "callytics_owner")):
        if _value(variable, role) != role:
            raise InventoryError(
                f"{variable} is {_value(variable)}: the hosts' role is {role}, as the migrations name it"
            )


def _certificates() -> dict[str, Path | None]:
    """Read where certificates are that somebody else has issued: all three files, or none."""
    names = {
        "tls_authority_file": "DATABASE_TLS_CA",
        "tls_certificate_file": "DATABASE_TLS_CERTIFICATE",
        "tls_key_file": "DATABASE_TLS_KEY",
    }
    paths = {key: _path(name) for key, name in names.items()}
    given = [path for path in paths.values() if path]
    if given and len(given) < len(paths):
        raise InventoryError(f"{', '.join(names.values())}: set all three, or none to have them made")
    for path in given:
        if not path.is_file():
            raise InventoryError(f"{path} is not there: correct {', '.join(names.values())}")
    return paths


def _hosts(name: str) -> list[str]:
    hosts = _list(name, "@local")
    if not hosts:
        raise InventoryError(f"{name} names no host: set it to host names separated by commas, or leave it out")
    return hosts


def _address(name: str) -> str:
    """Return the address of a host that others reach over the network."""
    try:
        return str(ip_address(name))
    except ValueError:
        pass
    try:
        return str(socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)[0][4][0])
    except OSError:
        raise InventoryError(
            f"'{name}' has no address that this machine knows: use its address in DATABASE_HOSTS and APP_HOSTS, "
            "or set DATABASE_LISTEN and DATABASE_CLIENTS"
        ) from None


def _network(address: str) -> str:
    return address if "/" in address else f"{address}/{ip_address(address).max_prefixlen}"


def _connection(hosts: list[str]) -> dict[str, Any]:
    """Return how hosts are reached; where that is not as root, sudo makes up for it."""
    user = _value("SSH_USER", "root")
    root = os.geteuid() == 0 if "@local" in hosts else user == "root"
    connection = {
        "ssh_user": user,
        "ssh_port": int(_value("SSH_PORT", "22")),
        "ssh_key": str(_path("SSH_KEY") or ""),
        "ssh_known_hosts_file": str(_path("SSH_KNOWN_HOSTS") or ""),
        "ssh_config_file": str(_path("SSH_CONFIG") or ""),
        "ssh_strict_host_key_checking": _value("SSH_STRICT_HOST_KEY_CHECKING"),
        "_sudo": not root,
    }
    return {name: value for name, value in connection.items() if value not in ("", None)}


_refuse_other_roles()
_database_hosts, _app_hosts = _hosts("DATABASE_HOSTS"), _hosts("APP_HOSTS")
_all_hosts = list(dict.fromkeys([*_database_hosts, *_app_hosts]))
if "@local" in _all_hosts and len(_all_hosts) > 1:
    raise InventoryError("DATABASE_HOSTS and APP_HOSTS mix this machine with others: name it by its address, too")

_apart = [host for host in _app_hosts if host not in _database_hosts]
_local = ["127.0.0.1/32", "::1/128"]
_clients = [_network(client) for client in _list("DATABASE_CLIENTS")] or [_network(_address(host)) for host in _apart]
_loopback_only = not _clients
_dedicated = not set(_database_hosts) & set(_app_hosts)
_database_name = _value("POSTGRES_DB", "callytics")
# What the control machine makes and keeps: the authority, the servers' keys, the key that signs logins, wheels.
_deploy_folder = _value("DEPLOY_FOLDER", str(_checkout / ".deploy"))
_pool = _number("POSTGRES_MAX_CONNECTIONS", 20)

all = (
    _all_hosts,
    {
        **_connection(_all_hosts),
        "deploy_checkout": str(_checkout),
        "deploy_folder": _deploy_folder,
        "postgres_cluster": "15/main",
        "postgres_port": int(_value("POSTGRES_PORT", "5432")),
        "postgres_database": _database_name,
        **_certificates(),
    },
)

database = (
    [
        (
            host,
            {
                # Empty: only this machine's own programs reach the server.
                "postgres_listen": [] if _loopback_only else _list("DATABASE_LISTEN") or [_address(host)],
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
        "postgres_disk": _value("DATABASE_DISK", "ssd"),
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
                "password": _password("POSTGRES_OWNER_PASSWORD"),
            },
            {
                "name": "callytics_user",
                "settings": {
                    "statement_timeout": "1min",
                    "lock_timeout": "10s",
                    "idle_in_transaction_session_timeout": "1min",
                },
                "password": _password("POSTGRES_PASSWORD"),
            },
            {
                "name": "callytics_readonly",
                "settings": {
                    "default_transaction_read_only": "on",
                    "statement_timeout": "5min",
                    "lock_timeout": "10s",
                    "idle_in_transaction_session_timeout": "5min",
                },
                "password": _password("POSTGRES_READONLY_PASSWORD", required=False),
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
                "password": _password("POSTGRES_MONITOR_PASSWORD", required=False),
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
        "app_password": _password("POSTGRES_PASSWORD"),
        "app_owner_password": _password("POSTGRES_OWNER_PASSWORD"),
        "app_signing_key": _signing_key(),
        "app_service_settings": _service_settings(),
        "app_min_connections": _number("POSTGRES_MIN_CONNECTIONS", 5),
        "app_max_connections": _pool,
        # Partitions of this many months to come.
        "app_months_ahead": 3,
    },
)
