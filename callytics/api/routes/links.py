"""Links from a page of a list to the next one (RFC 8288)."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from fastapi import Request, Response

LINK: dict[int | str, dict[str, Any]] = {
    200: {"headers": {"Link": {"description": 'The page after this one, rel="next"', "schema": {"type": "string"}}}}
}


def link(request: Request, response: Response, following: str | None) -> None:
    """Link to the next page with the same filters, if there is one."""
    if following:
        # The client's own parameters, repeated ones too.
        query = [(name, value) for name, value in request.query_params.multi_items() if name != "after"]
        response.headers["Link"] = f'<{request.url.path}?{urlencode([*query, ("after", following)])}>; rel="next"'
