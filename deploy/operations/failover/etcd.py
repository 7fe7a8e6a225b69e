"""etcd on a member: it joins the two others, also when its disk is a new one."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Generator, Mapping, Sequence
from ipaddress import ip_address

from pyinfra import host, logger
from pyinfra.api import FactBase, StringCommand, operation

from deploy.operations.file_times import ModificationTimes
from deploy.operations.hosts import failing
from deploy.operations.units import ServiceState

UNIT = "callytics-etcd.service"
DATA = "/var/lib/etcd/callytics"
# Whether a member without data is one of the first or comes back; its unit removes it once etcd has begun.
STATE_FILE = "/etc/etcd/state.env"
WAIT_SECONDS = 60
# Of whoever this run founds. Patroni holds one that begins anew under the same token for an old one, whose terms are
# lower, and would never ask it again.
TOKEN = secrets.token_hex(8)


def authority_of(address: str, port: int) -> str:
    """Return address and port as a URL has them."""
    return f"[{address}]:{port}" if ip_address(address).version == 6 else f"{address}:{port}"


def peer_url(address: str) -> str:
    """Return where a member answers the others."""
    return f"https://{authority_of(address, 2380)}"


class HasData(FactBase[bool]):
    """Whether a host has been a member, so that the others count on what it has promised them."""

    def command(self) -> str:
        """Return the command that asks."""
        return f"[ -e {DATA}/member ] && echo yes || echo no"

    def process(self, output: list[str]) -> bool:
        """Return the answer."""
        return output == ["yes"]


class Invited(FactBase[list[str]]):
    """How etcd begins, where it is noted: from a run that ended before it had begun."""

    default = list

    def command(self) -> str:
        """Return the command that asks."""
        return f"cat {STATE_FILE} 2>/dev/null || true"

    def process(self, output: list[str]) -> list[str]:
        """Return the settings."""
        return output


class Members(FactBase[dict[str, str] | None]):
    """The ids of the members by where they answer the others; None where these endpoints are of no majority."""

    def command(self, folder: str, endpoints: Sequence[str]) -> str:
        """Return the command that asks."""
        asking = etcdctl(folder, endpoints)
        # A list of the members is given by one without a majority, too; a key is not.
        return (
            f"[ ! -f {folder}/server.crt ] || ! command -v etcdctl >/dev/null || "
            f"{{ {asking} get leader >/dev/null && {asking} member list; }} 2>/dev/null || true"
        )

    def process(self, output: list[str]) -> dict[str, str] | None:
        """Return what the lines say: id, state, name, addresses for the others and for clients."""
        rows = [line.split(", ") for line in output]
        return {row[3]: row[0] for row in rows if len(row) > 3} or None


class Leader(FactBase[str]):
    """The name of the member whose PostgreSQL leads, by what Patroni keeps in etcd; empty where none does."""

    default = str

    def command(self, folder: str, endpoints: Sequence[str], scope: str) -> str:
        """Return the command that asks."""
        asked = f"{etcdctl(folder, endpoints)} get --print-value-only /service/{scope}/leader 2>/dev/null"
        return f"[ ! -f {folder}/server.crt ] || ! command -v etcdctl >/dev/null || {asked} || true"

    def process(self, output: list[str]) -> str:
        """Return the name."""
        return output[0] if output else ""


class Healthy(FactBase[bool]):
    """Whether this host's etcd has a leader and stores what it is told."""

    def command(self, folder: str) -> str:
        """Return the command that asks."""
        return (
            f"[ -f {folder}/server.crt ] && command -v etcdctl >/dev/null && "
            f"{etcdctl(folder, ['127.0.0.1:2379'])} endpoint health >/dev/null 2>&1 && echo yes || echo no"
        )

    def process(self, output: list[str]) -> bool:
        """Return the answer."""
        return output == ["yes"]


def etcdctl(folder: str, endpoints: Sequence[str]) -> str:
    """Return the command to which a verb is added."""
    return (
        f"ETCDCTL_API=3 etcdctl --endpoints={','.join(f'https://{one}' for one in endpoints)} --dial-timeout=2s "
        f"--command-timeout=5s --cacert={folder}/ca.crt --cert={folder}/server.crt --key={folder}/server.key"
    )


@operation()
def reduced(members: Mapping[str, str], folder: str, scope: str) -> Generator[StringCommand, None, None]:
    """Take those out who are members no more: each would count for a majority, and might lead unknown to clients.

    Fails where one of them leads: it has what the others may lack.
    """
    endpoints = [authority_of(address, 2379) for address in members.values()]
    found = host.get_fact(Members, folder=folder, endpoints=endpoints) or {}
    former = [url for url in found if url not in map(peer_url, members.values())]
    if not former:
        host.noop("etcd has no other members")
        return
    leader = host.get_fact(Leader, folder=folder, endpoints=endpoints, scope=scope)
    if leader and leader not in members:
        yield failing(
            f"{leader} leads and is not in DATABASE_HOSTS: run 'callytics cluster switchover' there, and again"
        )
        return
    for url in former:
        logger.warning(
            f"{host.print_prefix}{url} is a member no more: where that host still runs, have it stay away by "
            "'systemctl disable --now patroni callytics-etcd'"
        )
        yield StringCommand(f"{etcdctl(folder, endpoints)} member remove {found[url]}")
    # It may have been etcd's leader: nobody is taken in before the others have another, which takes seconds.
    asked = f"{etcdctl(folder, endpoints)} get leader"
    yield StringCommand(f"for _ in $(seq {WAIT_SECONDS}); do {asked} >/dev/null 2>&1 && exit 0; sleep 1; done; {asked}")


def is_lone(member: str, members: Mapping[str, str], folder: str, *, accepted: bool = False) -> bool:
    """Tell whether this member alone has data of etcd, which is no majority, and no other is about to begin with it.

    Once that is ``accepted``, who was invited by a majority that is no more counts for nobody.
    """
    others = [host.state.inventory.get_host(name) for name in members if name != member]
    begins: Callable[[list[str]], bool] = _founds if accepted else bool
    if not host.get_fact(HasData) or any(one.get_fact(HasData) or begins(one.get_fact(Invited)) for one in others):
        return False
    endpoints = [authority_of(address, 2379) for address in members.values()]
    return host.get_fact(Members, folder=folder, endpoints=endpoints) is None


def accepts(member: str) -> str:
    """Return what somebody is told who has but one member left."""
    return (
        f"of etcd's members {member} alone has data, which is no majority: start the two others; where they are lost "
        f"for good, accept by CLUSTER_SURVIVOR={member} in .env that what its database has counts, and run again"
    )


@operation()
def left(member: str, members: Mapping[str, str], folder: str) -> Generator[StringCommand, None, None]:
    """Have etcd forget on the one member that is left, so that all begin anew: two of three are gone, and their votes.

    What it has kept, who led among it, stays beside. Does nothing where a majority answers, or another one has data.
    """
    if not is_lone(member, members, folder, accepted=True):
        host.noop("a majority of etcd is there, or this member has nothing of it")
        return
    # Patroni would stop where it finds its server a standby of nobody that etcd knows: it starts anew once etcd has.
    yield StringCommand(f"systemctl stop patroni {UNIT}")
    yield StringCommand(f"mv {DATA} {DATA}.before-$(date +%Y%m%d-%H%M%S)")


@operation()
def invited(member: str, members: Mapping[str, str], folder: str) -> Generator[StringCommand, None, None]:
    """Note for a member without data how it begins: as one of the first where no other has data, or else as a new one.

    Who comes back without data is taken out and in again: two members under one name could each vote. So does who was
    taken out before, and has data, or a note, that are of no use: etcd never takes it in again with them. Fails where
    the others, who have data, do not answer.
    """
    others = [name for name in members if name != member]
    endpoints = [authority_of(members[name], 2379) for name in others]
    found, url = host.get_fact(Members, folder=folder, endpoints=endpoints), peer_url(members[member])
    has_data, noted = host.get_fact(HasData), host.get_fact(Invited)
    if found is not None:
        knows = bool(has_data or noted) and url in found
    else:
        # With one other that has data, who was invited may be the majority.
        knows = has_data or _founds(noted) or bool(noted and _holders(others))
    if knows:
        host.noop("etcd knows how it begins")
        return
    if has_data:
        yield StringCommand(f"systemctl stop {UNIT}; rm -r {DATA}")
    if found is None:
        if holders := _holders(others):
            started = f"no majority of etcd answers: start {UNIT} on {' and '.join(holders)}, and run again"
            yield failing(started if len(holders) > 1 else accepts(holders[0]))
            return
        theirs = [host.state.inventory.get_host(name).get_fact(Invited) for name in others]
        yield _note(next(filter(_founds, theirs), _founding(TOKEN)))
        return
    change = etcdctl(folder, endpoints)
    if url in found:
        yield StringCommand(f"{change} member remove {found[url]}")
    yield StringCommand(f"{change} member add '{member}' --peer-urls={url}")
    yield _note(["ETCD_INITIAL_CLUSTER_STATE=existing"])


def _holders(names: Sequence[str]) -> list[str]:
    return [name for name in names if host.state.inventory.get_host(name).get_fact(HasData)]


def _founding(token: str) -> list[str]:
    """Return the settings by which the first members begin: alike on all, or they take each other for strangers."""
    return ["ETCD_INITIAL_CLUSTER_STATE=new", f"ETCD_INITIAL_CLUSTER_TOKEN={token}"]


def _founds(noted: Sequence[str]) -> bool:
    """Tell whether who has noted this begins as one of the first, and not by an invitation of those that are there."""
    return "ETCD_INITIAL_CLUSTER_STATE=new" in noted


def _note(settings: Sequence[str]) -> StringCommand:
    return StringCommand("printf '%s\\n'", *settings, f">{STATE_FILE}.new && mv {STATE_FILE}.new {STATE_FILE}")


@operation()
def running(files: Sequence[str]) -> Generator[StringCommand, None, None]:
    """Run etcd with its files as they are: started without waiting for the others, restarted when it has a leader."""
    state = host.get_fact(ServiceState, unit=UNIT)
    if not state["enabled"]:
        yield StringCommand("systemctl enable --quiet", UNIT)
    written = host.get_fact(ModificationTimes, paths=files)
    if not state["active"]:
        # Its start ends when two of three are there: the first would wait for ever.
        yield StringCommand("systemctl start --no-block", UNIT)
    elif any(time >= state["started"] for time in written.values()):
        # Its start ends when it is one of a majority: never where the others wait for the same new authority.
        yield StringCommand(f"timeout {WAIT_SECONDS} systemctl restart {UNIT} || [ $? = 124 ]")
    elif state["enabled"]:
        host.noop("etcd runs with its files as they are")


@operation()
def agreed(folder: str) -> Generator[StringCommand, None, None]:
    """Wait until a majority of the members has agreed on a leader, up to a minute."""
    if host.get_fact(Healthy, folder=folder):
        host.noop("etcd has a leader")
        return
    health = f"{etcdctl(folder, ['127.0.0.1:2379'])} endpoint health"
    last_lines = f"journalctl --unit={UNIT} --lines=5 --output=cat --no-pager >&2"
    yield StringCommand(
        f"for _ in $(seq {WAIT_SECONDS}); do {health} >/dev/null 2>&1 && exit 0; sleep 1; done;"
        f" {health} || {{ {last_lines}; exit 1; }}"
    )
