"""A run that is killed leaves a host that the next run completes, wherever that was."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from contextlib import suppress

import pytest

from tests.infra.deployment import Deployment
from tests.infra.lab import Lab

pytestmark = pytest.mark.slow

# The operation during which the run is killed, and how long after its start.
MOMENTS = (
    ("Install PostgreSQL", 0.3),
    ("Install PostgreSQL", 3.0),
    ("Run PostgreSQL with these settings", 0.1),
    ("Make the roles as declared", 0.1),
    ("Install Callytics from this checkout", 2.0),
    ("Apply the migrations", 0.5),
    ("Give the roles their privileges", 0.1),
)


def kill_during(deployment: Deployment, operation: str, delay: float) -> bool:
    """Start a run and kill it a moment after an operation began; tell whether it came so far."""
    process = deployment.start()
    assert process.stdout is not None
    reached = False
    # Whatever it waits for, it waits no longer than this.
    limit = threading.Timer(240, kill, [process])
    limit.start()
    try:
        for line in process.stdout:
            if line.startswith("--> Starting") and operation in line:
                reached = True
                time.sleep(delay)
                break
    finally:
        limit.cancel()
        kill(process)
        process.stdout.close()
        process.wait()
    return reached


def kill(process: subprocess.Popen[str]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def interrupted(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    """A host on which run after run is killed, each later than the one before."""
    host = lab.host("interrupted")
    deployment = Deployment.prepare(tmp_path_factory.mktemp("interrupted"), host, host)
    # None of the moments is in it.
    deployment.set(MONITORING="off")
    return deployment


@pytest.mark.parametrize(("operation", "delay"), MOMENTS, ids=[f"{name} + {delay} s" for name, delay in MOMENTS])
def test_a_killed_run_does_not_stop_the_next(interrupted: Deployment, operation: str, delay: float) -> None:
    """The next run gets past what the one before left half done: it reaches the place where it is killed itself."""
    assert kill_during(interrupted, operation, delay)


def test_the_next_run_completes_it(interrupted: Deployment) -> None:
    run = interrupted.run(check=False)
    assert run.exit_code == 0, run.output
    assert not run.failed


def test_then_nothing_is_left_to_do(interrupted: Deployment) -> None:
    run = interrupted.run()
    assert run.seen
    assert not run.changed


def test_what_was_completed_works(interrupted: Deployment) -> None:
    doctor = "cd / && callytics --env-file /etc/callytics/admin.env doctor"
    answer = interrupted.app.run(doctor, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert interrupted.database.run("dpkg --audit").stdout == ""
