"""The import tool where it will run: from the application's host into the database's, over TLS, and verified."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from tests.infra.connections import ask, info
from tests.infra.deployment import Deployment

CALLYTICS = "cd /root && callytics --env-file /etc/callytics/admin.env"
CALLS = 40
FILES = {
    1: "/root/samples/1.sqlite",
    2: "/root/samples/2.sqlite",
    3: "/root/samples/3/audio_analysis.sqlite /root/samples/3/consultation_quality.sqlite",
}


def callytics(deployment: Deployment, command: str) -> subprocess.CompletedProcess[str]:
    """Run the installed command as an administrator does, with a file mask that is strict."""
    return deployment.app.run(f"umask 077; {CALLYTICS} {command}", check=False)


@pytest.fixture(scope="module")
def samples(apart: Deployment) -> Deployment:
    """Old installations of all three generations on the application's host."""
    apart.app.run("mkdir -p /root/samples")
    for generation, files in FILES.items():
        target = "/root/samples/3" if generation == 3 else files
        answer = callytics(apart, f"sample --generation {generation} --calls {CALLS} --seed {generation} {target}")
        assert answer.returncode == 0, answer.stderr
    return apart


@pytest.fixture(scope="module")
def imported(samples: Deployment) -> dict[int, subprocess.CompletedProcess[str]]:
    """One import of each generation."""
    return {
        generation: callytics(samples, f"import --yes --json --snapshots /root/imports {files}")
        for generation, files in FILES.items()
    }


@pytest.mark.parametrize("generation", FILES)
def test_a_sample_is_imported_and_verified(
    imported: dict[int, subprocess.CompletedProcess[str]], generation: int
) -> None:
    """All loaded, or all but rows that nothing could hold: the import verifies by itself before it says so."""
    answer = imported[generation]
    assert answer.returncode in {0, 3}, answer.stderr
    document: Any = json.loads(answer.stdout)
    assert document


@pytest.mark.parametrize("generation", FILES)
def test_it_is_verified_again_later(
    samples: Deployment, imported: dict[int, subprocess.CompletedProcess[str]], generation: int
) -> None:
    answer = callytics(samples, f"verify --json --snapshots /root/imports {FILES[generation]}")
    assert answer.returncode in {0, 3}, answer.stderr


def test_the_application_reads_what_was_imported(
    samples: Deployment, imported: dict[int, subprocess.CompletedProcess[str]]
) -> None:
    options = {"sslmode": "verify-full", "sslrootcert": "/etc/callytics/ca.crt"}
    connection = info(samples, "callytics_user", samples.database.address, **options)
    [answer] = ask(samples.app, (connection, "select count(*) from audio_files"))
    assert answer.rows is not None, answer.error
    [[count]] = answer.rows
    assert isinstance(count, int)
    assert count >= len(FILES) * CALLS


def test_importing_again_changes_nothing(
    samples: Deployment, imported: dict[int, subprocess.CompletedProcess[str]]
) -> None:
    before = samples.superuser("select count(*) from utterances")
    answer = callytics(samples, f"import --yes --snapshots /root/imports {FILES[2]}")
    assert answer.returncode in {0, 3}, answer.stderr
    assert samples.superuser("select count(*) from utterances") == before


def test_snapshots_are_their_owner_s_alone(
    samples: Deployment, imported: dict[int, subprocess.CompletedProcess[str]]
) -> None:
    """They hold the calls."""
    assert samples.app.run("find /root/imports -perm /077").stdout == ""


def test_no_call_is_in_the_server_s_log(
    samples: Deployment, imported: dict[int, subprocess.CompletedProcess[str]]
) -> None:
    texts = samples.document(
        "select json_agg(text) from (select text from utterances where length(text) > 12 order by id limit 200) as u"
    )
    log = samples.database.run("cat /var/log/postgresql/*.log").stdout
    assert texts
    assert not [text for text in texts if text in log]


def test_provisioning_leaves_the_calls_alone(
    samples: Deployment, imported: dict[int, subprocess.CompletedProcess[str]]
) -> None:
    """A full database is no drift."""
    before = samples.superuser("select count(*) from utterances")
    run = samples.run()
    assert not run.changed
    assert samples.superuser("select count(*) from utterances") == before
