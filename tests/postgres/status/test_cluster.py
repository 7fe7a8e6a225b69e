"""A cluster as its databases show it to hosts that are none of its members."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest

from callytics.cluster import database
from callytics.exceptions import DatabaseUnavailable
from callytics.settings import Settings
from callytics.trial.embedded import EmbeddedPostgres
from tests.support.commands import invoke
from tests.support.pooling import eventually
from tests.support.servers import VOLATILE, private_server, settings_for, standby_of, superuser

pytestmark = pytest.mark.slow

PRIMARY, STANDBY, NOBODY = "127.0.0.1", "127.0.0.2", "127.0.0.3"


@pytest.fixture(scope="module")
def primary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """A server with a standby at another address, whose confirmation its commits await."""
    with private_server(tmp_path_factory.mktemp("primary"), {**VOLATILE, "synchronous_commit": "on"}) as server:
        server.provide(settings_for(server, "calls"))
        with standby_of(server, STANDBY):
            superuser(server, "ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 (\"127.0.0.2\")'")
            superuser(server, "SELECT pg_reload_conf()")
            yield server
            superuser(server, "ALTER SYSTEM RESET synchronous_standby_names")
            superuser(server, "SELECT pg_reload_conf()")


@pytest.fixture
def settings(primary: EmbeddedPostgres) -> Iterator[Settings]:
    """All three addresses; its owner may see what standbys do, as a monitor may."""
    superuser(primary, "GRANT pg_monitor TO callytics_owner")
    yield replace(settings_for(primary, "calls"), hosts=(PRIMARY, STANDBY, NOBODY))
    superuser(primary, "REVOKE pg_monitor FROM callytics_owner")


def faults(settings: Settings) -> list[str]:
    return [fault.what for fault in database.look(settings).faults]


def test_each_host_says_how_it_takes_part(settings: Settings) -> None:
    assert eventually(lambda: database.look(settings).confirming != [])
    seen = database.look(settings)
    leader, standby, nobody = seen.members
    assert (leader.name, leader.leads, leader.answers, leader.timeline, leader.lag_bytes) == (PRIMARY, True, True, 1, 0)
    assert (standby.name, standby.leads, standby.follows, standby.synchronous) == (STANDBY, False, True, True)
    assert (standby.timeline, standby.state) == (1, "streaming")
    assert eventually(lambda: database.look(settings).members[1].lag_bytes == 0)
    assert (nobody.name, nobody.answers, nobody.leads) == (NOBODY, False, False)
    assert faults(settings) == [f"{NOBODY} does not answer"]
    assert seen.exit_code == 1


def test_nothing_is_wrong_with_those_that_are_well(settings: Settings) -> None:
    well = replace(settings, hosts=(PRIMARY, STANDBY))
    assert eventually(lambda: faults(well) == [])
    assert database.look(well).exit_code == 0


def test_it_says_that_nothing_is_stored(primary: EmbeddedPostgres, settings: Settings) -> None:
    superuser(primary, "ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 (absent)'")
    superuser(primary, "SELECT pg_reload_conf()")
    try:
        nothing = "nothing is stored: no standby confirms what the leader writes"
        assert eventually(lambda: faults(settings)[0] == nothing)
    finally:
        superuser(primary, "ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 (\"127.0.0.2\")'")
        superuser(primary, "SELECT pg_reload_conf()")


def test_it_says_that_one_host_stores_alone(primary: EmbeddedPostgres, settings: Settings) -> None:
    """Whoever may not see who confirms is told, too."""
    superuser(primary, "ALTER SYSTEM RESET synchronous_standby_names")
    superuser(primary, "SELECT pg_reload_conf()")
    alone = f"{PRIMARY} stores alone: what it acknowledges waits for no standby, and is lost with it"
    try:
        assert eventually(lambda: faults(settings)[0] == alone)
        superuser(primary, "REVOKE pg_monitor FROM callytics_owner")
        assert faults(settings)[0] == alone
    finally:
        superuser(primary, "ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 (\"127.0.0.2\")'")
        superuser(primary, "SELECT pg_reload_conf()")


def test_of_two_that_lead_the_one_that_a_standby_follows_does(primary: EmbeddedPostgres, settings: Settings) -> None:
    other = "127.0.0.4"
    with standby_of(primary, other) as promoted:
        promoted.run("pg_ctl", "promote", "-w", "-s")
        three = replace(settings, hosts=(PRIMARY, STANDBY, other))
        assert eventually(lambda: database.look(three).holder == PRIMARY)
        seen = database.look(three)
        assert [member.timeline for member in seen.members] == [1, 1, 2]
        assert seen.faults[0].what == f"{PRIMARY} and {other} take themselves for the one that leads; {PRIMARY} does"
        superuser(primary, "REVOKE pg_monitor FROM callytics_owner")
        assert database.look(three).faults[0].what.endswith("nobody here can tell who does")


def test_without_the_right_to_see_it_nobody_says_who_confirms(primary: EmbeddedPostgres, settings: Settings) -> None:
    """An ordinary role sees neither states nor waits: that it can't tell is no fault."""
    superuser(primary, "REVOKE pg_monitor FROM callytics_owner")
    well = replace(settings, hosts=(PRIMARY, STANDBY))
    seen = database.look(well)
    assert [(member.synchronous, member.timeline) for member in seen.members] == [(None, 1), (None, None)]
    assert eventually(lambda: faults(well) == [])


def test_where_nobody_answers_the_reason_is_told(settings: Settings) -> None:
    with pytest.raises(DatabaseUnavailable, match="password"):
        database.look(replace(settings, hosts=(PRIMARY, STANDBY), owner_password="wrong"))


def test_the_command_shows_it(settings: Settings) -> None:
    shown = invoke(settings, "cluster", "--config", "/none", "status", "--json")
    assert shown.exit_code == 1, shown.output
    seen = json.loads(shown.output)
    assert (seen["hosts"], seen["leader"], seen["ok"]) == (3, PRIMARY, False)
    assert [member["name"] for member in seen["members"]] == [PRIMARY, STANDBY, NOBODY]
    lines = invoke(settings, "cluster", "--config", "/none")
    assert lines.exit_code == 1
    assert f"warning  {NOBODY} does not answer" in lines.output
