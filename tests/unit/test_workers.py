"""The pool of workers: which of several errors it raises."""

from __future__ import annotations

import threading
import time

import pytest

from callytics.importer.options import Options
from callytics.importer.plan import workers
from callytics.importer.plan.graph import Kind, Plan
from callytics.importer.plan.workers import Worker, WorkerPool
from callytics.settings import Settings

SETTINGS = Settings(hosts=("localhost",), port=5432, database="callytics", user="callytics_user", password="")


class Refused(Exception):
    """What PostgreSQL has answered."""

    def __init__(self, sqlstate: str) -> None:
        self.sqlstate = sqlstate
        super().__init__(sqlstate)


def raised(*codes: str) -> str:
    """Have a worker for each code fail, in this order and a moment apart; return the code of the pool's error."""
    plan, met = Plan(), threading.Barrier(len(codes))
    for number, code in enumerate(codes):
        plan.add(Kind.COMPARE, code, size=1, subject=(number, code))

    def fail(_worker: Worker, subject: tuple[int, str]) -> None:
        number, code = subject
        met.wait(10)
        time.sleep(number / 5)
        raise Refused(code)

    with pytest.raises(Refused) as error:
        WorkerPool(SETTINGS, Options(jobs=len(codes)), lambda *_: None, plan, {Kind.COMPARE: fail}).run()
    return error.value.sqlstate


@pytest.mark.parametrize("consequence", sorted(workers.CONSEQUENCES))
def test_a_consequence_does_not_hide_its_cause(consequence: str) -> None:
    """A worker has made the session's transaction fail, and another one meets that before the first has said so."""
    assert raised(consequence, "42501") == "42501"
    assert raised("42501", consequence) == "42501"


def test_a_consequence_without_a_cause_is_raised_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "CAUSE_SECONDS", 0.1)
    assert raised("55000", "55000") == "55000"
