"""The deployment's operations, with a host that is made up: what is found decides what is done."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pyinfra", reason="the deployment's tests need pyinfra: pip install '.[deploy]'")

from pyinfra.api import FactBase, FunctionCommand, HiddenValue, OperationError, StringCommand

from deploy.operations import application, backups, debian_packages, file_times, running_kernel, units
from deploy.operations.cluster import clusters, databases, machine, server_settings
from deploy.operations.cluster.psql import JsonFact, identifier, literal, read_query, run_sql
from deploy.operations.secret import envfile, keys, secret_files
from tests.support.deploying import Answer, commands

CLUSTER = "15/main"
SECRET = "p@ss 한국 $HOME `id` %"


def shown(command: StringCommand) -> str:
    """Return everything of a command that ps, a log or --debug could show."""
    return f"{command} {command!r} {command.get_raw_value()}"


def state(**changes: Any) -> Answer:
    """Return a server that runs with what its files say, but for these changes."""
    right = {"loaded": 100.0, "checksums": True, "errors": [], "hba_errors": [], "pending_restart": [], "altered": []}
    right["everybody"] = []
    return Answer({**right, **changes})


# SQL


@pytest.mark.parametrize(("name", "quoted"), [("simple", '"simple"'), ('a"; drop', '"a""; drop"')])
def test_identifier(name: str, quoted: str) -> None:
    assert identifier(name) == quoted


@pytest.mark.parametrize(("text", "quoted"), [("simple", "'simple'"), ("it's", "'it''s'"), ("a\\'b", "'a\\''b'")])
def test_literal(text: str, quoted: str) -> None:
    assert literal(text) == quoted


def test_sql_travels_over_stdin_and_ends_at_the_first_error() -> None:
    command = run_sql([f"select {literal(SECRET)}", "select 2"], cluster=CLUSTER)
    assert SECRET not in shown(command)
    assert command.connector_arguments["_stdin"] == f"select '{SECRET}';\nselect 2;\n"
    for option in ("-X", "ON_ERROR_STOP=1", "VERBOSITY=terse", "--single-transaction", "search_path=pg_catalog"):
        assert option in command.get_raw_value()


def test_quiet_sql_stays_out_of_the_servers_log() -> None:
    assert "log_statement=none" in run_sql(["select 1"], cluster=CLUSTER, quiet=True).get_raw_value()
    assert "log_statement" not in run_sql(["select 1"], cluster=CLUSTER).get_raw_value()


def test_create_database_is_not_in_a_transaction() -> None:
    assert "--single-transaction" not in run_sql(["select 1"], cluster=CLUSTER, transaction=False).get_raw_value()


@pytest.mark.parametrize("query", ["roles", "database", "schema", "settings", "own_settings"])
def test_every_query_says_what_it_is(query: str) -> None:
    assert read_query(query).startswith("-- ")


def test_json_fact_reads_the_document() -> None:
    class Fact(JsonFact):
        query = "roles"

    assert Fact().process(['{"a":', "1}"]) == {"a": 1}
    assert Fact().command(CLUSTER).get_raw_value().endswith("END_OF_QUERY\nfi")


# settings


def in_force(found: list[Answer | None], written: float = 50.0, **options: Any) -> list[str]:
    facts = {server_settings.SettingsState: found, file_times.ModificationTimes: {"/etc/x.conf": written}}
    arguments = (CLUSTER, ["/etc/x.conf"])
    return [str(command) for command in commands(server_settings.in_force, *arguments, facts=facts, **options)]


def test_settings_in_force_need_nothing() -> None:
    assert in_force([state()]) == []


def test_a_file_that_is_newer_than_what_the_server_read_is_reloaded() -> None:
    (reload,) = in_force([state(), state(loaded=200.0)], written=100.1)
    assert "systemctl reload postgresql@15-main" in reload


def test_a_setting_that_waits_for_a_restart_gets_one() -> None:
    restart, wait = in_force([state(pending_restart=["shared_buffers"])])
    assert restart == "systemctl restart postgresql@15-main"
    assert "pg_isready" in wait


def test_a_restart_that_only_the_reload_shows_is_done() -> None:
    found = [state(), state(pending_restart=["port"])]
    assert [command.split()[1] for command in in_force(found, written=101)][1] == "restart"


@pytest.mark.parametrize("mistakes", [{"errors": ["x line 1: a b"]}, {"hba_errors": ["line 3: end"]}])
def test_a_server_with_mistakes_in_its_files_is_left_running(mistakes: dict[str, list[str]]) -> None:
    [command] = in_force([state(**mistakes, pending_restart=["port"])])
    assert "its files have mistakes:" in command
    assert command.endswith(">&2; exit 1")


def test_mistakes_are_a_change_while_changes_are_looked_for() -> None:
    """Whatever is wrong in a file may be what this very run writes anew."""
    broken = state(hba_errors=["line 3: end"])
    assert in_force([broken, broken], executing=False)


@pytest.mark.parametrize(
    ("found", "statement"),
    [
        ({"altered": ["work_mem"]}, "alter system reset all;\n"),
        ({"everybody": ["work_mem=1GB"]}, "alter role all reset all;\n"),
    ],
)
def test_settings_past_the_files_are_taken_back(found: dict[str, list[str]], statement: str) -> None:
    facts = {server_settings.SettingsState: state(**found)}
    (command,) = commands(server_settings.none_past_the_files, CLUSTER, facts=facts)
    assert command.connector_arguments["_stdin"] == statement
    assert commands(server_settings.none_past_the_files, CLUSTER, facts={server_settings.SettingsState: state()}) == []


def test_modification_times() -> None:
    found = file_times.ModificationTimes().process(["1700000000.123456789 /etc/a file"])
    assert found == {"/etc/a file": 1700000000.123456789}


# clusters


@pytest.mark.parametrize(
    ("found", "words"),
    [({"configured": True, "filled": True}, []), ({}, [True])],
)
def test_cluster_is_created_if_there_is_no_cluster(found: dict[str, bool], words: list[bool]) -> None:
    created = commands(clusters.present, CLUSTER, facts={clusters.ClusterState: found})
    assert ["pg_createcluster --start 15 main " in str(command) for command in created] == words


@pytest.mark.parametrize("half", ["configured", "filled"])
def test_half_a_cluster_is_never_touched(half: str) -> None:
    """Its other half may be on a volume that is not mounted."""
    found = {"configured": False, "filled": False, half: True}
    [command] = commands(clusters.present, CLUSTER, facts={clusters.ClusterState: found})
    assert re.fullmatch(r"echo 'Error: .*mounted.*' >&2; exit 1", str(command))
    with pytest.raises(OperationError, match="mounted"):
        commands(clusters.present, CLUSTER, facts={clusters.ClusterState: found}, executing=False)


def test_checksums_are_turned_on_once() -> None:
    found = {server_settings.SettingsState: state(checksums=False)}
    words = [str(command).split()[0:2] for command in commands(clusters.checksums, CLUSTER, facts=found)]
    assert words[0] == ["systemctl", "stop"]
    assert words[2] == ["systemctl", "start"]
    assert commands(clusters.checksums, CLUSTER, facts={server_settings.SettingsState: state()}) == []


# packages


def test_only_missing_packages_are_installed() -> None:
    facts: dict[type[FactBase[Any]], Any] = {debian_packages.DebPackages: {"python3": ["3.11"]}}
    _update, install = commands(debian_packages.present, ["python3", "python3-venv"], facts=facts)
    assert "--no-install-recommends python3-venv ||" in str(install)
    assert commands(debian_packages.present, ["python3"], facts=facts) == []


def test_apt_asks_for_news_once_a_run_and_again_for_other_sources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed, sources, asked = tmp_path / "listed", tmp_path / "sources", tmp_path / "asked"
    sources.touch()
    apt = f"#!/bin/sh\n[ $1 = update ] || exit 100\necho $1 >>{asked}\n"
    (tmp_path / "apt-get").write_text(apt)
    (tmp_path / "apt-get").chmod(0o755)
    monkeypatch.setattr(debian_packages, "LISTED", listed)
    monkeypatch.setattr(debian_packages, "SOURCES", sources)
    update, install = commands(debian_packages.present, ["python3"], facts={debian_packages.DebPackages: {}})

    def run(command: Any) -> int:
        path = f"{tmp_path}:{os.environ['PATH']}"
        return subprocess.run(["sh", "-c", str(command)], env={"PATH": path}, check=False).returncode

    def times() -> int:
        assert run(update) == 0
        return len(asked.read_text().splitlines())

    before = time.time() - 3600
    os.utime(sources, (before, before))
    assert [times(), times()] == [1, 1]
    os.utime(listed, (before + 60, before + 60))
    assert [times(), times()] == [2, 2]
    os.utime(sources, (time.time() + 5, time.time() + 5))
    assert times() == 3
    os.utime(sources, (before, before))
    assert times() == 3
    # An installation that fails may lack what was not to be had then.
    assert run(install) == 1
    assert not listed.exists()
    assert times() == 4


def test_an_interrupted_installation_is_completed() -> None:
    assert commands(debian_packages.mended, facts={debian_packages.InterruptedPackages: []}) == []
    configure, _fix = commands(debian_packages.mended, facts={debian_packages.InterruptedPackages: ["0001"]})
    assert "dpkg --configure -a" in str(configure)


# files


def secret(found: secret_files.FileState | None) -> list[Any]:
    content = lambda: HiddenValue(SECRET)  # noqa: E731
    arguments = (content, "/etc/callytics/app.env", "root", "callytics", 0o640)
    return commands(secret_files.secret, *arguments, facts={secret_files.SecretFile: found})


RIGHT = secret_files.FileState("root", "callytics", 0o640, hashlib.sha256(f"{SECRET}\n".encode()).hexdigest())


def test_a_secret_that_is_there_is_not_written_again() -> None:
    assert secret(RIGHT) == []


@pytest.mark.parametrize(
    "found",
    [
        None,
        secret_files.FileState("callytics", "callytics", 0o640, RIGHT.sha256),
        secret_files.FileState("root", "root", 0o640, RIGHT.sha256),
        secret_files.FileState("root", "callytics", 0o644, RIGHT.sha256),
        secret_files.FileState("root", "callytics", 0o640, "0" * 64),
    ],
)
def test_a_secret_file_is_written_over_stdin_and_never_readable_by_others(found: secret_files.FileState | None) -> None:
    (command,) = secret(found)
    assert SECRET not in shown(command)
    assert command.connector_arguments["_stdin"] == f"{SECRET}\n"
    assert str(command).startswith("umask 077 ")
    assert "/tmp" not in str(command)


def test_secret_files_state() -> None:
    assert secret_files.SecretFile().process(["root callytics 640", f"{RIGHT.sha256}  -"]) == RIGHT


def test_env_file_quotes_every_value() -> None:
    text = envfile.env_file({"PORT": 5432, "PASSWORD": HiddenValue(SECRET)})()
    assert text.unmask() == f"PORT='5432'\nPASSWORD='{SECRET}'\n"
    assert SECRET not in f"{text} {text!r}"


@pytest.mark.parametrize("value", ["it's", "back\\slash", "two\nlines"])
def test_env_file_refuses_what_its_readers_take_differently(value: str) -> None:
    with pytest.raises(ValueError, match="PASSWORD holds") as caught:
        envfile.env_file({"PASSWORD": HiddenValue(value)})()
    assert value not in str(caught.value)


# databases


def test_privileges_as_declared_need_nothing() -> None:
    assert list(databases.privilege_changes("d", {"app": ["connect"]}, [["app", "connect", ""]])) == []


def test_privileges_too_many_are_revoked_and_missing_ones_granted() -> None:
    found = [["public", "connect", ""], ["public", "temporary", ""], ["app", "connect", "grantable"]]
    assert list(databases.privilege_changes("d", {"app": ["connect"], "new": ["connect"]}, found)) == [
        'revoke connect on database "d" from public',
        'revoke temporary on database "d" from public',
        'revoke grant option for connect on database "d" from "app"',
        'grant connect on database "d" to "new"',
    ]


@pytest.mark.parametrize(
    ("found", "statement"),
    [
        ({}, "create database"),
        ({"d": {"owner": "postgres", "settings": []}}, 'alter database "d" owner to "o"'),
        ({"d": {"owner": "o", "settings": ["work_mem=1GB"]}}, 'alter database "d" reset all'),
        ({"d": {"owner": "o", "settings": []}}, None),
    ],
)
def test_database_is_created_or_given_back(found: dict[str, Any], statement: str | None) -> None:
    done = commands(databases.present, "d", "o", CLUSTER, facts={databases.Databases: found})
    assert [command.connector_arguments["_stdin"].startswith(statement) for command in done] == [True] * bool(statement)


def test_public_schema_is_closed() -> None:
    closed = {"owner": "pg_database_owner", "public": []}
    assert commands(databases.public_schema_closed, "d", CLUSTER, facts={databases.PublicSchema: closed}) == []
    opened = closed | {"public": ["usage"]}
    assert commands(databases.public_schema_closed, "d", CLUSTER, facts={databases.PublicSchema: opened})


# systemd and machines


def test_a_server_of_backups_that_nobody_is_to_ask_is_stopped_and_known_no_more() -> None:
    (done,) = commands(backups.served_no_more, facts={backups.Serves: True})
    assert str(done) == "systemctl disable --quiet --now pgbackrest.service; rm -r /etc/pgbackrest/tls"
    assert commands(backups.served_no_more, facts={backups.Serves: False}) == []


def test_systemd_is_reloaded_only_when_it_does_not_know_a_file() -> None:
    right = {"outdated": False, "files": ["/lib/a", "/etc/a"]}
    assert commands(units.loaded, {"a": ["/etc/a"]}, facts={units.LoadedUnits: right}) == []
    for wrong in ({"outdated": True}, {"files": ["/lib/a"]}):
        assert commands(units.loaded, {"a": ["/etc/a"]}, facts={units.LoadedUnits: right | wrong})


def test_what_is_taken_back_is_masked_and_comes_back_unmasked() -> None:
    """Only what has a drop-in of ours is taken back."""
    gone = commands(units.released, ["a.service", "b.service"], facts={units.UnitFiles: ["a.service.d/callytics.conf"]})
    assert "systemctl mask --quiet a.service" in str(gone[0])
    assert "b.service" not in str(gone[0])
    assert commands(units.released, ["a.service"], facts={units.UnitFiles: []}) == []
    back = commands(units.unmasked, ["a.service", "b.service"], facts={units.MaskedUnits: ["a.service"]})
    assert [str(one) for one in back] == ["systemctl unmask --quiet a.service"]
    assert commands(units.unmasked, ["a.service"], facts={units.MaskedUnits: []}) == []


def test_loaded_units() -> None:
    found = units.LoadedUnits().process(["no", "/lib/a", "/etc/b /etc/c", "", "yes", "/lib/d", ""])
    assert found == {"outdated": True, "files": ["/lib/a", "/etc/b", "/etc/c", "/lib/d"]}
    assert not units.LoadedUnits().process(["loaded", "no", "/etc/a", ""])["outdated"]
    assert units.LoadedUnits().process(["error", "no", "/etc/a", ""])["outdated"]


def running(**changes: Any) -> list[str]:
    """Return what is done for a service that runs since 100, with a file of 50, but for these changes."""
    right: dict[str, Any] = {"active": True, "enabled": True, "started": 100.0, "written": 50.0}
    found = right | changes
    facts = {units.ServiceState: found, file_times.ModificationTimes: {"/etc/a": found["written"]}}
    return [str(command) for command in commands(units.running, "a.service", ["/etc/a"], facts=facts)]


def test_a_service_that_runs_with_its_files_is_left_alone() -> None:
    assert running() == []


@pytest.mark.parametrize("changes", [{"written": 100.5}, {"active": False}, {"active": False, "started": 0.0}])
def test_a_service_is_restarted_where_a_file_is_newer_or_it_does_not_run(changes: dict[str, Any]) -> None:
    (command,) = running(**changes)
    assert command.startswith("systemctl restart a.service || { journalctl")


def test_a_service_is_enabled_without_a_restart() -> None:
    assert running(enabled=False) == ["systemctl enable --quiet a.service"]


def test_a_service_s_state_is_read() -> None:
    started = "ExecMainStartTimestamp=Thu 1970-01-01 00:01:40.250000 UTC"
    found = units.ServiceState().process(["ActiveState=active", "UnitFileState=enabled", started])
    assert found == {"active": True, "enabled": True, "started": 100.25}


def test_a_missing_service_is_not_running() -> None:
    found = units.ServiceState().process(["ExecMainStartTimestamp=", "ActiveState=inactive", "UnitFileState="])
    assert found == {"active": False, "enabled": False, "started": 0.0}


# keys


def test_a_key_is_made_once(tmp_path: Path) -> None:
    key = keys.KeptKey(tmp_path / "folder" / "key")
    (command,) = commands(keys.kept, key, facts={})
    assert not key.path.exists()
    command.function(*command.args)
    made = key.unmask()
    assert len(made) >= 43
    assert key.path.stat().st_mode & 0o777 == 0o600
    assert key.path.parent.stat().st_mode & 0o777 == 0o700
    assert commands(keys.kept, key, facts={}) == []
    assert not key.create()
    assert key.unmask() == made


def test_hosts_that_ask_for_a_key_at_once_get_the_same(tmp_path: Path) -> None:
    key = keys.KeptKey(tmp_path / "key")
    with ThreadPoolExecutor(16) as executor:
        made = {future.result() for future in [executor.submit(make_and_read, key) for _ in range(32)]}
    assert len(made) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def make_and_read(key: keys.KeptKey) -> str:
    key.create()
    return key.unmask()


def test_a_kept_key_stands_in_an_env_file_and_nowhere_else(tmp_path: Path) -> None:
    key = keys.KeptKey(tmp_path / "key")
    text = envfile.env_file({"JWT_SECRET_KEY": key})
    assert text().unmask() == "JWT_SECRET_KEY=''\n"
    key.create()
    assert text().unmask() == f"JWT_SECRET_KEY='{key.unmask()}'\n"
    assert key.unmask() not in f"{key} {key!r} {text()}"


@pytest.mark.parametrize(("limit", "memory"), [("max", 8 << 30), (str(2 << 30), 2 << 30)])
def test_a_containers_limit_is_its_memory(limit: str, memory: int) -> None:
    found = machine.Machine().process(["8.58993e+09" if limit != "max" else str(8 << 30), "4", "yes", limit])
    assert found == {"memory_bytes": memory, "cores": 4, "in_container": True}


# the application


@pytest.fixture
def checkout(tmp_path: Path) -> application.Checkout:
    """A source tree of two files."""
    package = tmp_path / "sources" / "callytics"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (tmp_path / "sources" / "setup.cfg").write_text("[metadata]")
    return application.Checkout(tmp_path / "sources", tmp_path / "wheels")


def test_digest_follows_the_content_alone(checkout: application.Checkout) -> None:
    before = checkout.digest()
    cache = checkout.folder / "callytics" / "__pycache__"
    cache.mkdir()
    (cache / "x.pyc").write_text("x")
    assert checkout.digest() == before
    (checkout.folder / "callytics" / "__init__.py").write_text("x = 1")
    assert checkout.digest() != before


def test_what_is_installed_is_not_installed_again(checkout: application.Checkout) -> None:
    facts = {application.InstalledDigest: checkout.digest()}
    assert commands(application.installed, checkout, "/opt/callytics", facts=facts) == []


def test_the_note_of_what_is_installed_comes_last(checkout: application.Checkout) -> None:
    digest = checkout.digest()
    (checkout.wheels / digest).mkdir(parents=True)
    (checkout.wheels / digest / "callytics-1-py3-none-any.whl").write_text("")
    facts = {application.InstalledDigest: "another"}
    done = commands(application.installed, checkout, "/opt/callytics", facts=facts)
    assert isinstance(done[0], FunctionCommand)
    assert "rm -f /opt/callytics/installed" in str(done[1])
    assert str(done[-1]).endswith(f"echo {digest} >/opt/callytics/installed")


@pytest.mark.parametrize(
    ("found", "runs"), [({"ok": True}, False), ({"ok": False}, True), (None, True)], ids=["right", "wrong", "unknown"]
)
@pytest.mark.parametrize(
    ("operation", "fact", "command"),
    [
        (application.migrated, application.MigrationsCheck, "migrate"),
        (application.granted, application.GrantsCheck, "grants"),
    ],
    ids=["migrated", "granted"],
)
def test_schema_follows_its_state(
    operation: Any, fact: type[FactBase[Any]], command: str, found: dict[str, Any] | None, runs: bool
) -> None:
    """What could not be looked at is run, and says itself why it can't."""
    done = commands(operation, "/opt/callytics", "/etc/callytics/admin.env", facts={fact: found})
    assert [str(one).rpartition(" ")[2] for one in done] == [command] * runs


@pytest.mark.parametrize("fact", [application.MigrationsCheck, application.GrantsCheck])
def test_a_check_changes_nothing_and_reads_the_document(fact: type[application.Check]) -> None:
    found = {"ok": False, "differences": []}
    asked = str(fact().command("/opt/callytics", "/etc/callytics/admin.env"))
    assert f"callytics --env-file /etc/callytics/admin.env {fact.verb} --check --json" in asked
    assert fact().process(json.dumps(found, indent=2).splitlines()) == found
    assert fact().process([]) is None


def test_kernel_settings_that_differ_are_set() -> None:
    right = {"vm.swappiness": "10", "thp": "madvise"}
    for found, count in ((right, 0), (right | {"vm.swappiness": "60"}, 1), (right | {"thp": "always"}, 1)):
        facts = {running_kernel.KernelSettings: found}
        assert len(commands(running_kernel.in_force, {"vm.swappiness": "10"}, "madvise", facts=facts)) == count


def test_a_kernel_without_transparent_huge_pages_is_left_alone() -> None:
    facts = {running_kernel.KernelSettings: {"thp": ""}}
    assert commands(running_kernel.in_force, {}, "madvise", facts=facts) == []


def test_kernel_settings() -> None:
    found = running_kernel.KernelSettings().process(["vm.swappiness = 60", "thp = always [madvise] never"])
    assert found == {"vm.swappiness": "60", "thp": "madvise"}
