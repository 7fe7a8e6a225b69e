"""The command that shows the audit trail."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from callytics.cli.agents import MOMENT, migrated
from callytics.cli.boundary import Printing
from callytics.cli.terminal.tables import Table, echo

HEAD = ("TIME (UTC)", "WHO", "ACTION", "OUTCOME", "WHOSE", "CALLS", "FROM")
# Of a page of a list the table names a few calls; --json and the filter know all.
FEW = 3


@click.command(cls=Printing)
@click.option("--agent", metavar="USERNAME", help="What this agent did, and what was done to the account.")
@click.option("--action", help="One action, call.read, or all that begin alike: call, account, login.")
@click.option("--call", type=click.IntRange(min=1), metavar="ID", help="Who stored this recording, or saw it.")
@click.option("--since", type=MOMENT, metavar="MOMENT", help="Then or later: 2027-12-31, 2027-12-31T18:00+0900.")
@click.option("--until", type=MOMENT, metavar="MOMENT", help="Earlier; without an offset both are UTC.")
@click.option("--limit", type=click.IntRange(1, 500), default=50, show_default=True, help="So many, the newest first.")
@click.option("--after", metavar="NEXT", help="Those after a page, by its 'next'.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.pass_obj
def audit(env_file: Path, /, as_json: bool, **filters: Any) -> None:
    """Show who did what, and who saw which call."""
    # Only here: psycopg takes a while to import, which no other command should wait for.
    from callytics.agents.trail import Asked, Trail

    for name in ("since", "until"):
        filters[name] = _utc(filters[name])
    with migrated(env_file) as postgres:
        page = Trail(postgres).find(Asked(**filters))
    if as_json:
        found = {"entries": page.rows, "next": page.next}
        click.echo(json.dumps(found, ensure_ascii=False, indent=2, default=datetime.isoformat))
    elif not page.rows:
        click.echo("nothing is on record")
    else:
        echo([Table(HEAD, [tuple(_cells(row)) for row in page.rows], spare={4, 5, 6})])
        if page.next:
            click.echo(f"more: --after {page.next}")


def _cells(row: dict[str, Any]) -> Iterator[str]:
    yield f"{row['created_at'].astimezone(UTC):%Y-%m-%d %H:%M:%S}"
    yield _name(row["agent"], row["agent_id"]) or "-"
    yield row["action"]
    yield row["outcome"]
    yield _name(row["subject"], row["subject_id"])
    calls = row["calls"] or []
    more = f" +{len(calls) - FEW}" if len(calls) > FEW else ""
    yield ", ".join(map(str, calls[:FEW])) + more
    yield row["ip_address"] or ""


def _name(username: str | None, agent_id: int | None) -> str:
    """Return a username, or the id that is left of an agent who is gone."""
    return username or (f"agent {agent_id}" if agent_id else "")


def _utc(moment: datetime | None) -> datetime | None:
    return moment.replace(tzinfo=UTC) if moment and moment.tzinfo is None else moment
