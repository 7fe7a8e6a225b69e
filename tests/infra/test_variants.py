"""Installations of another kind: hosts that are known by IPv6 addresses, and certificates that somebody else issued.

One run makes of the two hosts what their administrator now says, another one what he said before.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.operations.secret.certificates import Authority
from tests.infra.connections import ask, info
from tests.infra.deployment import Deployment, Run
from tests.infra.service import get
from tests.support.needs import lacking

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def issued(tmp_path_factory: pytest.TempPathFactory, apart: Deployment) -> dict[str, str]:
    """What another authority has issued for the database's host, by the variables of .env."""
    elsewhere = Authority(tmp_path_factory.mktemp("elsewhere"))
    elsewhere.issue("server", ["localhost", apart.database.address_6])
    certificate, key = elsewhere.server_files("server")
    return {
        "DATABASE_TLS_CA": str(elsewhere.certificate),
        "DATABASE_TLS_CERTIFICATE": str(certificate),
        "DATABASE_TLS_KEY": str(key),
    }


@pytest.fixture(scope="module")
def changed(apart: Deployment, issued: dict[str, str]) -> Iterator[Run]:
    """The run after the hosts' addresses and the certificates were changed in .env."""
    need_ipv6(apart)
    before = apart.env
    apart.set(DATABASE_HOSTS=apart.database.address_6, APP_HOSTS=apart.app.address_6, **issued)
    yield apart.run(check=False)
    apart.set(**dict.fromkeys(issued, ""), DATABASE_HOSTS=before["DATABASE_HOSTS"], APP_HOSTS=before["APP_HOSTS"])
    apart.run()
    assert get(apart.app, "/health")[0] == 200


def need_ipv6(deployment: Deployment) -> None:
    try:
        socket.create_connection((deployment.database.address_6, 22), timeout=5).close()
    except OSError as error:
        lacking(f"the hosts are not reached by IPv6: {error}")


def test_it_is_done(changed: Run) -> None:
    assert changed.exit_code == 0, changed.output
    assert not changed.failed


def test_the_second_run_changes_nothing(changed: Run, apart: Deployment) -> None:
    run = apart.run()
    assert run.seen
    assert not run.changed


def test_the_application_reaches_its_database_by_ipv6(changed: Run, apart: Deployment) -> None:
    """And by nothing else: the server does not listen to its former address."""
    assert get(apart.app, "/health")[0] == 200
    clients = "select distinct host(client_addr) from pg_stat_activity where usename = 'callytics_user'"
    assert apart.superuser(clients) == apart.app.address_6
    lines = apart.database.run("ss -Hltn 'sport = :5432'").stdout.splitlines()
    listening = {line.split()[3].rpartition(":")[0].strip("[]") for line in lines}
    assert listening == {"127.0.0.1", "::1", apart.database.address_6}


def test_the_server_has_the_given_certificate(changed: Run, apart: Deployment, issued: dict[str, str]) -> None:
    given = Path(issued["DATABASE_TLS_CERTIFICATE"]).read_text()
    assert apart.database.run("cat /etc/postgresql/15/main/server.crt").stdout == given
    trusted = {"sslmode": "verify-full", "sslrootcert": "/etc/callytics/ca.crt"}
    [answer] = ask(apart.app, (info(apart, "callytics_user", apart.database.address_6, **trusted), "select 1"))
    assert answer.rows == [[1]], answer.error


def test_the_given_key_is_its_owner_s_alone(changed: Run, apart: Deployment) -> None:
    mode = apart.database.run("stat -c '%U %a' /etc/postgresql/15/main/server.key").stdout
    assert mode == "postgres 600\n"


def test_the_application_trusts_the_given_authority(changed: Run, apart: Deployment, issued: dict[str, str]) -> None:
    own = Path(issued["DATABASE_TLS_CA"]).read_text()
    assert apart.app.run("cat /etc/callytics/ca.crt").stdout == own
