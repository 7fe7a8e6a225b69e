"""Patroni on each of three hosts: the one with data begins with it, the others copy it, and one of them leads."""

from functools import partial
from pathlib import Path
from typing import Any

from pyinfra import host, logger
from pyinfra.operations import files

from deploy.operations import units
from deploy.operations.cluster.machine import server_sizes
from deploy.operations.conf import conf, template
from deploy.operations.failover import patroni
from deploy.operations.failover.adopting import adopting, as_text, brings
from deploy.operations.failover.founding import founds
from deploy.operations.failover.patroni import as_file, dynamic
from deploy.operations.hosts import wait_for_each_other
from deploy.operations.secret import certificates, keys, secret_files
from deploy.operations.secret.certificates import Authority

if "cluster" in host.groups:
    data = host.data
    place = patroni.Place(data.postgres_cluster, data.cluster_patroni_settings_folder, data.cluster_patroni_folder)
    folder = place.settings
    authority = Authority(Path(data.deploy_folder, "cluster-tls"), peers=True)
    kept = {name: keys.KeptKey(Path(data.deploy_folder, name)) for name in data.cluster_roles}

    def password_of(role: str, kept: dict[str, keys.KeptKey] = kept) -> str:
        """Return the password of a role once it was made."""
        return kept[role].unmask()

    wheels = patroni.Wheels(Path(data.deploy_folder, "patroni"), data.cluster_patroni)
    patroni.fetched(name="Fetch Patroni, on the control machine", wheels=wheels, _run_once=True)
    wait_for_each_other(name="Wait until Patroni is there to be installed")
    patroni.installed(name="Install Patroni", wheels=wheels, folder=place.program)
    files.directory(
        name="Make the folder of Patroni's settings", path=folder, user="root", group="postgres", mode="0750"
    )
    certificates.server_certificate(
        name="Install Patroni's certificate",
        authority=authority,
        server=data.cluster_member,
        alternatives=[data.cluster_member, data.cluster_address, "localhost", "127.0.0.1"],
        folder=folder,
    )
    certificates.authority_certificate(
        name="Install the authority of Patroni's certificates", authority=authority, dest=f"{folder}/ca.crt"
    )
    files.put(
        name="Install what asks and leads the members",
        src=template("members.py"),
        dest=f"{folder}/members.py",
        user="root",
        group="postgres",
        mode="0640",
    )
    shared = dynamic(data, server_sizes())
    secret_files.secret(
        name="Write Patroni's settings",
        content=as_file(partial(patroni.local, data, place, shared, password_of)),
        dest=f"{folder}/patroni.yml",
        user="root",
        group="postgres",
        mode=0o640,
    )
    conf(
        name="Write what Patroni has PostgreSQL read",
        src="patroni.conf.j2",
        dest=f"{place.server}/patroni.conf",
        group="postgres",
        mode="0640",
        folder=place.server,
        settings=data.cluster_server | {"ssl_ca_file": f"{place.server}/ca.crt"},
    )
    path = f"{place.server}/conf.d/adopted.conf"
    if adopting():
        secret_files.secret(
            name="Have every member answer as the first one did",
            content=partial(as_text, path, data.cluster_server),
            dest=path,
            user="root",
            group="postgres",
            mode=0o640,
            _if=partial(brings, path, data.cluster_server),
        )
        wait_for_each_other(name="Wait until every member has these settings")
    # PostgreSQL's archiving writes there, and the unit names them: they must be there before it starts.
    for name in ("/var/spool/pgbackrest", "/var/log/pgbackrest"):
        files.directory(name=f"Make {name}", path=name, user="postgres", group="postgres", mode="0750")
    unit_files = {unit: f"/etc/systemd/system/{unit}" for unit in (patroni.UNIT, patroni.WATCHDOG, patroni.FENCE)}
    for unit, unit_file in unit_files.items():
        conf(name=f"Write {unit}", src=f"{unit}.j2", dest=unit_file, program=place.program, settings_folder=folder)
    units.loaded(name="Make systemd know Patroni's units", units={unit: [file] for unit, file in unit_files.items()})
    if not host.get_fact(patroni.CanBeWatched):
        logger.warning(f"{host.print_prefix}no watchdog device: {patroni.UNWATCHED}")
    start: dict[str, Any] = {
        "place": place,
        "unit_files": [unit_files[patroni.UNIT], f"{place.program}/installed"],
        "settings_files": [f"{folder}/{name}" for name in ("patroni.yml", "server.crt", "server.key", "ca.crt")]
        + [f"{place.server}/patroni.conf"],
    }
    patroni.alone(
        name="Let the first member store before there is a second",
        folder=data.cluster_etcd_folder,
        scope=data.cluster_scope,
        shared=shared,
        _if=founds,
    )
    # First whoever has data: who has none waits for somebody to copy from.
    patroni.running(name="Run Patroni where there is data", **start, _if=patroni.has_data, _serial=True)

if "cluster" in host.groups:
    wait_for_each_other(name="Wait until whoever has data leads")
    patroni.running(name="Run Patroni", **start, _serial=True)
    wait_for_each_other(name="Wait until Patroni was started on every member")
    patroni.healthy(name="Wait until every member follows the one that leads", place=place)
    patroni.agreed(name="Have the members agree on what all have alike", place=place, wanted=shared, _run_once=True)
    units.running(
        name="Have Patroni ended where it leads and hangs",
        unit=patroni.FENCE,
        files=[unit_files[patroni.FENCE], f"{folder}/members.py", f"{folder}/patroni.yml"],
    )
