"""pgBackRest as a program: what it is asked, how far it is, and what its errors mean to people."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from callytics.backup.place import Place
from callytics.exceptions import BackupError

Progress = Callable[[str, int, int], None]
MEBIBYTE = 1024 * 1024
# "backup file base/1/2600 (8KB, 12.34%)", "restore file … (16MB, 0.50%)"
SHARE = re.compile(r"\((?:bundle [^)]*, )?[\d.]+[KMGTP]?i?B(?:->[^,]*)?, (?P<percent>[\d.]+)%\)")
LAST_LINES = 5


@dataclass(frozen=True)
class Backup:
    """A backup in the repository; sizes are bytes, and ``size`` is that of the database, not of its compressed copy."""

    label: str
    kind: str
    began: datetime
    ended: datetime
    size: int
    stored: int
    damaged: bool
    prior: str | None

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {
            "label": self.label,
            "type": self.kind,
            "began": self.began.isoformat(),
            "ended": self.ended.isoformat(),
            "size": self.size,
            "stored": self.stored,
            "damaged": self.damaged,
            "prior": self.prior,
        }


def command(place: Place, *arguments: str) -> list[str]:
    """Return a command line of pgBackRest; the key is in its own file and never an argument."""
    config = [f"--config={place.pgbackrest_config}"] if place.pgbackrest_config else []
    return ["pgbackrest", *config, f"--stanza={place.stanza}", *arguments]


def backups(place: Place) -> list[Backup]:
    """Return the repository's backups of this stanza, oldest first; raises BackupError if it cannot be read."""
    stanza = next(iter(_info(place)), None)
    # 0 is fine, 1 has no stanza yet and 2 no backup: https://pgbackrest.org/command.html#command-info
    if stanza is None or stanza["status"]["code"] not in (0, 1, 2):
        raise _unreadable(stanza["status"]["message"] if stanza else "no answer")
    return [_backup(one) for one in stanza["backup"]]


def system_identifier(place: Place) -> int | None:
    """Return the number of the cluster that the repository's newest backups are of; None without a stanza."""
    known = [entry["system-id"] for stanza in _info(place) for entry in stanza.get("db", [])]
    return known[-1] if known else None


def _info(place: Place) -> list[dict[str, Any]]:
    said = _answer(place, "--log-level-console=off", "--log-level-stderr=error", "--output=json", "info")
    try:
        # Not strict: of a damaged file it quotes the bytes as they are.
        found: list[dict[str, Any]] = json.loads(said, strict=False)
    except ValueError:
        raise _unreadable("what it says of itself is damaged") from None
    return found


def _unreadable(why: str) -> BackupError:
    shown = "".join(sign if sign.isprintable() else "?" for sign in why)
    return BackupError(
        f"the backups' repository can't be read ({shown}): run 'callytics backup check' and see /var/log/pgbackrest"
    )


def run(place: Place, what: str, size: int, progress: Progress, *arguments: str, account: str | None = None) -> None:
    """Run a command that copies ``size`` bytes, and tell in MiB how far it is.

    ``account`` is who runs it, where that is not who runs this. Raises BackupError with pgBackRest's own words and
    what to do.
    """
    total = max(size // MEBIBYTE, 1)
    progress(f"{what}, MiB", 0, total)
    process = subprocess.Popen(
        command(place, "--log-level-console=detail", "--log-level-stderr=off", *arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        errors="replace",
        env=_environment(),
        cwd="/",
        **_as(place, account),
    )
    last: deque[str] = deque(maxlen=LAST_LINES)
    try:
        for line in process.stdout or ():
            last.append(line.strip())
            if found := SHARE.search(line):
                # The end is said by whoever knows that all of it went well.
                progress(f"{what}, MiB", min(round(total * float(found["percent"]) / 100), total - 1), total)
        code = process.wait()
    finally:
        _end(process)
    if code != 0:
        raise failure(what, list(last))
    progress(f"{what}, MiB", total, total)


def check(place: Place) -> None:
    """Have WAL archived and see it arrive; raises BackupError if it does not."""
    _answer(place, "--log-level-console=error", "--log-level-stderr=off", "--archive-timeout=60", "check")


def verify(place: Place) -> str:
    """Read every file of the repository and compare checksums; return pgBackRest's account, or raise BackupError."""
    said = _answer(place, "--log-level-console=error", "--log-level-stderr=off", "--output=text", "verify")
    if re.search(r"status: error|(missing|checksum invalid|size invalid|other): [1-9]", said):
        raise BackupError(
            f"the repository is damaged ({_line(said.splitlines())}): run 'callytics backup now --type full' at once"
        )
    return said


def failure(what: str, lines: Sequence[str]) -> BackupError:
    """Return what went wrong in one line, with what to do about what happens often."""
    said = _line(lines)
    return BackupError(f"{what} failed ({said}): {_remedy(said)}")


def _remedy(said: str) -> str:
    known = {
        r"\[050\]|unable to acquire lock": "another backup is being made, wait for it",
        r"\[(072)\]|must be run on the repository host": "run 'systemctl start callytics-backup-full' on that host",
        r"\[028\]|do not match the database": "the repository is another cluster's, restore it or use another",
        r"\[082\]|archived before": "WAL does not arrive in the repository, see 'callytics backup check'",
        r"\[049\]|\[102\]|unable to connect|host": "is the repository's host up, and pgbackrest.service running there?",
        r"No space left|\[045\]": "make room and run it again",
        r"CryptoError|\[095\]|decrypt|cipher": "is BACKUP_KEY the one that the repository was made with?",
        r"\[075\]|unable to find backup set": "no backup is as old as that, see 'callytics backup list'",
    }
    found = (remedy for pattern, remedy in known.items() if re.search(pattern, said))
    return next(found, "see /var/log/pgbackrest")


def _line(lines: Sequence[str]) -> str:
    errors = [line for line in lines if "ERROR" in line or "error" in line.lower()]
    said = (errors or [line for line in lines if line] or ["it said nothing"])[0]
    # Without the time and the process, which pgBackRest puts before.
    return re.sub(r"^[\d-]+ [\d:.]+ P\d+ +\w+: *", "", said).strip()


def _answer(place: Place, *arguments: str) -> str:
    found = subprocess.run(
        command(place, *arguments),
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        stdin=subprocess.DEVNULL,
        env=_environment(),
        cwd="/",
        **_as(place, None),
    )
    if found.returncode != 0:
        raise failure(f"pgbackrest {arguments[-1]}", [*found.stdout.splitlines(), *found.stderr.splitlines()])
    return str(found.stdout)


def _as(place: Place, account: str | None) -> dict[str, Any]:
    """Return how a program is started as PostgreSQL's account, by root; otherwise it is that account already."""
    entry = place.entry()
    if os.geteuid() != 0 or entry.pw_uid == 0:
        return {}
    return {
        "user": account or entry.pw_name,
        "group": entry.pw_gid,
        "extra_groups": _groups(entry.pw_name, entry.pw_gid),
    }


def _groups(name: str, group: int) -> list[int]:
    return os.getgrouplist(name, group)


def _environment() -> dict[str, str]:
    """Return an environment without pgBackRest's variables, any of which would be an option."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PGBACKREST_", "PG"))}


def _end(process: subprocess.Popen[str]) -> None:
    # Ctrl-C and errors of ours leave it running: it is asked to end, as its own lock would refuse the next one.
    if process.poll() is None:
        process.terminate()
        process.wait(timeout=30)


def _backup(one: dict[str, Any]) -> Backup:
    kinds = {"full": "full", "diff": "differential", "incr": "incremental"}
    return Backup(
        label=one["label"],
        kind=kinds.get(one["type"], one["type"]),
        began=datetime.fromtimestamp(one["timestamp"]["start"], UTC),
        ended=datetime.fromtimestamp(one["timestamp"]["stop"], UTC),
        size=one["info"]["size"],
        stored=one["info"]["repository"]["delta"],
        damaged=bool(one.get("error")),
        prior=one.get("prior"),
    )


def newest(found: Sequence[Backup], before: datetime | None = None) -> Backup | None:
    """Return the last backup that ended by ``before``, or at all."""
    return next(reversed([one for one in found if before is None or one.ended <= before]), None)


def lines(found: Sequence[Backup]) -> Iterator[list[str]]:
    """Yield a row a backup for reading."""
    for one in found:
        seconds = (one.ended - one.began).total_seconds()
        size, stored = f"{one.size / MEBIBYTE:,.0f} MiB", f"{one.stored / MEBIBYTE:,.0f} MiB"
        ended = f"{one.ended.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
        yield [one.label, one.kind, ended, f"{seconds:,.0f} s", size, stored]
