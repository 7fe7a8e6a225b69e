"""The parts of an installation that answer over HTTP: the service and Prometheus."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

SECONDS = 3.0
# Neither answers with more, and no other program's answer shall fill the memory.
MOST_BYTES = 4 * 1024**2


class NoAnswer(Exception):
    """Whoever was asked did not answer, or not as expected; the message says how."""


def ask(address: str) -> tuple[int, dict[str, Any]]:
    """Return an answer's status and its JSON; raise NoAnswer within a few seconds where there is none.

    No proxy of the environment is asked: both are this installation's own.
    """
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(address, timeout=SECONDS) as answer:
            return answer.status, _document(answer.read(MOST_BYTES))
    except urllib.error.HTTPError as error:
        with error:
            return error.code, _document(error.read(MOST_BYTES))
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise NoAnswer(getattr(reason, "strerror", None) or str(reason) or type(reason).__name__) from None


def firing(prometheus: str) -> list[dict[str, str]]:
    """Return name, severity and summary of each alert that fires; raise NoAnswer."""
    status, found = ask(f"{prometheus.rstrip('/')}/api/v1/alerts")
    if status != 200 or "data" not in found:
        raise NoAnswer(f"status {status}, which is none of Prometheus's")
    return [
        {
            "name": alert["labels"].get("alertname", "?"),
            "severity": alert["labels"].get("severity", "warning"),
            "summary": alert.get("annotations", {}).get("summary", ""),
        }
        for alert in found["data"].get("alerts", ())
        if alert.get("state") == "firing"
    ]


def _document(body: bytes) -> dict[str, Any]:
    found = json.loads(body)
    if not isinstance(found, dict):
        raise ValueError("the answer is no object of JSON")
    return found
