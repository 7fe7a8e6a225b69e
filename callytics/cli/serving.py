"""The command that runs the HTTP service."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from callytics.settings import ServiceSettings, Settings


@click.command()
@click.option("--host", metavar="ADDRESS", help="Where to listen.  [default: API_HOST, or 127.0.0.1]")
@click.option("--port", type=click.IntRange(0, 65535), help="0 takes any free port.  [default: API_PORT, or 8000]")
@click.option(
    "--proxy",
    "proxies",
    metavar="ADDRESS",
    multiple=True,
    help="Trust X-Forwarded-For from this proxy. Repeatable.  [default: none]",
)
@click.pass_obj
def serve(env_file: Path, host: str | None, port: int | None, proxies: tuple[str, ...]) -> None:
    """Serve health, logins and analyses over HTTP until SIGTERM or Ctrl-C.

    Starts only if PostgreSQL is reachable and has the schema that this version needs; otherwise says why in one line
    and exits with 1. Logs are lines of JSON on stdout.
    """
    # Imported here: FastAPI takes half a second to load, which no other command should wait for.
    from callytics.api.server import run

    settings, service = Settings.load(env_file=env_file), ServiceSettings.load(env_file=env_file)
    # 0 is a port, too, so that only None stands for one that is not given.
    host = service.api_host if host is None else host
    port = service.api_port if port is None else port
    run(settings, replace(service, api_host=host, api_port=port), proxies)
