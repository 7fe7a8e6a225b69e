"""The program that switches between releases, with releases and a service made up: it ends at one or the other."""

from __future__ import annotations

import importlib.util
import json
import os
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.support.places import REPOSITORY

# Notes what it was asked; fails where a file of the verb's name says so. It asks before it goes back.
RELEASE = """\
#!/bin/sh
shift 2
echo "$(basename $(dirname $(dirname "$0"))) $*" >>{folder}/asked
[ "$1 $2 $3" != "migrate --check --json" ] || { echo '{"ok": false, "last": "'$(cat {folder}/last)'"}'; exit 1; }
[ "$2" != --back-to ] || { read answer && [ "$answer" = y ] && echo $3 >{folder}/last; } || exit 1
[ "$*" != migrate ] || echo 0058.y >{folder}/last
[ ! -e "$(dirname $0)/../no $1" ]
"""
SYSTEMCTL = """\
#!/bin/sh
echo "systemctl $1 $(basename $(readlink {folder}/current))" >>{folder}/asked
[ "$1" = is-active ] || [ ! -e "{folder}/current/no start" ]
"""


def program(path: Path, text: str, folder: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text.replace("{folder}", str(folder)))
    path.chmod(0o755)


@pytest.fixture(scope="module")
def health() -> Iterator[str]:
    """A service that is always healthy."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_arguments: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/health"
        server.shutdown()


@pytest.fixture
def switching(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("switch_release", REPOSITORY / "deploy/templates/switch_release.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Its dataclass looks itself up there.
    monkeypatch.setitem(__import__("sys").modules, "switch_release", module)
    spec.loader.exec_module(module)
    for name, text in (("systemctl", SYSTEMCTL), ("journalctl", "#!/bin/sh\necho its last words\n")):
        program(tmp_path / "programs" / name, text, tmp_path)
    clean = {"PATH": f"{tmp_path}/programs:/usr/bin:/bin", "LANG": "C.UTF-8"}
    monkeypatch.setattr(module, "CLEAN", clean)
    monkeypatch.setenv("PATH", clean["PATH"] + ":" + os.environ["PATH"])
    monkeypatch.setattr(module, "HEALTHY_SECONDS", 0.1)
    return module


Wanted = Callable[..., Any]


@pytest.fixture
def wanted(switching: ModuleType, tmp_path: Path, health: str) -> Wanted:
    """A way to say what is wanted, of a host that runs the release a and has b and c beside it."""
    for name in "abc":
        program(tmp_path / "releases" / name / "bin/callytics", RELEASE, tmp_path)
    (tmp_path / "current").symlink_to("releases/a")
    (tmp_path / "last").write_text("0057.x\n")

    def want(name: str, **changes: Any) -> Any:
        values = {"folder": tmp_path, "release": f"releases/{name}", "settings": Path("/x.env"), "unit": "x.service"}
        return switching.Switch(**values | {"url": health, "migrates": True} | changes)

    return want


def asked(folder: Path) -> list[str]:
    path = folder / "asked"
    return path.read_text().splitlines() if path.exists() else []


def fail(folder: Path, release: str, what: str) -> Path:
    path = folder / "releases" / release / f"no {what}"
    path.touch()
    return path


def test_it_goes_forward_in_this_order(switching: ModuleType, wanted: Wanted, tmp_path: Path) -> None:
    switching.switch(wanted("b"))
    assert asked(tmp_path) == [
        "b migrate --check --json",
        "a doctor",
        "b migrate",
        "b grants",
        "systemctl restart b",
        "b doctor",
        "b migrate --check --json",
    ]
    assert not (tmp_path / "switching.json").exists()
    before = asked(tmp_path)
    switching.switch(wanted("b"))
    assert asked(tmp_path) == before


@pytest.mark.parametrize("what", ["migrate", "grants", "start", "doctor"])
def test_whatever_fails_it_goes_back(switching: ModuleType, wanted: Wanted, tmp_path: Path, what: str) -> None:
    reason = fail(tmp_path, "b", what)
    # What has failed for good would fail on the way back as well: there, migrating is taken back.
    if what == "migrate":
        program(
            tmp_path / "releases/b/bin/callytics",
            RELEASE.replace('[ ! -e "$(dirname $0)/../no $1" ]', '[ "$1 $2" != "migrate " ]'),
            tmp_path,
        )
        reason.unlink()
    with pytest.raises(switching.Failed, match="is back, and the database as it was"):
        switching.switch(wanted("b"))
    assert wanted("b").used == "releases/a"
    assert "b migrate --back-to 0057.x" in asked(tmp_path)
    assert ("systemctl restart a" in asked(tmp_path)) is (what in ("start", "doctor"))
    assert not (tmp_path / "switching.json").exists()


def test_an_error_from_before_is_no_reason_to_go_back(switching: ModuleType, wanted: Wanted, tmp_path: Path) -> None:
    fail(tmp_path, "a", "doctor")
    fail(tmp_path, "b", "doctor")
    switching.switch(wanted("b"))
    assert wanted("b").used == "releases/b"


def begin(folder: Path, release: str) -> None:
    """Leave what a killed run leaves behind."""
    journal = {"from": "releases/a", "to": f"releases/{release}", "last": "0057.x", "sound": True}
    (folder / "switching.json").write_text(json.dumps(journal))


@pytest.mark.parametrize("linked", ["a", "b"])
def test_a_killed_one_is_gone_on_with(switching: ModuleType, wanted: Wanted, tmp_path: Path, linked: str) -> None:
    begin(tmp_path, "b")
    wanted("b").link(f"releases/{linked}")
    switching.switch(wanted("b"))
    assert asked(tmp_path)[:-1] == ["b migrate", "b grants", "systemctl restart b", "b doctor"]
    assert not (tmp_path / "switching.json").exists()


@pytest.mark.parametrize("release", ["a", "c"])
def test_a_killed_one_is_taken_back_where_another_release_is_wanted(
    switching: ModuleType, wanted: Wanted, tmp_path: Path, release: str
) -> None:
    begin(tmp_path, "b")
    wanted("b").link("releases/b")
    switching.switch(wanted(release))
    assert asked(tmp_path)[:3] == ["b migrate --back-to 0057.x", "a grants", "systemctl restart a"]
    assert wanted("b").used == f"releases/{release}"
    assert not (tmp_path / "switching.json").exists()


def test_what_cannot_be_taken_back_is_taken_over(switching: ModuleType, wanted: Wanted, tmp_path: Path) -> None:
    """The next release has the same migrations, and may be the one that was mended."""
    begin(tmp_path, "b")
    fail(tmp_path, "b", "migrate")
    switching.switch(wanted("c"))
    assert wanted("c").used == "releases/c"
    begin(tmp_path, "b")
    wanted("c").link("releases/b")
    with pytest.raises(switching.Failed):
        switching.switch(wanted("a"))
    assert (tmp_path / "switching.json").exists()


def test_a_way_back_that_fails_is_said_and_tried_again(switching: ModuleType, wanted: Wanted, tmp_path: Path) -> None:
    for release in "ab":
        fail(tmp_path, release, "start")
    with pytest.raises(switching.Failed, match=r"(?s)its last words.*and the way back to releases/a failed, too"):
        switching.switch(wanted("b"))
    assert json.loads((tmp_path / "switching.json").read_text())["from"] == "releases/a"
    (tmp_path / "releases/b/no start").unlink()
    switching.switch(wanted("b"))
    assert wanted("b").used == "releases/b"


def test_a_host_that_does_not_migrate_waits_for_the_one_that_does(
    switching: ModuleType, wanted: Wanted, tmp_path: Path
) -> None:
    fail(tmp_path, "b", "migrate")
    with pytest.raises(switching.Failed, match="migrate --check"):
        switching.switch(wanted("b", migrates=False))
    assert wanted("b").used == "releases/a"
    assert not [line for line in asked(tmp_path) if "back-to" in line or "systemctl restart" in line]


def on_another_host(wanted: Wanted, tmp_path: Path, **changes: Any) -> Any:
    """Return what is wanted of a host after the first one has migrated the same database."""
    (tmp_path / "last").write_text("0058.y\n")
    return wanted("b", migrates=False, **changes)


@pytest.mark.parametrize("what", ["start", "migrate"])
def test_a_host_that_can_not_come_along_takes_the_database_back(
    switching: ModuleType, wanted: Wanted, tmp_path: Path, what: str
) -> None:
    """The release before does not start on the schema of the other one."""
    program(tmp_path / "releases/b/bin/callytics",
            RELEASE.replace('[ ! -e "$(dirname $0)/../no $1" ]',
                            '[ "$1 $2" != "migrate --check" ] || [ ! -e "$(dirname $0)/../no $1" ]'),
            tmp_path)  # fmt: skip
    fail(tmp_path, "b", what)
    with pytest.raises(switching.Failed, match="is back, and the database as it was"):
        switching.switch(on_another_host(wanted, tmp_path, back_to="0057.x"))
    assert (tmp_path / "last").read_text() == "0057.x\n"
    assert wanted("b").used == "releases/a"


def test_where_nothing_was_migrated_it_takes_nothing_back(
    switching: ModuleType, wanted: Wanted, tmp_path: Path
) -> None:
    fail(tmp_path, "b", "start")
    with pytest.raises(switching.Failed, match="is back"):
        switching.switch(on_another_host(wanted, tmp_path))
    assert not [line for line in asked(tmp_path) if "back-to" in line]


@pytest.mark.parametrize("migrates", [True, False])
def test_it_goes_back_because_of_another_host(
    switching: ModuleType, wanted: Wanted, tmp_path: Path, migrates: bool
) -> None:
    switching.switch(wanted("b") if migrates else on_another_host(wanted, tmp_path, back_to="0057.x"))
    assert wanted("b").used == "releases/b"
    because = wanted("b", migrates=False, back_because_of="bad")
    with pytest.raises(switching.Failed, match=r"bad failed: .*releases/a is back here, too, and the database as it"):
        switching.take_back(because)
    assert wanted("b").used == "releases/a"
    assert (tmp_path / "last").read_text() == "0057.x\n"
    assert not list(tmp_path.glob("switch*.json"))
    # Again there is nothing to go back to.
    before = asked(tmp_path)
    switching.take_back(because)
    assert asked(tmp_path) == before


def test_what_the_database_can_not_do_without_stays(switching: ModuleType, wanted: Wanted, tmp_path: Path) -> None:
    switching.switch(wanted("b"))
    fail(tmp_path, "b", "migrate")
    with pytest.raises(switching.Failed, match=r"bad failed, and this host can't go back: callytics migrate --back-to"):
        switching.take_back(wanted("b", migrates=False, back_because_of="bad"))
    assert wanted("b").used == "releases/b"
    assert json.loads((tmp_path / "switched.json").read_text())["from"] == "releases/a"


def test_hosts_that_wait_for_each_other_remember_the_first_of_several_releases(
    switching: ModuleType, wanted: Wanted, tmp_path: Path
) -> None:
    """The next release mends what another host could not do with this one; if it can't either, all go back to a."""
    switching.switch(wanted("b"))
    fail(tmp_path, "c", "start")
    with pytest.raises(switching.Failed, match="releases/a is back"):
        switching.switch(wanted("c"))
    assert (tmp_path / "last").read_text() == "0057.x\n"


def test_the_release_before_can_be_wanted_again(switching: ModuleType, wanted: Wanted, tmp_path: Path) -> None:
    switching.switch(wanted("b"))
    switching.switch(wanted("a"))
    assert wanted("b").used == "releases/a"
    assert (tmp_path / "last").read_text() == "0057.x\n"
    assert not list(tmp_path.glob("switch*.json"))


def test_another_host_s_killed_attempt_leaves_the_database_alone(
    switching: ModuleType, wanted: Wanted, tmp_path: Path
) -> None:
    """By now the first host may have migrated it again, for the release that is wanted."""
    begin(tmp_path, "b")
    switching.switch(wanted("c", migrates=False, back_to="0058.y"))
    assert wanted("c").used == "releases/c"
    assert not [line for line in asked(tmp_path) if "back-to" in line]
