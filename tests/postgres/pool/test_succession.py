"""Who has met the successor of a primary is never led back to that one, whatever it takes itself for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import psycopg
import pytest

from callytics.exceptions import DatabaseUnavailable
from callytics.postgres import PostgreSQLManager
from callytics.settings import Settings
from callytics.trial.embedded import EmbeddedPostgres
from tests.support.servers import StandbyServer, execute, frozen, private_server, settings_for, standby_of

pytestmark = pytest.mark.slow

FORMER, SUCCESSOR = "127.0.0.1", "127.0.0.2"
WHERE = "SELECT host(inet_server_addr())"


@dataclass
class Pair:
    """A primary, whose standby was promoted in tests that ask for it while the primary runs on."""

    former: EmbeddedPostgres
    successor: StandbyServer
    settings: Settings

    def promote(self) -> None:
        """Have the standby lead, too; nobody tells the former primary."""
        self.successor.run("pg_ctl", "promote", "-w", "-s")

    def names(self, *hosts: str) -> Settings:
        """Return settings that try these hosts in turn."""
        return replace(self.settings, hosts=hosts, min_connections=1, max_connections=4)


@pytest.fixture
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """A primary and a standby at one port of two addresses."""
    with private_server(tmp_path_factory.mktemp("former")) as server:
        settings = settings_for(server, "calls")
        server.provide(settings)
        execute(settings, "CREATE TABLE notes (id int PRIMARY KEY); GRANT ALL ON notes TO callytics_user")
        with standby_of(server, SUCCESSOR) as standby:
            yield Pair(server, standby, settings)


def where(manager: PostgreSQLManager) -> str:
    host: str = manager.execute_query(WHERE, fetch="val")
    return host


def lead(settings: Settings) -> str:
    """Return which host leads somebody who has no connection yet."""
    with PostgreSQLManager(settings) as manager:
        return where(manager)


def test_a_new_connection_goes_to_the_successor_that_was_met(pair: Pair) -> None:
    assert lead(pair.names(FORMER, SUCCESSOR)) == FORMER
    pair.promote()
    assert lead(pair.names(SUCCESSOR, FORMER)) == SUCCESSOR

    assert lead(pair.names(FORMER, SUCCESSOR)) == SUCCESSOR


def test_connections_of_before_are_given_up_once_the_successor_was_met(pair: Pair) -> None:
    with PostgreSQLManager(pair.names(FORMER, SUCCESSOR)) as manager, manager.connection() as kept:
        # One that is idle meanwhile, and one in use.
        assert where(manager) == FORMER
        with kept.cursor() as cursor:
            pair.promote()
            assert lead(pair.names(SUCCESSOR, FORMER)) == SUCCESSOR
            cursor.execute(WHERE)
            assert cursor.fetchone() == (FORMER,)
        assert where(manager) == SUCCESSOR


def test_what_was_frozen_and_goes_on_is_not_read_from(pair: Pair) -> None:
    with PostgreSQLManager(pair.names(FORMER, SUCCESSOR), statement_timeout=1) as manager:
        assert where(manager) == FORMER
        with frozen(pair.former):
            pair.promote()
            assert lead(pair.names(FORMER, SUCCESSOR)) == SUCCESSOR
        assert where(manager) == SUCCESSOR


def test_while_the_successor_is_away_nobody_is_led_back(pair: Pair) -> None:
    pair.promote()
    assert lead(pair.names(SUCCESSOR, FORMER)) == SUCCESSOR
    pair.successor.stop()

    with pytest.raises(DatabaseUnavailable) as told:
        lead(pair.names(FORMER, SUCCESSOR))

    assert str(told.value).startswith(f"{FORMER} takes writes although another host has taken over from it: try again")
    pair.successor.start()
    assert lead(pair.names(FORMER, SUCCESSOR)) == SUCCESSOR


def test_hosts_of_a_copy_have_a_history_of_their_own(pair: Pair) -> None:
    pair.promote()
    assert lead(pair.names(SUCCESSOR, FORMER)) == SUCCESSOR

    assert lead(pair.names(FORMER, "127.0.0.9")) == FORMER
    assert lead(pair.names(FORMER)) == FORMER


def test_who_may_not_ask_is_led_by_what_takes_writes(pair: Pair) -> None:
    with psycopg.connect(pair.former.superuser_conninfo("calls"), autocommit=True) as connection:
        connection.execute("REVOKE EXECUTE ON FUNCTION pg_control_system() FROM public")

    assert lead(pair.names(FORMER, SUCCESSOR)) == FORMER
