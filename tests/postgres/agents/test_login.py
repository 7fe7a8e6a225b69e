"""Logging in: who may enter, who may not and learns nothing, counting, locking, races."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
import unicodedata
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest
from psycopg2.extensions import connection as Connection

from callytics.agents.accounts import Grant
from callytics.agents.auth import KNOWN_DAYS, NETWORKS, AgentAuth, LoginSession
from callytics.agents.passwords import Passwords
from callytics.exceptions import LoginRefused
from callytics.postgres import connect
from callytics.settings import Settings
from callytics.trial.embedded import EmbeddedPostgres
from tests.support.agents import (
    KIM,
    PASSWORD,
    SERVICE,
    WRONG,
    Counting,
    accounts_of,
    add_kim,
    agents_of,
    ask,
    count_queries,
    logged,
    run,
)

MOST = SERVICE.max_login_attempts
STATE = "select json_build_array(attempts, locked_until > now()) from agent_login_places where place = ''"
UNKNOWN = "select json_build_array(login_attempts, account_locked_until > now()) from agent_accounts"


@pytest.fixture
def passwords() -> Counting:
    return Counting()


@pytest.fixture
def auth(shared_database: Settings, passwords: Counting) -> Iterator[AgentAuth]:
    with agents_of(shared_database, passwords=passwords) as auth:
        yield auth


def refused(auth: AgentAuth, username: str = "kim", password: str = WRONG, **where: str) -> str:
    with pytest.raises(LoginRefused) as refusal:
        auth.login(username, password, **where)
    assert refusal.value.__cause__ is None
    return str(refusal.value)


def test_the_right_password_enters(auth: AgentAuth) -> None:
    agent_id = add_kim(auth, Grant("analysis_view", "write"))
    session = auth.login("kim", PASSWORD, ip_address="10.0.0.7", user_agent="브라우저/1.0")
    assert session.agent == auth.authenticate(session.token)
    assert (session.agent.id, session.agent.username, session.agent.full_name) == (agent_id, "kim", "김민수")
    assert session.agent.permissions == {"analysis_view": "write"}
    assert logged(auth) == [
        {
            "agent_id": agent_id,
            "activity_type": "login",
            "activity_description": None,
            "ip_address": "10.0.0.7",
            "user_agent": "브라우저/1.0",
            "session_id": session.agent.session_id,
            "activity_data": {"outcome": "accepted"},
        }
    ]
    assert ask(auth, "select last_login_at > now() - interval '1 minute' from agent_accounts")
    minutes = ask(auth, "select extract(epoch from %s - now()) / 60", session.expires_at)
    assert SERVICE.jwt_expire_minutes - 1 < minutes <= SERVICE.jwt_expire_minutes


@pytest.mark.parametrize("stored", ["NFC", "NFD"])
@pytest.mark.parametrize("typed", ["NFC", "NFD"])
def test_a_korean_username_can_be_typed_composed_or_as_it_was_imported(
    auth: AgentAuth, stored: str, typed: str
) -> None:
    add_kim(auth)
    imported_as(auth, unicodedata.normalize(stored, "김민수"))
    assert auth.login(unicodedata.normalize(typed, "김민수"), PASSWORD).agent.full_name == "김민수"


def imported_as(auth: AgentAuth, username: str) -> None:
    """Make the only account one that was imported under a name."""
    run(auth, "update agent_accounts set username = %s", username)


@pytest.mark.parametrize(
    ("name", "typed"),
    [
        ("Min.Kim", "min.KIM"),
        ("Min.Kim", "ＭＩＮ.kim"),
        ("Straße", "STRASSE"),
        ("김민수A", "김민수a"),
    ],
)
def test_a_name_is_known_however_it_is_typed(auth: AgentAuth, name: str, typed: str) -> None:
    accounts_of(auth).add_agent(name, PASSWORD, KIM)
    assert auth.login(typed, PASSWORD).agent.username == name
    refused(auth, f"{typed}1", PASSWORD)


@pytest.mark.parametrize("name", ["MinKim", "ki\u200bm", "kim\u3164", " kim", "аlice", "k\x07m"])
def test_an_imported_name_goes_on_working(auth: AgentAuth, name: str) -> None:
    add_kim(auth)
    imported_as(auth, name)
    assert auth.login(name, PASSWORD).agent.username == name
    assert auth.login(name.upper(), PASSWORD).agent.username == name
    accounts_of(auth).lock(name)
    refused(auth, name, PASSWORD)


def test_imported_names_that_read_alike_are_told_apart_by_their_exact_spelling(auth: AgentAuth) -> None:
    add_kim(auth)
    imported_as(auth, "Kim")
    accounts_of(auth).add_agent("lee", PASSWORD, replace(KIM, email=None, employee_id="E2"))
    run(auth, "update agent_accounts set username = 'KIM' where username = 'lee'")
    assert [auth.login(name, PASSWORD).agent.username for name in ("Kim", "KIM")] == ["Kim", "KIM"]
    refused(auth, "kim", PASSWORD)
    assert logged(auth)[-1]["activity_data"]["reason"] == "unknown"


def test_guesses_count_however_the_name_is_typed(auth: AgentAuth, passwords: Counting) -> None:
    add_kim(auth)
    for name in ("kim", "KIM", "ｋｉｍ"):
        refused(auth, name, ip_address="10.0.0.7")
    refused(auth, "Kim", PASSWORD, ip_address="10.0.0.7")
    assert passwords.checked[-1] is None


CLOSED: dict[str, tuple[str, str]] = {
    "wrong password": ("select", "password"),
    "no such user": ("update agent_accounts set username = 'lee'", "unknown"),
    "locked": ("update agent_accounts set account_locked_until = now() + interval '1 minute'", "locked"),
    "locked for ever": ("update agent_accounts set account_locked_until = 'infinity'", "locked"),
    "inactive": ("update agent_accounts set account_status = 'inactive'", "account"),
    "suspended": ("update agent_accounts set account_status = 'suspended'", "account"),
    "pending": ("update agent_accounts set account_status = 'pending'", "account"),
    "no status": ("update agent_accounts set account_status = null", "account"),
    "profile inactive": ("update agent_profiles set is_active = false", "profile"),
    "profile neither": ("update agent_profiles set is_active = null", "profile"),
    "no profile": ("delete from agent_profiles", "profile"),
    "hash empty": ("update agent_accounts set password_hash = ''", "password"),
    "hash malformed": ("update agent_accounts set password_hash = '$argon2id$v=19$m=8,t=1,p=1$!$!'", "password"),
}


@pytest.mark.parametrize(("change", "reason"), CLOSED.values(), ids=CLOSED)
def test_a_refusal_says_nothing_costs_the_same_and_is_logged(
    auth: AgentAuth, passwords: Counting, change: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent_id = add_kim(auth)
    run(auth, change)
    passwords.hashed = 0
    asked = count_queries(auth, monkeypatch)
    password = WRONG if reason == "password" and "hash" not in change else PASSWORD
    answer = refused(auth, password=password, ip_address="10.0.0.7", user_agent="curl")
    assert answer == "the login was refused: check username and password, or try again later"
    assert (asked, len(passwords.checked), passwords.hashed) == ([2], 1, 0)
    assert (passwords.checked[0] is None) == (reason != "password")
    [line] = logged(auth)
    data = line.pop("activity_data")
    assert (data["outcome"], data["reason"]) == ("refused", reason)
    assert data.keys() <= {"outcome", "reason", "account_id"}
    known = agent_id if reason != "unknown" and "delete" not in change else None
    assert line == {
        "agent_id": known,
        "activity_type": "login",
        "activity_description": None,
        "ip_address": "10.0.0.7",
        "user_agent": "curl",
        "session_id": None,
    }


@pytest.mark.parametrize(
    "username", ["", "\0", "kim\0", "\ud800", "x" * 100_000, "kim ", "' or true --", "%s"], ids=len
)
def test_odd_names_belong_to_no_account(auth: AgentAuth, passwords: Counting, username: str) -> None:
    add_kim(auth)
    refused(auth, username, PASSWORD, ip_address="1\0\ud800" * 100, user_agent="\0" + "말" * 10_000)
    [line] = logged(auth)
    assert line["activity_data"] == {"outcome": "refused", "reason": "unknown"}
    assert len(line["ip_address"]) == 64
    assert line["user_agent"] == "말" * 512
    assert passwords.checked == [None]


def test_neither_name_nor_password_of_a_refused_login_is_stored(auth: AgentAuth) -> None:
    """People type passwords into the field for the name."""
    add_kim(auth)
    refused(auth, "비밀번호를 여기에", "다른비밀번호입니다")
    refused(auth, "kim", "다른비밀번호입니다")
    for table in ("agent_activity_logs", "agent_accounts", "agent_sessions"):
        text = ask(auth, f"select coalesce(json_agg(t)::text, '') from {table} as t")
        assert "비밀번호" not in text


def test_so_many_wrong_passwords_lock_and_time_unlocks(auth: AgentAuth, passwords: Counting) -> None:
    add_kim(auth)
    for number in range(1, MOST + 1):
        refused(auth)
        assert ask(auth, STATE) == [number, True if number == MOST else None]
    refused(auth, password=PASSWORD)
    assert passwords.checked[-1] is None
    assert ask(auth, "select locked_until - now() between '29 minutes' and '30 minutes' from agent_login_places")
    assert ask(auth, UNKNOWN) == [MOST, None]
    assert [line["activity_data"]["reason"] for line in logged(auth)] == ["password"] * MOST + ["locked"]

    run(auth, "update agent_login_places set locked_until = locked_until - interval '30 minutes'")
    refused(auth)
    assert ask(auth, STATE) == [1, None]
    auth.login("kim", PASSWORD)
    assert ask(auth, STATE) == [0, None]


def test_success_sets_the_count_back_even_at_the_last_attempt(auth: AgentAuth) -> None:
    add_kim(auth)
    for _ in range(2):
        for _ in range(MOST - 1):
            refused(auth)
        auth.login("kim", PASSWORD)
        assert ask(auth, STATE) == [0, None]


@pytest.mark.parametrize(
    ("attempts", "until", "left"),
    [
        (None, None, MOST),
        (-5, None, MOST),
        (MOST - 1, None, MOST),
        (MOST * NETWORKS - 1, None, 1),
        (2**63 - 1, None, 1),
        (2**63 - 1, "2020-01-01", MOST),
        (99, "-infinity", MOST),
        (0, "4713-01-01 BC", MOST),
        (0, "294276-12-31", 0),
    ],
)
def test_what_imported_accounts_may_hold_counts(
    auth: AgentAuth, passwords: Counting, attempts: int | None, until: str | None, left: int
) -> None:
    add_kim(auth)
    run(auth, "update agent_accounts set login_attempts = %s, account_locked_until = %s", attempts, until)
    for _ in range(MOST + 1):
        refused(auth)
    assert sum(stored is not None for stored in passwords.checked) == left
    assert accounts_of(auth).list_agents()[0].state == "locked"


WAITING = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"


def test_no_number_of_guesses_at_once_gets_more_than_the_limit(
    auth: AgentAuth, passwords: Counting, shared_database: Settings
) -> None:
    """Every connection there is has begun a guess before the first one is counted."""
    add_kim(auth)
    with closing(connect(shared_database)) as holder, ThreadPoolExecutor(50) as threads:
        holder.cursor().execute("select from agent_accounts for update")
        guesses = [threads.submit(refused, auth) for _ in range(50)]
        wait_for(holder, WAITING, auth.postgres.settings.max_connections)
        holder.rollback()
        assert len({guess.result() for guess in guesses}) == 1
    assert sum(stored is not None for stored in passwords.checked) == MOST
    assert len(passwords.checked) == 50
    reasons = [line["activity_data"]["reason"] for line in logged(auth)]
    assert sorted(reasons) == ["locked"] * (50 - MOST) + ["password"] * MOST
    refused(auth, password=PASSWORD)


def wait_for(connection: Connection, query: str, value: object) -> None:
    with connection.cursor() as cursor:
        for _ in range(500):
            cursor.execute("select pg_stat_clear_snapshot()")
            cursor.execute(query)
            if cursor.fetchone() == (value,):
                return
            time.sleep(0.02)
    pytest.fail(f"never {value}: {query}")


def imported(password: str) -> str:
    digest = hashlib.pbkdf2_hmac("sha256", password.encode(), b"0123456789abcdef", 100_000)
    return f"0123456789abcdef${digest.hex()}"


STORED = "select password_hash from agent_accounts"


def test_an_imported_hash_is_replaced_by_the_first_login(auth: AgentAuth, passwords: Counting) -> None:
    add_kim(auth)
    run(auth, "update agent_accounts set password_hash = %s", imported("짧다"))
    refused(auth)
    assert ask(auth, STORED) == imported("짧다")
    auth.login("kim", "짧다")
    upgraded = ask(auth, STORED)
    assert upgraded.startswith("$argon2id$")
    auth.login("kim", unicodedata.normalize("NFD", "짧다"))
    assert ask(auth, STORED) == upgraded


def test_a_hash_of_other_cost_is_replaced_by_the_next_login(auth: AgentAuth) -> None:
    add_kim(auth)
    dearer = AgentAuth(auth.postgres, SERVICE, passwords=Counting(time_cost=2))
    refused(dearer)
    assert "t=1," in ask(auth, STORED)
    dearer.login("kim", PASSWORD)
    assert "t=2," in ask(auth, STORED)


def test_first_logins_at_once_all_enter(auth: AgentAuth) -> None:
    """Each finds the hash replaced that it has just checked, and looks again."""
    add_kim(auth)
    run(auth, "update agent_accounts set password_hash = %s", imported(PASSWORD))
    with ThreadPoolExecutor(MOST) as threads:
        sessions = list(threads.map(lambda _: auth.login("kim", PASSWORD), range(MOST)))
    for session in sessions:
        assert auth.authenticate(session.token) == session.agent


def test_the_recommended_profile_works_with_everything(auth: AgentAuth) -> None:
    real = AgentAuth(auth.postgres, SERVICE, passwords=Passwords())
    add_kim(real)
    assert ask(auth, STORED).startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    assert real.authenticate(real.login("kim", PASSWORD).token).username == "kim"
    refused(real)


CHANGES: dict[str, Callable[[AgentAuth], None]] = {
    "password": lambda auth: accounts_of(auth).set_password("kim", "정말 새로운 비밀번호입니다"),
    "lock": lambda auth: accounts_of(auth).lock("kim"),
    "deactivation": lambda auth: accounts_of(auth).deactivate("kim"),
    "profile": lambda auth: run(auth, "update agent_profiles set is_active = false"),
    "deletion": lambda auth: run(auth, "delete from agent_accounts"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_an_account_that_changes_while_its_password_is_checked_is_not_entered(
    shared_database: Settings, change: Callable[[AgentAuth], None]
) -> None:
    class Overtaken(Counting):
        def matches(self, stored: str | None, password: str) -> bool:
            right = super().matches(stored, password)
            if len(self.checked) == 1:
                change(auth)
            return right

    with agents_of(shared_database, passwords=Overtaken()) as auth:
        add_kim(auth)
        refused(auth, password=PASSWORD)
        assert ask(auth, "select count(*) from agent_sessions") == 0


def test_no_secret_shows(auth: AgentAuth, server: EmbeddedPostgres) -> None:
    add_kim(auth)
    session = auth.login("kim", PASSWORD)
    shown = " ".join(map(repr, (auth, auth.passwords, auth.settings, session, accounts_of(auth).list_agents())))
    shown += json.dumps([account.as_dict() for account in accounts_of(auth).list_agents()], default=str)
    log = server.log.read_text(encoding="utf-8", errors="replace")
    secrets = (
        PASSWORD,
        SERVICE.jwt_secret_key,
        session.token,
        session.token.rpartition(".")[2],
        "argon2id$",
        ask(auth, STORED),
    )
    assert not [secret for secret in secrets if secret in shown or secret in log]


def test_the_same_for_coroutines(auth: AgentAuth) -> None:
    async def a_day() -> tuple[LoginSession, Any]:
        await accounts_of(auth).aadd_agent("kim", PASSWORD, KIM)
        with pytest.raises(LoginRefused):
            await auth.alogin("kim", WRONG)
        sessions = await asyncio.gather(*(auth.alogin("kim", PASSWORD, ip_address="10.0.0.8") for _ in range(2)))
        await auth.alogout(sessions[0].token)
        return sessions[1], await auth.aauthenticate(sessions[1].token)

    session, agent = asyncio.run(a_day())
    assert session.agent == agent
    assert [line["activity_type"] for line in logged(auth)] == ["login"] * 3 + ["logout"]


OFFICE, HOME = "192.0.2.7", "2001:db8:1:1::7"


def guess(auth: AgentAuth, address: str, times: int = MOST) -> None:
    for _ in range(times):
        refused(auth, ip_address=address)


@pytest.mark.parametrize(
    ("guessing", "entering", "enters"),
    [
        ("203.0.113.1", OFFICE, True),
        ("203.0.113.1", "203.0.113.1", False),
        ("203.0.113.1", "203.0.113.200", False),
        ("203.0.113.1", "::ffff:203.0.113.200", False),
        ("2001:db8:2:2::1", "2001:db8:2:2:ffff::1", False),
        ("2001:db8:2:2::1", HOME, True),
        ("a proxy's invention", "a proxy's invention", False),
    ],
)
def test_guesses_lock_the_network_that_they_come_from(
    auth: AgentAuth, guessing: str, entering: str, enters: bool
) -> None:
    add_kim(auth)
    guess(auth, guessing)
    assert accounts_of(auth).list_agents()[0].state == "locked"
    if enters:
        assert auth.login("kim", PASSWORD, ip_address=entering).agent.username == "kim"
    else:
        refused(auth, password=PASSWORD, ip_address=entering)
        accounts_of(auth).unlock("kim")
        auth.login("kim", PASSWORD, ip_address=entering)


def test_guesses_from_everywhere_are_slowed_down_but_not_for_who_is_known(auth: AgentAuth, passwords: Counting) -> None:
    add_kim(auth)
    auth.login("kim", PASSWORD, ip_address=OFFICE)
    auth.login("kim", PASSWORD, ip_address=HOME)
    passwords.checked.clear()
    for number in range(MOST * NETWORKS * 2):
        refused(auth, ip_address=f"10.0.{number}.1")
    assert sum(stored is not None for stored in passwords.checked) == MOST * NETWORKS
    assert ask(auth, UNKNOWN) == [MOST * NETWORKS, True]
    # As often as at a single place: so many in 30 minutes.
    assert ask(auth, "select account_locked_until - now() between '9 minutes' and '10 minutes' from agent_accounts")
    refused(auth, password=PASSWORD, ip_address="198.51.100.1")
    for address in (OFFICE, "192.0.2.99", HOME, "2001:db8:1:1::8"):
        auth.login("kim", PASSWORD, ip_address=address)
    refused(auth, password=PASSWORD, ip_address="198.51.100.1")

    run(auth, "update agent_accounts set account_locked_until = now() - interval '1 second'")
    refused(auth, ip_address="10.1.0.1")
    refused(auth, password=PASSWORD, ip_address="198.51.100.1")
    run(auth, "update agent_accounts set account_locked_until = now() - interval '1 second'")
    auth.login("kim", PASSWORD, ip_address="198.51.100.1")
    assert ask(auth, UNKNOWN) == [0, None]


def test_neighbours_do_not_keep_out_who_entered_from_the_same_address(auth: AgentAuth) -> None:
    add_kim(auth)
    auth.login("kim", PASSWORD, ip_address=OFFICE)
    guess(auth, "192.0.2.200", MOST * 3)
    refused(auth, password=PASSWORD, ip_address="192.0.2.201")
    auth.login("kim", PASSWORD, ip_address=OFFICE)
    refused(auth, password=PASSWORD, ip_address="192.0.2.201")
    guess(auth, OFFICE)
    refused(auth, password=PASSWORD, ip_address=OFFICE)


def test_a_place_is_forgotten_when_it_was_long_unused(auth: AgentAuth) -> None:
    add_kim(auth)
    auth.login("kim", PASSWORD, ip_address=OFFICE)
    assert auth.knows("kim", OFFICE)
    assert not auth.knows("kim", HOME)
    assert not auth.knows("lee", OFFICE)
    run(auth, "update agent_login_places set entered_at = now() - make_interval(days => %s)", KNOWN_DAYS)
    assert not auth.knows("kim", OFFICE)
    run(auth, "update agent_login_places set tried_at = now() - interval '91 days'")
    auth.login("kim", PASSWORD, ip_address=HOME)
    assert ask(auth, "select array_agg(place) from agent_login_places") == ["2001:db8:1:1::/64"]


def test_a_lock_that_wrong_passwords_cannot_cause_is_for_everybody(auth: AgentAuth) -> None:
    add_kim(auth)
    auth.login("kim", PASSWORD, ip_address=OFFICE)
    run(auth, "update agent_accounts set account_locked_until = 'infinity'")
    refused(auth, password=PASSWORD, ip_address=OFFICE)


def test_each_attempt_is_on_record_before_its_password_is_looked_at(
    shared_database: Settings,
) -> None:
    """Whoever leaves before the answer has been seen all the same; the trail takes no changes, only a second row."""
    seen: list[list[str]] = []

    class Watching(Counting):
        def matches(self, stored: str | None, password: str) -> bool:
            seen.append(outcomes())
            return super().matches(stored, password)

    with agents_of(shared_database, passwords=Watching()) as auth:

        def outcomes() -> list[str]:
            query = "select coalesce(json_agg(activity_data ->> 'outcome' order by id), '[]') from agent_activity_logs"
            return list(ask(auth, f"{query} where activity_type = 'login'"))

        add_kim(auth)
        refused(auth)
        auth.login("kim", PASSWORD)
        assert seen == [["tried"], ["tried", "refused", "tried"]]
        assert outcomes() == ["tried", "refused", "tried", "accepted"]
