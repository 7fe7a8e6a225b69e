"""The dashboard is one that Grafana takes, and asks for metrics that there are; its queries run in tests/infra."""

from __future__ import annotations

import json
import re
from typing import Any

import jsonschema
import pytest

from callytics.api.telemetry.meters import COUNTERS, GAUGES
from callytics.status.metrics import HELP
from tests.support.places import REPOSITORY

DASHBOARD: dict[str, Any] = json.loads((REPOSITORY / "deploy/dashboard.json").read_text(encoding="utf-8"))
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
SOURCE = {
    "type": "object",
    "required": ["type", "uid"],
    "properties": {"type": {"const": "prometheus"}, "uid": {"const": "${datasource}"}},
}
# https://grafana.com/docs/grafana/latest/dashboards/build-dashboards/view-dashboard-json-model/
SCHEMA = {
    "type": "object",
    "required": ["uid", "title", "schemaVersion", "panels", "templating", "time", "refresh", "tags", "annotations"],
    "properties": {
        "uid": {"type": "string", "pattern": "^[a-zA-Z0-9_-]{1,40}$"},
        "schemaVersion": {"type": "integer", "minimum": 36},
        "panels": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["id", "type", "title", "gridPos"],
                "properties": {
                    "type": {"enum": ["row", "stat", "timeseries"]},
                    "gridPos": {
                        "type": "object",
                        "required": ["h", "w", "x", "y"],
                        "properties": {
                            "w": {"type": "integer", "minimum": 1, "maximum": 24},
                            "x": {"type": "integer", "minimum": 0, "maximum": 23},
                            "h": {"type": "integer", "minimum": 1},
                            "y": {"type": "integer", "minimum": 0},
                        },
                    },
                },
                "if": {"properties": {"type": {"not": {"const": "row"}}}},
                "then": {
                    "required": ["targets", "datasource", "fieldConfig", "options", "description"],
                    "properties": {
                        "datasource": SOURCE,
                        "targets": {
                            "type": "array",
                            "minItems": 1,
                            "items": {
                                "required": ["refId", "expr", "datasource"],
                                "properties": {"datasource": SOURCE, "expr": {"type": "string", "minLength": 1}},
                            },
                        },
                    },
                },
            },
        },
    },
}


def test_it_is_as_grafana_wants_it() -> None:
    jsonschema.validate(DASHBOARD, SCHEMA)


def test_every_panel_has_its_own_number_and_place() -> None:
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    cells = [
        (panel["gridPos"]["x"] + x, panel["gridPos"]["y"] + y)
        for panel in DASHBOARD["panels"]
        for x in range(panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _y in cells) < 24


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_its_metrics_are_ours_or_node_exporter_s(panel: dict[str, Any]) -> None:
    ours = {f"callytics_{name}" for name in HELP} | {*GAUGES, *COUNTERS}
    for target in panel["targets"]:
        for name in re.findall(r"\bcallytics_(?!backup_)\w+", target["expr"]):
            assert re.sub("_(total|bucket)$", "", name) in ours | {
                "callytics_http_requests",
                "callytics_http_request_seconds",
            }
