"""The settings of PostgreSQL for machines of any size, without a PostgreSQL."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from callytics.status import advice
from deploy.policy import LOGGING, SECURITY
from deploy.tuning import GB, KB, MB, REASONS, budget, explain, postgres_settings, to_bytes, worst_case_bytes
from tests.support.places import REPOSITORY

PROGRAM = REPOSITORY / "deploy" / "tuning.py"

memory_sizes = st.one_of(
    st.integers(512 * MB, 4 * GB),
    st.integers(512 * MB, 1024 * GB),
    st.sampled_from([2**power for power in range(29, 41)]),
)
machines = st.fixed_dictionaries(
    {
        "memory_bytes": memory_sizes,
        "cores": st.integers(1, 128),
        "disk": st.sampled_from(["ssd", "hdd"]),
        "max_connections": st.integers(10, 1000),
        "in_container": st.booleans(),
    }
)
GROWING = (
    "max_connections",
    "shared_buffers",
    "work_mem",
    "maintenance_work_mem",
    "autovacuum_work_mem",
    "effective_cache_size",
    "wal_buffers",
    "max_wal_size",
    "min_wal_size",
    "max_parallel_workers",
    "max_worker_processes",
    "autovacuum_max_workers",
)


def number(text: str) -> float:
    return to_bytes(text) if text.endswith("B") else float(text)


@given(machines)
@example({"memory_bytes": 512 * MB, "cores": 128, "max_connections": 1000})
@example({"memory_bytes": 1024 * GB, "cores": 1, "max_connections": 10})
def test_worst_case_leaves_the_system_its_share(machine: dict) -> None:
    reserve = min(max(80 * MB, machine["memory_bytes"] // 8 - 8 * MB), 32 * GB)
    assert worst_case_bytes(postgres_settings(**machine)) <= machine["memory_bytes"] - reserve


@given(machines)
def test_the_budget_counts_what_the_settings_allow(machine: dict) -> None:
    """Worked out here from the settings alone, so that the function can't forget a part of its own rule."""
    settings = {
        name: number(value)
        for name, value in postgres_settings(**machine).items()
        if value[0].isdigit() and "min" not in value
    }
    processes = settings["max_connections"] + settings["max_parallel_workers"]
    queries = processes * 2 * settings["hash_mem_multiplier"] * settings["work_mem"]
    vacuums = settings["autovacuum_max_workers"] * settings["autovacuum_work_mem"]
    builds = 2 * settings["maintenance_work_mem"]
    least = settings["shared_buffers"] + settings["wal_buffers"] + queries + vacuums + builds + processes * 7 * MB
    assert least <= worst_case_bytes(postgres_settings(**machine)) <= machine["memory_bytes"]


@given(machines, st.integers(0, 64 * GB))
@example({"memory_bytes": 960 * MB, "cores": 2, "max_connections": 100}, 64 * MB)
def test_more_memory_lowers_nothing(machine: dict, more: int) -> None:
    small = postgres_settings(**machine)
    large = postgres_settings(**machine | {"memory_bytes": machine["memory_bytes"] + more})
    assert [name for name in GROWING if number(large[name]) < number(small[name])] == []


@given(machines, st.integers(0, 64))
def test_more_cores_never_mean_less_parallelism_or_more_memory_a_query(machine: dict, more: int) -> None:
    few = postgres_settings(**machine)
    many = postgres_settings(**machine | {"cores": machine["cores"] + more})
    # Of a hundred connections that do not fit beside the workers, some go: so do half as many workers.
    names = ("max_parallel_workers_per_gather", "max_parallel_maintenance_workers")
    assert all(int(many[name]) >= int(few[name]) for name in names)
    assert int(many["max_connections"]) <= int(few["max_connections"])


@given(machines)
def test_asked_for_connections_are_given_or_memory_is_short(machine: dict) -> None:
    settings = postgres_settings(**machine)
    given_connections = int(settings["max_connections"])
    assert given_connections <= machine["max_connections"]
    if given_connections < machine["max_connections"]:
        assert to_bytes(settings["work_mem"]) <= MB


@pytest.mark.parametrize("cores", [1, 2, 4])
def test_the_smallest_machine_serves_the_application_s_pool(cores: int) -> None:
    """20 connections of the pool and 3 reserved for the superuser."""
    assert int(postgres_settings(memory_bytes=512 * MB, cores=cores)["max_connections"]) >= 23


@given(machines)
def test_values_stay_in_order(machine: dict) -> None:
    settings = {name: value for name, value in postgres_settings(**machine).items() if value.endswith("B")}
    sizes = {name: to_bytes(value) for name, value in settings.items()}
    assert 64 * KB <= sizes["work_mem"] <= sizes["maintenance_work_mem"]
    assert sizes["shared_buffers"] <= sizes["effective_cache_size"] <= machine["memory_bytes"]
    assert 2 * 16 * MB <= sizes["min_wal_size"] <= sizes["max_wal_size"]
    # Vacuum before PostgreSQL 17 uses no more.
    assert sizes["autovacuum_work_mem"] <= GB


@given(machines)
def test_parallel_workers_have_a_place(machine: dict) -> None:
    settings = postgres_settings(**machine)
    gather, parallel, slots = (
        int(settings[name])
        for name in ("max_parallel_workers_per_gather", "max_parallel_workers", "max_worker_processes")
    )
    assert gather <= parallel <= min(machine["cores"], slots - 8)


@pytest.mark.parametrize(("disk", "cost", "requests"), [("ssd", "1.1", "200"), ("hdd", "4", "2")])
def test_disk_decides_the_cost_of_a_jump(disk: str, cost: str, requests: str) -> None:
    settings = postgres_settings(memory_bytes=4 * GB, cores=2, disk=disk)
    assert (settings["random_page_cost"], settings["effective_io_concurrency"]) == (cost, requests)


@pytest.mark.parametrize(("in_container", "huge_pages"), [(True, "off"), (False, "try")])
def test_huge_pages_only_where_they_can_be_had(in_container: bool, huge_pages: str) -> None:
    assert postgres_settings(memory_bytes=4 * GB, cores=2, in_container=in_container)["huge_pages"] == huge_pages


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"memory_bytes": 512 * MB - 1}, "512 MB"),
        ({"cores": 0}, "at least one"),
        ({"max_connections": 9}, "at least 10"),
    ],
)
def test_impossible_machines_are_refused(wrong: dict, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        postgres_settings(**{"memory_bytes": GB, "cores": 1} | wrong)


@given(machines)
def test_every_setting_is_explained_with_its_source(machine: dict) -> None:
    settings = postgres_settings(**machine)
    assert list(settings) == list(REASONS)
    for line, (name, value) in zip(explain(settings), settings.items(), strict=True):
        assert line.startswith(f"{name} = {value} ")
        assert "docs " in line or "pgtune" in line


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, PROGRAM, *arguments], capture_output=True, text=True, check=False)


def test_program_prints_a_configuration_file() -> None:
    settings = postgres_settings(memory_bytes=4 * GB, cores=2, disk="hdd", max_connections=50, in_container=True)
    machine = ("--memory", "4GB", "--cores", "2", "--disk", "hdd", "--max-connections", "50", "--in-container")
    assert run(*machine).stdout.splitlines() == [f"{name} = {value}" for name, value in settings.items()]


def test_program_explains_and_adds_up() -> None:
    settings = postgres_settings(memory_bytes=4 * GB, cores=2)
    lines = run("--memory", "4GB", "--cores", "2", "--explain").stdout.splitlines()
    assert lines[: len(settings)] == explain(settings)
    assert lines[-1].split() == ["memory", "4,096", "MB"]
    assert [line[:13].strip() for line in lines[len(settings) + 1 : -2]] == list(budget(settings))


@pytest.mark.parametrize("memory", ["4 giga", "256MB", "-4GB"])
def test_program_refuses_in_one_line(memory: str) -> None:
    ended = run(f"--memory={memory}", "--cores=2")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "Traceback" not in ended.stderr


def test_a_tuned_server_is_not_advised_to_change_its_settings() -> None:
    tuned = {**SECURITY, **LOGGING, **postgres_settings(memory_bytes=4 * GB, cores=2)}
    rows = {
        name: {"setting": tuned[name], "bytes": to_bytes(tuned[name]) if tuned[name].endswith("B") else None}
        for name in advice.SETTINGS
        if name in tuned
    }
    wrong = [name for name, is_wrong, *_ in advice.RULES if name in rows and is_wrong(rows[name], {"bytes": GB})]
    assert wrong == []
    # What is not tuned has a good default.
    assert {name for name, *_ in advice.RULES} - {*rows} == {"autovacuum"}
