"""What a cluster's members are told: by functions that need no host."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from jinja2 import Template

pytest.importorskip("pyinfra", reason="the deployment's tests need pyinfra: pip install '.[deploy]'")

from pyinfra.api import HiddenValue
from pyinfra.api.exceptions import PyinfraError

from deploy import policy
from deploy.operations import debian_packages, file_times, pgbackrest, units
from deploy.operations.cluster import minor, server_settings
from deploy.operations.cluster.clusters import ClusterState
from deploy.operations.cluster.databases import Databases
from deploy.operations.failover import adopting, etcd, founding, patroni
from tests.support.deploying import Answer, commands, made_up_host
from tests.support.places import REPOSITORY

SIZES = {"max_connections": "100", "max_worker_processes": "10", "max_locks_per_transaction": "128", "work_mem": "4MB"}
PLACE = patroni.Place("15/main", "/etc/patroni", "/opt/patroni")


def data(**values: Any) -> Any:
    members = {"10.0.0.11": "10.0.0.11", "db2.example": "10.0.0.12", "fd00::13": "fd00::13"}
    return SimpleNamespace(
        cluster_scope="callytics",
        cluster_member="db2.example",
        cluster_address="10.0.0.12",
        cluster_members=members,
        cluster_dynamic=policy.CLUSTER_DYNAMIC,
        cluster_parameters=policy.CLUSTER_PARAMETERS,
        postgres_listen=["10.0.0.12"],
        postgres_port=5432,
        **{"backup_on": True, "backup_stanza": "callytics", **values},
    )


def local() -> dict[str, Any]:
    return patroni.local(data(), PLACE, patroni.dynamic(data(), SIZES), lambda role: f"password of {role}")


def test_what_a_standby_needs_as_large_as_the_primary_is_alike_on_all() -> None:
    parameters = patroni.dynamic(data(), SIZES)["postgresql"]["parameters"]
    assert parameters.items() >= {name: SIZES[name] for name in SIZES if name != "work_mem"}.items()
    assert "work_mem" not in parameters


def test_the_members_agree_on_no_commit_without_a_standby() -> None:
    agreed = patroni.dynamic(data(), SIZES)
    assert (agreed["synchronous_mode"], agreed["synchronous_mode_strict"]) == ("quorum", True)
    assert (agreed["failsafe_mode"], agreed["check_timeline"]) == (True, True)
    # Patroni's own rule: a lease outlives one loop and two attempts.
    assert agreed["loop_wait"] + 2 * agreed["retry_timeout"] <= agreed["ttl"]


def test_an_empty_folder_never_becomes_a_new_cluster() -> None:
    bootstrap = local()["bootstrap"]
    assert bootstrap[bootstrap["method"]]["command"] == "/bin/false"
    assert "initdb" not in bootstrap


def test_the_first_member_stores_before_there_is_a_second_and_never_again_alone() -> None:
    shared = patroni.dynamic(data(), SIZES)
    (put,) = commands(patroni.alone, "/etc/etcd", "callytics", shared, facts={})
    assert "https://127.0.0.1:2379" in str(put)
    assert str(put).endswith(" put /service/callytics/config >/dev/null")
    first = json.loads(put.connector_arguments["_stdin"])
    assert first == shared | {"synchronous_mode": False, "synchronous_mode_strict": False}
    assert local()["bootstrap"]["dcs"] == shared


@pytest.mark.parametrize("kept", ["", '{"synchronous_mode": "quorum"}'])
def test_what_members_have_agreed_on_stays(kept: str, tmp_path: Path) -> None:
    """As where Patroni was disabled on all three before a run."""
    stored, program = tmp_path / "stored", tmp_path / "etcdctl"
    stored.write_text(kept)
    # A read of etcd's does not take what is to be stored.
    program.write_text(f'#!/bin/sh\ncase "$*" in *" get "*) cat {stored} ;; *" put "*) cat >{stored} ;; esac\n')
    program.chmod(0o755)
    (command,) = commands(patroni.alone, "/etc/etcd", "callytics", patroni.dynamic(data(), SIZES), facts={})
    subprocess.run(
        ["sh", "-c", str(command)],
        input=command.connector_arguments["_stdin"],
        text=True,
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        check=True,
    )
    assert json.loads(stored.read_text())["synchronous_mode"] == ("quorum" if kept else False)


def test_addresses_of_either_kind_are_written_as_in_urls() -> None:
    assert local()["etcd3"]["hosts"] == ["10.0.0.11:2379", "10.0.0.12:2379", "[fd00::13]:2379"]
    assert etcd.peer_url("fd00::13") == "https://[fd00::13]:2380"


def test_members_verify_each_other_by_the_name_that_people_gave() -> None:
    server = local()["postgresql"]
    assert server["connect_address"] == "db2.example:5432"
    logins = server["authentication"]
    assert {logins[one]["sslmode"] for one in ("replication", "rewind")} == {"verify-full"}
    assert logins["superuser"] == {"username": "postgres"}


def test_what_a_member_lacks_comes_from_the_repository_and_else_from_the_leader() -> None:
    server = local()["postgresql"]
    assert server["create_replica_methods"] == ["repository", "basebackup"]
    assert server["repository"]["command"].endswith("members.py copy")
    # Without a bound a standby that is to lead would wait for a repository that does not answer.
    wal = server["recovery_conf"]["restore_command"]
    assert 'timeout 2 pgbackrest --stanza=callytics archive-get %f "%p"' in wal
    alone = patroni.local(data(backup_on=False), PLACE, patroni.dynamic(data(), SIZES), str)["postgresql"]
    assert not {"create_replica_methods", "recovery_conf"} & alone.keys()


def test_the_file_of_settings_shows_nothing_and_says_all() -> None:
    file = patroni.as_file(local)()
    assert "password" not in str(file)
    assert json.loads(file.unmask()) == local()


@pytest.mark.parametrize(
    ("found", "wanted", "does"),
    [
        ({"ttl": 20, "more": 1}, {"ttl": 20}, True),
        ({"ttl": "20"}, {"ttl": 20}, True),
        ({"ttl": 30}, {"ttl": 20}, False),
        ({}, {"ttl": 20}, False),
        ({"postgresql": {"parameters": {"a": 1, "b": 2}}}, {"postgresql": {"parameters": {"a": "1"}}}, True),
        ({"postgresql": None}, {"postgresql": {"parameters": {}}}, False),
    ],
)
def test_what_was_agreed_is_compared_with_what_is_wanted(found: Any, wanted: Any, does: bool) -> None:
    assert patroni.contains(found, wanted) is does


def test_the_members_of_etcd_are_known_by_where_they_answer() -> None:
    lines = [
        "310ee4ceba71f289, started, 10.0.0.11, https://10.0.0.11:2380, https://10.0.0.11:2379, false",
        "249540b768182a96, unstarted, , https://10.0.0.12:2380, , false",
    ]
    found = etcd.Members().process(lines)
    assert found == {"https://10.0.0.11:2380": "310ee4ceba71f289", "https://10.0.0.12:2380": "249540b768182a96"}
    assert etcd.Members().process([]) is None


@pytest.mark.parametrize(("gives", "code", "asked"), [("exit 0", 0, 2), ("exit 1", 1, 2), ("sleep 9", 1, 1)])
def test_a_repository_that_does_not_answer_is_not_asked_again_at_once(
    gives: str, code: int, asked: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A standby on its way to lead asks about ten times, one after the other: it led 20 s later."""
    monkeypatch.setattr(patroni, "SILENT", tmp_path / "silent")
    monkeypatch.setattr(patroni, "WAL_SECONDS", 0.2)
    program = tmp_path / "pgbackrest"
    program.write_text(f"#!/bin/sh\necho >>{tmp_path}/asked\n{gives}\n")
    program.chmod(0o755)
    command = local()["postgresql"]["recovery_conf"]["restore_command"]
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    codes = [subprocess.run(["sh", "-c", command], env=environment, check=False).returncode for _ in range(2)]
    assert (codes, len((tmp_path / "asked").read_text())) == ([code] * 2, asked)


def in_force(found: Any, *, startable: bool = False) -> list[str]:
    facts = {
        server_settings.SettingsState: found,
        server_settings.Startable: startable,
        file_times.ModificationTimes: {"/etc/x.conf": 150.0},
    }
    arguments = ("15/main", ["/etc/x.conf"])
    options: dict[str, Any] = {"facts": facts, "groups": ("database", "cluster")}
    return [str(command) for command in commands(server_settings.in_force, *arguments, **options)]


def server(**changes: Any) -> Answer:
    right = {"loaded": 100.0, "errors": [], "hba_errors": [], "pending_restart": []}
    return Answer({**right, **changes})


def test_nobody_but_patroni_starts_a_members_server() -> None:
    assert in_force(None) == []


def test_a_members_server_is_reloaded_and_restarted_only_at_the_end() -> None:
    (reload,) = in_force([server(), server(loaded=200.0, pending_restart=["shared_buffers"])])
    assert "kill -HUP" in reload
    assert "systemctl" not in reload


MEMBERS = {"a": "10.0.0.1", "b": "10.0.0.2", "c": "10.0.0.3"}


def invited(found: dict[str, str] | None, **facts: bool) -> list[str]:
    noted = ["ETCD_INITIAL_CLUSTER_STATE=new"] if facts.get("noted") else []
    known = {etcd.HasData: facts.get("data", False), etcd.Invited: noted, etcd.Members: found}
    return [str(command) for command in commands(etcd.invited, "b", MEMBERS, "/etc/etcd", facts=known)]


def test_a_member_that_lost_its_data_is_taken_out_and_in_again() -> None:
    remove, add, note = invited({"https://10.0.0.1:2380": "a1", "https://10.0.0.2:2380": "b2"})
    assert "--endpoints=https://10.0.0.1:2379,https://10.0.0.3:2379" in remove
    assert remove.endswith("member remove b2")
    assert add.endswith("member add 'b' --peer-urls=https://10.0.0.2:2380")
    assert note.startswith("printf '%s\\n' ETCD_INITIAL_CLUSTER_STATE=existing >/etc/etcd/state.env.new")


def test_who_founds_etcd_has_one_token_of_its_own_also_after_a_killed_run() -> None:
    """Patroni would not take another etcd of the same token for its own: it held the first one's terms to be newer."""
    new, noted = "ETCD_INITIAL_CLUSTER_STATE=new", ["ETCD_INITIAL_CLUSTER_STATE=new", "ETCD_INITIAL_CLUSTER_TOKEN=7"]
    for others, token in (([], etcd.TOKEN), (noted, "7")):
        with made_up_host({etcd.HasData: False, etcd.Invited: [], etcd.Members: None}) as host:
            answers = {etcd.HasData: False, etcd.Invited: others}
            other = SimpleNamespace(get_fact=answers.__getitem__)
            host.state.inventory = SimpleNamespace(get_host=lambda _name, other=other: other)
            (note,) = etcd.invited._inner("b", MEMBERS, "/etc/etcd")  # type: ignore[attr-defined]
        assert str(note).startswith(f"printf '%s\\n' {new} ETCD_INITIAL_CLUSTER_TOKEN={token} >")


def test_one_that_was_taken_out_before_a_run_ended_is_only_taken_in() -> None:
    add, _note = invited({"https://10.0.0.1:2380": "a1"})
    assert "member add" in add


def test_one_with_data_goes_on_and_one_that_knows_how_to_begin_does() -> None:
    assert invited(None, data=True) == invited(None, noted=True) == []


def test_one_that_was_taken_out_and_is_named_again_leaves_its_data_behind() -> None:
    """With them etcd never starts again, as it was removed from the others for good."""
    others = {"https://10.0.0.1:2380": "a1", "https://10.0.0.3:2380": "c3"}
    empty, add, _note = invited(others, data=True)
    assert empty == f"systemctl stop {etcd.UNIT}; rm -r {etcd.DATA}"
    assert "member add 'b'" in add
    assert invited(others | {"https://10.0.0.2:2380": "b2"}, data=True) == []


def test_who_was_invited_and_taken_out_before_it_began_is_invited_anew() -> None:
    others = {"https://10.0.0.1:2380": "a1", "https://10.0.0.3:2380": "c3"}
    add, note = invited(others, noted=True)
    assert "member add 'b'" in add
    assert "STATE=existing" in note
    assert invited(others | {"https://10.0.0.2:2380": "b2"}, noted=True) == []


def _has(data: bool, fact: Any) -> Any:
    return data if fact is etcd.HasData else []


EXISTING = ["ETCD_INITIAL_CLUSTER_STATE=existing"]


def on_b(operation: Any, found: dict[str, str] | None, holders: str, invited: str = "") -> list[str]:
    """Return the commands of an operation on b, where some members have data of etcd, and others were invited."""

    def known(name: str, fact: Any) -> Any:
        return EXISTING if fact is etcd.Invited and name in invited else _has(name in holders, fact)

    others = {name: SimpleNamespace(get_fact=partial(known, name)) for name in MEMBERS}
    with made_up_host({etcd.Members: found}) as host:
        host.get_fact = lambda fact, **_: found if fact is etcd.Members else known("b", fact)
        host.state.inventory = SimpleNamespace(get_host=others.__getitem__)
        return [str(command) for command in operation._inner("b", MEMBERS, "/etc/etcd")]


def test_one_that_is_left_begins_anew_only_where_no_other_has_data_and_no_majority_answers() -> None:
    stop, aside = on_b(etcd.left, None, "b")
    assert (stop, aside.split(" $")[0]) == (
        "systemctl stop patroni callytics-etcd.service",
        "mv /var/lib/etcd/callytics /var/lib/etcd/callytics.before-$(date +%Y%m%d-%H%M%S)",
    )
    assert on_b(etcd.left, {"https://10.0.0.2:2380": "b2"}, "b") == on_b(etcd.left, None, "ab") == []
    assert on_b(etcd.left, None, "") == []


def test_an_invitation_by_members_that_are_gone_is_no_way_out_and_in_no_ones_way() -> None:
    """As where two are lost while a third one is being replaced."""
    stop, _aside = on_b(etcd.left, None, "b", invited="a")
    assert "systemctl stop" in stop
    (note,) = on_b(etcd.invited, None, "", invited="b")
    assert f"STATE=new ETCD_INITIAL_CLUSTER_TOKEN={etcd.TOKEN}" in note
    # With a note of that kind nobody founds.
    (note,) = on_b(etcd.invited, None, "", invited="a")
    assert f"STATE=new ETCD_INITIAL_CLUSTER_TOKEN={etcd.TOKEN}" in note
    # Before that is accepted, the two may yet be a majority.
    assert on_b(etcd.invited, None, "a", invited="b") == on_b(etcd.invited, None, "ac", invited="b") == []


def test_one_that_is_left_is_refused_before_anything_is_changed_unless_it_may_count() -> None:
    others = {name: SimpleNamespace(get_fact=partial(_has, False)) for name in MEMBERS}
    with made_up_host({etcd.HasData: True, etcd.Members: None}) as host:
        host.name, host.state.inventory = "b", SimpleNamespace(get_host=others.__getitem__)
        consents = {"cluster_survivor": "b", "cluster_etcd_folder": "/etc/etcd"}
        host.data = SimpleNamespace(cluster_members=MEMBERS, **consents)
        founding.refuse_lone()
        host.data.cluster_survivor = ""
        with pytest.raises(PyinfraError, match=r"accept by CLUSTER_SURVIVOR=b .* nothing was changed"):
            founding.refuse_lone()
        # As where a first run was killed between the first and the second.
        others["c"].get_fact = lambda fact: fact is etcd.Invited
        founding.refuse_lone()


@pytest.mark.parametrize(
    ("holders", "remedy"),
    [("a", "they are lost for good, accept by CLUSTER_SURVIVOR=a "), ("ac", "start .*service on a and c,")],
)
def test_who_finds_no_majority_says_whom_to_start_or_to_go_on_with(holders: str, remedy: str) -> None:
    (refused,) = on_b(etcd.invited, None, holders)
    assert re.search(f"{remedy}.* exit 1", refused, re.DOTALL)


def test_three_without_etcds_data_are_the_first() -> None:
    (note,) = on_b(etcd.invited, None, "")
    assert "ETCD_INITIAL_CLUSTER_STATE=new" in note


def reduced(found: dict[str, str] | None, leader: str) -> list[str]:
    known = {etcd.Members: found, etcd.Leader: leader}
    return [str(command) for command in commands(etcd.reduced, MEMBERS, "/etc/etcd", "callytics", facts=known)]


def test_who_is_a_member_no_more_is_taken_out_of_etcd(caplog: pytest.LogCaptureFixture) -> None:
    """Before another one is taken in: with three of which one is gone etcd refuses a fourth."""
    remove, wait = reduced({"https://10.0.0.1:2380": "a1", "https://10.0.0.9:2380": "d9"}, "a")
    assert remove.endswith("member remove d9")
    # Where it led etcd, the others first have to elect another.
    assert re.fullmatch(r"for _ in .* get leader >/dev/null 2>&1 && exit 0; sleep 1; done; .*", wait)
    assert "https://10.0.0.9:2380 is a member no more: where that host still runs" in caplog.text
    assert reduced(dict.fromkeys(map(etcd.peer_url, MEMBERS.values()), "1"), "a") == reduced(None, "") == []
    (refused,) = reduced({"https://10.0.0.1:2380": "a1", "https://10.0.0.9:2380": "d9"}, "10.0.0.9")
    assert re.fullmatch(r"echo 'Error: 10\.0\.0\.9 leads and is not in DATABASE_HOSTS.* exit 1", refused, re.DOTALL)


def agreed(found: Any) -> dict[str, Any]:
    wanted = {"ttl": 20, "postgresql": {"use_slots": True, "parameters": {"wal_level": "replica"}}}
    given = commands(patroni.agreed, PLACE, wanted, facts={patroni.Answer: found})
    return json.loads(given[0].connector_arguments["_stdin"]) if given else {}


def test_settings_that_somebody_had_the_members_agree_on_go() -> None:
    """They would win over the files: with synchronous_commit off one host alone would have what was acknowledged."""
    right = {"ttl": "20", "pause": None, "postgresql": {"use_slots": True, "parameters": {"wal_level": "replica"}}}
    assert agreed(right) == {}
    right["postgresql"]["parameters"]["synchronous_commit"] = "off"  # type: ignore[index]
    assert agreed(right)["postgresql"]["parameters"] == {"wal_level": "replica", "synchronous_commit": None}
    assert agreed(None)["postgresql"]["parameters"] == {"wal_level": "replica"}


def identified(**found: str) -> None:
    hosts = {name: SimpleNamespace(get_fact=lambda _fact, value=one, **_more: value) for name, one in found.items()}
    with made_up_host({}) as host:
        host.data = SimpleNamespace(cluster_members=found, postgres_cluster="15/main")
        host.state.inventory = SimpleNamespace(get_host=hosts.__getitem__)
        host.state.activated_hosts = [one for name, one in hosts.items() if found[name] != "away"]
        founding.refuse_strangers()


def found_with_data(*filled: str, members: str = "") -> dict[str, bool]:
    """Return who of a, b and c founds a cluster, where some have data and some are members of one."""

    def answers(name: str) -> Callable[..., Any]:
        return lambda fact, **_more: name in members if fact is patroni.Enabled else {"filled": name in filled}

    hosts = {name: SimpleNamespace(get_fact=answers(name)) for name in "abc"}
    with made_up_host({}) as host:
        host.data = SimpleNamespace(cluster_members=dict.fromkeys("abc", ""), postgres_cluster="15/main")
        host.state.inventory = SimpleNamespace(get_host=hosts.__getitem__)
        host.state.activated_hosts = [*hosts.values()]
        founding.refuse_several()
        found = {}
        for host.name in "abc":
            found[host.name] = founding.founds()
        return found


def test_who_has_data_founds_a_cluster_or_else_the_first() -> None:
    assert found_with_data() == {"a": True, "b": False, "c": False}
    assert found_with_data("b") == {"a": False, "b": True, "c": False}


def test_nobody_founds_a_cluster_that_is_there() -> None:
    assert found_with_data("a", "c", members="ac") == {"a": False, "b": False, "c": False}
    assert found_with_data("a", "b", members="b") == {"a": False, "b": False, "c": False}


def test_several_with_data_are_refused_in_one_line_before_anything_is_changed() -> None:
    """As a condition of an operation this would come with a traceback."""
    with pytest.raises(PyinfraError, match="b and c hold data, and none of them is a member yet: move"):
        found_with_data("b", "c")


def test_members_with_data_of_different_clusters_are_told_apart_before_anything_is_changed() -> None:
    identified(a="7", b="", c="7")
    with pytest.raises(PyinfraError, match="a, c and b hold data of different clusters"):
        identified(a="7", b="8", c="7")


def test_a_member_that_is_away_is_named_before_anything_is_changed() -> None:
    with pytest.raises(PyinfraError, match="b is a member and can't be reached: start it, or name another host"):
        identified(a="7", b="away", c="7")


@pytest.mark.parametrize(
    ("found", "values", "refused"),
    [
        (
            {founding.Kept: True},
            {},
            "backup.example has this cluster's backups; .* CLUSTER_ANEW=yes .*_REPOSITORY",
        ),
        ({founding.Kept: None}, {}, "backup.example, which may have .* can't be reached: .* CLUSTER_ANEW=yes"),
        ({founding.Kept: False}, {}, None),
        ({founding.Kept: True}, {"cluster_anew": True}, None),
        ({founding.Kept: True}, {"backup_on": False}, None),
        ({founding.Kept: True, patroni.Enabled: True}, {}, None),
        ({founding.Kept: True, ClusterState: {"filled": True}}, {}, None),
    ],
)
def test_no_empty_cluster_is_made_beside_backups_of_it(
    found: dict[Any, Any], values: dict[str, Any], refused: str | None
) -> None:
    if refused:
        with pytest.raises(PyinfraError, match=refused):
            begins(found, values)
    else:
        begins(found, values)


def begins(found: dict[Any, Any], values: dict[str, Any]) -> None:
    facts = {patroni.Enabled: False, ClusterState: {}, **found}
    asked = SimpleNamespace(get_fact=lambda fact, **_: facts[fact])
    with made_up_host({}) as host:
        known = {"backup_on": True, "backup_host": "backup.example", "backup_options": {"repo1-path": "/there"}}
        known |= {"backup_stanza": "callytics", "cluster_members": ["this", "b", "c"], "postgres_cluster": "15/main"}
        host.data = SimpleNamespace(**known | {"cluster_anew": False} | values)
        host.state.inventory = SimpleNamespace(get_host=lambda name: asked)
        host.state.activated_hosts = [asked] if facts[founding.Kept] is not None else []
        founding.refuse_anew()


@pytest.mark.parametrize(("filled", "told"), [(True, {"CLUSTER_ANEW=yes", "CLUSTER_SURVIVOR"}), (False, set())])
def test_consents_that_are_left_over_are_told(filled: bool, told: set[str], caplog: pytest.LogCaptureFixture) -> None:
    facts = {patroni.Enabled: filled, ClusterState: {"filled": filled}, etcd.HasData: filled}
    with made_up_host(facts) as host:
        asked = SimpleNamespace(get_fact=lambda fact, **_: facts[fact])
        host.state.inventory = SimpleNamespace(get_host=lambda _name: asked)
        members, consents = ["this", "b", "c"], {"cluster_anew": True, "cluster_survivor": "b"}
        host.data = SimpleNamespace(cluster_members=members, postgres_cluster="15/main", **consents)
        founding.warn_of_consents()
    assert set(re.findall(r"(\S+) is still in \.env: take it out", caplog.text)) == told


def test_the_login_of_the_store_that_is_asked_is_no_argument() -> None:
    secrets = {"repo1-s3-key-secret": HiddenValue("it's secret")}
    [asked] = commands(founding.unused, {"repo1-type": "s3"}, secrets, "callytics", facts={})
    given = asked.connector_arguments["_stdin"]
    assert """PGBACKREST_REPO1_S3_KEY_SECRET='it'"'"'s secret'""" in given
    assert "PGBACKREST_REPO1_TYPE=s3\n" in given
    assert "it's" not in asked.get_raw_value()


OTHERS = {"crm": {}, "postgres": {}, "template0": {}, "template1": {}}
ELSEWHERE = {"15/main": (5432, "/srv/pg")}


@pytest.mark.parametrize(
    ("found", "refused"),
    [
        ({}, None),
        (
            {founding.Whose: ["filled"]},
            "b holds crm and no database callytics: .* stop postgresql@15-main there",
        ),
        ({founding.Whose: ["filled"], Databases: OTHERS | {"callytics": {}}}, None),
        ({founding.Whose: ["ours", "filled"], Databases: None}, None),
        ({founding.Whose: ["filled"], Databases: None}, "b holds databases, and no server runs .* 'systemctl start"),
        ({founding.Whose: ["filled"], patroni.Enabled: True}, None),
        ({founding.Servers: {"15/main": (5432, "/var/lib/postgresql/15/main")}}, None),
        ({founding.Servers: ELSEWHERE}, "b has PostgreSQL's cluster 15/main in /srv/pg"),
        (
            {founding.Servers: {"13/main": (5432, "/x")}},
            "b has PostgreSQL's cluster 13/main on port 5432: give",
        ),
        ({founding.Servers: {"13/main": (5433, "/x")}}, None),
    ],
)
def test_a_server_of_somebody_elses_is_refused_before_anything_changes(
    found: dict[Any, Any], refused: str | None
) -> None:
    """Its databases would become every member's where no other has data."""
    nothing = {founding.Servers: {}, founding.Whose: [], patroni.Enabled: False, Databases: OTHERS}
    hosts = {name: SimpleNamespace(get_fact=lambda fact, **_: nothing[fact]) for name in "ac"}
    hosts["b"] = SimpleNamespace(get_fact=lambda fact, **_: {**nothing, **found}[fact])
    with made_up_host({}) as host:
        known = {"postgres_cluster": "15/main", "postgres_port": 5432, "postgres_database": "callytics"}
        host.data = SimpleNamespace(cluster_members=dict.fromkeys("abc", ""), **known)
        host.state.inventory = SimpleNamespace(get_host=hosts.__getitem__)
        host.state.activated_hosts = [*hosts.values()]
        if refused:
            with pytest.raises(PyinfraError, match=f"{refused}.*Nothing was changed"):
                founding.refuse_others_servers()
        else:
            founding.refuse_others_servers()


def members_with(**facts: Mapping[Any, Any]) -> dict[str, Any]:
    nothing = {patroni.Enabled: False, ClusterState: {}, adopting.Adopted: [], adopting.OwnSettings: None}
    return {
        name: SimpleNamespace(name=name, get_fact=lambda fact, one=one, **_: {**nothing, **one}[fact])
        for name, one in facts.items()
    }


def brought(on: str, **facts: Mapping[Any, Any]) -> list[str]:
    """Return the settings that a host gets of what the first of a, b and c had."""
    hosts = members_with(**facts)
    with made_up_host({}) as host:
        host.get_fact = hosts[on].get_fact
        host.data = SimpleNamespace(cluster_members=hosts, postgres_cluster="15/main")
        host.state.inventory = SimpleNamespace(get_host=hosts.__getitem__)
        host.state.activated_hosts = [*hosts.values()]
        return adopting.adopted("/there", policy.CLUSTER_SERVER).splitlines()[1:]


def test_every_member_answers_as_the_host_did_that_had_the_data() -> None:
    answers = {"timezone": "Asia/Seoul", "datestyle": "iso, mdy", "xmloption": "it's \\ new"}
    had = {ClusterState: {"filled": True}, adopting.OwnSettings: {"answers": answers}}
    lines = ["timezone = 'Asia/Seoul'", "xmloption = 'it''s \\\\ new'"]
    assert brought("a", a={}, b={}, c=had) == brought("c", a={}, b={}, c=had) == lines
    # Later it is people's: who replaces another gets it from the others, and nobody's is overwritten.
    theirs = {patroni.Enabled: True, adopting.Adopted: ["# Yours", "timezone = 'Asia/Tokyo'"]}
    assert brought("a", a={}, b=theirs, c=had) == ["timezone = 'Asia/Tokyo'"]
    assert brought("c", a={}, b=theirs, c={adopting.Adopted: ["# Yours", "timezone = 'UTC'"]}) == ["timezone = 'UTC'"]
    assert brought("a", a={}, b={patroni.Enabled: True}, c=had) == []
    alike = {ClusterState: {"filled": True}, adopting.OwnSettings: {"answers": {"timezone": "Etc/UTC"}}}
    assert brought("a", a={}, b={}, c=alike) == []


@pytest.mark.parametrize("known", ["ko_KR.utf8", ""])
def test_a_host_that_does_not_know_the_datas_locale_is_named(known: str) -> None:
    has = {adopting.Locales: ["C", "C.utf8", "ko_KR.utf8"], adopting.OwnSettings: {"locales": ["C", "ko_KR.UTF-8"]}}
    hosts = members_with(a={adopting.Locales: ["C", "C.utf8", known]}, b=has)
    with made_up_host({}) as host:
        host.data = SimpleNamespace(cluster_members=hosts, postgres_cluster="15/main")
        host.state.inventory = SimpleNamespace(get_host=hosts.__getitem__)
        host.state.activated_hosts = [*hosts.values()]
        if known:
            adopting.refuse_unknown_locales()
        else:
            with pytest.raises(PyinfraError, match=r"a lacks ko_KR\.UTF-8, in which .* nothing was changed"):
                adopting.refuse_unknown_locales()


@pytest.mark.parametrize(
    ("own", "enabled", "says"),
    [
        (
            {"ssl_passphrase_command": "echo secret", "cluster_name": "15/main", "jit": "off", "datestyle": "iso, mdy"},
            False,
            "jit, ssl_passphrase_command",
        ),
        ({"timezone": "Etc/UTC", "data_directory": "/var/lib/postgresql/15/main"}, False, ""),
        ({"timezone": "Asia/Seoul"}, True, ""),
        (None, False, ""),
    ],
)
def test_what_only_debians_file_says_is_told_before_nobody_reads_it_any_more(
    own: Any, enabled: bool, says: str, caplog: pytest.LogCaptureFixture
) -> None:
    with made_up_host({patroni.Enabled: enabled, adopting.OwnSettings: own and {"more": own}}) as host:
        host.data = SimpleNamespace(postgres_cluster="15/main")
        adopting.warn_of_left_behind(policy.CLUSTER_SERVER)
    assert [record.levelname for record in caplog.records] == ["WARNING"] * bool(says)
    assert f"what it says of {says} and is to stay belongs into a file" in caplog.text or not says
    assert "secret" not in caplog.text


@pytest.mark.parametrize("enabled", [True, False])
def test_one_of_three_does_not_become_the_only_host_by_a_shorter_list(enabled: bool) -> None:
    with made_up_host({patroni.Enabled: enabled}):
        if enabled:
            with pytest.raises(PyinfraError, match="this is a member of a cluster"):
                founding.refuse_members()
        else:
            founding.refuse_members()


@pytest.mark.parametrize(("active", "verb"), [(False, "start --no-block"), (True, "restart")])
def test_etcd_is_started_without_waiting_and_restarted_with(active: bool, verb: str) -> None:
    facts = {
        units.ServiceState: {"active": active, "enabled": True, "started": 100.0},
        file_times.ModificationTimes: {"/etc/etcd/callytics.env": 150.0},
    }
    (command,) = map(str, commands(etcd.running, ["/etc/etcd/callytics.env"], facts=facts))
    assert f"systemctl {verb} callytics-etcd.service" in command
    # With an authority that the others do not know yet there is no majority to wait for.
    assert command.startswith("timeout 60") is active


TLS = {"backup_port": 8432, "backup_processes": 2, "backup_keep_days": 28, "backup_options": {"repo1-type": "posix"}}
NAMES = ["10.0.0.11", "db2.example", "fd00::13"]


def backups(role: str) -> dict[str, dict[str, object]]:
    shared = {"backup_host": "10.0.0.21", "backup_database_hosts": NAMES}
    return pgbackrest.sections(data(postgres_cluster="15/main", **shared, **TLS), role)


def test_the_repository_reaches_every_member_and_lets_each_in() -> None:
    found = backups("repository")
    assert [found["callytics"][f"pg{number}-host"] for number in (1, 2, 3)] == NAMES
    assert {found["callytics"][f"pg{number}-path"] for number in (1, 2, 3)} == {"/var/lib/postgresql/15/main"}
    assert found["global"]["tls-server-auth"] == [f"{name}=callytics" for name in NAMES]


def test_a_member_reaches_the_repository_and_lets_it_alone_in() -> None:
    found = backups("database")
    assert found["global"]["repo1-host"] == "10.0.0.21"
    assert found["global"]["tls-server-auth"] == "10.0.0.21=callytics"
    assert [name for name in found["callytics"] if name.startswith("pg2")] == []


def test_no_backup_brings_back_what_members_had_agreed_on() -> None:
    """Patroni takes the file for what etcd kept last, also where it is as old as the backup."""
    assert {role: backups(role)["global"].get("exclude") for role in ("both", "repository", "database")} == {
        "both": "patroni.dynamic.json",
        "repository": "patroni.dynamic.json",
        "database": None,
    }


def test_an_option_with_several_values_has_a_line_for_each() -> None:
    template = Template((REPOSITORY / "deploy/templates/pgbackrest.conf.j2").read_text(), trim_blocks=True)
    text = template.render(sections=backups("repository"))
    assert text.count("tls-server-auth=") == 3
    assert "\npg3-host=fd00::13\n" in text


@pytest.mark.parametrize(("active", "waits"), [(True, True), (False, False)])
def test_nobody_else_is_restarted_before_all_are_well(active: bool, waits: bool) -> None:
    """But for a member that did not run: the first one of a new cluster has nobody to wait for."""
    facts = {
        units.ServiceState: {"enabled": True, "active": active, "started": 10.0},
        file_times.ModificationTimes: {"/unit": 20.0, "/etc/patroni/patroni.yml": 5.0, patroni.LOADED: 15.0},
    }
    found = list(map(str, commands(patroni.running, PLACE, ["/unit"], ["/etc/patroni/patroni.yml"], facts=facts)))
    assert found[0] == f"systemctl restart {patroni.UNIT}"
    assert [command.endswith("members.py wait") for command in found[1:]] == [True] * waits


@pytest.mark.parametrize(("file", "reloads"), [("/etc/patroni/server.crt", 2), ("/etc/patroni/patroni.yml", 1)])
def test_a_certificate_is_read_also_where_settings_change_with_it(file: str, reloads: int) -> None:
    """Patroni served the former one until it ended, so that no member believed another any more."""
    facts = {
        units.ServiceState: {"enabled": True, "active": True, "started": 10.0},
        file_times.ModificationTimes: {"/unit": 5.0, file: 20.0, patroni.LOADED: 15.0},
    }
    found = list(map(str, commands(patroni.running, PLACE, ["/unit"], [file], facts=facts)))
    assert [command.endswith(f"systemctl reload {patroni.UNIT}") for command in found] == [True] * reloads


def test_a_member_gets_new_packages_when_another_leads_and_all_are_well() -> None:
    facts = {debian_packages.Versions: {"postgresql-15": ("15.18-0", "15.20-0")}}
    away, _checkpoint, stop, replaced = map(str, commands(minor.member_upgraded, ["postgresql-15"], PLACE, facts=facts))
    assert away.endswith("members.py away")
    assert stop == f"systemctl stop {patroni.UNIT}"
    new, start, back, old = (
        replaced.index(one)
        for one in ("postgresql-15=15.20-0", "systemctl start patroni", "members.py back", "postgresql-15=15.18-0")
    )
    assert new < start < back < old
    newest = {debian_packages.Versions: {"postgresql-15": ("15.20-0", "15.20-0")}}
    assert commands(minor.member_upgraded, ["postgresql-15"], PLACE, facts=newest) == []
