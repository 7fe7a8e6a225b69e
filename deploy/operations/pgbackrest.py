"""What pgBackRest's files say on each host, by pure functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pyinfra.api import HiddenValue

TLS = "/etc/pgbackrest/tls"


def keeps_backups(data: Any, name: str, *, is_database: bool) -> bool:
    """Tell whether a host backs up: the repository's, or the database's where it has that itself or a store has."""
    return bool(data.backup_on and (name == data.backup_host or (is_database and not data.backup_host)))


def jobs_of(data: Any, name: str, *, is_database: bool) -> dict[str, dict[str, str]]:
    """Return what a host does of its own accord, by name; of `data.backup_jobs` the others are not to be there."""
    return {
        **(data.backup_jobs["repository"] if keeps_backups(data, name, is_database=is_database) else {}),
        **(data.backup_jobs["database"] if data.backup_on and is_database else {}),
    }


def sections(data: Any, role: str) -> dict[str, dict[str, object]]:
    """Return pgbackrest.conf of a host, whose ``role`` is ``both``, ``database`` or ``repository``.

    Only who keeps the repository has its key and decides what is kept; it and the databases know each other by TLS. An
    option with several values is a list.
    """
    there = {
        "repo1-cipher-type": "aes-256-cbc",
        "repo1-retention-full-type": "time",
        "repo1-retention-full": data.backup_keep_days,
        # Thousands of small files are stored as one.
        "repo1-bundle": "y",
        # What the members had agreed on then: Patroni of a restored one would begin with that where etcd has lost it.
        "exclude": "patroni.dynamic.json",
        **data.backup_options,
    }
    common = {
        "process-max": data.backup_processes,
        "compress-type": "zst",
        # A backup begins at once, not with the next checkpoint.
        "start-fast": "y",
        "archive-async": "y",
        "spool-path": "/var/spool/pgbackrest",
        # archive-push-queue-max is left out: it would throw WAL away, and restores could not pass that gap.
        "log-level-file": "info",
    }
    cluster = _cluster(data, "pg1")
    server = {
        "tls-server-address": "*",
        "tls-server-port": data.backup_port,
        "tls-server-ca-file": f"{TLS}/ca.crt",
        "tls-server-cert-file": f"{TLS}/server.crt",
        "tls-server-key-file": f"{TLS}/server.key",
    }
    if role == "database":
        # The only ones who are let in, by the name in their certificates.
        server["tls-server-auth"] = f"{data.backup_host}={data.backup_stanza}"
        return {"global": common | _peer(data, "repo1", data.backup_host) | server, data.backup_stanza: cluster}
    if role == "repository":
        server["tls-server-auth"] = [f"{name}={data.backup_stanza}" for name in data.backup_database_hosts]
        # Of a cluster's members it finds out by itself which one leads.
        servers: dict[str, object] = {}
        for number, name in enumerate(data.backup_database_hosts, start=1):
            servers |= _cluster(data, f"pg{number}") | _peer(data, f"pg{number}", name)
        return {"global": there | common | server, data.backup_stanza: servers}
    return {"global": there | common, data.backup_stanza: cluster}


def secrets(data: Any, kept_key: Any) -> Callable[[], HiddenValue]:
    """Return a function that makes the text of the file of secrets: the repository's key, and a store's login."""

    def text() -> HiddenValue:
        values = {"repo1-cipher-pass": data.backup_key or kept_key, **data.backup_secrets}
        return HiddenValue("[global]\n" + "".join(f"{name}={value.unmask()}\n" for name, value in values.items()))

    return text


def _cluster(data: Any, whose: str) -> dict[str, object]:
    return {
        f"{whose}-path": f"/var/lib/postgresql/{data.postgres_cluster}",
        f"{whose}-port": data.postgres_port,
        f"{whose}-socket-path": "/var/run/postgresql",
    }


def _peer(data: Any, whose: str, peer: str) -> dict[str, object]:
    return {
        f"{whose}-host": peer,
        f"{whose}-host-type": "tls",
        f"{whose}-host-port": data.backup_port,
        f"{whose}-host-ca-file": f"{TLS}/ca.crt",
        f"{whose}-host-cert-file": f"{TLS}/server.crt",
        f"{whose}-host-key-file": f"{TLS}/server.key",
    }
