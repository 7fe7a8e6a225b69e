"""Backups of provisioned hosts are made, proved and restored on the database's own host."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from pyinfra.api import HiddenValue

from deploy import environment
from deploy.operations.pgbackrest import secrets, sections
from tests.infra.deployment import Deployment
from tests.infra.lab import LabHost, wait_until

STATE = "/var/lib/callytics-backup/state.json"
KEY = "/etc/pgbackrest/conf.d/callytics.conf"


def callytics(host: LabHost, arguments: str, *, code: int = 0) -> Any:
    """Run ``callytics backup …`` as root and return its document."""
    answer = host.run(f"callytics backup {arguments}", check=False)
    assert answer.returncode == code, answer.stdout + answer.stderr
    return json.loads(answer.stdout) if "--json" in arguments else answer.stdout + answer.stderr


def now(deployment: Deployment) -> str:
    return deployment.superuser(
        "select to_char(clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US+00:00')"
    )


@pytest.fixture(scope="module")
def backed_up(alone: Deployment) -> Iterator[Deployment]:
    """A database with a table of its own, and a backup of it."""
    # By the owner, whose default privileges are what the doctor looks for.
    alone.superuser("set role callytics_owner; create table probe (id integer primary key)")
    alone.superuser("insert into probe select generate_series(1, 1000)")
    # The deployment has begun one: this waits for its end, or makes another.
    alone.database.run("systemctl start callytics-backup-full.service")
    assert callytics(alone.database, "now --type full --quiet --json")["ok"]
    yield alone
    alone.superuser("drop table if exists probe")
    # What the tests below have failed on purpose is no longer so: the next look finds nothing wrong.
    alone.database.run(f"rm -f {STATE}; systemctl start callytics-backup-watch.service")


def test_the_repository_is_encrypted(backed_up: Deployment) -> None:
    """Neither the manifest nor the WAL can be read without the key."""
    found = backed_up.database.run(
        "grep -rlaE 'backrest-format|callytics' /var/lib/pgbackrest --include='*.info' --include='*.manifest'",
        check=False,
    )
    assert found.stdout == ""
    assert backed_up.database.run("find /var/lib/pgbackrest -type f | wc -l").stdout.strip() not in ("", "0")


def test_the_key_is_in_no_argument_and_no_log(backed_up: Deployment) -> None:
    key = (backed_up.checkout / ".deploy" / "backup_key").read_text().strip()
    assert len(key) > 40
    host = backed_up.database
    assert host.run(f"stat -c '%U %a' {KEY}").stdout == "postgres 600\n"
    seen = host.run(
        "journalctl --no-pager -o cat; cat /var/log/pgbackrest/*; cat /var/log/postgresql/*.log; ps axww"
    ).stdout
    assert "pgbackrest" in seen
    assert key not in seen
    assert backed_up.first_run is not None
    assert key not in backed_up.first_run.output


def test_archiving_works_and_is_up_to_date(backed_up: Deployment) -> None:
    assert callytics(backed_up.database, "check --json")["wrong"] == []


def test_the_newest_backup_is_listed_with_the_state(backed_up: Deployment) -> None:
    found = callytics(backed_up.database, "list --json")
    assert found["backups"][-1]["type"] == "full"
    assert found["state"]["newest_backup"] == found["backups"][-1]["label"]


def test_a_copy_of_a_second_is_restored_beside_the_database(backed_up: Deployment) -> None:
    """What was deleted afterwards is in the copy, and only there."""
    moment = now(backed_up)
    backed_up.superuser("delete from probe where id > 10")
    copy = "/var/lib/postgresql/copy"
    found = callytics(backed_up.database, f"restore --to {moment} --into {copy} --quiet --json")
    assert found["reached"]
    control = f"cd / && runuser -u postgres -- /usr/lib/postgresql/15/bin/pg_ctl -D {copy} -w -l {copy}/log"
    backed_up.database.run(f"{control} -o '-k {copy} -p 5499' start >/dev/null")
    psql = f"cd / && runuser -u postgres -- psql -XqAt -h {copy} -p 5499 -d callytics -f -"
    there = backed_up.database.run(psql, input="select count(*) from probe").stdout
    backed_up.database.run(f"{control} -m fast stop && rm -r {copy}")
    assert (there, backed_up.superuser("select count(*) from probe")) == ("1000\n", "10")


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ("restore --to 2001-01-01T00:00:00 --into /var/lib/postgresql/copy", "is before the end of the oldest backup"),
        ("restore --to 2201-01-01T00:00:00 --into /var/lib/postgresql/copy", "is yet to come"),
        ("restore --into /var/lib/postgresql/15", "is there already"),
        ("--config /nowhere list", "has no backups that Callytics has set up"),
    ],
)
def test_what_cannot_be_restored_is_said_in_one_line(backed_up: Deployment, arguments: str, why: str) -> None:
    said = callytics(backed_up.database, arguments, code=1)
    assert why in said
    assert said.count("\n") == 1
    assert backed_up.database.run("ls -A /var/lib/postgresql").stdout.split() == ["15"]


def test_a_drill_proves_the_newest_backup_and_leaves_nothing(backed_up: Deployment) -> None:
    """It compares the tables, finds the newest second, and its record is in the database and in the metrics.

    A fault of the live database is restored as it is, and named apart: the backup is a good one.
    """
    backed_up.superuser("alter table audio_files disable trigger user")
    try:
        callytics(backed_up.database, "now --quiet")
        recorded = "select count(*) from backups.ledger where faults::text ~ 'audio_files'"
        assert backed_up.superuser(recorded) == "1"
        found = proved(backed_up)
    finally:
        backed_up.superuser("alter table audio_files enable trigger user")
    assert [one for one in found["as_before"] if "audio_files" in one]


def proved(backed_up: Deployment) -> dict[str, Any]:
    """Run a drill that must pass."""
    # What a drill that was killed has left.
    backed_up.database.run(
        "cd /var/lib/callytics-backup && install -d -o postgres -g postgres drill-killed drill-killed/data"
    )
    found: dict[str, Any] = callytics(backed_up.database, "drill --quiet --json")
    assert found["passed"], found["wrong"]
    assert found["wrong"] == []
    assert found["tables"] > 40
    assert found["rows"] > 0
    assert found["rto_seconds"] > 0
    assert 0 <= found["rpo_seconds"] <= 90
    assert backed_up.database.run("ls /var/lib/callytics-backup").stdout.split() == [
        "callytics_backup.prom",
        "drill.lock",
        "state.json",
    ]
    assert backed_up.superuser("select passed from backups.drills order by id desc limit 1") == "t"
    metrics = backed_up.database.run("cat /var/lib/callytics-backup/callytics_backup.prom").stdout
    assert "callytics_backup_drill_passed 1.000" in metrics
    return found


def test_a_drill_finds_what_is_not_as_it_was(backed_up: Deployment) -> None:
    """The record says that there was one row more: a restore that lost it must not pass."""
    backed_up.superuser(
        "update backups.ledger set tables = jsonb_set(tables, '{public.topics,0}', "
        "to_jsonb((tables #>> '{public.topics,0}')::bigint + 1)) where tables is not null"
    )
    answer = backed_up.database.run("callytics backup drill --quiet --json", check=False)
    assert answer.returncode == 4, answer.stderr
    assert [line for line in json.loads(answer.stdout)["wrong"] if line.startswith("public.topics has")]
    backed_up.database.run(f"rm {STATE}")
    callytics(backed_up.database, "now --quiet")


def test_a_drill_that_finds_no_room_has_failed(backed_up: Deployment) -> None:
    """Nothing was restored, so nothing is proved: whoever watches must not go on with the drill before."""
    folder = "/var/lib/callytics-backup"
    backed_up.database.run(f"mount -t tmpfs -o size=1m,uid=$(id -u postgres),mode=755 tmpfs {folder}")
    try:
        answer = backed_up.database.run("callytics backup drill --quiet --json", check=False)
        metrics = backed_up.database.run(f"cat {folder}/callytics_backup.prom").stdout
    finally:
        backed_up.database.run(f"umount {folder}")
    assert answer.returncode == 4, answer.stderr
    assert ["GiB free" in line for line in json.loads(answer.stdout)["wrong"]] == [True]
    assert backed_up.superuser("select passed from backups.drills order by id desc limit 1") == "f"
    assert "callytics_backup_drill_passed 0.000" in metrics


def test_soon_after_a_start_a_commit_is_archived_as_well_as_later(backed_up: Deployment) -> None:
    """A checkpointer that began before recovery had ended would sleep for a quarter of an hour."""
    host = backed_up.database
    host.run("systemctl restart postgresql@15-main")
    wait_until(lambda: host.run("runuser -u postgres -- pg_isready", check=False).returncode == 0, 60, "it is away")
    time.sleep(2)
    # It ends with 1 where an earlier test's drill has failed.
    host.run("systemctl start callytics-backup-watch || true")
    # Every minute the timer does it again, for who has archived within the last one.
    backed_up.superuser("insert into probe select max(id) + 1 from probe")
    written = backed_up.superuser("select pg_walfile_name(pg_current_wal_insert_lsn())")
    archived = "select last_archived_wal from pg_stat_archiver"
    wait_until(lambda: backed_up.superuser(archived)[:24] >= written, 170, f"{written} was not archived")


def test_archiving_that_fails_is_noticed_and_goes_on_after_the_repair(backed_up: Deployment) -> None:
    host = backed_up.database
    host.run("mv /var/lib/pgbackrest /var/lib/pgbackrest.away")
    answer = host.run("callytics backup check", check=False)
    host.run("mv /var/lib/pgbackrest.away /var/lib/pgbackrest")
    assert answer.returncode == 1
    assert answer.stderr.startswith("Error: ")
    callytics(host, "check")


def test_old_months_go_to_files_once_the_newest_backup_holds_them(backed_up: Deployment) -> None:
    """By a timer, and only where RETENTION_MONTHS says so; what is in the files stays when it no longer does."""
    backed_up.superuser(
        "set role callytics_owner; create table transcriptions_2020_01 partition of transcriptions "
        "for values from ('2020-01-01 00:00+00') to ('2020-02-01 00:00+00')"
    )
    start = "systemctl start callytics-archive.service"
    backed_up.set(RETENTION_MONTHS="36")
    try:
        assert not backed_up.run("deploy/maintenance.py").failed
        assert not backed_up.run("deploy/maintenance.py").changed
        assert backed_up.app.run("systemctl is-active callytics-archive.timer").stdout == "active\n"
        assert backed_up.app.run(start, check=False).returncode != 0
        assert backed_up.superuser("select to_regclass('transcriptions_2020_01')") == "transcriptions_2020_01"
        callytics(backed_up.database, "now --quiet")
        # It waits for the moment to try again, which a start would wait for as well.
        ended = backed_up.app.run("systemctl restart callytics-archive.service", check=False)
        said = backed_up.app.run("journalctl --no-pager -n 30 -u callytics-archive.service").stdout
        assert ended.returncode == 0, said
        assert "has changed since backup" in said
        assert backed_up.superuser("select to_regclass('transcriptions_2020_01')") == ""
    finally:
        backed_up.set(RETENTION_MONTHS="")
    assert not backed_up.run("deploy/maintenance.py").failed
    assert backed_up.app.run("systemctl cat callytics-archive.timer", check=False).returncode != 0
    listed = backed_up.app.run("callytics --env-file /etc/callytics/admin.env partitions list").stdout
    assert "2020-01" in listed


def test_the_database_goes_back_to_a_second_and_its_data_from_before_stays(backed_up: Deployment) -> None:
    rows, moment = backed_up.superuser("select count(*) from probe"), now(backed_up)
    backed_up.superuser("truncate probe")
    found = callytics(backed_up.database, f"restore --to {moment} --yes --quiet --json")
    assert backed_up.superuser("select count(*) from probe") == rows
    assert backed_up.database.run(f"test -s {found['before']}/PG_VERSION", check=False).returncode == 0
    backed_up.database.run(f"rm -r {found['before']}")
    run = backed_up.run()
    assert not run.failed
    # The repository is told of a new timeline, by which nothing else has changed.
    assert not [name for name in run.changed if "settings" in name]


def test_backups_that_are_off_leave_nothing_running(backed_up: Deployment) -> None:
    """Nor one that is being made, whose unit has failed then: with backups on again it has to be there."""
    backed_up.database.run("systemctl start --no-block callytics-backup-full.service && sleep 1")
    backed_up.set(BACKUP_REPOSITORY="off")
    try:
        assert not backed_up.run("deploy/backup.py").failed
        assert backed_up.superuser("show archive_mode") == "off"
        assert (
            backed_up.database.run("systemctl list-timers --all | grep -c callytics-backup", check=False).stdout
            == "0\n"
        )
        assert "has no backups" in callytics(backed_up.database, "list", code=1)
        assert not backed_up.run("deploy/backup.py").changed
    finally:
        backed_up.set(BACKUP_REPOSITORY="")
        backed_up.run("deploy/backup.py")
    assert backed_up.superuser("show archive_mode") == "on"


def test_the_settings_of_a_store_are_those_that_pgbackrest_knows(
    backed_up: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No such store can be had here: pgBackRest reads every option, and fails only at reaching it."""
    store = {"ENDPOINT": "127.0.0.1:9", "REGION": "eu-1", "KEY": "a key", "SECRET": "a secret", "STYLE": "path"}
    values = {f"BACKUP_S3_{name}": value for name, value in store.items()}
    monkeypatch.setattr(environment, "VALUES", values | {"BACKUP_REPOSITORY": "s3://bucket/calls"})
    shared = {"postgres_cluster": "15/main", "postgres_port": 5432, "backup_port": 8432}
    data = SimpleNamespace(**shared, **environment.backups() | {"backup_key": HiddenValue("k" * 40)})
    settings = "".join(
        f"[{section}]\n" + "".join(f"{name}={value}\n" for name, value in options.items())
        for section, options in sections(data, "both").items()
    )
    text = settings + secrets(data, None)().unmask()
    host = backed_up.database
    host.run("mkdir -m 755 /tmp/store; umask 077; cat >/tmp/store.conf; chown postgres /tmp/store.conf", input=text)
    pgbackrest = "pgbackrest --config=/tmp/store.conf --config-include-path=/tmp/store --stanza=callytics"
    answer = host.run(f"cd / && runuser -u postgres -- {pgbackrest} --io-timeout=2 check", check=False)
    host.run("rm -r /tmp/store.conf /tmp/store")
    said = answer.stdout + answer.stderr
    assert "unable to connect to '127.0.0.1:9'" in said
    assert "invalid option" not in said
