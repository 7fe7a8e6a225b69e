"""Backups of one host in a store that speaks S3: made, verified, restored for trial and to a second."""

from __future__ import annotations

import json
from pathlib import Path

from tests.infra.deployment import Deployment
from tests.infra.store import SECRET, store


def test_a_store_keeps_the_backups(alone: Deployment, tmp_path: Path) -> None:
    """Nobody is shown its login."""
    host = alone.database
    alone.superuser("create table probe (id int); insert into probe values (7)")
    with store(tmp_path, [host]) as settings:
        alone.set(**settings)
        run = alone.run("deploy/backup.py")
        assert not run.failed
        host.run("systemctl start callytics-backup-full.service")
        assert json.loads(host.run("callytics backup check --verify --json").stdout)["wrong"] == []
        assert json.loads(host.run("callytics backup drill --quiet --json").stdout)["passed"]
        moment = alone.superuser(
            "select to_char(clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US+00:00')"
        )
        alone.superuser("truncate probe")
        host.run(f"callytics backup restore --to {moment} --yes --quiet")
        assert alone.superuser("select id from probe") == "7"
        assert not alone.run("deploy/backup.py").failed
        said = host.run("journalctl --no-pager -o cat; cat /var/log/pgbackrest/*").stdout
        assert SECRET not in said + run.output
