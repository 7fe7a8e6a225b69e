"""What the settings' function returns, tried on a real PostgreSQL 15."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import closing

import psycopg2
import pytest

from callytics.trial.embedded import EmbeddedPostgres
from deploy.tuning import GB, MB, budget, postgres_settings, to_bytes
from tests.support.needs import need_postgres_15

SIZES = [(512 * MB, 1), (512 * MB, 128), (960 * MB, 2), (4 * GB, 2), (64 * GB, 16), (1024 * GB, 128)]
STARTED = SIZES[:4]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """A stopped server of the version that hosts have."""
    need_postgres_15()
    server = EmbeddedPostgres(tmp_path_factory.mktemp("tuning"))
    try:
        server.start()
        server.stop()
        yield server
    finally:
        server.remove()


def computed(server: EmbeddedPostgres, settings: dict[str, str], name: str) -> str:
    """Have PostgreSQL check all settings and work one out, as it does before it asks for any memory."""
    arguments = [f"--{name}={value}" for name, value in settings.items()]
    command = [server.bin / "postgres", "-D", server.data, "-C", name, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, **server._as_account()).stdout.strip()


@pytest.mark.parametrize("disk", ["ssd", "hdd"])
@pytest.mark.parametrize(("memory", "cores"), SIZES)
def test_shared_memory_is_within_the_budget(cluster: EmbeddedPostgres, memory: int, cores: int, disk: str) -> None:
    settings = postgres_settings(memory_bytes=memory, cores=cores, disk=disk)
    shared = int(computed(cluster, settings, "shared_memory_size")) * MB
    assert to_bytes(settings["shared_buffers"]) < shared <= budget(settings)["shared memory"]


@pytest.mark.parametrize("in_container", [True, False])
@pytest.mark.parametrize(("memory", "cores"), STARTED)
def test_server_starts_and_has_every_setting(
    cluster: EmbeddedPostgres, memory: int, cores: int, in_container: bool
) -> None:
    settings = postgres_settings(memory_bytes=memory, cores=cores, in_container=in_container)
    cluster.options = settings
    with cluster, closing(psycopg2.connect(cluster.superuser_conninfo())) as connection:
        assert differences(connection, settings) == []


def differences(connection: psycopg2.extensions.connection, settings: dict[str, str]) -> list[tuple[str, str, str]]:
    """Return the settings that the server does not have, or has with another value."""
    with connection.cursor() as cursor:
        cursor.execute("select name, current_setting(name, true) from unnest(%s) as name", (list(settings),))
        return [
            (name, settings[name], value) for name, value in cursor if comparable(settings[name]) != comparable(value)
        ]


def comparable(value: str) -> float | str:
    """Read 1GB like 1024MB and 4 like 4.0."""
    try:
        return to_bytes(value) if value.endswith("B") else float(value)
    except ValueError:
        return value


def test_every_value_is_within_the_allowed_range(cluster: EmbeddedPostgres) -> None:
    # The limits of what is no part of the server are known where it is loaded.
    cluster.options = {"shared_preload_libraries": "pg_stat_statements,auto_explain"}
    with cluster, closing(psycopg2.connect(cluster.superuser_conninfo())) as connection, connection.cursor() as cursor:
        cursor.execute("select name, enumvals, min_val, max_val, unit from pg_settings")
        known = {name: rest for name, *rest in cursor.fetchall()}
    for memory, cores in SIZES:
        for name, value in postgres_settings(memory_bytes=memory, cores=cores).items():
            assert within(value, *known[name]), f"{name} = {value}: {known[name]}"


def within(value: str, allowed: list[str] | None, least: str | None, most: str | None, unit: str | None) -> bool:
    """Whether pg_settings' limits allow a value."""
    if allowed:
        return value in allowed
    if least is None or most is None or unit in ("s", "ms"):
        return True
    block = to_bytes(unit if unit[0].isdigit() else f"1{unit}") if unit else 1
    number = to_bytes(value) / block if unit else float(value)
    return float(least) <= number <= float(most)
