"""Who enters, and who is refused: each role from each source, with TLS and without, with its password and without."""

from __future__ import annotations

import shlex
from itertools import product

import pytest

from tests.infra.connections import WRONG, Answer, ask, ask_from_here, info
from tests.infra.deployment import Deployment

ROLES = ("postgres", "callytics_owner", "callytics_user", "callytics_readonly", "callytics_monitor")
CALLYTICS = {"callytics_owner", "callytics_user", "callytics_readonly"}
OWN = "the database's own host"
# The policy: from here these roles enter, with TLS and the right password, and no others.
ENTER = {
    "the application's host": CALLYTICS,
    OWN: CALLYTICS | {"callytics_monitor"},
    "an unknown host": set[str](),
}
TRIES = {
    "TLS and the right password": {"sslmode": "require"},
    "TLS and a wrong password": {"sslmode": "require", "password": WRONG},
    "TLS and no password": {"sslmode": "require", "password": ""},
    "the right password without TLS": {"sslmode": "disable"},
}
WHO = "select current_user::text"
TRIED = list(product(ROLES, TRIES))
CASES = [(source, *tried) for source in ENTER if source != OWN for tried in TRIED]
Answers = dict[tuple[str, str, str], Answer]


def answers_of(deployment: Deployment, address: str, *sources: str) -> Answers:
    """Everything is tried at once: it is the connections that take time."""
    found: Answers = {}
    questions = [(info(deployment, role, address, **TRIES[how]), WHO) for role, how in TRIED]
    for source in sources:
        given = ask_from_here(*questions) if source == "an unknown host" else ask(deployment.app, *questions)
        found |= {(source, role, how): answer for (role, how), answer in zip(TRIED, given, strict=True)}
    return found


@pytest.fixture(scope="module")
def answers(apart: Deployment) -> Answers:
    return answers_of(apart, apart.database.address, "the application's host", "an unknown host")


@pytest.fixture(scope="module")
def own_answers(alone: Deployment) -> Answers:
    return answers_of(alone, "localhost", OWN)


def as_declared(answer: Answer, source: str, role: str, how: str) -> bool:
    """Tell whether a role has entered if it may, and only then."""
    if role in ENTER[source] and how == "TLS and the right password":
        return answer.rows == [[role]]
    return not answer.entered


@pytest.mark.parametrize(("source", "role", "how"), CASES, ids=[", ".join(case) for case in CASES])
def test_enters_or_is_refused_as_declared(answers: Answers, source: str, role: str, how: str) -> None:
    answer = answers[source, role, how]
    assert as_declared(answer, source, role, how), answer.error


@pytest.mark.parametrize(("role", "how"), TRIED, ids=[", ".join(case) for case in TRIED])
def test_enters_or_is_refused_on_its_own_host(own_answers: Answers, role: str, how: str) -> None:
    answer = own_answers[OWN, role, how]
    assert as_declared(answer, OWN, role, how), answer.error


@pytest.mark.parametrize("role", sorted(CALLYTICS))
def test_the_right_password_is_no_help_to_an_unknown_host(answers: Answers, role: str) -> None:
    """It is refused before its password is looked at."""
    assert "no pg_hba.conf entry" in answers["an unknown host", role, "TLS and the right password"].error


@pytest.mark.parametrize("role", sorted(CALLYTICS))
def test_without_tls_no_password_is_asked_for(answers: Answers, role: str) -> None:
    """It would cross the network for everybody to see."""
    error = answers["the application's host", role, "the right password without TLS"].error
    assert "no pg_hba.conf entry" in error
    assert "no encryption" in error


@pytest.mark.parametrize("database", ["postgres", "template1"])
@pytest.mark.parametrize("role", sorted(CALLYTICS))
def test_other_databases_are_closed(apart: Deployment, role: str, database: str) -> None:
    [answer] = ask(apart.app, (info(apart, role, apart.database.address, dbname=database, sslmode="require"), WHO))
    assert not answer.entered


def test_the_application_verifies_the_server(apart: Deployment) -> None:
    """With the authority's certificate and the address that it was told: verify-full."""
    trusted = {"sslmode": "verify-full", "sslrootcert": "/etc/callytics/ca.crt"}
    sql = "select ssl, version >= 'TLSv1.2' from pg_stat_ssl where pid = pg_backend_pid()"
    [answer] = ask(apart.app, (info(apart, "callytics_user", apart.database.address, **trusted), sql))
    assert answer.rows == [[True, True]], answer.error


def test_a_server_of_another_name_is_refused(apart: Deployment) -> None:
    options = {"sslmode": "verify-full", "sslrootcert": "/etc/callytics/ca.crt", "hostaddr": apart.database.address}
    [answer] = ask(apart.app, (info(apart, "callytics_user", "database.elsewhere.example", **options), WHO))
    assert "does not match host name" in answer.error


def test_a_server_of_another_authority_is_refused(apart: Deployment) -> None:
    options = {"sslmode": "verify-full", "sslrootcert": "/etc/ssl/certs/ca-certificates.crt"}
    [answer] = ask(apart.app, (info(apart, "callytics_user", apart.database.address, **options), WHO))
    assert "certificate verify failed" in answer.error


@pytest.mark.parametrize("account", ["nobody", "www-data", "root"])
def test_the_superuser_is_its_own_account_only(apart: Deployment, account: str) -> None:
    """By the local socket, where the kernel says who asks."""
    psql = f"cd / && runuser -u {account} -- psql -XwU postgres -d postgres -c 'select 1'"
    answer = apart.database.run(psql, check=False)
    assert answer.returncode != 0
    assert "authentication failed" in answer.stderr


@pytest.mark.parametrize("role", ["callytics_owner", "callytics_user"])
@pytest.mark.parametrize("account", ["callytics", "nobody", "root"])
def test_the_local_socket_is_the_superuser_s_only(alone: Deployment, account: str, role: str) -> None:
    psql = f"cd / && runuser -u {account} -- psql -XwU {role} -d callytics -c 'select 1'"
    assert alone.database.run(psql, check=False).returncode != 0


def listening(deployment: Deployment) -> set[str]:
    """The addresses on which anything listens at PostgreSQL's port."""
    lines = deployment.database.run("ss -Hltn 'sport = :5432'").stdout.splitlines()
    return {line.split()[3].rpartition(":")[0].strip("[]") for line in lines}


def test_a_server_for_others_listens_at_its_address(apart: Deployment) -> None:
    assert listening(apart) == {"127.0.0.1", "::1", apart.database.address} or listening(apart) == {
        "127.0.0.1",
        apart.database.address,
    }


def test_a_server_for_itself_can_not_be_reached(alone: Deployment) -> None:
    assert listening(alone) <= {"127.0.0.1", "::1"}


def test_the_application_s_host_runs_no_server(apart: Deployment) -> None:
    assert "postgres" not in apart.app.run("ps -eo comm=").stdout.split()


def test_more_connections_than_a_role_may_have_are_refused(apart: Deployment) -> None:
    """One role that runs wild leaves connections to the others."""
    limit = int(apart.superuser("select rolconnlimit from pg_roles where rolname = 'callytics_monitor'"))
    variables = {"HOST": "localhost", "USER": "callytics_monitor", "DATABASE": "callytics"}
    variables["PASSWORD"] = apart.password("callytics_monitor")
    environment = shlex.join(f"PG{name}={value}" for name, value in variables.items())
    sessions = f"for i in $(seq {limit + 2}); do psql -Xqc 'select pg_sleep(2)' 2>&1 & done; wait"
    answer = apart.database.run(f"export {environment}; {sessions}")
    assert answer.stdout.count("too many connections for role") == 2
