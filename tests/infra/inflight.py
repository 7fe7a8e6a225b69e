"""What an administrator has begun when a switchover comes: an import, and migrations."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.infra.cluster import CALLYTICS, Cluster, ask
from tests.infra.fault import Scene
from tests.infra.lab import LabHost

ADMIN = "cd /root && callytics --env-file /etc/callytics/admin.env"
UNIT = "failover-inflight"
SAID = "/root/inflight.said"
CALLS, SAMPLE = 4000, "/root/failover-sample"
FILES = f"{SAMPLE}/audio_analysis.sqlite {SAMPLE}/consultation_quality.sqlite"
OPTIONS = f"--quiet --snapshots {SAMPLE}/snapshots {FILES}"
END_SECONDS = 300
# In the sample as in the database.
TABLES = {"audio_analysis": ("audio_files", "transcriptions"), "consultation_quality": ("utterances", "llm_analysis")}
# What is migrated back to.
OLDER = "0040.partitioning"


@contextmanager
def an_import(cluster: Cluster, found: list[str]) -> Iterator[None]:
    """Have what was imported in flight whole and once in the end, and then out again."""
    app = cluster.deployment.app
    app.run(f"test -e {SAMPLE} || {{ {ADMIN} sample --generation 3 --calls {CALLS} --seed 14 {SAMPLE}; }}")
    before = _rows(cluster)
    yield
    code, said = ended(app)
    assert code == 1, f"the import was over before the switchover: {code}, {said}"
    found.append(f"the import ended with 1: {said}")
    again = app.run(f"{ADMIN} import --yes {OPTIONS}", check=False)
    assert again.returncode == 0, f"the next import: {again.stderr or again.stdout[-1000:]}"
    verified = app.run(f"{ADMIN} verify {OPTIONS}", check=False)
    assert verified.returncode == 0, f"verify: {verified.stderr or verified.stdout[-1000:]}"
    assert _rows(cluster) - before == _rows_of_the_sample(app), "rows are there twice"
    found.append("the next one finished it, every value verified, no row twice")
    newest = ask(cluster.leader, "select max(id) from imports.runs")
    app.run(f"{ADMIN} undo {newest} --yes --quiet")


@contextmanager
def migrations(cluster: Cluster, found: list[str]) -> Iterator[None]:
    """Have the migrations that were in flight applied in the end, each of them whole."""
    app = cluster.deployment.app
    app.run(f"{ADMIN} migrate --back-to {OLDER} --yes")
    yield
    code, said = ended(app)
    assert code == 1, f"the migrations were over before the switchover: {code}, {said}"
    found.append(f"migrate ended with 1: {said}")
    again = app.run(f"{ADMIN} migrate", check=False)
    assert again.returncode == 0, f"the next migrate: {again.stderr}"
    doctor = app.run(f"{ADMIN} doctor", check=False)
    assert doctor.returncode == 0, f"doctor: {doctor.stdout}"
    found.append("the next one finished them, doctor is content")


def while_importing(scene: Scene) -> None:
    """Have another member lead once rows are copied."""
    started(scene.cluster.deployment.app, f"import --yes {OPTIONS}")
    _switched_once(scene, "select 1 from pg_stat_progress_copy where tuples_processed > 0")


def while_migrating(scene: Scene) -> None:
    """Have another member lead once the first migration is applied, while a later one waits for somebody who reads."""
    reads = "begin; lock table agent_accounts in access share mode; select pg_sleep(90)"
    scene.leader.run(f'systemd-run --quiet --collect runuser -u postgres -- psql -Xqd callytics -c "{reads}"')
    count = "select count(*) from _yoyo_migration"
    before = ask(scene.leader, count)
    started(scene.cluster.deployment.app, "migrate")
    _switched_once(scene, f"select 1 where ({count}) > {before}")


def _switched_once(scene: Scene, query: str) -> None:
    """Switch over at the moment when a query answers, without a way from here to there in between."""
    psql = "runuser -u postgres -- psql -XqAt -d callytics"
    waited = f'until [ -n "$(cd / && {psql} -c "{query} limit 1")" ]; do sleep 0.05; done'
    scene.leader.run(f"timeout 60 sh -c '{waited}' && {CALLYTICS} cluster switchover --yes --quiet", timeout=180)


def _rows(cluster: Cluster) -> int:
    counts = (f"(select count(*) from {table})" for tables in TABLES.values() for table in tables)
    return int(ask(cluster.leader, f"select {' + '.join(counts)}"))


def _rows_of_the_sample(app: LabHost) -> int:
    counted = "import sqlite3, sys; print(sqlite3.connect(sys.argv[1]).execute(sys.argv[2]).fetchone()[0])"
    rows = (
        app.run("python3", "-", f"{SAMPLE}/{file}.sqlite", f"'select count(*) from {table}'", input=counted).stdout
        for file, tables in TABLES.items()
        for table in tables
    )
    return sum(map(int, rows))


def started(app: LabHost, command: str) -> None:
    """Run a command of the program's on the application's host while other things happen."""
    app.run(
        f"systemd-run --quiet --unit={UNIT} --property=RemainAfterExit=yes --property=StandardOutput=file:{SAID} "
        f"--property=StandardError=append:{SAID} --setenv=HOME=/root /bin/sh -c '{ADMIN} {command}'"
    )


def ended(app: LabHost) -> tuple[int, str]:
    """Wait for its end; return its exit code and the last line that it said."""
    deadline = time.monotonic() + END_SECONDS
    shown = f"systemctl show --value -p SubState -p ExecMainStatus {UNIT}"
    while (found := app.run(shown).stdout.split())[-1] not in ("exited", "failed"):
        assert time.monotonic() < deadline, f"it has no end: {app.run(f'cat {SAID}').stdout[-2000:]}"
        time.sleep(0.5)
    app.run(f"systemctl stop {UNIT}; systemctl reset-failed {UNIT} 2>/dev/null || true")
    said = app.run(f"cat {SAID}").stdout.strip().splitlines()
    return int(found[0]), said[-1] if said else ""
