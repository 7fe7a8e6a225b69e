"""The application's service as its own host meets it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tests.infra.lab import LabHost, until

UNIT = "callytics.service"
BASE = "http://localhost:8000"
# A service that finds no database tries again after three seconds, and needs a few to load.
SECONDS = 60


def get(host: LabHost, path: str) -> tuple[int, float, Any]:
    """Ask the service from its own host, as curl does; return status, seconds and what it says, 0 for no answer."""
    ask = f"curl -s -m 10 -w '\\n%{{http_code}} %{{time_total}}' {BASE}{path}"
    body, _, figures = host.run(ask, check=False).stdout.rpartition("\n")
    status, seconds = figures.split()
    return int(status), float(seconds), json.loads(body or "null")


def wait_for(condition: Callable[[], bool], failure: str) -> None:
    assert until(condition, SECONDS), failure


def wait_for_health(host: LabHost) -> None:
    wait_for(lambda: get(host, "/health")[0] == 200, "the service does not get healthy by itself")


def shown(host: LabHost, unit_property: str, unit: str = UNIT) -> str:
    return host.run(f"systemctl show --value -p {unit_property} {unit}").stdout.strip()
