"""The releases on a host that is made up: which is used, what comes, what goes; and Debian's packages of PostgreSQL."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pyinfra", reason="the deployment's tests need pyinfra: pip install '.[deploy]'")


from deploy.operations import application, backups, debian_packages, releases
from deploy.operations.cluster import minor
from deploy.operations.releases import FoundReleases, Releases
from tests.support.deploying import commands

NEW, OLD = "releases/0.3.0-b", "releases/0.2.0-a"
SAID = ["current releases/0.2.0-a", "release .", f"release {OLD}", "migration 0001.tables.sql",
        "migration 0001.tables.rollback.sql"]  # fmt: skip


def found(**changes: Any) -> Releases:
    """Return a host that uses an old release, but for these changes."""
    values = {"current": OLD, "names": (OLD,), "migrations": frozenset({"0001.tables"}), "unfinished": False}
    return Releases(**values | changes)  # type: ignore[arg-type]


@pytest.fixture
def checkout(tmp_path: Path) -> application.Checkout:
    """A source tree of a version with two migrations."""
    (tmp_path / "callytics").mkdir()
    (tmp_path / "callytics" / "__init__.py").write_text('"""X."""\n\n__version__ = "0.3.0"\n')
    (tmp_path / "migrations").mkdir()
    for name in ("0001.tables", "0002.more"):
        (tmp_path / "migrations" / f"{name}.sql").write_text("select 1")
        (tmp_path / "migrations" / f"{name}.rollback.sql").write_text("select 1")
    return application.Checkout(tmp_path, tmp_path / "wheels")


def test_what_has_no_way_back_is_known_before_anything_is_done(checkout: application.Checkout) -> None:
    """For an upgrade makes another backup then; the first installation has nothing to go back to."""
    assert releases.one_way(checkout.folder, found()) == []
    (checkout.folder / "migrations" / "0002.more.rollback.sql").unlink()
    assert releases.one_way(checkout.folder, found()) == ["0002.more"]
    assert releases.one_way(checkout.folder, found(migrations=frozenset({"0001.tables", "0002.more"}))) == []
    assert releases.one_way(checkout.folder, FoundReleases.default()) == []


SERVICE = releases.Service("/x.env", "x.service", "http://localhost/health")


def switched(checkout: application.Checkout, state: Releases, first: str = "this", **options: Any) -> list[str]:
    arguments = ("/opt/callytics", checkout, SERVICE, first)
    return [str(one) for one in commands(releases.switched, *arguments, facts={FoundReleases: state}, **options)]


def returned(checkout: application.Checkout, state: Releases, **options: Any) -> list[str]:
    arguments = ("/opt/callytics", checkout, SERVICE)
    return [str(one) for one in commands(releases.returned, *arguments, facts={FoundReleases: state}, **options)]


def test_what_a_host_says_is_read() -> None:
    assert FoundReleases().process(SAID) == found(names=(".", OLD))
    assert FoundReleases().process([*SAID, "unfinished"]).unfinished
    for last in (None, "0001.tables"):
        record = f'switched {{"from": "{OLD}", "to": "{NEW}", "last": {json.dumps(last)}, "sound": true}}'
        assert FoundReleases().process([*SAID, record]) == found(names=(".", OLD), switched=True, last=last)
    assert FoundReleases.default() == Releases(None, (), frozenset(), unfinished=False)


def test_a_release_is_named_by_version_and_sources(checkout: application.Checkout) -> None:
    before = checkout.release
    assert before == f"releases/0.3.0-{checkout.digest()[:12]}"
    (checkout.folder / "migrations" / "0002.more.sql").write_text("select 2")
    assert checkout.release != before


def test_a_used_release_is_switched_to_once(checkout: application.Checkout) -> None:
    assert switched(checkout, found(current=checkout.release)) == []


@pytest.mark.parametrize("unfinished", [True, False])
def test_another_or_an_unfinished_one_is_switched_to(checkout: application.Checkout, unfinished: bool) -> None:
    state = found(unfinished=True, current=checkout.release) if unfinished else found()
    [command] = switched(checkout, state)
    assert f"switch_release.py {checkout.release} --folder /opt/callytics" in command
    assert "--migrates" in command


def test_who_comes_later_knows_where_the_database_was(checkout: application.Checkout) -> None:
    for state, word in ((found(), ""), (found(switched=True, last="0001.tables"), "--back-to 0001.tables")):
        [command] = switched(checkout, state, first="another")
        assert "--migrates" not in command
        assert ("--back-to" in command) is bool(word)
        assert word in command


def test_once_a_host_has_failed_the_others_keep_what_they_have(checkout: application.Checkout) -> None:
    [command] = switched(checkout, found(), failed=["bad"])
    assert f"Error: {OLD} is kept: bad failed" in command
    assert "exit 1" in command
    assert "switch_release.py" not in command
    assert "0002.more" not in command
    (checkout.folder / "migrations" / "0002.more.rollback.sql").unlink()
    [command] = switched(checkout, found(), failed=["bad"])
    assert "If the database has 0002.more by now" in command
    # Nothing has failed while the run is planned, and a bare host has nothing to keep.
    [command] = switched(checkout, found(), failed=["bad"], executing=False)
    assert "switch_release.py" in command
    [command] = switched(checkout, FoundReleases.default(), failed=["bad"])
    assert "current.new" in command


def test_who_has_switched_goes_back_with_the_database(checkout: application.Checkout) -> None:
    state = found(switched=True, last="0001.tables")
    [command] = returned(checkout, state, failed=["bad", "worse"])
    assert "--back-because-of bad,worse" in command
    assert returned(checkout, state) == []
    # Nothing was migrated, or it was this one that failed.
    assert returned(checkout, found(switched=True), failed=["bad"]) == []
    assert returned(checkout, found(), failed=["bad"]) == []


def test_nothing_else_is_upgraded_after_a_failure() -> None:
    assert commands(releases.ended_together, facts={}) == []
    assert commands(releases.ended_together, facts={}, failed=["bad"], executing=False) == []
    [command] = commands(releases.ended_together, facts={}, failed=["bad"])
    assert "Error: the upgrade has ended: bad failed" in str(command)
    assert str(command).endswith("exit 1")


@pytest.mark.parametrize("switched", [True, False])
def test_where_a_host_came_from_is_forgotten_at_the_end(switched: bool) -> None:
    done = commands(releases.settled, "/opt/callytics", facts={FoundReleases: found(switched=switched)})
    assert [str(one) for one in done] == ["rm /opt/callytics/switched.json"] * switched


def test_a_bare_host_gets_the_link_alone(checkout: application.Checkout) -> None:
    [command] = switched(checkout, FoundReleases.default())
    assert f"ln -sfn {checkout.release} current.new && mv -fT current.new current" in command


@pytest.mark.parametrize(
    ("state", "runs"),
    [(found(current=None, names=(".",)), True), (found(), False), (FoundReleases.default(), False)],
    ids=["older layout", "releases", "nothing"],
)
def test_the_older_layout_is_taken_over(state: Releases, runs: bool) -> None:
    done = commands(releases.taken_over, "/opt/callytics", facts={FoundReleases: state})
    assert [str(one) for one in done] == ["ln -s . /opt/callytics/current"] * runs


def test_a_migration_without_a_way_back_is_refused(checkout: application.Checkout) -> None:
    facts = {FoundReleases: found()}
    assert commands(releases.reversible, "/opt/callytics", checkout, False, facts=facts) == []
    (checkout.folder / "migrations" / "0002.more.rollback.sql").unlink()
    [refused] = commands(releases.reversible, "/opt/callytics", checkout, False, facts=facts)
    assert re.search(r"Error: migration 0002\.more .*UPGRADE_ONE_WAY=yes.* exit 1", str(refused))
    assert commands(releases.reversible, "/opt/callytics", checkout, True, facts=facts) == []
    # Nothing is upgraded on a bare host, nor where it is applied already.
    (checkout.folder / "migrations" / "0001.tables.rollback.sql").unlink()
    bare = {FoundReleases: FoundReleases.default()}
    assert commands(releases.reversible, "/opt/callytics", checkout, False, facts=bare) == []


@pytest.mark.parametrize(
    ("current", "names", "gone"),
    [
        (NEW, (OLD, NEW), []),
        (NEW, (".", OLD, NEW), ["."]),
        (NEW, ("releases/0.1.0-x", ".", OLD, NEW), ["releases/0.1.0-x", "."]),
        # After a way back the bad one is the newest of the others.
        (OLD, ("releases/0.1.0-x", OLD, NEW), ["releases/0.1.0-x"]),
        (".", (".",), []),
    ],
)
def test_two_releases_are_kept(current: str, names: tuple[str, ...], gone: list[str]) -> None:
    state = found(current=current, names=names)
    done = [str(one) for one in commands(releases.pruned, "/opt/callytics", 2, facts={FoundReleases: state})]
    files = {".": releases.OLDER_FILES}
    assert done == [f"cd /opt/callytics && rm -rf {files.get(name, name)}" for name in gone]
    unfinished = found(current=current, names=names, unfinished=True)
    assert commands(releases.pruned, "/opt/callytics", 2, facts={FoundReleases: unfinished}) == []


POLICY = """\
postgresql-15:
  Installed: 15.18-0+deb12u1
  Candidate: 15.20-0+deb12u1
  Version table:
     15.20-0+deb12u1 500
        500 http://deb.example.org bookworm/main amd64 Packages
postgresql-client-15:
  Installed: (none)
  Candidate: 15.20-0+deb12u1
""".splitlines()


def test_what_apt_would_install_is_read() -> None:
    assert debian_packages.Versions().process(POLICY) == {
        "postgresql-15": ("15.18-0+deb12u1", "15.20-0+deb12u1"),
        "postgresql-client-15": ("(none)", "15.20-0+deb12u1"),
    }


def test_newer_packages_are_installed_and_the_old_ones_return_if_they_do_not_work() -> None:
    facts = {debian_packages.Versions: debian_packages.Versions().process(POLICY)}
    checkpoint, command = map(str, commands(minor.upgraded, ["postgresql-15"], "15/main", facts=facts))
    assert "psql" in checkpoint
    forward, _, back = command.partition("||")
    assert "postgresql-15=15.20-0+deb12u1" in forward
    assert "--allow-downgrades postgresql-15=15.18-0+deb12u1" in back
    assert "postgresql-client-15=" not in command
    right = {debian_packages.Versions: {"postgresql-15": ("15.20", "15.20")}}
    assert commands(minor.upgraded, ["postgresql-15"], "15/main", facts=right) == []


@pytest.mark.parametrize(("held", "runs"), [([], True), (["postgresql-15"], False)])
def test_packages_are_held_once(held: list[str], runs: bool) -> None:
    done = commands(debian_packages.held, ["postgresql-15"], facts={debian_packages.HeldPackages: held})
    assert [str(one) for one in done] == ["apt-mark hold postgresql-15"] * runs


@pytest.mark.parametrize(("minutes", "runs"), [(90.0, True), (10.0, False)])
def test_apt_asks_for_news_once_an_hour(minutes: float, runs: bool) -> None:
    done = commands(debian_packages.listed, 60, facts={debian_packages.ListsAge: minutes})
    assert len(done) == runs


def repository(code: int, *ages: float) -> dict[str, Any]:
    stops = [{"timestamp": {"stop": time.time() - hours * 3600}, "error": False} for hours in ages]
    return {"status": {"code": code, "message": ""}, "backup": stops}


@pytest.mark.parametrize(
    ("cluster", "words"),
    [("15/main", "'callytics backup restore'"), ("17/main", "PostgreSQL 15 to 17 run 'sudo -u postgres pgbackrest")],
    ids=["another host", "another major version"],
)
def test_a_repository_of_another_cluster_is_told_apart_by_its_version(cluster: str, words: str) -> None:
    assert words in backups.remedy({"db": [{"version": "14"}, {"version": "15"}]}, cluster, "callytics")


@pytest.mark.parametrize(
    ("state", "runs"),
    [(repository(0, 100, 3), False), (repository(0, 100, 30), True), (repository(2), True)],
    ids=["recent", "old", "none yet"],
)
def test_an_old_backup_is_followed_by_another(state: dict[str, Any], runs: bool) -> None:
    done = commands(backups.recent, "callytics", 26, facts={backups.Repository: state})
    assert len(done) == runs
    assert all("--type=diff backup" in str(one) for one in done)


@pytest.mark.parametrize("state", [None, repository(1), repository(99)], ids=["not set up", "no stanza", "unreadable"])
def test_without_a_repository_there_is_no_upgrade(state: dict[str, Any] | None) -> None:
    [refused] = commands(backups.recent, "callytics", 26, facts={backups.Repository: state})
    assert re.search(r"Error: .*deploy/site\.py.* exit 1", str(refused))
