"""An upgrade as its clients meet it, and the checkout that it comes from."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.infra.deployment import Deployment, copy_checkout
from tests.infra.lab import LabHost

UPGRADE = "deploy/upgrade.py"
SWITCH = "Switch to this version"
# Asks twenty times a second, until its stdin is closed.
CLIENT = """
import json, select, sys, time, urllib.request
seen = []
while not select.select([sys.stdin], [], [], 0.05)[0]:
    begin = time.monotonic()
    try:
        with urllib.request.urlopen("http://127.0.0.1:8000/health", timeout=10) as answer:
            status = answer.status
    except urllib.error.HTTPError as error:
        status = error.code
    except OSError:
        status = 0
    seen.append([begin, time.monotonic(), status])
json.dump(seen, sys.stdout)
"""


@dataclass
class Asked:
    """What a client met: the seconds from each good answer to the next, and what it got in between."""

    gap: float = 0.0
    answers: dict[int, int] = field(default_factory=dict)
    away: list[tuple[float, float]] = field(default_factory=list)

    def note(self, seen: list[tuple[float, float, int]]) -> None:
        """Read the client's account."""
        good = [end for _begin, end, status in seen if status == 200]
        assert good, "the client never got an answer"
        self.gap = max((later - earlier for earlier, later in itertools.pairwise(good)), default=0.0)
        # By the clock that all hosts of the lab share.
        self.away = [(begin, end) for begin, end, status in seen if status != 200]
        for _begin, _end, status in seen:
            self.answers[status] = self.answers.get(status, 0) + 1


@contextmanager
def client(host: LabHost) -> Iterator[Asked]:
    """Keep asking the service while the block runs."""
    command = ["ssh", "-F", str(host.ssh_config), host.name, "--", f"python3 -c '{CLIENT}'"]
    asked = Asked()
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield asked
        finally:
            output, _ = process.communicate("\n", timeout=60)
    asked.note(json.loads(output))


def pull(folder: Path) -> None:
    """Replace a checkout's files by this one's, as git pull would; .env and .deploy stay."""
    for path in folder.iterdir():
        if path.name not in (".env", ".deploy"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    copy_checkout(folder)


def applied(deployment: Deployment) -> str:
    return deployment.superuser("select string_agg(migration_id, ' ' order by migration_id) from _yoyo_migration")
