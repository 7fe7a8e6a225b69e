"""What a cluster's alerts are about: each fault of one, and what somebody does about it."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tests.infra.cluster import CALLYTICS, Cluster, ask
from tests.infra.lab import LabHost

ETCDCTL = (
    "ETCDCTL_API=3 etcdctl --endpoints=https://127.0.0.1:2379 --cacert=/etc/etcd/ca.crt --cert=/etc/etcd/server.crt "
    "--key=/etc/etcd/server.key --command-timeout=20s"
)
PATRONICTL = "/opt/patroni/bin/patronictl -c /etc/patroni/patroni.yml"
REPLAY = "'[p]ostgres: .*startup recovering'"
TELL = "systemctl start callytics-metrics"


@dataclass(frozen=True)
class Fault:
    """What goes wrong, by which alert and by which part of its rule it is told, and the repair."""

    name: str
    alert: str
    conditions: tuple[str, ...]
    happens: Callable[[Cluster], Any]
    repair: Callable[[Cluster], Any]


def prometheus(cluster: Cluster, path: str) -> Any:
    """Ask Prometheus on the service's host."""
    answer = cluster.deployment.app.run(f"curl -sS --max-time 10 'http://127.0.0.1:9090/api/v1/{path}'").stdout
    return json.loads(answer)["data"]


def fires(cluster: Cluster, fault: Fault) -> bool:
    """Tell whether the fault is what its alert fires by."""
    told(cluster)
    return fault.alert in firing(cluster) and all(
        prometheus(cluster, f"query?query={quote(condition)}")["result"] for condition in fault.conditions
    )


def quiet(cluster: Cluster) -> bool:
    """Tell whether nothing fires any more."""
    told(cluster)
    return not firing(cluster)


def firing(cluster: Cluster) -> set[str]:
    """Return the alerts that fire, but those of backups, which a test does not wait for."""
    alerts = prometheus(cluster, "alerts")["alerts"]
    found = {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}
    return found - {"BackupOld", "DrillFailed"}


def told(cluster: Cluster) -> None:
    """Do at once what each member's timer does."""
    for member in cluster.members.values():
        member.run(TELL, check=False)


def some(cluster: Cluster) -> LabHost:
    """Return the same standby for the fault and for its repair: the last one that does not lead."""
    return cluster.standbys()[-1]


def on_two(command: str) -> Callable[[Cluster], None]:
    """Return what runs a command on the first two members, whoever leads."""

    def run(cluster: Cluster) -> None:
        for member in [*cluster.members.values()][:2]:
            member.run(command)

    return run


def filled(cluster: Cluster) -> None:
    """Store in etcd until it takes no more."""
    fill = f"for n in $(seq 300); do head -c 1000000 /dev/zero | {ETCDCTL} put fill/$n >/dev/null || break; done"
    next(iter(cluster.members.values())).run(f"{fill} 2>/dev/null", check=False)


def emptied(cluster: Cluster) -> None:
    """Do what the manual says of an etcd that is full."""
    first, *_ = members = [*cluster.members.values()]
    first.run(f"{ETCDCTL} del --prefix fill/")
    revision = json.loads(first.run(f"{ETCDCTL} endpoint status -w json").stdout)[0]["Status"]["header"]["revision"]
    first.run(f"{ETCDCTL} compact {revision}")
    for member in members:
        member.run(f"{ETCDCTL} defrag")
    first.run(f"{ETCDCTL} alarm disarm")


def short_lived(cluster: Cluster) -> None:
    """Give a standby certificates that end in five days, made by the authority of its own."""
    authority = Path(cluster.deployment.checkout, ".deploy/cluster-tls")
    standby = some(cluster)
    for folder in ("/etc/etcd", "/etc/patroni"):
        standby.run(f"cp -p {folder}/server.crt /root/{Path(folder).name}.crt")
        names = f"subjectAltName=DNS:{standby.name},IP:{standby.address},DNS:localhost,IP:127.0.0.1"
        request = f"openssl req -new -subj /CN={standby.address} -addext {names} -key {folder}/server.key"
        made = subprocess.run(
            ["openssl", "x509", "-req", "-days", "5", "-copy_extensions", "copyall", "-CAcreateserial",
             "-CA", authority / "ca.crt", "-CAkey", authority / "ca.key"],
            input=standby.run(request).stdout, text=True, capture_output=True, check=True,
        )  # fmt: skip
        standby.run(f"cat >{folder}/server.crt", input=made.stdout)
    standby.run("systemctl reload patroni")


def long_lived(cluster: Cluster) -> None:
    for member in cluster.members.values():
        for folder in ("etcd", "patroni"):
            member.run(f"[ ! -e /root/{folder}.crt ] || cp -p /root/{folder}.crt /etc/{folder}/server.crt")
        member.run("rm -f /root/etcd.crt /root/patroni.crt; systemctl reload patroni")


def promoted(cluster: Cluster) -> None:
    """Promote a standby by hand, with Patroni told to look on."""
    standby = some(cluster)
    standby.run(f"{PATRONICTL} pause --wait")
    ask(standby, "select pg_promote()")


def resumed(cluster: Cluster) -> None:
    """Let Patroni lead again, and copy anew whoever has a history of its own, as 'callytics cluster' says."""
    first = next(iter(cluster.members.values()))
    first.run(f"{PATRONICTL} resume --wait")
    while (found := cluster.status(first))["leader"] is None:
        time.sleep(0.5)
    strayed = [one["name"] for one in found["members"] if one["follows"] is False]
    if strayed:
        first.run(f"{CALLYTICS} cluster switchover --yes --quiet")
    for name in strayed:
        first.run(f"{CALLYTICS} cluster reinit {name} --yes --quiet")


def lagging(cluster: Cluster) -> None:
    """Let a standby apply nothing while a gibibyte is written, of empty segments.

    Its replay is stopped by the kernel: one that is paused by a function goes on when Patroni sees it.
    """
    some(cluster).run(f"pkill -STOP -f {REPLAY}")
    one = "select pg_logical_emit_message(false, 'lag', 'x'); select pg_switch_wal();"
    ask(cluster.leader, one * 66)


FAULTS = (
    Fault(
        "two members' etcd is stopped",
        "UnitFailed",
        ("callytics_failsafe == 1", "callytics_etcd_healthy == 0 and callytics_standby >= 0"),
        on_two("systemctl stop callytics-etcd"),
        on_two("systemctl start --no-block callytics-etcd"),
    ),
    Fault(
        "etcd is full",
        "RunningOut",
        ("callytics_etcd_used_ratio > 0.8", "callytics_etcd_healthy == 0"),
        filled,
        emptied,
    ),
    Fault(
        "certificates end",
        "CertificateExpires",
        tuple(
            f'(callytics_certificate_expires_timestamp_seconds{{certificate="{name}"}} - time()) / 86400 < 21'
            for name in ("etcd", "Patroni")
        ),
        short_lived,
        long_lived,
    ),
    Fault(
        "a standby lags",
        "ReplicationBehind",
        ("callytics_standby_behind_bytes > 1024 ^ 3",),
        lagging,
        lambda cluster: [member.run(f"pkill -CONT -f {REPLAY}", check=False) for member in cluster.members.values()],
    ),
    Fault(
        "both standbys are stopped",
        "DatabaseDown",
        ("callytics_standbys_confirming == 0",),
        lambda cluster: [standby.run("systemctl stop patroni") for standby in cluster.standbys()],
        lambda cluster: [member.run("systemctl start patroni") for member in cluster.members.values()],
    ),
    Fault(
        "a standby was promoted by hand",
        "ReplicationBehind",
        ("max(callytics_timeline) > min(callytics_timeline)", "count(callytics_standby == 0) > 1"),
        promoted,
        resumed,
    ),
)
