"""The route that Prometheus scrapes."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from callytics.api import service

router = APIRouter(tags=["service"])


@router.get(
    "/metrics",
    summary="Read the metrics",
    response_class=Response,
    responses={200: {"description": "Prometheus' text format", "content": {"text/plain": {}}}},
)
async def metrics(request: Request) -> Response:
    """Return the metrics for Prometheus, without a query to the database."""
    return Response(service.of(request).metrics.text(), headers={"Content-Type": CONTENT_TYPE_LATEST})
