"""Ask the members of this host's cluster, and lead them, through Patroni: health, config, pending, wait, restart …

    /opt/patroni/bin/python -I /etc/patroni/members.py health

Each member is asked itself: what Patroni says of the others can be a few seconds old, and was all well then.
"""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

Found = dict[str, dict[str, Any]]

FILE = Path(__file__).with_name("patroni.yml")
SETTINGS = json.loads(FILE.read_text())
ADDRESSES = [authority.rpartition(":")[0] for authority in SETTINGS["etcd3"]["hosts"]]
# A standby may have to copy all that there is first.
WAIT_SECONDS = 3600
SWITCHOVER_SECONDS = 60
# What is not well by then is not made better by stopping another member; and who comes back copies nothing.
AWAY_SECONDS, BACK_SECONDS = 60, 300
PGBACKREST = "/usr/bin/pgbackrest"
INFO_SECONDS = 30
# Patroni of a member answers while it copies: one that does not is not there, or does not come up.
SILENT_SECONDS = 120
# How long a Patroni that leads may be silent is counted from its last answer: it is asked every second, answers within
# these, and is ended so many seconds before etcd can let go of its leader key at the earliest.
LIVES_SECONDS, MARGIN_SECONDS = 2, 3


def members() -> Found:
    """Return what each member says of itself, by its name; one that does not answer is left out."""
    found = {}
    for address in ADDRESSES:
        try:
            answer = request(address, "/patroni")
            found[answer["patroni"]["name"]] = {**answer, "address": address}
        except OSError:
            pass
    return found


def request(address: str, path: str, body: bytes | None = None) -> Any:
    """Ask a member's Patroni, or change something with a body; it answers with 503 while it does not lead."""
    try:
        return json.loads(answer(f"{address}:8008", path, body))
    except urllib.error.HTTPError as error:
        if body or error.code != 503:
            raise
        return json.load(error)


def answer(authority: str, path: str, body: bytes | None = None, seconds: float = 5) -> bytes:
    """Return what a member's Patroni answers within so many seconds."""
    tls = ssl.create_default_context(cafile=SETTINGS["ctl"]["cacert"])
    tls.load_cert_chain(SETTINGS["ctl"]["certfile"], SETTINGS["ctl"]["keyfile"])
    asked = urllib.request.Request(f"https://{authority}{path}", body, method="PATCH" if body else "GET")
    with urllib.request.urlopen(asked, timeout=seconds, context=tls) as found:
        content: bytes = found.read()
        return content


def leader(found: Found) -> str | None:
    """Return the name of the member that leads, or None."""
    return next((name for name, one in found.items() if leads(one)), None)


def leads(member: dict[str, Any]) -> bool:
    return member.get("role") in ("primary", "master") and member.get("state") == "running"


def faults(found: Found) -> list[str]:
    """Return what is not as it should be, in a line each."""
    heard = {one["address"] for one in found.values()}
    lines = [f"{one} does not answer: journalctl -u patroni there" for one in ADDRESSES if one not in heard]
    if sum(map(leads, found.values())) != 1:
        lines.append("not exactly one member leads")
    for name, one in found.items():
        # Without a timeline of its own a standby is never promoted, and all else looks well.
        if not isinstance(one.get("timeline"), int):
            lines.append(f"{name} cannot tell its timeline ({one.get('state')})")
        if not leads(one) and one.get("replication_state") != "streaming":
            lines.append(f"{name} does not follow ({one.get('state')}, {one.get('replication_state')})")
    timelines = {one.get("timeline") for one in found.values()}
    if len(timelines) > 1:
        lines.append(f"the members have different timelines: {timelines}")
    return lines


def wait(seconds: float = WAIT_SECONDS, done: Callable[[Found], bool] = bool) -> Found:
    """Wait until all is well; end with what is not."""
    began = heard = time.monotonic()
    while True:
        found = members()
        lines = faults(found)
        if not lines and done(found):
            return found
        now = time.monotonic()
        heard = now if len(found) == len(ADDRESSES) else heard
        if now > began + seconds or now > heard + SILENT_SECONDS:
            sys.exit("; ".join(lines) or "the members do not do what they were told")
        time.sleep(0.5)


def ctl(*arguments: str) -> None:
    """Have patronictl do something at once."""
    program = Path(sys.executable).with_name("patronictl")
    done = subprocess.run(
        [program, "-c", FILE, arguments[0], SETTINGS["scope"], *arguments[1:], "--force"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        sys.exit(done.stdout)


def pending(found: Found) -> list[str]:
    """Return the members that await a restart, the one that leads last."""
    return sorted(
        (name for name, one in found.items() if one.get("pending_restart")), key=lambda name: leads(found[name])
    )


def restarted(name: str) -> Callable[[Found], bool]:
    """Return what tells whether a member awaits a restart no more, or can't yet.

    A standby keeps what a setting was lowered from until the one that leads has the lower one.
    """
    loops = time.monotonic() + 2 * SETTINGS["bootstrap"]["dcs"]["loop_wait"]
    return lambda found: name not in pending(found) or (time.monotonic() > loops and not leads(found[name]))


def restart() -> None:
    """Restart what awaits it, one after another, and standbys once more that still do when the leader is back."""
    for _ in range(2):
        for name in pending(wait()):
            ctl("restart", name)
            wait(done=restarted(name))


def switchover() -> None:
    """Let another member lead."""
    found = wait()
    former = leader(found)
    assert former is not None
    latter = next(name for name in found if name != former)
    ctl("switchover", "--leader", former, "--candidate", latter)
    wait(SWITCHOVER_SECONDS, lambda found: leader(found) == latter)


def away() -> None:
    """Let another member lead if this one does; all are well before and after."""
    if leader(wait(AWAY_SECONDS)) == SETTINGS["name"]:
        switchover()


def back() -> None:
    """Wait until this member, which was stopped, and all others are well."""
    wait(BACK_SECONDS)


def change() -> None:
    """Change what all members have alike to what is read from stdin."""
    wait()
    request(ADDRESSES[0], "/config", sys.stdin.buffer.read())
    # Patroni of each member reads it within a loop, and then knows whether its server awaits a restart.
    time.sleep(2 * SETTINGS["bootstrap"]["dcs"]["loop_wait"])


def copy(stanza: str) -> None:
    """Become a restore of the newest backup, for Patroni to have this member follow with; end where there is none.

    The leader's disk and network have other things to do. Without a word the next way is taken, a copy of the leader's.
    """
    found = members()
    name = leader(found)
    known = {one["database_system_identifier"] for one in found.values() if leads(one)}
    asked = [PGBACKREST, stanza, "--log-level-console=error", "--output=json", "info"]
    try:
        (there,) = json.loads(subprocess.run(asked, stdout=subprocess.PIPE, timeout=INFO_SECONDS).stdout)
        newest = [one for one in there["backup"] if not one.get("error")][-1]
        whose = next(str(one["system-id"]) for one in there["db"] if one["id"] == newest["database"]["id"])
    except (subprocess.TimeoutExpired, ValueError, LookupError, StopIteration):
        sys.exit("the repository has no backup")
    if known != {whose}:
        sys.exit(f"the repository has backups of cluster {whose}, and {name} leads {known or 'none'}")
    os.execv(PGBACKREST, [PGBACKREST, stanza, "--delta", "--type=standby", "restore"])


def fence() -> None:
    """End Patroni, and the server with it, where it leads and hangs: otherwise two would lead once etcd lets go of it.

    A watchdog device does the same to the whole host, where there is one. systemd starts Patroni again.
    """
    agreed = SETTINGS["bootstrap"]["dcs"]
    silent = agreed["ttl"] - agreed["loop_wait"] - MARGIN_SECONDS
    follows = Path(SETTINGS["postgresql"]["data_dir"], "standby.signal")
    # Patroni counts by the clock, and takes itself for late where that was set, until its next loop.
    late = 2 * agreed["loop_wait"]
    well = heard = time.monotonic()
    while True:
        said = lives()
        now = time.monotonic()
        well, heard = now if said else well, heard if said is None else now
        if now > heard + silent or (said is False and now > well + late):
            if not follows.exists():
                sys.stderr.write(f"Patroni leads and hangs, not at work for {now - well:.0f} s: it is ended\n")
                subprocess.run(["systemctl", "kill", "--signal=KILL", "patroni.service"], check=True)
            well = heard = time.monotonic()
        time.sleep(1)


def lives() -> bool | None:
    """Tell whether this member's Patroni is at work, by its own word; None where it says none.

    systemd starts one that is not there, and what is said by another certificate is a word as well.
    """
    try:
        answer(SETTINGS["restapi"]["connect_address"], "/liveness", seconds=LIVES_SECONDS)
    except urllib.error.HTTPError as error:
        return error.code != 503
    except OSError as error:
        return None if isinstance(getattr(error, "reason", error), TimeoutError) else True
    return True


def config() -> Any:
    """Return what all members have alike, from the first that answers."""
    for address in ADDRESSES:
        try:
            return request(address, "/config")
        except OSError:
            pass
    return None


def say(document: Any) -> None:
    """Answer with a JSON document."""
    sys.stdout.write(f"{json.dumps(document)}\n")


def main(verb: str) -> None:
    """Do what the verb says; what asks answers with a JSON document."""
    acts: dict[str, Callable[[], Any]] = {
        "wait": wait,
        "restart": restart,
        "switchover": switchover,
        "away": away,
        "back": back,
        "change": change,
        "fence": fence,
    }
    if verb in acts:
        acts[verb]()
    elif verb == "copy":
        copy(sys.argv[2])
    elif verb == "config":
        say(config())
    else:
        found = members()
        lines = faults(found)
        say({"ok": not lines, "faults": lines, "leader": leader(found), "pending": pending(found)})


if __name__ == "__main__":
    main(sys.argv[1])
