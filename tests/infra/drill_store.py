"""Backups of one host in a store that speaks S3: made, verified, restored for trial and to a second."""

from __future__ import annotations

import json
from pathlib import Path

from pyinfra.api import HiddenValue

from deploy.operations.failover import founding
from tests.infra.deployment import Deployment
from tests.infra.lab import LabHost
from tests.infra.store import SECRET, store
from tests.support.deploying import commands


def said_of(host: LabHost, settings: dict[str, str], stanza: str) -> str:
    """Return what a bare member, which has neither pgBackRest's files nor the key, would end a deployment by."""
    bucket, _, folder = settings["BACKUP_REPOSITORY"].removeprefix("s3://").partition("/")
    options = {"repo1-type": "s3", "repo1-path": f"/{folder}", "repo1-s3-bucket": bucket, "repo1-s3-uri-style": "path"}
    options |= {f"repo1-s3-{name}": settings[f"BACKUP_S3_{name.upper()}"] for name in ("endpoint", "region")}
    secrets = {"repo1-s3-key": HiddenValue("a key of the store"), "repo1-s3-key-secret": HiddenValue(SECRET)}
    [asked] = commands(founding.unused, options, secrets, stanza, facts={})
    login = asked.connector_arguments["_stdin"]
    return host.run(asked.get_raw_value(), input=login, check=False).stderr


def test_a_store_keeps_the_backups(alone: Deployment, tmp_path: Path) -> None:
    """Nobody is shown its login."""
    host = alone.database
    alone.superuser("create table probe (id int); insert into probe values (7)")
    with store(tmp_path, [host]) as settings:
        alone.set(**settings)
        run = alone.run("deploy/backup.py")
        assert not run.failed
        host.run("systemctl start callytics-backup-full.service")
        assert "the store has this cluster's backups" in said_of(host, settings, "callytics")
        assert said_of(host, settings, "another") == ""
        assert "the store, which may have" in said_of(
            host, settings | {"BACKUP_REPOSITORY": "s3://none/x"}, "callytics"
        )
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
