"""etcd, in which the three hosts of a cluster agree who leads: at least two of them, whatever becomes of the third."""

from pathlib import Path

from pyinfra import host
from pyinfra.operations import files

from deploy.operations import debian_packages, units
from deploy.operations.conf import conf
from deploy.operations.failover import etcd
from deploy.operations.failover.etcd import authority_of, peer_url
from deploy.operations.hosts import wait_for_each_other
from deploy.operations.secret import certificates
from deploy.operations.secret.certificates import Authority

if "cluster" in host.groups:
    data = host.data
    folder, unit_file = data.cluster_etcd_folder, f"/etc/systemd/system/{etcd.UNIT}"
    authority = Authority(Path(data.deploy_folder, "cluster-tls"), peers=True)

    # Before the package, whose unit would found a cluster of one.
    files.link(name="Keep Debian's etcd from starting", path="/etc/systemd/system/etcd.service", target="/dev/null")
    debian_packages.present(name="Install etcd", packages=data.cluster_packages)
    files.directory(name="Make the folder of etcd's settings", path=folder, user="root", group="root", mode="0755")
    certificates.server_certificate(
        name="Install etcd's certificate",
        authority=authority,
        server=data.cluster_member,
        alternatives=[data.cluster_member, data.cluster_address, "localhost", "127.0.0.1"],
        folder=folder,
        owner="etcd",
    )
    certificates.authority_certificate(
        name="Install the authority of the cluster's certificates", authority=authority, dest=f"{folder}/ca.crt"
    )
    conf(
        name="Write etcd's settings",
        src="etcd.env.j2",
        dest=f"{folder}/callytics.env",
        member=data.cluster_member,
        data_folder=etcd.DATA,
        folder=folder,
        peer_urls={name: peer_url(address) for name, address in data.cluster_members.items()},
        client_url=f"https://{authority_of(data.cluster_address, 2379)}",
    )
    conf(
        name=f"Write {etcd.UNIT}",
        src=f"{etcd.UNIT}.j2",
        dest=unit_file,
        folder=folder,
        data_folder=etcd.DATA,
        state_file=etcd.STATE_FILE,
    )
    units.loaded(name="Make systemd know etcd's unit", units={etcd.UNIT: [unit_file]})
    wait_for_each_other(name="Wait until every member has a certificate")
    if data.cluster_member == data.cluster_survivor:
        etcd.left(
            name="Have etcd begin anew where this member is all that is left",
            member=data.cluster_member,
            members=data.cluster_members,
            folder=folder,
        )
    wait_for_each_other(name="Wait until nobody counts on members that are gone")
    etcd.reduced(
        name="Take out of etcd who is a member no more",
        members=data.cluster_members,
        folder=folder,
        scope=data.cluster_scope,
        _run_once=True,
    )
    wait_for_each_other(name="Wait until etcd has no other members")
    etcd.invited(
        name="Note how etcd begins where it has not",
        member=data.cluster_member,
        members=data.cluster_members,
        folder=folder,
    )

if "cluster" in host.groups:
    # All are asked before the first is started: then it has data, and no majority to answer with.
    wait_for_each_other(name="Wait until every member knows how it begins")
    # One after another: of those that run, two must stay.
    etcd.running(
        name="Run etcd with its files as they are",
        files=[
            unit_file,
            f"{folder}/callytics.env",
            f"{folder}/server.crt",
            f"{folder}/server.key",
            f"{folder}/ca.crt",
        ],
        _serial=True,
    )

if "cluster" in host.groups:
    wait_for_each_other(name="Wait until etcd was started on every member")
    etcd.agreed(name="Wait until the members have agreed on a leader", folder=host.data.cluster_etcd_folder)
