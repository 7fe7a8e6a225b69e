"""The command that serves the application."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from callytics.settings import ServiceSettings, Settings


@click.command()
@click.option("--host", metavar="ADDRESS", help="Where to listen; API_HOST, which is 127.0.0.1, unless told.")
@click.option("--port", type=click.IntRange(0, 65535), help="API_PORT, which is 8000, unless told; 0: any free one.")
@click.option(
    "--proxy",
    "proxies",
    metavar="ADDRESS",
    multiple=True,
    help="A proxy whose X-Forwarded-For is believed; nobody's is otherwise. Repeatable.",
)
@click.pass_obj
def serve(env_file: Path, host: str | None, port: int | None, proxies: tuple[str, ...]) -> None:
    """Serve health, logins and analyses over HTTP until SIGTERM or Ctrl-C.

    It starts only with a reachable PostgreSQL whose schema is what this version needs; otherwise it says why in one
    line and ends with 1. Logs are lines of JSON on stdout.
    """
    # FastAPI takes half a second to load, which no other command should wait for.
    from callytics.api.server import run

    settings, service = Settings.load(env_file=env_file), ServiceSettings.load(env_file=env_file)
    host = service.api_host if host is None else host
    port = service.api_port if port is None else port
    run(settings, replace(service, api_host=host, api_port=port), proxies)
