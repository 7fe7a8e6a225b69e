"""Patroni on a member: what it is told, how it is installed and started, and what the members say of each other."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyinfra import host
from pyinfra.api import (
    FactBase,
    FileUploadCommand,
    FunctionCommand,
    HiddenValue,
    QuoteString,
    StringCommand,
    operation,
)
from pyinfra.api.command import PyinfraCommand

from deploy.operations.cluster.clusters import ClusterState
from deploy.operations.cluster.psql import JsonFact, run_sql
from deploy.operations.cluster.server_settings import unit_of
from deploy.operations.failover.etcd import authority_of, etcdctl
from deploy.operations.file_times import ModificationTimes
from deploy.operations.units import ServiceState

UNIT, WATCHDOG, FENCE = "patroni.service", "callytics-watchdog.service", "callytics-fence.service"
UNWATCHED = "callytics-fence.service ends a Patroni that leads and hangs; a host that hangs as a whole is left alone"
# Written by the unit at its start and whenever it has Patroni read its settings.
LOADED = "/run/patroni/loaded"
# Within which Patroni reads what it was told to.
LOOPS_SECONDS = 12
# Since when the repository has not answered in time.
SILENT = "/run/patroni/silent"
# Longer than the repository takes, and of little weight beside the time until another member leads.
WAL_SECONDS = 2
REWIND = (
    "pg_catalog.pg_ls_dir(text, boolean, boolean)",
    "pg_catalog.pg_stat_file(text, boolean)",
    "pg_catalog.pg_read_binary_file(text)",
    "pg_catalog.pg_read_binary_file(text, bigint, bigint, boolean)",
)


@dataclass(frozen=True)
class Place:
    """Where a member's PostgreSQL and Patroni are: ``cluster`` is Debian's name, such as 15/main."""

    cluster: str
    settings: str
    program: str

    @property
    def server(self) -> str:
        """Return the folder of the server's settings."""
        return f"/etc/postgresql/{self.cluster}"

    @property
    def data(self) -> str:
        """Return the folder of the server's data."""
        return f"/var/lib/postgresql/{self.cluster}"

    @property
    def binaries(self) -> str:
        """Return the folder of the server's programs."""
        return f"/usr/lib/postgresql/{self.cluster.partition('/')[0]}/bin"


def dynamic(data: Any, sizes: Mapping[str, str]) -> dict[str, Any]:
    """Return what all members have alike and etcd keeps: how they agree, and the sizes a standby needs as well."""
    alike = ("max_connections", "max_worker_processes", "max_locks_per_transaction")
    parameters = {**data.cluster_parameters, **{name: sizes[name] for name in alike}}
    agreement: dict[str, Any] = data.cluster_dynamic
    return {**agreement, "postgresql": {**agreement["postgresql"], "parameters": parameters}}


def local(data: Any, place: Place, shared: Mapping[str, Any], password: Callable[[str], str]) -> dict[str, Any]:
    """Return a member's own settings.

    Nothing here ever founds a cluster: the first member's data was there before, others copy it. An empty folder and an
    empty etcd would otherwise become a new and empty database that takes writes. Where etcd has lost all that it kept,
    commits wait for a standby from the first moment on, as before.
    """
    tls = {name: f"{place.settings}/{name}" for name in ("ca.crt", "server.crt", "server.key")}
    return {
        "scope": data.cluster_scope,
        "name": data.cluster_member,
        "restapi": _interface(authority_of(data.cluster_address, 8008), tls),
        "ctl": {"cacert": tls["ca.crt"], "certfile": tls["server.crt"], "keyfile": tls["server.key"]},
        "etcd3": {
            "hosts": [authority_of(address, 2379) for address in data.cluster_members.values()],
            "protocol": "https",
            "cacert": tls["ca.crt"],
            "cert": tls["server.crt"],
            "key": tls["server.key"],
        },
        "bootstrap": {
            "dcs": shared,
            "method": "never",
            "never": {"command": "/bin/false"},
        },
        "postgresql": _server(data, place, password),
        "watchdog": {"mode": "automatic", "device": "/dev/watchdog", "safety_margin": 5},
    }


def _interface(authority: str, tls: Mapping[str, str]) -> dict[str, Any]:
    return {
        "listen": authority,
        "connect_address": authority,
        "certfile": tls["server.crt"],
        "keyfile": tls["server.key"],
        "cafile": tls["ca.crt"],
        # Whoever asks may be anybody who reaches the port; whoever changes something needs a certificate.
        "verify_client": "optional",
    }


def _server(data: Any, place: Place, password: Callable[[str], str]) -> dict[str, Any]:
    port = data.postgres_port
    return {
        "listen": ",".join(["localhost", *data.postgres_listen]) + f":{port}",
        "connect_address": f"{data.cluster_member}:{port}",
        "data_dir": place.data,
        "bin_dir": place.binaries,
        "custom_conf": f"{place.server}/patroni.conf",
        "use_unix_socket": True,
        "pgpass": "/run/patroni/pgpass",
        "authentication": _authentication(place, password),
        "parameters": {
            "unix_socket_directories": "/var/run/postgresql",
            "hba_file": f"{place.server}/pg_hba.conf",
            "ident_file": f"{place.server}/pg_ident.conf",
        },
        "basebackup": [{"checkpoint": "fast"}],
        **(_repository(data, place) if data.backup_on else {}),
    }


def _repository(data: Any, place: Place) -> dict[str, Any]:
    """Return how a member gets from the repository what it lacks, and only what is not there from the leader.

    A standby asks for every piece of WAL that it has not, also on its way to lead, some ten times: where the repository
    does not answer at once, it goes on without, and asks again after a minute.
    """
    # Not found, as before it is installed, would be 127, by which the server ends.
    asked = f'timeout {WAL_SECONDS} pgbackrest --stanza={data.backup_stanza} archive-get %f "%p"'
    wal = f'[ -z "$(find {SILENT} -mmin -1 2>/dev/null)" ] && {asked} || {{ [ $? != 124 ] || touch {SILENT}; false; }}'
    command = f"{place.program}/bin/python -I {place.settings}/members.py copy"
    return {
        "recovery_conf": {"restore_command": wal},
        "create_replica_methods": ["repository", "basebackup"],
        # What is none of Patroni's own words becomes an option of the command.
        "repository": {"command": command, "keep_data": True, "no_params": True, "stanza": data.backup_stanza},
    }


def _authentication(place: Place, password: Callable[[str], str]) -> dict[str, Any]:
    verified = {"sslmode": "verify-full", "sslrootcert": f"{place.server}/ca.crt"}
    return {
        # By the socket as the account itself: no password anywhere.
        "superuser": {"username": "postgres"},
        "replication": {
            "username": "callytics_replicator",
            "password": password("callytics_replicator"),
            **verified,
        },
        "rewind": {"username": "callytics_rewinder", "password": password("callytics_rewinder"), **verified},
    }


def as_file(settings: Callable[[], Mapping[str, Any]]) -> Callable[[], HiddenValue]:
    """Return what makes the text of patroni.yml: JSON, which is YAML that can be compared."""
    return lambda: HiddenValue(json.dumps(settings(), indent=2))


class Interpreter(FactBase[str]):
    """A host's Python and processor, for which wheels are fetched: 3.11 x86_64."""

    default = str

    def command(self) -> str:
        """Return the command that asks."""
        asked = 'import sys, platform; print("%d.%d" % sys.version_info[:2], platform.machine())'
        return f"python3 -c '{asked}' 2>/dev/null || true"

    def process(self, output: list[str]) -> str:
        """Return both words."""
        return output[0] if output else ""


class Installed(FactBase[str]):
    """What is installed in Patroni's virtual environment, by the note that is written last."""

    default = str

    def command(self, folder: str) -> str:
        """Return the command that asks."""
        return f"cat {folder}/installed 2>/dev/null || true"

    def process(self, output: list[str]) -> str:
        """Return the note."""
        return output[0] if output else ""


@dataclass(frozen=True)
class Wheels:
    """Patroni and all that it needs, fetched once on the control machine, so that every member has the same."""

    folder: Path
    requirements: Sequence[str]

    def archive(self, interpreter: str) -> Path:
        """Return where the wheels for such hosts are, in one file."""
        name = hashlib.sha256(" ".join([interpreter, *self.requirements]).encode()).hexdigest()[:16]
        return self.folder / f"patroni-{name}.tar"

    def fetch(self, interpreter: str) -> None:
        """Fetch them, unless they are there; raises CalledProcessError if pip fails."""
        archive = self.archive(interpreter)
        if archive.exists():
            return
        version, machine = interpreter.split()
        platforms = [f"--platform={one}_{machine}" for one in ("manylinux2014", "manylinux_2_17", "manylinux_2_28")]
        pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
        with tempfile.TemporaryDirectory() as place:
            # These two are published without wheels, and are nothing but Python.
            subprocess.run([*pip, "wheel", "--no-deps", "-w", place, "python-etcd", "ydiff<1.5,>=1.2"], check=True)
            wanted = [f"--python-version={version}", *platforms, "--only-binary=:all:", "--find-links", place]
            subprocess.run([*pip, "download", "-d", place, *wanted, *self.requirements], check=True)
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            new = Path(shutil.make_archive(str(archive.with_suffix(f".{id(place)}")), "tar", place))
            new.replace(archive)


@operation()
def fetched(wheels: Wheels) -> Generator[PyinfraCommand, None, None]:
    """Fetch what this host, and others of its kind, will install: once for all of them, not by each at a time."""
    interpreter = host.get_fact(Interpreter)
    if wheels.archive(interpreter).exists():
        host.noop("Patroni's wheels are there")
    else:
        yield FunctionCommand(wheels.fetch, (interpreter,), {})


@operation()
def installed(wheels: Wheels, folder: str) -> Generator[PyinfraCommand, None, None]:
    """Install Patroni into a virtual environment of its own, without asking any index from the host."""
    interpreter = host.get_fact(Interpreter)
    archive = wheels.archive(interpreter)
    if host.get_fact(Installed, folder=folder) == archive.stem:
        host.noop("this Patroni is installed")
        return
    yield FunctionCommand(wheels.fetch, (interpreter,), {})
    pip = f"{folder}/bin/python -m pip --quiet --disable-pip-version-check"
    yield StringCommand(f"umask 022 && rm -rf {folder}/wheels {folder}/installed && python3 -m venv {folder} &&",
                        f"mkdir {folder}/wheels")  # fmt: skip
    yield FileUploadCommand(str(archive), f"{folder}/wheels.tar")
    names = " ".join(f"'{one}'" for one in wheels.requirements)
    yield StringCommand(f"umask 022 && tar -xf {folder}/wheels.tar -C {folder}/wheels &&", pip, "install --upgrade",
                        f"--no-index --find-links {folder}/wheels {names}")  # fmt: skip
    yield StringCommand(f"rm -rf {folder}/wheels {folder}/wheels.tar && echo {archive.stem} >{folder}/installed")


@operation()
def alone(folder: str, scope: str, shared: Mapping[str, Any]) -> Generator[StringCommand, None, None]:
    """Have etcd keep, before Patroni first runs, that commits wait for nobody: until there is a copy nobody is there.

    `agreed` takes it back. Not in Patroni's own settings, by which it would be so again whenever etcd has lost it. What
    etcd keeps already stays: where somebody has disabled Patroni on every member, they are one cluster all the same.
    """
    lone = {**shared, "synchronous_mode": False, "synchronous_mode_strict": False}
    ctl, key = etcdctl(folder, ["127.0.0.1:2379"]), f"/service/{scope}/config"
    yield StringCommand(f"{ctl} get --print-value-only {key} | grep -q . || {ctl} put {key} >/dev/null",
                        _stdin=json.dumps(lone))  # fmt: skip


class CanBeWatched(FactBase[bool]):
    """Whether a host has a watchdog device, or a kernel of its own that can be one."""

    def command(self) -> str:
        """Return the command that asks."""
        device = "test -c /dev/watchdog || /sbin/modinfo softdog >/dev/null 2>&1"
        return f"if ! systemd-detect-virt --quiet --container && {{ {device}; }}; then echo yes; else echo no; fi"

    def process(self, output: list[str]) -> bool:
        """Return the answer."""
        return output == ["yes"]


class Enabled(FactBase[bool]):
    """Whether PostgreSQL here is Patroni's to start and stop."""

    def command(self) -> str:
        """Return the command that asks."""
        return f"systemctl is-enabled --quiet {UNIT} 2>/dev/null && echo yes || echo no"

    def process(self, output: list[str]) -> bool:
        """Return the answer."""
        return output == ["yes"]


class MayRewind(JsonFact):
    """Whether the role that rewinds a former primary may read what it must."""

    query = "rewind"


@operation()
def may_rewind(cluster: str) -> Generator[StringCommand, None, None]:
    """Let callytics_rewinder read the primary's files, and nothing else: a superuser could do anything."""
    if host.get_fact(MayRewind, cluster=cluster):
        host.noop("callytics_rewinder may read the primary's files")
        return
    yield run_sql([f"grant execute on function {one} to callytics_rewinder" for one in REWIND], cluster=cluster)


def has_data() -> bool:
    """Tell whether there is data here that Patroni can begin with."""
    return bool(host.get_fact(ClusterState, cluster=host.data.postgres_cluster).get("filled"))


@operation()
def running(place: Place, unit_files: Sequence[str], settings_files: Sequence[str]) -> Generator[
    StringCommand, None, None
]:  # fmt: skip
    """Run Patroni with its files as they are: restarted for its unit's, told to read its settings'.

    PostgreSQL, which Debian's unit ran before, stops for the seconds until Patroni has started it. One that ran already
    follows or leads again before the next member's is restarted: two that lead one after the other within seconds,
    while the third is away, would write two histories of one number.
    """
    cluster = place.cluster
    state = host.get_fact(ServiceState, unit=UNIT)
    if not state["enabled"]:
        yield StringCommand(f"systemctl disable --quiet --now {unit_of(cluster)} 2>/dev/null; true")
        yield StringCommand(f"echo disabled >/etc/postgresql/{cluster}/start.conf")
        yield StringCommand("systemctl enable --quiet", UNIT)
    written = host.get_fact(ModificationTimes, paths=[*unit_files, *settings_files, LOADED])
    read = written.pop(LOADED, 0.0)
    if not state["active"] or any(written.get(file, 0.0) >= state["started"] for file in unit_files):
        yield StringCommand("systemctl restart", UNIT)
        if state["active"]:
            yield asking(place, "wait")
    elif newer := [file for file in settings_files if written.get(file, 0.0) >= read]:
        yield StringCommand("systemctl reload", UNIT)
        if any(file.endswith(".crt") for file in newer):
            # Patroni 4.1 looks at its certificate only where its settings are the same as before.
            yield StringCommand(f"sleep {LOOPS_SECONDS}; systemctl reload", UNIT)
    elif state["enabled"]:
        host.noop("Patroni runs with its files as they are")


class Answer(FactBase[Any]):
    """What the program beside Patroni says of the members; None where there is none yet, or nobody leads."""

    def command(self, place: Place, verb: str) -> StringCommand:
        """Return the command that asks."""
        return StringCommand(f"[ ! -f {place.settings}/members.py ] || [ ! -x {place.program}/bin/python ] ||",
                             asking(place, verb), "2>/dev/null || true")  # fmt: skip

    def process(self, output: list[str]) -> Any:
        """Return the document."""
        return json.loads("\n".join(output)) if output else None


def asking(place: Place, verb: str, **options: Any) -> StringCommand:
    """Return the command that has the program beside Patroni ask or lead the members."""
    return StringCommand(f"cd / && {place.program}/bin/python -I {place.settings}/members.py", QuoteString(verb),
                         **options)  # fmt: skip


@operation()
def healthy(place: Place) -> Generator[StringCommand, None, None]:
    """Wait until one member leads, the others stream from it, and each can tell its timeline."""
    if (host.get_fact(Answer, place=place, verb="health") or {}).get("ok"):
        host.noop("every member follows the one that leads")
    else:
        yield asking(place, "wait")


@operation()
def agreed(place: Place, wanted: Mapping[str, Any]) -> Generator[StringCommand, None, None]:
    """Have etcd keep what all members have alike: of PostgreSQL's settings no others, as they would win over the files.

    What else is not named stays as it is.
    """
    found = host.get_fact(Answer, place=place, verb="config")
    excess = others(found, wanted)
    if found is not None and contains(found, wanted) and not excess:
        host.noop("the members have agreed on this")
    else:
        server = wanted["postgresql"]
        # Patroni forgets what is null.
        parameters = {**server["parameters"], **dict.fromkeys(excess)}
        changed = {**wanted, "postgresql": {**server, "parameters": parameters}}
        yield asking(place, "change", _stdin=json.dumps(changed))


def others(found: Any, wanted: Mapping[str, Any]) -> list[str]:
    """Return the settings of PostgreSQL that the members have agreed on and that are not wanted."""
    agreed_on = ((found or {}).get("postgresql") or {}).get("parameters") or {}
    return sorted(agreed_on.keys() - wanted["postgresql"]["parameters"].keys())


def contains(found: Any, wanted: Any) -> bool:
    """Tell whether a document says all that another one says; numbers may be written as texts."""
    if isinstance(wanted, Mapping):
        return isinstance(found, Mapping) and all(
            name in found and contains(found[name], wanted[name]) for name in wanted
        )
    return bool(found == wanted) or str(found) == str(wanted)


@operation()
def restarted(place: Place) -> Generator[StringCommand, None, None]:
    """Restart the servers that await it for a setting, one after another, the one that leads last."""
    if (host.get_fact(Answer, place=place, verb="pending") or {}).get("pending"):
        yield asking(place, "restart")
    else:
        host.noop("no server awaits a restart")


@operation()
def proven(place: Place, note: Path, digest: str) -> Generator[PyinfraCommand, None, None]:
    """Let another member lead, once for each cluster as it is made: what only looks healthy fails here.

    The note that it did is kept on the control machine.
    """
    if note.exists() and note.read_text().strip() == digest:
        host.noop("another member has led this cluster")
        return
    yield asking(place, "switchover")
    yield FunctionCommand(_write, (note, digest), {})


def _write(note: Path, digest: str) -> None:
    note.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    note.write_text(f"{digest}\n")
