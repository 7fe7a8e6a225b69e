"""Whose data the members of a cluster shall have, and what is refused before anything is changed."""

from __future__ import annotations

import shlex
from collections.abc import Generator, Mapping
from typing import Any

from pyinfra import host, logger
from pyinfra.api import FactBase, QuoteString, StringCommand, operation
from pyinfra.api.exceptions import PyinfraError

from deploy.operations.cluster.clusters import ClusterState, Identifier
from deploy.operations.cluster.databases import Databases
from deploy.operations.cluster.server_settings import unit_of
from deploy.operations.failover.etcd import HasData, accepts, is_lone
from deploy.operations.failover.patroni import Enabled
from deploy.operations.hosts import reached

# What somebody does whose members have no data, while there are backups.
WAYS = (
    "to restore them, accept by CLUSTER_ANEW=yes in .env that an empty cluster is made first, and restore into that; "
    "for a cluster that is to begin empty name another BACKUP_REPOSITORY"
)


class Kept(FactBase[bool]):
    """Whether a repository's folder holds anything of a stanza; pgBackRest need not be there."""

    def command(self, path: str, stanza: str) -> str:
        """Return the command that asks."""
        return f"find {path}/archive/{stanza} {path}/backup/{stanza} -mindepth 1 -print -quit 2>/dev/null; true"

    def process(self, output: list[str]) -> bool:
        """Return the answer."""
        return bool(output)


class Servers(FactBase[dict[str, tuple[int, str]]]):
    """Port and data's folder of each of Debian's clusters of PostgreSQL, by its name, such as 15/main."""

    default = dict

    def command(self) -> str:
        """Return the command that asks."""
        return "pg_lsclusters --no-header 2>/dev/null || true"

    def process(self, output: list[str]) -> dict[str, tuple[int, str]]:
        """Return what the lines say: version, name, port, state, account and folder."""
        rows = [line.split() for line in output]
        return {f"{row[0]}/{row[1]}": (int(row[2]), row[5]) for row in rows if len(row) > 5}


class Whose(FactBase[list[str]]):
    """``ours`` where a deployment has written a server's settings, ``filled`` where somebody made databases in it."""

    default = list

    def command(self, cluster: str) -> str:
        """Return the command that asks."""
        return (
            f"[ -f /etc/postgresql/{cluster}/conf.d/callytics.conf ] && echo ours; "
            # initdb's own have smaller numbers.
            f"ls /var/lib/postgresql/{cluster}/base 2>/dev/null | grep -qE '^[0-9]{{5,}}$' && echo filled; true"
        )

    def process(self, output: list[str]) -> list[str]:
        """Return the words."""
        return output


def refuse_lone() -> None:
    """Raise PyinfraError, before anything is changed, on the one member that is left of three unless it may count.

    Nobody but an administrator knows that the others, which might have stored more, do not come back.
    """
    data = host.data
    if host.name != data.cluster_survivor and is_lone(host.name, data.cluster_members, data.cluster_etcd_folder):
        raise PyinfraError(f"{accepts(host.name)}; nothing was changed")


def warn_of_consents() -> None:
    """Tell of consents that are left over, once: each would count the next time, too.

    Of what they are for nothing is to be seen any more: members have data, and etcd on several.
    """
    data = host.data
    if host.name != next(iter(data.cluster_members)):
        return
    if data.cluster_anew and not anew():
        logger.warning(f"{host.print_prefix}CLUSTER_ANEW=yes is still in .env: take it out once the data is restored")
    members = [host.state.inventory.get_host(name) for name in data.cluster_members]
    if data.cluster_survivor and sum(one.get_fact(HasData) for one in members) > 1:
        logger.warning(f"{host.print_prefix}CLUSTER_SURVIVOR is still in .env: take it out")


def founds() -> bool:
    """Tell whether this host is the one whose data all members shall have: who has some, or else the first."""
    members = {name: host.state.inventory.get_host(name) for name in host.data.cluster_members}
    if any(one.get_fact(Enabled) for one in members.values()):
        return False
    return bool(host.name == [*_filled(members), *members][0])


def refuse_several() -> None:
    """Raise PyinfraError, before anything is changed, where several hold data and none is a member yet.

    Nobody but an administrator knows whose all shall have.
    """
    members = {name: reached(name) for name in host.data.cluster_members}
    filled = _filled(members)
    if len(filled) > 1 and not any(one.get_fact(Enabled) for one in members.values()):
        raise PyinfraError(
            f"{' and '.join(filled)} hold data, and none of them is a member yet: move "
            f"/var/lib/postgresql/{host.data.postgres_cluster} away where it is not wanted, and run again"
        )


def _filled(members: Mapping[str, Any]) -> list[str]:
    cluster = host.data.postgres_cluster
    return [name for name, one in members.items() if one.get_fact(ClusterState, cluster=cluster).get("filled")]


def refuse_others_servers() -> None:
    """Raise PyinfraError, before anything is changed, where a host has a server of somebody else's in a member's place.

    Its databases would become every member's, or be shut off.
    """
    for name in host.data.cluster_members:
        if why := _others_server(reached(name)):
            raise PyinfraError(f"{name} {why}; or name another host in its place. Nothing was changed")


def _others_server(one: Any) -> str | None:
    data, cluster = host.data, host.data.postgres_cluster
    for other, (port, folder) in one.get_fact(Servers).items():
        if other == cluster and folder != f"/var/lib/postgresql/{cluster}":
            return f"has PostgreSQL's cluster {cluster} in {folder}, which no deployment made: rename it there"
        if other != cluster and port == data.postgres_port:
            return f"has PostgreSQL's cluster {other} on port {port}: give that one another port, or set POSTGRES_PORT"
    whose = one.get_fact(Whose, cluster=cluster)
    if "ours" in whose or "filled" not in whose or one.get_fact(Enabled):
        return None
    found = one.get_fact(Databases, cluster=cluster)
    if found is None:
        return f"holds databases, and no server runs that says whose: run 'systemctl start {unit_of(cluster)}' there"
    if data.postgres_database in found:
        return None
    strangers = sorted(found.keys() - {"postgres", "template0", "template1"})
    return (
        f"holds {', '.join(strangers)} and no database {data.postgres_database}: where these are not wanted, stop "
        f"{unit_of(cluster)} there and move /var/lib/postgresql/{cluster} away"
    )


def refuse_strangers() -> None:
    """Raise PyinfraError, before anything is changed, where members hold data of different clusters.

    Patroni of one of them would not start, and nobody but its log would say why.
    """
    data = host.data
    found: dict[str, list[str]] = {}
    for name in data.cluster_members:
        if identifier := reached(name).get_fact(Identifier, cluster=data.postgres_cluster):
            found.setdefault(identifier, []).append(name)
    if len(found) > 1:
        whose = " and ".join(", ".join(names) for names in found.values())
        raise PyinfraError(
            f"{whose} hold data of different clusters: move /var/lib/postgresql/{data.postgres_cluster} away where it "
            "is not wanted, and run again"
        )


def anew() -> bool:
    """Tell whether no member has data or Patroni, so that what a deployment makes of them is a new, empty cluster."""
    members = {name: host.state.inventory.get_host(name) for name in host.data.cluster_members}
    return not any(one.get_fact(Enabled) for one in members.values()) and not _filled(members)


def refuse_anew() -> None:
    """Raise PyinfraError, before anything is changed, where an empty cluster would be made beside its backups.

    A store can't be asked yet: see ``unused``.
    """
    data = host.data
    if data.cluster_anew or not data.backup_on or not data.backup_host or not anew():
        return
    repository = host.state.inventory.get_host(data.backup_host)
    if repository not in host.state.activated_hosts:
        raise PyinfraError(
            f"no member has data, and {data.backup_host}, which may have this cluster's backups, can't be reached: "
            f"start it, and run again without --limit; {WAYS}; nothing was changed"
        )
    if repository.get_fact(Kept, path=data.backup_options["repo1-path"], stanza=data.backup_stanza):
        raise PyinfraError(f"{_beside(data.backup_host)}; nothing was changed")


@operation()
def unused(options: Mapping[str, Any], secrets: Mapping[str, Any], stanza: str) -> Generator[StringCommand, None, None]:
    """Fail where a store holds anything of a stanza, or can't be read: its login is sent by stdin.

    It needs pgBackRest, and neither its files nor the repository's key.
    """
    login = {name: value.unmask() for name, value in secrets.items()}
    # It tries thrice, and would wait a minute each time.
    values = {**options, **login, "io-timeout": "10", "log-level-file": "off"}
    exports = (f"export PGBACKREST_{name.upper().replace('-', '_')}={shlex.quote(v)}" for name, v in values.items())
    listed = f"runuser -u postgres -- pgbackrest --no-config repo-ls archive/{stanza}"
    unread = f"Error: no member has data, and the store, which may have this cluster's backups, can't be read; {WAYS}"
    yield StringCommand(
        'eval "$(cat)"; cd / &&', f"found=$({listed}) || {{ echo", QuoteString(unread), ">&2; exit 1; };",
        '[ -z "$found" ] || { echo', QuoteString(f"Error: {_beside('the store')}"), ">&2; exit 1; }",
        _stdin="\n".join(exports) + "\n",
    )  # fmt: skip


def _beside(where: str) -> str:
    return f"no member has data, and {where} has this cluster's backups; {WAYS}"


def refuse_members() -> None:
    """Raise PyinfraError where this host is to have the database to itself, and is one of a cluster."""
    if host.get_fact(Enabled):
        raise PyinfraError(
            f"{host.name} is a member of a cluster that DATABASE_HOSTS names no more: name all three; one host "
            "again is another machine, to which the newest backup is restored"
        )
