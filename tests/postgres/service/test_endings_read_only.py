"""A server that takes no writes: a standby, or one whose transactions are read-only by default."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from callytics.trial.embedded import EmbeddedPostgres
from tests.support.endings import WITH_DATABASE, Place, error_of, findings, place
from tests.support.servers import Databases, as_standby, migrated, private_server, superuser

REMEDY = "let POSTGRES_HOST name the primary, or every host of the cluster"
# These only read.
READING = {
    "report": "",
    "agent list": "kim",
    "agent sessions": "",
    "audit": "",
    "partitions ahead": "Every partition is there already",
    "partitions list": "transcriptions",
    "verify": "the verdict is not recorded there",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """A server of this module's own, which becomes a standby."""
    with private_server(tmp_path_factory.mktemp("own")) as embedded:
        yield embedded


@pytest.fixture(scope="module")
def primary(server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    template = migrated(server, "template_callytics")
    with place(Databases(server), template, tmp_path_factory.mktemp("place")) as prepared:
        yield prepared


@pytest.fixture(scope="module", params=["default_transaction_read_only", "standby"])
def read_only(request: pytest.FixtureRequest, primary: Place, server: EmbeddedPostgres) -> Iterator[Place]:
    if request.param == "standby":
        with as_standby(server):
            yield primary
    else:
        superuser(server, "alter database {} set default_transaction_read_only = on", primary.settings.database)
        yield primary
        superuser(server, "alter database {} reset default_transaction_read_only", primary.settings.database)


@pytest.mark.parametrize("command", WITH_DATABASE)
def test_every_command(command: str, read_only: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(read_only.folder)
    before = sorted(path.name for path in read_only.folder.rglob("*"))
    result = read_only.run(command)
    if command in READING:
        assert result.exit_code == 0, result.output
        assert READING[command] in result.stdout
    else:
        line = error_of(result)
        assert line.startswith("the server takes no writes")
        assert REMEDY in line
        assert "default_transaction_read_only" in line
    assert sorted(path.name for path in read_only.folder.rglob("*")) == before


def test_the_doctor(read_only: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(read_only.folder)
    (line,) = findings(read_only.run("doctor"))["server"]
    database = read_only.settings.database
    assert line in (
        f"the server is a standby and takes no writes → {REMEDY}",
        "transactions are read-only by default and take no writes → "
        f"as a superuser: ALTER DATABASE {database} RESET default_transaction_read_only",
    )
