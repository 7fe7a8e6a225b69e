"""What members' answers mean, and what a cluster refuses to be told."""

from __future__ import annotations

import base64
import json
import os
import re
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from callytics.cli import cli
from callytics.cli import cluster as commands
from callytics.cli.cluster import UNTOLD, WELL, lines
from callytics.cluster import acts, patroni
from callytics.cluster.acts import candidate, copyable, restartable
from callytics.cluster.anew import refuse
from callytics.cluster.etcd import refuse_taken_out
from callytics.cluster.members import RENEW, RESUME, Cluster, Fault
from callytics.cluster.patroni import cluster, former, look, untrusted
from callytics.cluster.place import Place
from callytics.exceptions import ClusterError

Answers = dict[str, dict[str, Any] | None]


def leading(name: str = "one", confirming: tuple[str, ...] = ("two", "three"), **more: Any) -> dict[str, Any]:
    """Return what Patroni 4.1 answers on the member that leads."""
    streams = [{"application_name": one, "state": "streaming", "sync_state": "quorum"} for one in confirming]
    return {
        "state": "running",
        "role": "primary",
        "timeline": 3,
        "xlog": {"location": 83886080},
        "replication": streams,
        "patroni": {"version": "4.1.5", "scope": "callytics", "name": name},
    } | more


def following(name: str, **more: Any) -> dict[str, Any]:
    """Return what Patroni 4.1 answers on a standby."""
    return {
        "state": "running",
        "role": "replica",
        "timeline": 3,
        "xlog": {"received_location": 83886080, "replayed_location": 83886080, "paused": False},
        "replication_state": "streaming",
        "patroni": {"version": "4.1.5", "scope": "callytics", "name": name},
    } | more


def found(**other: dict[str, Any] | None) -> Cluster:
    """Return three members that are well, but for those that are named."""
    answers: Answers = {"one": leading(), "two": following("two"), "three": following("three")}
    return cluster(answers | other)


def whats(seen: Cluster) -> list[str]:
    return [fault.what for fault in seen.faults]


EXPIRED = ssl.SSLCertVerificationError(1, "certificate verify failed: certificate has expired (_ssl.c:1006)")
EXPIRED.verify_message = "certificate has expired"
REFUSED = ssl.SSLError(1, "[SSL: SSLV3_ALERT_CERTIFICATE_EXPIRED] sslv3 alert certificate expired (_ssl.c:2580)")
REFUSED.reason = "SSLV3_ALERT_CERTIFICATE_EXPIRED"
EARLY = ssl.SSLError(1, "[SSL: SSLV3_ALERT_BAD_CERTIFICATE] sslv3 alert bad certificate (_ssl.c:2580)")
EARLY.reason = "SSLV3_ALERT_BAD_CERTIFICATE"


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (urllib.error.URLError(EXPIRED), "certificate has expired"),
        (REFUSED, "certificate expired"),
        (urllib.error.URLError(REFUSED), "certificate expired"),
        (EARLY, "bad certificate"),
        (urllib.error.URLError(ConnectionRefusedError(111, "Connection refused")), None),
        (ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number"), None),
        (ValueError("no JSON"), None),
    ],
)
def test_a_certificate_that_is_not_accepted_is_known_from_silence(error: Exception, why: str | None) -> None:
    assert untrusted(error) == why


def test_members_whose_certificates_have_expired_are_renewed_and_not_started() -> None:
    expired = {"untrusted": "certificate has expired"}
    seen = found(one=expired, two=expired, three=expired)
    assert {fault.remedy for fault in seen.faults} == {RENEW}
    assert whats(seen) == [f"{name} is not listened to: certificate has expired" for name in ("one", "two", "three")]
    assert [fault.remedy for fault in found(three=expired).faults] == [RENEW]


@dataclass(frozen=True)
class Answering(Place):
    """Members that answer what they are given, by the end of the address; None stands for no answer."""

    answers: Mapping[str, Any] = field(default_factory=dict)

    def send(self, request: urllib.request.Request, seconds: float) -> bytes:
        found = next((said for end, said in self.answers.items() if request.full_url.endswith(end)), None)
        if found is None:
            raise OSError("nobody is there")
        return json.dumps(found).encode()


def looked(answers: Mapping[str, Any], **asked: Any) -> Cluster:
    """Look at three members by what they answer themselves, what they have agreed on, and what etcd keeps."""
    said = {f"//{name}:8008/patroni": answer for name, answer in answers.items()}
    said |= {":8008/config": asked.get("agreed"), ":2379/v3/kv/range": asked.get("kept")}
    return look(Answering("one", ("one", "two", "three"), "", "", "", answers=said))


def held(name: str) -> dict[str, Any]:
    """Return what etcd answers of a leader key."""
    return {"kvs": [{"key": "", "value": base64.b64encode(name.encode()).decode()}], "count": "1"}


# A standby that was promoted by hand: its timeline is the higher one, and nobody follows it.
PROMOTED = {
    "one": leading(confirming=("two",)),
    "two": following("two"),
    "three": leading("three", confirming=(), timeline=4),
}


def fault_of_several(seen: Cluster) -> Fault:
    return next(fault for fault in seen.faults if "take themselves for" in fault.what)


def test_of_two_that_lead_etcd_says_which_one_does() -> None:
    for name, other in (("one", "three"), ("three", "one")):
        seen = looked(PROMOTED, kept=held(name))
        fault = fault_of_several(seen)
        assert fault.what.endswith(f"; {name} does")
        assert fault.remedy.startswith(f"systemctl restart patroni on {other}; ")
        assert f"callytics cluster switchover; callytics cluster reinit {other}" in fault.remedy
        assert (seen.as_dict()["holder"], seen.as_dict()["leader"]) == (name, None)


def test_patroni_that_was_told_to_pause_goes_on_before_anything_else() -> None:
    """A server that was promoted by hand meanwhile stays as it is, whatever is restarted."""
    seen = looked({**PROMOTED, "three": PROMOTED["three"] | {"pause": True}}, kept=held("one"))
    assert fault_of_several(seen).remedy.startswith(f"{RESUME}; ")


def test_without_etcd_the_standbys_say_which_one_leads() -> None:
    assert fault_of_several(looked(PROMOTED)).what.endswith("; one does")


@pytest.mark.parametrize(
    "other",
    [
        {"two": None},
        {"two": following("two", replication_state=None)},
        # It was promoted a moment ago, and its connections from before are not given up yet.
        {"two": following("two", timeline=4)},
    ],
)
def test_where_nobody_knows_who_leads_it_is_said(other: Answers) -> None:
    fault = fault_of_several(looked({**PROMOTED, **other}))
    assert fault.what.endswith(", and nobody here can tell who does")
    assert "reinit" not in fault.remedy
    assert "restart" not in fault.remedy


def test_a_leader_key_that_nobody_holds_makes_no_leader() -> None:
    assert looked(PROMOTED, kept={"count": "0"}).holder is None


ALL = {"two": following("two"), "three": following("three")}
LONE = {"one": leading(confirming=()), **ALL}


@pytest.mark.parametrize(
    ("agreed", "synchronous"),
    [
        ({"synchronous_mode": "quorum", "synchronous_mode_strict": True}, True),
        ({"synchronous_mode": "on", "synchronous_mode_strict": "on"}, True),
        ({"synchronous_mode": False, "synchronous_mode_strict": True}, False),
        # Without standbys Patroni has nobody waited for then.
        ({"synchronous_mode": "quorum", "synchronous_mode_strict": False}, False),
        ({}, False),
        (None, None),
    ],
)
def test_who_stores_alone_is_told_from_who_can_store_nothing(agreed: Any, synchronous: bool | None) -> None:
    seen = looked(LONE, agreed=agreed)
    alone = "one stores alone: what it acknowledges waits for no standby, and is lost with it"
    nothing = "nothing is stored: no standby confirms what the leader writes"
    assert seen.synchronous is synchronous
    assert whats(seen) == [alone if synchronous is False else nothing]


LAGGING = following("two", xlog={"received_location": 83886080 - 2 * 1024**2})
BEHIND = following("two", replication_state="in archive recovery")


def test_members_that_are_well() -> None:
    seen = found()
    assert seen.leader is not None
    assert (seen.leader.name, whats(seen), seen.exit_code) == ("one", [], 0)
    assert [member.synchronous for member in seen.members] == [False, True, True]
    assert [member.lag_bytes for member in seen.members] == [0, 0, 0]


@pytest.mark.parametrize(
    ("other", "what"),
    [
        ({"one": None}, "nobody leads: nothing is stored"),
        ({"one": leading(state="starting")}, "nobody leads: nothing is stored"),
        ({"one": leading(confirming=())}, "nothing is stored: no standby confirms what the leader writes"),
        ({"three": None}, "three does not answer"),
        ({"three": leading("three")}, "one and three take themselves for the one that leads, and nobody here can tell"),
        ({"two": following("two", timeline=None)}, "two can't tell its timeline: it can never lead"),
        ({"two": following("two", timeline=2)}, "two is on timeline 2, the leader is not"),
        ({"two": BEHIND}, "two does not follow (in archive recovery)"),
        ({"two": following("two", replication_state=None, state="start failed")}, "two does not follow (start failed)"),
        ({"two": following("two", pending_restart=True)}, "two awaits a restart for a setting"),
        ({"one": leading(failsafe_mode_is_active=True)}, "etcd does not answer: the leader goes on for as long"),
        ({"one": leading(pause=True)}, "Patroni was told to pause: nobody takes over by itself"),
    ],
)
def test_what_is_wrong_is_told(other: Answers, what: str) -> None:
    seen = found(**other)
    assert [line for line in whats(seen) if line.startswith(what)], whats(seen)
    assert seen.exit_code == 1
    assert all(fault.remedy for fault in seen.faults)


def test_who_is_a_member_no_more_and_takes_part_is_told() -> None:
    """One that answers nobody is in etcd for another moment, and no former member."""
    known = {
        "members": [
            {"name": "one", "api_url": "https://10.0.0.1:8008/patroni"},
            {"name": "two", "api_url": "https://[fd00::2]:8008/patroni"},
            {"name": "gone", "api_url": "https://10.0.0.9:8008/patroni"},
        ]
    }
    assert former(known, ["10.0.0.1", "[fd00::2]", "10.0.0.3"]) == ["gone"]
    assert former({}, ["10.0.0.1"]) == []
    assert whats(replace(found(), former=["gone"])) == [
        "gone is a member no more, and its Patroni still runs: WAL is kept for it"
    ]


def test_the_worst_stands_first() -> None:
    seen = found(one=leading(confirming=()), two=BEHIND, three=None)
    assert [fault.level for fault in seen.faults] == ["error", "warning", "warning"]


def test_the_standby_that_lacks_least_shall_lead() -> None:
    near = following("two", xlog={"received_location": 83886000})
    assert candidate(found(two=near), None).name == "three"
    assert candidate(found(two=near), "two").name == "two"


@pytest.mark.parametrize(
    ("other", "wanted", "why"),
    [
        ({"one": leading(confirming=())}, None, "no standby has all that was stored"),
        ({"one": leading(confirming=("three",))}, "two", r"two can't lead \(it does not confirm what is stored\)"),
        ({"two": LAGGING}, "two", r"two can't lead \(it lacks 2.1 MB of WAL\)"),
        ({"two": None}, "two", r"two can't lead \(it does not answer\)"),
        ({"two": following("two", timeline=None)}, "two", r"two can't lead \(it can't tell its timeline\)"),
        ({}, "one", "one leads already"),
        ({}, "four", "four is no member: one of one, two, three"),
        ({"one": None}, None, "not exactly one member leads"),
        ({"two": leading("two")}, None, "not exactly one member leads"),
        ({"one": leading(failsafe_mode_is_active=True)}, None, "etcd does not answer, without which Patroni"),
    ],
)
def test_a_switchover_that_would_lose_something_is_refused(other: Answers, wanted: str | None, why: str) -> None:
    with pytest.raises(ClusterError, match=why):
        candidate(found(**other), wanted)


def test_servers_that_await_it_are_restarted_and_the_leader_last() -> None:
    waiting = found(one=leading(pending_restart=True), three=following("three", pending_restart=True))
    assert [member.name for member in restartable(waiting, [])] == ["three", "one"]
    assert [member.name for member in restartable(found(), ["one", "two"])] == ["two", "one"]
    assert restartable(found(), []) == []


@pytest.mark.parametrize(
    ("confirming", "name", "why"),
    [
        (("two",), "two", "two alone confirms what is stored: nothing could be stored meanwhile"),
        ((), "one", "one leads and no standby confirms"),
    ],
)
def test_a_restart_that_nobody_could_store_through_is_refused(confirming: tuple[str], name: str, why: str) -> None:
    with pytest.raises(ClusterError, match=why):
        restartable(found(one=leading(confirming=confirming)), [name])


@pytest.mark.parametrize("name", ["one", "two"])
def test_nothing_is_restarted_or_copied_without_etcd(name: str) -> None:
    seen = found(one=leading(failsafe_mode_is_active=True))
    for refuses in (lambda: restartable(seen, [name]), lambda: copyable(seen, name)):
        with pytest.raises(ClusterError, match="etcd does not answer, without which Patroni does nothing"):
            refuses()


def test_who_stops_waiting_is_told_that_patroni_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(patroni, "look", lambda _place: found())
    monkeypatch.setattr(commands.Place, "load", lambda _config: Place("one", (), "", "", ""))
    for verb, does in (("switchover", "switchover"), ("restart", "restart"), ("reinit", "reinit")):
        monkeypatch.setattr(acts, does, interrupted)
        code, said = command(verb, *([] if verb == "switchover" else ["two"]), "--yes")
        assert code == 130
        assert said.endswith("Patroni goes on with what it was told; 'callytics cluster' shows how far it is.\n")


def test_standbys_are_restarted_once_more_where_a_setting_was_lowered(monkeypatch: pytest.MonkeyPatch) -> None:
    """They keep the higher one until the leader has the lower one."""
    pending = dict.fromkeys(("one", "two", "three"), True)
    told: list[str] = []

    def look(_place: Place) -> Cluster:
        answers = {name: following(name, pending_restart=one) for name, one in pending.items()}
        return cluster({**answers, "one": leading(pending_restart=pending["one"])})

    def tell(_place: Place, name: str, _verb: str, _document: object) -> None:
        told.append(name)
        pending[name] = name != "one" and pending["one"]

    monkeypatch.setattr(acts, "look", look)
    monkeypatch.setattr(acts, "tell", tell)
    monkeypatch.setattr(acts, "NOTED_SECONDS", 0.0)
    seen = acts.restart(Place("one", ("one", "two", "three"), "", "", ""), [], lambda *_: None)
    assert told == ["two", "three", "one", "two", "three"]
    assert whats(seen) == []


def test_a_member_of_another_name_than_its_address_may_be_silent_while_it_is_copied(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    well = {"10.0.0.1": leading(), "10.0.0.2": following("two"), "10.0.0.3": following("three")}
    alone = well | {"10.0.0.1": leading(confirming=("two",))}
    copying = alone | {"10.0.0.3": following("three", replication_state=None)}
    seen = iter([well, copying, alone | {"10.0.0.3": None}, copying, well])
    monkeypatch.setattr(acts, "look", lambda _place: cluster(next(seen)))
    told: list[object] = []
    monkeypatch.setattr(acts, "tell", lambda _place, *what: told.append(what))
    monkeypatch.setattr(acts, "LOOK_SECONDS", 0.0)
    after = acts.reinit(Place("one", tuple(well), "", "", ""), "three", lambda *_: None)
    assert (whats(after), next(seen, None)) == ([], None)
    # By the names that Patroni 4.1 knows, which passes over others.
    assert told == [("10.0.0.3", "reinitialize", {"force": True, "from_leader": True})]


def test_who_may_not_see_who_confirms_is_not_told_that_all_is_well() -> None:
    """With synchronous replication switched off the application's login saw the same as with it."""
    seen = found()
    assert list(lines(seen))[-1] == WELL
    untold = replace(seen, members=[replace(one, synchronous=None) for one in seen.members])
    assert list(lines(untold))[-1] == UNTOLD


def test_a_standby_that_nobody_counts_on_may_be_restarted_and_copied() -> None:
    alone = found(one=leading(confirming=("two",)), three=following("three", replication_state=None))
    assert [member.name for member in restartable(alone, ["three"])] == ["three"]
    assert copyable(alone, "three").name == "three"
    assert copyable(found(), "three").name == "three"


@pytest.mark.parametrize(
    ("other", "name", "why"),
    [
        ({}, "one", "one leads: its data are what the others copy"),
        ({"one": leading(confirming=("two",))}, "two", "two alone confirms what is stored, so the leader"),
        ({"two": None}, "two", "two does not answer"),
        ({"one": None}, "two", "not exactly one member leads"),
    ],
)
def test_data_that_nobody_else_has_are_not_removed(other: Answers, name: str, why: str) -> None:
    with pytest.raises(ClusterError, match=why):
        copyable(found(**other), name)


def test_a_member_knows_the_others(tmp_path: Path) -> None:
    file = tmp_path / "patroni.yml"
    tls = {"cacert": "/ca", "certfile": "/crt", "keyfile": "/key"}
    etcd = {"hosts": ["10.0.0.1:2379", "[fd00::2]:2379"]}
    own = {"connect_address": "[fd00::2]:8008"}
    file.write_text(json.dumps({"scope": "calls", "name": "a", "etcd3": etcd, "ctl": tls, "restapi": own}))
    assert Place.load(file) == Place("a", ("10.0.0.1", "[fd00::2]"), "/ca", "/crt", "/key", "calls", "[fd00::2]")


def counted(*addresses: str, answering: str = "10.0.0.2") -> None:
    """Let the member at 10.0.0.1 ask the others' etcd, which counts those at these addresses."""
    members = [{"name": one, "peerURLs": [f"https://{one}:2380"]} for one in addresses]
    said = {f"//{answering}:2379/v3/cluster/member/list": {"members": members}}
    known = ("10.0.0.1", "10.0.0.2", "[fd00::3]")
    refuse_taken_out(Answering("a", known, "", "", "", address="10.0.0.1", answers=said))


@pytest.mark.parametrize("answering", ["10.0.0.2", "[fd00::3]"])
def test_a_host_that_was_taken_out_says_so_and_asks_nobody_to_stop_the_one_in_its_place(answering: str) -> None:
    with pytest.raises(ClusterError, match=re.escape("taken out of the cluster of 10.0.0.2, 10.0.0.4, [fd00::3]: ")):
        counted("10.0.0.2", "[fd00::3]", "10.0.0.4", answering=answering)


def test_a_member_is_none_that_was_taken_out_also_where_nobody_answers() -> None:
    counted("10.0.0.1", "10.0.0.2", "[fd00::3]")
    # What its own etcd says proves nothing: it may have been away.
    counted("10.0.0.2", "[fd00::3]", "10.0.0.4", answering="10.0.0.1")
    counted(answering="nobody")


def test_a_host_without_the_file_is_no_member(tmp_path: Path) -> None:
    assert Place.here(tmp_path / "none" / "patroni.yml") is None


@pytest.mark.parametrize("text", ["", "scope: callytics", "[]", '{"name": "a"}', '{"name": "a", "etcd3": null}'])
def test_a_file_of_somebody_elses_is_named(tmp_path: Path, text: str) -> None:
    file = tmp_path / "patroni.yml"
    file.write_text(text)
    with pytest.raises(ClusterError, match="is not of Callytics' making: run 'pyinfra"):
        Place.load(file)


def command(*arguments: str, hosts: str = "127.0.0.1") -> tuple[int, str]:
    settings = {
        "POSTGRES_HOST": hosts,
        "POSTGRES_DB": "calls",
        "POSTGRES_USER": "callytics_user",
        "POSTGRES_PASSWORD": "not a placeholder",
    }
    done = CliRunner().invoke(cli, ["--env-file", os.devnull, "cluster", *arguments], env=settings)
    return done.exit_code, done.output


def test_one_host_is_no_cluster() -> None:
    code, said = command("--config", "/none/patroni.yml")
    assert (code, "docs/hosts.md" in said) == (0, True)
    code, said = command("--config", "/none/patroni.yml", "status", "--json")
    assert (code, json.loads(said)["hosts"]) == (0, 1)


@pytest.mark.parametrize("verb", [["switchover"], ["restart"], ["reinit", "two"]])
def test_a_cluster_is_led_on_a_member(verb: list[str]) -> None:
    code, said = command("--config", "/none/patroni.yml", *verb, "--yes")
    assert code == 1
    assert said == "Error: /none/patroni.yml is not there: run this as root on a member of the cluster\n"


@pytest.mark.parametrize("verb", [["switchover"], ["restart", "two"], ["reinit", "two"]])
def test_what_was_done_is_no_failure_where_another_member_is_at_fault(
    verb: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A script goes on with the next command; how all of them are is told, and is status's to end by."""
    after = found(three={"state": "start failed", "role": "replica", "patroni": {"name": "three"}})
    monkeypatch.setattr(Place, "load", lambda _config: HERE)
    monkeypatch.setattr(Place, "here", lambda _config: HERE)
    monkeypatch.setattr(patroni, "look", lambda _place: after)
    monkeypatch.setattr(acts, verb[0], lambda *_: after)
    code, said = command(*verb, "--yes", "--quiet")
    assert (code, "three does not follow" in said) == (0, True)
    assert command("status")[0] == 1


HERE = Place("one", ("10.0.0.11", "10.0.0.12", "10.0.0.13"), "ca", "crt", "key")
ALONE = {"two": None, "three": None}


@pytest.mark.parametrize(
    ("answers", "why"),
    [
        ({}, "two and three would take the lead meanwhile: run 'systemctl stop patroni' there first"),
        ({"two": None}, "three would take the lead meanwhile"),
        ({"one": following("one"), "two": leading("two", ("one",))}, "two leads and has all that was stored"),
        ({"one": following("one"), **ALONE}, "this member runs and does not lead"),
    ],
)
def test_a_member_is_put_back_only_where_nobody_takes_the_lead_meanwhile(answers: Answers, why: str) -> None:
    with pytest.raises(ClusterError, match=re.escape(why)):
        refuse(HERE, found(**answers))


@pytest.mark.parametrize("answers", [{**ALONE}, {"one": None, **ALONE}])
def test_a_member_that_leads_alone_or_is_stopped_may_be_put_back(answers: Answers) -> None:
    refuse(HERE, found(**answers))
