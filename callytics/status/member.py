"""What etcd and Patroni say on a host that is a member of a cluster, whether its database answers or not."""

from __future__ import annotations

import json
import re
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from callytics.postgres.sql import Row

# As deploy/ has them. Patroni's own settings are not for everybody to read; etcd tells its figures to its host alone.
ETCD_SETTINGS, AUTHORITY = Path("/etc/etcd/callytics.env"), "/etc/etcd/ca.crt"
ETCD, PATRONI_PORT = "http://127.0.0.1:2381", 8008
ASK_SECONDS = 3.0


def here() -> str | None:
    """Return this host's address in a cluster, None where it is no member."""
    try:
        text = ETCD_SETTINGS.read_text(encoding="utf-8")
    except OSError:
        return None
    found = re.search(r"^ETCD_ADVERTISE_CLIENT_URLS=https://\[?([0-9a-fA-F.:]+?)\]?:\d+$", text, re.MULTILINE)
    return found[1] if found else None


def told(address: str) -> Iterator[Row]:
    """Yield what is known of this member: whether etcd is well, the share of its room, Patroni's failsafe mode.

    An etcd that does not answer is not well; a Patroni that does not is untold.
    """
    yield {"etcd_healthy": _is_well(_asked(f"{ETCD}/health"))}
    figures = _figures(f"{ETCD}/metrics")
    used, quota = (figures.get(f"etcd_{name}_bytes") for name in ("mvcc_db_total_size_in", "server_quota_backend"))
    if used is not None and quota:
        yield {"resource": "etcd's quota", "etcd_used_ratio": used / quota}
    failsafe = _figures(f"https://{_authority_of(address)}/metrics").get("patroni_failsafe_mode_is_active")
    yield {"failsafe": failsafe}
    yield {"part": "patroni", "untold": failsafe is None}


def certificate(address: str) -> str | None:
    """Return the certificate by which Patroni answers, in PEM; None where it does not.

    It is not verified, as one that has ended would tell nothing.
    """
    try:
        return ssl.get_server_certificate((address, PATRONI_PORT), timeout=ASK_SECONDS)
    except OSError:
        return None


def _is_well(answer: str) -> bool:
    """Tell whether etcd has a leader and takes writes: with an alarm raised, as without room, it does not."""
    return bool(answer) and json.loads(answer).get("health") == "true"


def _figures(url: str) -> dict[str, float]:
    """Return the last value of each metric of a program, empty where it does not answer."""
    families = text_string_to_metric_families(_asked(url))
    return {sample.name: sample.value for family in families for sample in family.samples}


def _asked(url: str) -> str:
    """Return an answer, empty where there is none; an etcd that is not well answers with 503."""
    # Not by a proxy of the environment: it is this host that is asked.
    handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
    try:
        if url.startswith("https:"):
            handlers.append(urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=AUTHORITY)))
        with urllib.request.build_opener(*handlers).open(url, timeout=ASK_SECONDS) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        return error.read().decode(errors="replace")
    except OSError:
        return ""


def _authority_of(address: str) -> str:
    return f"[{address}]:{PATRONI_PORT}" if ":" in address else f"{address}:{PATRONI_PORT}"
