"""What Prometheus's files say on the monitoring host, by pure functions."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from pyinfra.api import HiddenValue

SECONDS = {"s": 1, "m": 60, "h": 3600}
# Of Prometheus: a host answers within ten seconds, or is down.
SCRAPE_SECONDS = 15
# A busy machine of tests answers within two seconds, and not always within one.
LEAST_SCRAPE_SECONDS = 2


def paced(rules: str, pace: int) -> str:
    """Return alerting rules that look back, and whose conditions have to last, for a ``pace``-th of the time.

    Tests make alerts fire by real faults, and have no hour for each of them. What has to last does so for at least a
    second; what looks back does so for at least three scrapes.
    """

    def shorter(found: re.Match[str]) -> str:
        seconds = int(found[2]) * SECONDS[found[3]] // pace
        return f"{found[1]}{max(seconds, 3 * LEAST_SCRAPE_SECONDS if found[1] == '[' else 1)}s"

    return re.sub(r"(for: |\[)(\d+)([smh])\b", shorter, rules) if pace > 1 else rules


def prometheus(data: Any, folder: str) -> str:
    """Return Prometheus's configuration: whom it asks, our rules, and who is told; JSON is YAML, too."""
    seconds = max(SCRAPE_SECONDS // data.monitoring_pace, LEAST_SCRAPE_SECONDS)
    return _text(
        {
            "global": {
                "scrape_interval": f"{seconds}s",
                "scrape_timeout": f"{min(seconds, 10)}s",
                "evaluation_interval": f"{seconds}s",
            },
            "rule_files": [f"{folder}/alerts.yml"],
            "alerting": {"alertmanagers": [{"static_configs": [{"targets": ["127.0.0.1:9093"]}]}]},
            "scrape_configs": [*_jobs(data, folder)],
        }
    )


def alertmanager(data: Any) -> Callable[[], HiddenValue]:
    """Return a function that makes Alertmanager's configuration, which holds secrets.

    Without anybody to tell, alerts are shown by it, by Prometheus and by ``callytics status``.
    """

    def text() -> HiddenValue:
        return HiddenValue(
            _text(
                {
                    "route": {
                        "receiver": "operators",
                        "group_by": ["alertname", "instance"],
                        "group_wait": f"{max(30 // data.monitoring_pace, 1)}s",
                        "group_interval": f"{max(300 // data.monitoring_pace, 1)}s",
                        "repeat_interval": "12h",
                    },
                    "receivers": [{"name": "operators", **_receivers(data)}],
                    # A service without its database answers with errors: one message is enough.
                    "inhibit_rules": [
                        {"source_matchers": ["alertname=DatabaseDown"], "target_matchers": ["alertname=ServiceDown"]}
                    ],
                }
            )
        )

    return text


def node_exporter(folder: str, *, alone: bool) -> str:
    """Return node exporter's web configuration: on another host it answers who has a certificate of ours, nobody else.

    ``alone`` is where Prometheus is on the same host, and nobody else reaches the exporter.
    """
    if alone:
        return _text({})
    tls = _tls(folder)
    return _text(
        {
            "tls_server_config": {
                "cert_file": tls["cert_file"],
                "key_file": tls["key_file"],
                "client_ca_file": tls["ca_file"],
                "client_auth_type": "RequireAndVerifyClientCert",
                "min_version": "TLS12",
            }
        }
    )


def _jobs(data: Any, folder: str) -> Iterator[dict[str, Any]]:
    here = data.monitoring_host
    yield {"job_name": "prometheus", "static_configs": [_target("127.0.0.1:9090", here)]}
    yield {"job_name": "alertmanager", "static_configs": [_target("127.0.0.1:9093", here)]}
    yield {"job_name": "node", "static_configs": [_target("127.0.0.1:9100", here)]}
    apart = [host for host in data.monitoring_hosts if host != here]
    if apart:
        yield {
            "job_name": "hosts",
            "scheme": "https",
            "tls_config": _tls(folder),
            "static_configs": [_target(f"{_in_address(host)}:9100", host) for host in apart],
        }
    services = [_target(address, host) for host, address in data.monitoring_services.items()]
    if services:
        yield {"job_name": "callytics", "static_configs": services}


def _target(address: str, instance: str) -> dict[str, Any]:
    return {"targets": [address], "labels": {"instance": instance.removeprefix("@")}}


def _receivers(data: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if data.alert_webhook:
        token = data.alert_webhook_token
        login = {"http_config": {"authorization": {"credentials": token.unmask()}}} if token else {}
        found["webhook_configs"] = [{"url": data.alert_webhook.unmask(), "send_resolved": True, **login}]
    if data.alert_email:
        account = {"auth_username": data.alert_smtp_user} if data.alert_smtp_user else {}
        if data.alert_smtp_password:
            account["auth_password"] = data.alert_smtp_password.unmask()
        found["email_configs"] = [
            {
                "to": address,
                "from": data.alert_smtp_from,
                "smarthost": data.alert_smtp,
                "require_tls": data.alert_smtp_tls,
                "send_resolved": True,
                **account,
            }
            for address in data.alert_email
        ]
    return found


def _tls(folder: str) -> dict[str, str]:
    return {
        "ca_file": f"{folder}/tls/ca.crt",
        "cert_file": f"{folder}/tls/server.crt",
        "key_file": f"{folder}/tls/server.key",
    }


def _in_address(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _text(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=2) + "\n"
