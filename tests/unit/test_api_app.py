"""The application without a database: problem details, headers, ids, logs, OpenAPI."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from contextvars import copy_context
from typing import Any

import psycopg
import pytest
from fastapi import APIRouter
from fastapi.testclient import TestClient
from prometheus_client import Metric
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families
from psycopg import errors
from pydantic import BaseModel, SecretStr, ValidationError

from callytics.agents.asking import REQUEST_ID
from callytics.agents.names import LONGEST, new_name
from callytics.api import create_app, problems
from callytics.api.routes.logins import Credentials
from callytics.api.telemetry import logs
from callytics.api.telemetry.logs import JsonFormatter
from callytics.exceptions import DatabaseUnavailable, PoolExhausted, ReadOnlyServer, TooSlow
from callytics.postgres.errors import ours
from callytics.settings import ServiceSettings, Settings

SETTINGS = Settings(hosts=("db.secret.example",), port=5432, database="callytics", user="u", password="p")
SERVICE = ServiceSettings(jwt_secret_key="k" * 32, cors_origins=("https://pages.example",))
SECRET = "what a customer said"

ERRORS: dict[str, tuple[Exception, int]] = {
    "unforeseen": (KeyError(SECRET), 500),
    "away": (DatabaseUnavailable(f"u can't open database on db.secret.example: {SECRET}"), 503),
    "read-only": (ReadOnlyServer(SECRET), 503),
    "full": (ours(errors.DiskFull(SECRET)) or KeyError(), 503),
    "lacking": (ours(errors.OutOfMemory(SECRET)) or KeyError(), 503),
    "exhausted": (PoolExhausted(SECRET), 503),
    "slow": (TooSlow(SECRET), 503),
    "hung": (TimeoutError(SECRET), 503),
    "deadlock": (errors.DeadlockDetected(SECRET), 503),
    "lost": (ours(psycopg.OperationalError(SECRET)) or KeyError(), 503),
    "unique": (errors.UniqueViolation(SECRET), 409),
    "check": (errors.CheckViolation(SECRET), 409),
    "range": (errors.NumericValueOutOfRange(SECRET), 422),
    "limit": (errors.ProgramLimitExceeded(SECRET), 422),
    "no table": (errors.UndefinedTable(SECRET), 500),
}


class Body(BaseModel):
    number: int
    parts: list[dict[str, int]] = []


@pytest.fixture(scope="module")
def client() -> TestClient:
    app = create_app(SETTINGS, SERVICE)
    router = APIRouter()

    @router.get("/raise/{name}")
    async def fail(name: str) -> None:
        raise ERRORS[name][0]

    @router.post("/body")
    async def take(body: Body) -> None:
        return None

    app.include_router(router)
    # Not entered: the pool stays closed, there is no database.
    return TestClient(app, raise_server_exceptions=False)


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[list[dict[str, Any]]]:
    lines: list[dict[str, Any]] = []

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(json.loads(JsonFormatter().format(record)))

    logger = logging.getLogger("callytics.api")
    handler = Lines()
    logger.addHandler(handler)
    caplog.set_level(logging.INFO, "callytics.api")
    yield lines
    logger.removeHandler(handler)


def is_problem(answer: Any, status: int) -> dict[str, Any]:
    """Check that an answer is problem details of a status, and return them."""
    assert answer.status_code == status
    assert answer.headers["content-type"] == problems.MEDIA_TYPE
    problem: dict[str, Any] = answer.json()
    assert problem["status"] == status
    assert problem["request_id"] == answer.headers["x-request-id"]
    problems.Problem.model_validate(problem)
    return problem


@pytest.mark.parametrize("name", ERRORS)
def test_an_error_says_nothing_about_what_is_inside(
    client: TestClient, log: list[dict[str, Any]], name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = client.get(f"/raise/{name}")
    is_problem(answer, ERRORS[name][1])
    assert ("retry-after" in answer.headers) is (answer.status_code == 503)
    captured = capsys.readouterr()
    for text in (answer.text, json.dumps(log), captured.out, captured.err):
        assert SECRET not in text
        assert "db.secret.example" not in text


def test_an_unforeseen_error_is_logged_with_where_it_came_from(client: TestClient, log: list[dict[str, Any]]) -> None:
    request_id = client.get("/raise/unforeseen").headers["x-request-id"]
    line = log[0]
    assert line["error"] == "builtins.KeyError"
    assert line["request_id"] == request_id
    assert any("test_api_app.py" in frame and frame.endswith(" fail") for frame in line["traceback"])


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nowhere", 404), ("DELETE", "/health", 405), ("BREW", "/health", 405), ("GET", "/health", 503)],
)
def test_refusals_are_problem_details(client: TestClient, method: str, path: str, status: int) -> None:
    is_problem(client.request(method, path), status)


def test_405_says_what_is_allowed(client: TestClient) -> None:
    assert client.delete("/health").headers["allow"] == "GET"


@pytest.mark.parametrize(
    ("body", "status", "fields"),
    [
        (b'{"number": "what a customer said"}', 422, ["body.number"]),
        (b'{"number": 1, "parts": [{}, {"what a customer said": "x"}]}', 422, ["body.parts[1].(unknown)"]),
        (b"{}", 422, ["body.number"]),
        (b"", 422, ["body"]),
        (b'{"number": what a customer said', 422, None),
        (b'{"number": "\xff what a customer said"}', 400, None),
        (b"[" * 100_000, 400, None),
        (b'{"number": ' + b"9" * 10_000 + b"}", 400, None),
    ],
)
def test_a_wrong_body_is_answered_by_field_without_its_contents(
    client: TestClient, body: bytes, status: int, fields: list[str] | None
) -> None:
    answer = client.post("/body", content=body, headers={"Content-Type": "application/json"})
    problem = is_problem(answer, status)
    assert SECRET not in answer.text
    if fields:
        assert [error["field"] for error in problem["errors"]] == fields


def test_a_large_body_is_refused(client: TestClient) -> None:
    def parts() -> Iterator[bytes]:
        for _ in range(5):
            yield b" " * 1024 * 1024

    answer = client.post("/body", content=parts(), headers={"Content-Type": "application/json"})
    is_problem(answer, 413)


@pytest.mark.parametrize("path", ["/health/live", "/nowhere", "/raise/unforeseen", "/", "/static/status.js"])
def test_browsers_are_told_to_be_careful(client: TestClient, path: str) -> None:
    headers = client.get(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert headers["cache-control"] == ("no-cache" if path in ("/", "/static/status.js") else "no-store")


@pytest.mark.parametrize("name", ["../app.py", "..%2fapp.py", "status.html", "%00", "."])
def test_static_parts_are_those_of_the_page_only(client: TestClient, name: str) -> None:
    is_problem(client.get(f"/static/{name}"), 404)


@pytest.mark.parametrize("given", ["abc-123_.", "a" * 64])
def test_a_sane_request_id_is_kept(client: TestClient, given: str) -> None:
    assert client.get("/health/live", headers={"X-Request-ID": given}).headers["x-request-id"] == given


@pytest.mark.parametrize("given", ["", "a" * 65, "a b", 'a"}', "é".encode(), b"\xff"])
def test_any_other_request_id_is_replaced(client: TestClient, given: str | bytes) -> None:
    answer = client.get("/health/live", headers={"X-Request-ID": given})  # type: ignore[dict-item]
    assert re.fullmatch("[0-9a-f]{32}", answer.headers["x-request-id"])


def test_a_line_of_the_log_holds_what_an_operator_needs(client: TestClient, log: list[dict[str, Any]]) -> None:
    path = f"/raise/slow?search={SECRET}"
    client.get(path, headers={"Authorization": "Bearer secret-token", "X-Request-ID": "r1"})
    (line,) = log
    assert line.pop("ms") >= 0
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+\+00:00", line.pop("time"))
    assert line == {
        "level": "info",
        "logger": "callytics.api",
        "message": "request",
        "request_id": "r1",
        "method": "GET",
        "route": "/raise/{name}",
        "status": 503,
        "agent_id": None,
    }


@pytest.mark.parametrize(("origin", "allowed"), [("https://pages.example", True), ("https://other.example", False)])
def test_pages_of_other_origins_may_ask_where_the_settings_say_so(
    client: TestClient, origin: str, allowed: bool
) -> None:
    asked = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    for answer in (client.get("/health/live", headers=asked), client.options("/auth/login", headers=asked)):
        assert (answer.headers.get("access-control-allow-origin") == origin) is allowed
        assert "access-control-allow-credentials" not in answer.headers


def test_without_a_database_the_service_is_alive_and_not_healthy(client: TestClient) -> None:
    assert client.get("/health/live").json()["status"] == "alive"
    is_problem(client.get("/health"), 503)
    status = client.get("/status").json()
    assert (status["service"]["status"], status["counts"]) == ("unhealthy", None)


def test_metrics_count_by_route_and_not_by_address(client: TestClient) -> None:
    for number in range(3):
        client.get(f"/raise/{number}")
        client.request(f"BREW{number}", "/nowhere")
    text = client.get("/metrics").text
    assert 'callytics_http_requests_total{method="GET",route="/raise/{name}",status="500"}' in text
    assert 'callytics_http_requests_total{method="other",route="(none)",status="404"} 3.0' in text
    assert "callytics_pool_connections_limit 20.0" in text
    assert "BREW" not in text


OPEN_METRICS = {"Accept": "application/openmetrics-text; version=1.0.0"}
# Of whatever can come from clients, statements or calls nothing may become a label: each value is a time series.
LABELS = {
    "callytics_http_requests": {"method", "route", "status"},
    "callytics_http_request_seconds": {"method", "route", "le"},
    "callytics_search_seconds": {"of", "le"},
    "callytics_database_statement_seconds": {"outcome", "le"},
}


def parsed(client: TestClient, text_format: Callable[[str], Any], **headers: str) -> dict[str, Metric]:
    """Return the metrics by name, as the library's own parser reads them."""
    return {family.name: family for family in text_format(client.get("/metrics", headers=headers).text)}


def observe(client: TestClient, seconds: float, request_id: str) -> None:
    """Do as a request would whose search and statement took so long."""
    metrics = client.app.state.service.metrics  # type: ignore[attr-defined]
    REQUEST_ID.set(request_id)
    metrics.searched("transcripts", seconds)
    metrics.executed(seconds, failed=False)


@pytest.mark.parametrize(
    ("read", "headers"),
    [(text_string_to_metric_families, {}), (openmetrics.text_string_to_metric_families, OPEN_METRICS)],
    ids=["text", "OpenMetrics"],
)
def test_metrics_are_read_by_the_librarys_parsers_and_have_bounded_labels(
    client: TestClient, read: Callable[[str], Any], headers: dict[str, str]
) -> None:
    client.get("/raise/unforeseen", headers={"X-Request-ID": "of-a-client"})
    copy_context().run(observe, client, 3.0, "slow-1")
    found = parsed(client, read, **headers)
    for name, family in found.items():
        used = {label for sample in family.samples for label in sample.labels}
        # In plain text the moment of creation is a metric of its own.
        assert used <= LABELS.get(name.removesuffix("_created"), set()), name
    assert found.keys() > LABELS.keys()
    assert found["callytics_database_statement_seconds"].type == "histogram"
    assert found["callytics_search_seconds"].type == "histogram"
    outcomes = {sample.labels["outcome"] for sample in found["callytics_database_statement_seconds"].samples}
    assert outcomes <= {"done", "failed"}


def test_exemplars_name_the_requests_of_slow_ones_and_nothing_else(client: TestClient) -> None:
    copy_context().run(observe, client, 0.01, "fast")
    copy_context().run(observe, client, 3.0, "slow-2")
    found = parsed(client, openmetrics.text_string_to_metric_families, **OPEN_METRICS)
    for name in ("callytics_search_seconds", "callytics_database_statement_seconds"):
        exemplars = [sample.exemplar for sample in found[name].samples if sample.exemplar]
        assert [(one.labels, one.value) for one in exemplars] == [({"request_id": "slow-2"}, 3.0)]
    assert "slow-2" not in client.get("/metrics").text


def test_every_route_declares_what_it_answers(client: TestClient) -> None:
    api = client.get("/openapi.json").json()
    for path, operations in api["paths"].items():
        for method, operation in operations.items():
            assert operation["summary"], (method, path)
            # The two that the fixture adds have none.
            assert operation.get("description") or path in ("/raise/{name}", "/body"), (method, path)
            for status, answer in operation["responses"].items():
                if int(status) >= 400:
                    assert list(answer["content"]) == [problems.MEDIA_TYPE], (method, path, status)
            if "security" in operation:
                assert "401" in operation["responses"], (method, path)
    schemas = api["components"]["schemas"]
    assert "HTTPValidationError" not in schemas
    assert {name.rpartition("/")[2] for name in re.findall(r'"(#/components/schemas/\w+)"', json.dumps(api))} <= set(
        schemas
    )


def test_threads_and_tasks_that_end_badly_are_logged_without_their_message(log: list[dict[str, Any]]) -> None:
    error = KeyError(SECRET)
    logs.thread_ended(threading.ExceptHookArgs((KeyError, error, None, None)))
    with closing(asyncio.new_event_loop()) as loop:
        logs.task_ended(loop, {"message": "never retrieved", "exception": error})
    assert [(line["message"], line["error"]) for line in log] == [
        ("a thread ended", "builtins.KeyError"),
        ("never retrieved", "builtins.KeyError"),
    ]
    assert SECRET not in json.dumps(log)


@pytest.fixture(scope="module")
def named() -> TestClient:
    service = ServiceSettings(jwt_secret_key="k" * 32, api_names=("calls.example.com", "localhost"))
    return TestClient(create_app(SETTINGS, service), raise_server_exceptions=False)


@pytest.mark.parametrize(
    "host", ["calls.example.com", "CALLS.example.com", "calls.example.com:8443", "calls.example.com.", "localhost:8000"]
)
def test_requests_under_a_name_of_ours_are_answered(named: TestClient, host: str) -> None:
    assert named.get("/openapi.json", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "calls.example.com.evil.example",
        "evil.example:calls.example.com",
        "10.0.0.7",
        "",
        "[::1]:8000",
        "xcalls.example.com",
        "calls.example.com@evil.example",
        "calls.example.com:80:80",
    ],
)
@pytest.mark.parametrize("path", ["/openapi.json", "/auth/login", "/health/", "/calls"])
def test_requests_under_another_name_are_refused(named: TestClient, host: str, path: str) -> None:
    answer = named.get(path, headers={"Host": host})
    assert (answer.status_code, answer.headers["content-type"]) == (421, "application/problem+json")
    assert "evil" not in answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.json()["request_id"]


@pytest.mark.parametrize("path", ["/health/live", "/metrics"])
@pytest.mark.parametrize("host", ["10.0.0.7:8000", "[fe80::1]", "anything"])
def test_probes_ask_by_address(named: TestClient, host: str, path: str) -> None:
    assert named.get(path, headers={"Host": host}).status_code == 200


def test_without_names_every_host_is_taken(client: TestClient) -> None:
    assert client.get("/openapi.json", headers={"Host": "evil.example"}).status_code == 200


@pytest.mark.parametrize("path", ["/calls/", "/auth/login/", "/health/"])
def test_nobody_is_sent_to_where_the_host_says(client: TestClient, path: str) -> None:
    answer = client.get(path, headers={"Host": "evil.example"}, follow_redirects=False)
    assert (answer.status_code, answer.headers.get("location")) == (404, None)
    assert "evil" not in answer.text


def test_an_account_name_of_every_length_that_can_be_made_can_log_in() -> None:
    assert Credentials(username=new_name("k" * LONGEST), password=SecretStr("p")).username == "k" * LONGEST
    with pytest.raises(ValidationError):
        Credentials(username="k" * (LONGEST + 1), password=SecretStr("p"))
