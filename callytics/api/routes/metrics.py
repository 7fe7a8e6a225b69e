"""The route that Prometheus scrapes."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from callytics.api import service

router = APIRouter(tags=["service"])


@router.get(
    "/metrics",
    summary="Read the metrics",
    response_class=Response,
    responses={
        200: {
            "description": "Prometheus' text format, or OpenMetrics, with exemplars, where that is accepted",
            "content": {"text/plain": {}, "application/openmetrics-text": {}},
        }
    },
)
async def metrics(request: Request) -> Response:
    """Return the metrics for Prometheus, without a query to the database."""
    text, media_type = service.of(request).metrics.exposed(request.headers.get("accept", ""))
    return Response(text, headers={"Content-Type": media_type, "Vary": "Accept"})
