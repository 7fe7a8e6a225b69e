"""Append to lists and read them in transactions through the service's own pool, until stdin ends.

Runs beside the service, with its program:

    /opt/callytics/current/bin/python appending.py SEED CLIENTS ENV_FILE

Each line on stdout is a transaction as JSON: when it began and ended by the monotonic clock, what became of it, and
what it appended and read. `histories.py` judges them. What each client does follows from the seed; when, it does not.
"""

from __future__ import annotations

import json
import os
import random
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psycopg

from callytics.exceptions import CallyticsError, OutcomeUnknown
from callytics.postgres import PostgreSQLManager
from callytics.settings import Settings

APPEND = """
insert into failover.lists as l (key, list) values (%s, array[%s::bigint])
on conflict (key) do update set list = l.list || excluded.list
"""
READ = "select list from failover.lists where key = %s"
# Lists stay short: after so many seconds the clients go on to other ones.
KEYS, EACH_SECONDS = 4, 5.0
STATEMENT_SECONDS, POOL_SECONDS = 15.0, 5.0
PAUSE = 0.02
Step = list[Any]


class Client(threading.Thread):
    """One that does a transaction after another."""

    def __init__(self, manager: PostgreSQLManager, number: int, seed: int, done: threading.Event) -> None:
        super().__init__()
        self.manager, self.number, self.done = manager, number, done
        self.chance = random.Random(f"{seed} {number}")
        self.value = number * 1_000_000_000

    def run(self) -> None:
        """Go on until everything has an end."""
        while not self.done.wait(PAUSE):
            began = time.monotonic()
            outcome, steps = self._transaction(self._steps(int(began // EACH_SECONDS) * KEYS))
            told = {
                "client": self.number,
                "began": began,
                "ended": time.monotonic(),
                "outcome": outcome,
                "steps": steps,
            }
            os.write(1, f"{json.dumps(told)}\n".encode())

    def _steps(self, first: int) -> list[Step]:
        steps: list[Step] = []
        for _ in range(self.chance.randint(1, 3)):
            key = first + self.chance.randrange(KEYS)
            if self.chance.random() < 0.5:
                self.value += 1
                steps.append(["append", key, self.value])
            else:
                steps.append(["read", key, None])
        return steps

    def _transaction(self, steps: list[Step]) -> tuple[str, list[Step]]:
        try:
            with self.manager.transaction(isolation="serializable"):
                for step in steps:
                    self._do(step)
        except OutcomeUnknown:
            return "unknown", steps
        except (CallyticsError, psycopg.Error):
            return "refused", steps
        return "stored", steps

    def _do(self, step: Step) -> None:
        verb, key, value = step
        if verb == "append":
            self.manager.execute_query(APPEND, (key, value), fetch="none")
        else:
            step[2] = self.manager.execute_query(READ, (key,), fetch="val") or []


def main(seed: str, clients: str, env_file: str) -> None:
    """Go on until whoever started this closes stdin."""
    done, settings = threading.Event(), Settings.load(env_file=Path(env_file))
    with PostgreSQLManager(settings, timeout=POOL_SECONDS, statement_timeout=STATEMENT_SECONDS) as manager:
        threads = [Client(manager, number + 1, int(seed), done) for number in range(int(clients))]
        for thread in threads:
            thread.start()
        sys.stdin.read()
        done.set()
        for thread in threads:
            thread.join()


if __name__ == "__main__":
    main(*sys.argv[1:])
