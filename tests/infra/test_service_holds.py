"""The application's service on a host, beside a database that gives no answer and under attack: what it promises holds.

tests/postgres/service has each of these at length; here it is the installed unit, with its limits in force.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager

from tests.infra.deployment import Deployment
from tests.infra.service import BASE, get, shown, wait_for_health

SERVER = "postgresql@15-main.service"
LIMIT_BYTES = 400 * 1024 * 1024
# Logs in with whatever stands in the file, from an address of this machine's own.
LOG_IN = (
    "curl -s -o /dev/null -m 40 -w '%{http_code} %{time_total}\\n' --interface {address} "
    "-H 'Content-Type: application/json' -d @- " + BASE + "/auth/login"
)
# Sends the head of a login and a byte of its body, and reads what comes.
SLOW_BODY = """
import socket, time
with socket.create_connection(("127.0.0.1", 8000), 60) as client:
    began = time.monotonic()
    client.sendall(b"POST /auth/login HTTP/1.1\\r\\nHost: localhost\\r\\nContent-Type: application/json\\r\\n"
                   b"Content-Length: 60\\r\\n\\r\\n{")
    print(client.recv(65536).split()[1].decode(), time.monotonic() - began)
"""
# Wrong logins from 50 addresses, 20 at once, and bodies that are too large among them.
FLOOD = """
head -c 4000000 /dev/zero | tr '\\0' '[' >/tmp/large
seq 1 150 | xargs -P 20 -I N sh -c '
    body="{\\"username\\":\\"nobody N\\",\\"password\\":\\"wrong\\"}"
    [ $((N % 10)) = 0 ] && body=@/tmp/large
    curl -s -o /dev/null -m 30 -w "%{http_code}\\n" --interface 127.0.1.$((N % 50 + 1)) \
        -H "Content-Type: application/json" -d "$body" http://localhost:8000/auth/login || echo none'
rm /tmp/large
"""


@contextmanager
def stopped(deployment: Deployment) -> Iterator[None]:
    """Every process of PostgreSQL stands still meanwhile, and its connections stay open."""
    deployment.database.run(f"systemctl kill --signal=STOP {SERVER}")
    try:
        yield
    finally:
        deployment.database.run(f"systemctl kill --signal=CONT {SERVER}")


@contextmanager
def dropped(deployment: Deployment) -> Iterator[None]:
    """Packets between the two hosts get lost meanwhile, without a word to either."""
    table = "bridge callytics_lost"
    rules = [
        f"ip {side} {deployment.database.address} tcp {port} 5432"
        for side, port in (("saddr", "sport"), ("daddr", "dport"))
    ]
    text = "".join(f"{rule} drop\n" for rule in rules)
    chain = f"chain lost {{ type filter hook forward priority 0;\n{text}}}\n"
    subprocess.run(["nft", "-f", "-"], input=f"table {table} {{ {chain}}}\n", text=True, check=True)
    try:
        yield
    finally:
        subprocess.run(["nft", "delete", "table", *table.split()], check=True)


def log_in(deployment: Deployment, address: str = "127.0.0.1") -> tuple[int, float]:
    """Return the status of a wrong login and the seconds it took."""
    body = json.dumps({"username": "nobody", "password": "wrong"})
    status, seconds = deployment.app.run(LOG_IN.replace("{address}", address), input=body).stdout.split()
    return int(status), float(seconds)


def slow_body(deployment: Deployment) -> tuple[int, float]:
    """Return the status of a request whose body never comes, and the seconds until it."""
    status, seconds = deployment.app.run("python3 -", input=SLOW_BODY).stdout.split()
    return int(status), float(seconds)


def everybody_is_answered(deployment: Deployment, hanging: AbstractContextManager[None]) -> None:
    """Require the promised times past the 18 s of an answer, and that the same process is well again by itself."""
    process = shown(deployment.app, "MainPID")
    with ThreadPoolExecutor(1) as asker, hanging:
        login = asker.submit(log_in, deployment)
        lives, healths = [], []
        while not login.done():
            lives.append(get(deployment.app, "/health/live"))
            healths.append(get(deployment.app, "/health"))
        assert login.result()[0] == 503
        assert login.result()[1] < 20
    assert {status for status, _, _ in lives} == {200}
    assert max(seconds for _, seconds, _ in lives) < 0.5
    assert healths[-1][0] == 503
    assert max(seconds for _, seconds, _ in healths) < 2
    wait_for_health(deployment.app)
    assert shown(deployment.app, "MainPID") == process


def test_a_database_that_stands_still(alone: Deployment) -> None:
    """Meanwhile a slow client has a clock of its own."""
    with ThreadPoolExecutor(1) as client:
        slow = client.submit(slow_body, alone)
        everybody_is_answered(alone, stopped(alone))
        status, seconds = slow.result()
    assert status == 408
    assert 25 < seconds < 35


def test_a_network_that_loses_packets(apart: Deployment) -> None:
    everybody_is_answered(apart, dropped(apart))


def test_a_flood_of_logins_neither_fills_its_memory_nor_keeps_others_waiting(alone: Deployment) -> None:
    process = shown(alone.app, "MainPID")
    with ThreadPoolExecutor(1) as attacker:
        flood = attacker.submit(alone.app.run, FLOOD)
        lives = []
        while not flood.done():
            lives.append(get(alone.app, "/health/live"))
        answers = flood.result().stdout.split()
    assert len(answers) == 150
    assert set(answers) <= {"401", "413", "429"}
    assert {"413", "429"} <= set(answers)
    assert {status for status, _, _ in lives} == {200}
    peak = alone.app.run(f"grep VmHWM /proc/{process}/status").stdout.split()[1]
    assert int(peak) * 1024 < LIMIT_BYTES
    assert log_in(alone, "127.0.2.1")[0] == 401
    assert shown(alone.app, "MainPID") == process


def test_its_limits_are_in_force(alone: Deployment) -> None:
    """Descriptors by the kernel; memory by systemd, since the lab's hosts are given no controller of memory."""
    process = shown(alone.app, "MainPID")
    limits = alone.app.run(f"grep -E '^Max (core file size|open files)' /proc/{process}/limits").stdout.splitlines()
    assert [line.split()[-3:-1] for line in limits] == [["0", "0"], ["16384", "16384"]]
    wanted = {"MemoryMax": str(768 * 1024 * 1024), "MemorySwapMax": "0", "TasksMax": "512"}
    assert {name: shown(alone.app, name) for name in wanted} == wanted
