"""`callytics serve` on a PostgreSQL that can be read but takes no writes: each kind has its own words, and an end."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, Any

import psycopg2
import pytest

from callytics.api import problems
from callytics.postgres.pool.health import WAITS
from callytics.settings import Settings
from callytics.trial.embedded import EmbeddedPostgres
from tests.support.application import is_problem
from tests.support.needs import lacking
from tests.support.servers import as_standby, superuser
from tests.support.serving import RECORDING, Served, served

pytestmark = pytest.mark.slow


@pytest.fixture
def service(own_database: Settings, administrator: str, tmp_path: Path) -> Iterator[Served]:
    with served(own_database, tmp_path / "log") as started:
        yield started


def store(service: Served, token: dict[str, str]) -> Any:
    return service.client.post("/analyses", json=RECORDING, headers=token)


def read(service: Served, token: dict[str, str]) -> int:
    status: int = service.client.get("/calls", headers=token).status_code
    return status


def test_a_standby(service: Served, own_server: EmbeddedPostgres, administrator: str) -> None:
    token = service.log_in(administrator)
    with as_standby(own_server):
        service.wait_until(503, 5)
        assert service.client.get("/health").json()["detail"] == "the database takes no writes"
        refusal = is_problem(store(service, token), 503)
        assert refusal["detail"] == problems.READ_ONLY
        assert read(service, token) == 200
    service.wait_until(200, 5)
    assert store(service, token).status_code == 201


@contextmanager
def waiting_for(server: EmbeddedPostgres, standby: str) -> Iterator[None]:
    """Have a server confirm nothing before a standby of that name has it."""
    for setting, value in (("synchronous_commit", "on"), ("synchronous_standby_names", standby)):
        superuser(server, f"alter system set {setting} = '{value}'")
    superuser(server, "select pg_reload_conf()")
    try:
        yield
    finally:
        superuser(server, "alter system reset synchronous_standby_names")
        superuser(server, "alter system reset synchronous_commit")
        superuser(server, "select pg_reload_conf()")


def test_a_database_that_waits_for_a_standby(service: Served, own_server: EmbeddedPostgres, administrator: str) -> None:
    """What is stored has then an outcome that nobody knows; /health and /metrics name the reason."""
    token = service.log_in(administrator)
    service.wait_until(200, 5)
    assert service.metric("callytics_database_waits_for_standby") == 0
    with waiting_for(own_server, "absent"):
        service.wait_until(503, 5)
        assert service.client.get("/health").json()["detail"] == WAITS
        refusal = is_problem(store(service, token), 503)
        assert refusal["detail"] == problems.UNCONFIRMED
        assert service.metric("callytics_database_waits_for_standby") == 1
    service.wait_until(200, 10)
    assert service.metric("callytics_database_waits_for_standby") == 0
    assert store(service, token).status_code in (201, 409)


def test_a_database_that_is_set_to_read_only(
    service: Served, own_database: Settings, own_server: EmbeddedPostgres, administrator: str
) -> None:
    """A session keeps what was set when it began: it must not be the pool's for ever."""
    token = service.log_in(administrator)
    end = "select pg_terminate_backend(pid, 5000) from pg_stat_activity where usename = 'callytics_user'"
    superuser(own_server, "alter database {} set default_transaction_read_only = on", own_database.database)
    try:
        superuser(own_server, end)
        refusal = is_problem(store(service, token), 503)
        assert refusal["detail"] == problems.READ_ONLY
        assert service.client.get("/health").json()["detail"] == "the database takes no writes"
        assert read(service, token) == 200
    finally:
        superuser(own_server, "alter database {} reset default_transaction_read_only", own_database.database)
    # Nobody writes, and still it is found out.
    service.wait_until(200, 5)
    assert store(service, token).status_code == 201


@contextmanager
def small_disk(folder: Path, owner: os.stat_result) -> Iterator[Path]:
    """Lend a disk of a megabyte."""
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(folder)], check=False)
    if mounted.returncode:
        lacking("a file system of its own: run as root, where mount is allowed")
    try:
        os.chown(folder, owner.st_uid, owner.st_gid)
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def fill(output: IO[bytes]) -> None:
    while True:
        output.write(bytes(4096))


@contextmanager
def full(disk: Path) -> Iterator[None]:
    """Fill a disk meanwhile."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as output, pytest.raises(OSError, match="No space left"):
        fill(output)
    try:
        yield
    finally:
        filler.unlink()


def test_a_full_disk(service: Served, own_server: EmbeddedPostgres, own_database: Settings, administrator: str) -> None:
    token = service.log_in(administrator)
    conninfo = own_server.superuser_conninfo(own_database.database)
    with small_disk(own_server.home / "disk", own_server.data.stat()) as disk:
        space = disk / "space"
        space.mkdir()
        os.chown(space, own_server.data.stat().st_uid, own_server.data.stat().st_gid)
        superuser(own_server, "create tablespace small location {}", space)
        within(conninfo, "truncate audio_files cascade", "alter table audio_files set tablespace small")
        try:
            with full(disk):
                refusal = is_problem(store(service, token), 503)
                assert refusal["detail"] == problems.FULL
                assert read(service, token) == 200
                assert service.health()[0] == 200
            assert store(service, token).status_code == 201
        finally:
            within(conninfo, "alter table audio_files set tablespace pg_default")
            superuser(own_server, "drop tablespace small")


def within(conninfo: str, *statements: str) -> None:
    with closing(psycopg2.connect(conninfo)) as connection, connection, connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
