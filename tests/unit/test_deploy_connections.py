"""Every role has its share of the server's connections, and no role can take another's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("pyinfra", reason="the deployment's tests need pyinfra: pip install '.[deploy]'")

from deploy.operations.cluster.connections import RESERVED, SPARE, Demand
from deploy.operations.cluster.machine import MachineDict, server_settings

GB = 1024**3

demands = st.builds(Demand, st.integers(1, 20), st.integers(1, 200))


@given(demands, st.integers(10, 5000))
def test_limits_are_no_more_than_the_server_has(demand: Demand, max_connections: int) -> None:
    try:
        limits = demand.limits(max_connections)
    except ValueError:
        assert max_connections < demand.wanted
        return
    assert sum(limits.values()) + RESERVED <= max_connections
    assert min(limits.values()) > 0


@given(demands)
def test_the_application_can_fill_every_pool(demand: Demand) -> None:
    limits = demand.limits(demand.wanted)
    assert limits["callytics_user"] >= demand.app_hosts * (demand.pool + 1)


def test_the_usual_server_has_room_for_everybody() -> None:
    demand = Demand(app_hosts=2, pool=20)
    assert demand.wanted == 100
    assert demand.limits(100) == {
        "callytics_owner": 20,
        "callytics_user": 2 * (20 + SPARE),
        "callytics_readonly": 10,
        "callytics_monitor": 3,
    }


@given(demands, st.integers(10, 5000))
def test_what_a_refusal_proposes_fits(demand: Demand, max_connections: int) -> None:
    try:
        demand.limits(max_connections)
    except ValueError as error:
        message = str(error)
        assert f"POSTGRES_MAX_CONNECTIONS {demand.pool}" in message
        if "set it to" in message:
            fits = int(message.split("set it to ")[1].split()[0])
            assert fits < demand.pool
            Demand(demand.app_hosts, fits).limits(max_connections)
            with pytest.raises(ValueError, match="application host"):
                Demand(demand.app_hosts, fits + 1).limits(max_connections)


@pytest.mark.parametrize("hosts", [1, 2])
def test_small_machines_serve_the_default_pool_or_say_what_fits(hosts: int) -> None:
    """One of a gigabyte has memory for a single application host's."""
    demand = Demand(hosts, 20)
    machine: MachineDict = {"memory_bytes": GB, "cores": 2, "in_container": False}
    granted = int(server_settings(machine, 1.0, "ssd", demand.wanted)["max_connections"])
    if hosts == 1:
        assert demand.limits(granted)["callytics_user"] == 20 + SPARE
    else:
        with pytest.raises(ValueError, match=r"2 application hosts .* set it to \d+ at most"):
            demand.limits(granted)
