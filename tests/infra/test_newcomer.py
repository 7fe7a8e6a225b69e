"""A newcomer follows the manual word for word on a bare Debian, in a fresh account, and takes the wrong turns, too.

What is typed are the code blocks of the pages, in their order; what the pages show as output is compared. They are the
same blocks in both languages (tests/docs/test_pages.py). Each wrong turn ends in one line that says what to do, and the
right way works after it.
"""

from __future__ import annotations

import json
import re
import select
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from callytics.schema.versions import newest
from tests.infra.deployment import copy_checkout
from tests.infra.lab import Lab, LabHost
from tests.support.keyboard import CTRL_C, Keyboard, Seen, squeezed
from tests.support.manual import BLOCK, MANUAL, TROUBLESHOOTING, blocks, console, explained, section, shown, text_of
from tests.support.terminal import CLEARED

pytestmark = pytest.mark.slow

ACCOUNT = "minji"
UPSTREAM = "/srv/callytics.git"
SECONDS = 300
# What the application writes to SQLite while it runs.
APPLICATION = """\
python -c "import sqlite3; c = sqlite3.connect('audio_analysis.sqlite')
c.execute('update audio_files set file_name = file_name || 1 where id < 3'); c.commit()"
"""
# What a person's terminal does with a command, and then its exit code, how much it said, which line failed, and both.
TYPED = """\
printf %s {answer} >/tmp/answer; failed=; trap 'failed=$BASH_COMMAND' ERR
{{
{command}
}} </tmp/answer >/tmp/out 2>/tmp/err
code=$?; trap - ERR; echo $code $(wc -c </tmp/out) $(wc -c </tmp/err) "$failed"; cat /tmp/out /tmp/err
"""


@dataclass(frozen=True)
class Answer:
    """What a command said, and whether each of its lines did what it should."""

    command: str
    exit_code: int
    out: str
    err: str
    failed: str

    def __str__(self) -> str:
        return f"{self.command}\nended with {self.exit_code} ({self.failed}) and said:\n{self.out}{self.err}"

    @property
    def error(self) -> str:
        """The one line that a command which refused has said; anything else of stderr fails the test."""
        lines = [line for line in self.err.splitlines() if line.startswith("Error: ")]
        assert len(lines) == 1, str(self)
        assert "Traceback" not in self.err, str(self)
        return lines[0]


class Terminal:
    """One login shell of the newcomer's, kept open: what was activated or exported stays so."""

    def __init__(self, host: LabHost) -> None:
        self.host = host
        command = ["ssh", "-F", str(host.ssh_config), host.name, "--", f"runuser -l {ACCOUNT} -c bash"]
        self._shell = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def type(self, command: str, answer: str = "") -> Answer:
        """Run what is typed, with an answer to what it may ask; tell which of its lines failed."""
        self._write(TYPED.format(command=command.strip("\n"), answer=shlex.quote(answer)))
        head = self._read_line().split(maxsplit=3)
        code, *lengths = map(int, head[:3])
        out, err = (self._read(length) for length in lengths)
        return Answer(command, code, out, err, "".join(head[3:]).strip())

    def works(self, command: str, answer: str = "") -> Answer:
        """Run what has to succeed, every line of it."""
        said = self.type(command, answer)
        assert (said.exit_code, said.failed) == (0, ""), str(said)
        return said

    def shows(self, command: str) -> Answer:
        """Run what has to succeed at a terminal of 80 columns, stdin included; tell what stays there."""
        said = self.works(f"script -qec {shlex.quote(command)} /dev/null")
        lines = said.out.replace("\r\n", "\n").split("\n")
        return replace(said, command=command, out="\n".join(line.rpartition(CLEARED)[2] for line in lines))

    def close(self) -> None:
        self._shell.kill()
        self._shell.communicate()

    def _write(self, text: str) -> None:
        assert self._shell.stdin
        self._shell.stdin.write(text.encode())
        self._shell.stdin.flush()

    def _read_line(self) -> str:
        assert self._shell.stdout
        assert select.select([self._shell.stdout], [], [], SECONDS)[0], "the command does not end"
        line = self._shell.stdout.readline().decode()
        assert line, "the shell has ended"
        return line

    def _read(self, length: int) -> str:
        assert self._shell.stdout
        return self._shell.stdout.read(length).decode()


def follow(terminal: Terminal, text: str, meanwhile: str = "", **placeholders: str) -> None:
    """Type every command of a part of the manual, in order; its console blocks show what has to come out.

    ``meanwhile`` is what an application writes before each sync.
    """
    for kind, block in BLOCK.findall(text):
        for name, value in placeholders.items():
            block = block.replace(name, value)
        if kind == "sh":
            terminal.works(block, answer="y\n")
        elif kind == "console":
            for command, output in console(f"```console\n{block}```\n"):
                if meanwhile and " sync " in command:
                    terminal.works(meanwhile)
                check(terminal.shows(command), re.sub(r"^# .*\n?", "", output, flags=re.MULTILINE))


def check(said: Answer, output: str) -> None:
    """Compare with what is shown; what yoyo reports goes to stderr."""
    assert shown(output.strip("\n"), said.out or said.err), str(said)


def of(page: str, title: str) -> str:
    return section(text_of(MANUAL / f"{page}.md"), title)


def provide_repository(host: LabHost, folder: Path) -> None:
    """Lay this checkout where the newcomer clones it from, as of an older version and of the newest."""
    copy_checkout(folder)
    archive = subprocess.run(["tar", "-C", folder, "-c", "."], check=True, capture_output=True).stdout
    host.run(f"mkdir -p {UPSTREAM} && tar -C {UPSTREAM} -x", input=archive, text=False)


@pytest.fixture(scope="module")
def terminal(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    """A bare Debian with an account that may sudo, and a repository to clone."""
    host = lab.host("newcomer")
    provide_repository(host, tmp_path_factory.mktemp("newcomer"))
    host.run(
        f"useradd -m -s /bin/bash {ACCOUNT} && echo '{ACCOUNT} ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/newcomer"
        f" && chown -R {ACCOUNT}: {UPSTREAM} && apt-get update -qq && apt-get install -qq -y curl"
    )
    opened = Terminal(host)
    follow(opened, of("platforms", "Debian and Ubuntu by hand"))
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def checkout(terminal: Terminal) -> Terminal:
    """A clone, in which the terminal stays."""
    terminal.works(
        f"git -C {UPSTREAM} init -q && git -C {UPSTREAM} add -A && git -C {UPSTREAM} -c user.name=c -c user.email=c@c"
        f" commit -qm first && git -C {UPSTREAM} tag before && git clone -q {UPSTREAM} callytics && cd callytics"
    )
    return terminal


def test_the_demonstration_needs_nothing_but_the_clone(checkout: Terminal) -> None:
    """Samples first, then the newcomer's own files, read from a folder."""
    samples, own_files = blocks(of("quickstart", "See it work"), "sh")
    checkout.works(samples)
    checkout.works("mkdir calls && .venv/bin/callytics sample --generation 1 --calls 50 calls/Callytics.sqlite")
    assert "==> Done: 1 file(s) are in PostgreSQL" in checkout.works(own_files).out
    checkout.works(".venv/bin/callytics server stop .demo-files --remove --yes")


@pytest.fixture(scope="module")
def installed(checkout: Terminal) -> Terminal:
    """The program in a virtual environment of the terminal's, with its settings."""
    follow(checkout, of("quickstart", "Install"))
    return checkout


@pytest.fixture(scope="module")
def created(installed: Terminal) -> Terminal:
    """The two roles and an empty database."""
    roles, *_later = blocks(of("quickstart", "Create the database"), "sh")
    installed.works(roles)
    return installed


@dataclass(frozen=True)
class WrongTurn:
    """A command that refuses, and the words of its one line."""

    command: str
    words: str
    exit_code: int = 1

    def take(self, terminal: Terminal) -> None:
        said = terminal.type(self.command)
        assert said.exit_code == self.exit_code, str(said)
        assert re.search(self.words, said.error), str(said)


@pytest.mark.parametrize("command", ["agent list", "undo 1 --yes", "import --yes calls/Callytics.sqlite", "report"])
def test_without_tables_every_command_names_migrate(created: Terminal, command: str) -> None:
    WrongTurn(f"callytics {command}", "run 'callytics migrate'").take(created)


@pytest.fixture(scope="module")
def keyboard(created: Terminal) -> Iterator[Keyboard]:
    """A second window of the newcomer's, where questions are asked, bars are drawn and Ctrl-C is a key."""
    host = created.host
    with Keyboard(["ssh", "-tt", "-F", str(host.ssh_config), host.name, "--", f"runuser -l {ACCOUNT}"]) as opened:
        assert opened.type("cd callytics && . .venv/bin/activate").exit_code == 0
        yield opened


def read(seen: Seen, words: str, exit_code: int) -> None:
    """Compare the end of a command with what is on the screen: words, whole lines, the exit code."""
    assert (seen.exit_code, seen.too_wide) == (exit_code, []), seen.text
    assert squeezed(words) in seen.squeezed, seen.text
    assert "Traceback" not in seen.text


def refuses(seen: Seen, words: str, kind: str = "Error", exit_code: int = 1) -> None:
    """Require one line, wrapped in whole, that both languages of the manual explain."""
    read(seen, words, exit_code)
    [line] = re.findall(rf"^{kind}: ((?:.*\n)(?:  .*\n)*)", "\n".join(seen.lines) + "\n", re.MULTILINE)
    for page in TROUBLESHOOTING:
        patterns = [".*".join(map(re.escape, squeezed(known).split("…"))) for known in explained(page) if "…" in known]
        told = [one for one in patterns if len(one) > len("..*") and re.fullmatch(one, squeezed(line))]
        assert told, f"{page.parent.name}/{page.name} does not explain {line}"


def test_without_tables_a_terminal_shows_the_way(keyboard: Keyboard) -> None:
    refuses(keyboard.type("callytics import calls/Callytics.sqlite"), "run 'callytics migrate'")
    refuses(keyboard.type("callytics agent list"), "run 'callytics migrate'")
    read(keyboard.type("callytics env check"), "The settings are complete", 0)


@pytest.fixture(scope="module")
def imported(created: Terminal) -> Terminal:
    """The tables, then what the page imports, with the output that it shows."""
    for block in BLOCK.findall(of("quickstart", "Create the database"))[1:]:
        follow(created, "```{}\n{}```\n".format(*block))
    follow(created, of("quickstart", "Import"))
    return created


def query(terminal: Terminal, statement: str) -> str:
    """Ask as the application's role, by the line of the page on the configuration."""
    [line] = blocks(of("configuration", "Where each program looks"), "sh")
    return terminal.works(line, answer=f"\\pset format unaligned\n\\t\n{statement}").out.splitlines()[-1]


def test_what_was_imported_is_counted_in_psql(imported: Terminal) -> None:
    [statement] = blocks(of("quickstart", "Import"), "sql")
    assert query(imported, statement) == statement.split("-- ")[1].strip()


WRONG_TURNS = [
    WrongTurn("callytics import nowhere.sqlite", "nowhere.sqlite does not exist: check the path"),
    WrongTurn("callytics import README.md", "README.md is not an SQLite database"),
    WrongTurn(
        "python3 -c \"import sqlite3; sqlite3.connect('shop.sqlite').execute('create table customers (id)')\";"
        " callytics import --yes shop.sqlite",
        "shop.sqlite holds no table of Callytics, but customers",
    ),
    WrongTurn("callytics import docs", "is a folder without an SQLite file"),
    WrongTurn("callytics --env-file nope.env migrate", "nope.env is not there: check the path after --env-file"),
    WrongTurn("callytics import --timezone KST Callytics_new.sqlite", "KST is not a time zone: use a name such as"),
    WrongTurn("callytics report --output report.pdf", "has no suffix of a report: end its name in .html", 1),
    WrongTurn("callytics undo 7", "there is no import 7"),
    WrongTurn("callytics server stop --yes docs", "holds no private PostgreSQL: nothing was done"),
    WrongTurn(
        "sed \"s/^\\(POSTGRES_OWNER_PASSWORD=\\).*/\\1'wrong'/\" .env >wrong.env;"
        " callytics --env-file wrong.env import --yes Callytics_new.sqlite",
        "POSTGRES_OWNER_PASSWORD",
    ),
    WrongTurn(
        'sed "s/^\\(POSTGRES_PORT=\\).*/\\15999/" .env >port.env; callytics --env-file port.env agent list',
        "Connection refused.*POSTGRES_PORT",
    ),
    WrongTurn("PYTHONIOENCODING=ascii LC_ALL=C callytics import 없는파일.sqlite", "does not exist: check the path"),
]


@pytest.mark.parametrize("turn", WRONG_TURNS, ids=lambda turn: turn.command.split(";")[-1].strip())
def test_a_wrong_turn_ends_in_one_line(imported: Terminal, turn: WrongTurn) -> None:
    turn.take(imported)


def test_half_an_installation_is_noticed_before_it_is_imported(imported: Terminal) -> None:
    """Generation 3 consists of two files: of one alone, the name of the other is said."""
    imported.works("callytics sample --generation 3 --calls 2 --seed 3 half")
    said = imported.works("callytics inspect half/consultation_quality.sqlite")
    assert "The other database of the installation, audio_analysis, is not among the files" in said.out


def test_half_an_installation_is_told_before_the_question(imported: Terminal, keyboard: Keyboard) -> None:
    asked = keyboard.type("callytics import half/consultation_quality.sqlite", until="[y/N]")
    assert squeezed("the other database of the installation, audio_analysis, is not imported yet") in asked.squeezed
    assert asked.lines[-1] == "callytics holds calls already: add these to them? [y/N]"
    assert asked.too_wide == []
    read(keyboard.press("n\n"), "Aborted!", 1)
    read(keyboard.type("callytics verify half/consultation_quality.sqlite"), "was never imported here", 1)


def test_nothing_is_lost_after_wrong_turns(imported: Terminal) -> None:
    assert (
        "Verified: all values of 4,478 rows are equal." in imported.works("callytics verify Callytics_new.sqlite").out
    )


def test_a_server_that_is_down_is_named_and_back_again(imported: Terminal) -> None:
    imported.works("sudo systemctl stop postgresql")
    try:
        WrongTurn("callytics verify Callytics_new.sqlite", "Connection refused.*is PostgreSQL running").take(imported)
    finally:
        imported.works("sudo systemctl start postgresql")
    imported.works("callytics verify Callytics_new.sqlite")


def test_settings_with_windows_line_ends_are_warned_of(imported: Terminal) -> None:
    imported.works("sed 's/$/\\r/' .env >windows.env && chmod 600 windows.env")
    assert "Windows line ends" in (said := imported.works("callytics --env-file windows.env env check")).out + said.err
    imported.works("callytics --env-file windows.env verify Callytics_new.sqlite")


def test_korean_names_work_in_a_bare_locale(imported: Terminal) -> None:
    imported.works("mkdir 통화 && cp Callytics_new.sqlite 통화/상담.sqlite")
    said = imported.works("LC_ALL=C callytics inspect 통화/상담.sqlite")
    assert "통화/상담.sqlite" in said.out
    assert "already imported" in imported.works("LC_ALL=C callytics import 통화/상담.sqlite").out


def test_a_disk_that_is_too_small_is_refused_before_anything_is_written(imported: Terminal) -> None:
    imported.works("mkdir small && sudo mount -t tmpfs -o size=1m,uid=$(id -u) tmpfs small")
    imported.works("callytics sample --generation 3 --calls 100 pair")
    WrongTurn("callytics import --snapshots small --yes pair", "no room for a snapshot").take(imported)
    assert imported.works("ls -A small").out == ""
    imported.works("sudo umount small")


def test_ctrl_c_ends_at_once_and_the_same_command_goes_on(imported: Terminal) -> None:
    """The key reaches every process of the terminal; timeout does as much with --foreground unset."""
    imported.works("callytics sample --generation 1 --calls 12000 large.sqlite")
    command = "callytics import --yes large.sqlite"
    said = imported.type(f"timeout --preserve-status -s INT 2 {command}")
    assert said.exit_code == 130, str(said)
    assert "interrupted; what was committed stays: " in said.error
    assert "Verified: all values of" in imported.works(command).out


WRONG_TURNS_AT_A_TERMINAL = {
    "wrong file": ("callytics import shop.sqlite", "holds no table of Callytics, but customers: is it the right file?"),
    "no file": ("callytics import nowhere.sqlite", "nowhere.sqlite does not exist: check the path"),
    "text": ("callytics import README.md", "README.md is not an SQLite database"),
    "wrong password": (
        "callytics --env-file wrong.env import Callytics_new.sqlite",
        "correct POSTGRES_OWNER_USER and POSTGRES_OWNER_PASSWORD",
    ),
    "LC_ALL=C": (
        "LC_ALL=C callytics import 통화/없는파일.sqlite",
        "통화/없는파일.sqlite does not exist: check the path",
    ),
    "no import": ("callytics undo 7", "there is no import 7"),
}


@pytest.mark.parametrize("turn", WRONG_TURNS_AT_A_TERMINAL)
def test_a_wrong_turn_at_a_terminal_is_told_in_whole_lines(imported: Terminal, keyboard: Keyboard, turn: str) -> None:
    """No question is asked before what is wrong is said, and the right command works after it."""
    command, words = WRONG_TURNS_AT_A_TERMINAL[turn]
    refuses(keyboard.type(command), words)
    read(keyboard.type("callytics verify Callytics_new.sqlite"), "Verified: all values of 4,478 rows are equal.", 0)


def test_windows_line_ends_are_told_in_whole_lines(imported: Terminal, keyboard: Keyboard) -> None:
    seen = keyboard.type("callytics --env-file windows.env env check")
    refuses(seen, "save it with Unix line ends", kind="warning", exit_code=0)


def test_a_server_that_is_down_is_told_in_whole_lines(imported: Terminal, keyboard: Keyboard) -> None:
    imported.works("sudo systemctl stop postgresql")
    try:
        refuses(keyboard.type("callytics verify Callytics_new.sqlite"), "is PostgreSQL running")
    finally:
        imported.works("sudo systemctl start postgresql")
    read(keyboard.type("callytics verify Callytics_new.sqlite"), "Verified: all values of 4,478 rows are equal.", 0)


def test_a_small_disk_is_told_in_whole_lines(imported: Terminal, keyboard: Keyboard) -> None:
    imported.works("test -e pair || callytics sample --generation 3 --calls 100 pair")
    imported.works("mkdir -p small && sudo mount -t tmpfs -o size=1m,uid=$(id -u) tmpfs small")
    refuses(keyboard.type("callytics import --snapshots small pair"), "name another folder with --snapshots")
    imported.works("sudo umount small")
    read(keyboard.type("callytics inspect pair"), "Every value can be held as it is.", 0)


def test_the_key_ctrl_c_leaves_a_clean_line(imported: Terminal, keyboard: Keyboard) -> None:
    """The bar goes, one line stays, and the same command goes on from where it was."""
    keyboard.type("callytics sample --generation 1 --calls 12000 --seed 5 pressed.sqlite")
    command = "callytics import --yes pressed.sqlite"
    assert keyboard.type(command, until="% of ").too_wide == []
    seen = keyboard.press(CTRL_C)
    refuses(seen, "run the same command again to go on from there", exit_code=130)
    assert re.match(r"Error: interrupted; ", "\n".join(seen.lines).lstrip("^C\n")), seen.text
    read(keyboard.type(command), "Verified: all values of", 0)


def test_a_backup_is_restored_and_verified(imported: Terminal) -> None:
    follow(imported, of("operations", "Back up without pgBackRest"))


def test_rows_of_the_application_are_counted_before_going_back(imported: Terminal) -> None:
    [statement] = blocks(of("operations", "Go back"), "sql")
    owner = '(. ./.env; PGPASSWORD=$POSTGRES_OWNER_PASSWORD psql -h localhost -U callytics_owner -XAt "$POSTGRES_DB")'
    assert imported.works(owner, answer=statement).out == "0\n"


def test_a_trial_is_undone_and_a_running_application_cut_over(imported: Terminal) -> None:
    follow(imported, of("quickstart", "Use a new database for the real files"))
    imported.works("cp pair/*.sqlite .")
    follow(imported, of("cut-over", "The commands"), meanwhile=APPLICATION)


def test_the_api_answers_as_the_page_shows(imported: Terminal) -> None:
    [serve] = blocks(of("api", "Start it"), "sh")
    [agent] = [command for command, _ in console(text_of(MANUAL / "commands.md")) if " agent add minsu" in command]
    imported.works(agent, answer="correct horse battery\n")
    imported.works(f"{serve.strip()} >serve.log 2>&1 &\ncurl -sf --retry 50 --retry-connrefused localhost:8000/health")
    token = ""
    for command, output in console(of("api", "A session with curl")):
        if command.startswith("cat "):
            imported.works(f"cat >{command.split()[1]}", answer=output)
        elif not command.startswith("TOKEN="):
            said = imported.works(command.replace("$TOKEN", token))
            token = token or (json.loads(said.out).get("access_token", ""))
    imported.works("kill %1; wait %1 || true")


def test_an_upgrade_and_the_way_back_keep_the_data(imported: Terminal) -> None:
    """The newer version brings a migration."""
    new = "9999.newcomer"
    imported.works(
        f"cd {UPSTREAM} && echo 'create table newcomer (id int);' >migrations/{new}.sql"
        f" && echo 'drop table newcomer;' >migrations/{new}.rollback.sql && git add -A"
        " && git -c user.name=c -c user.email=c@c commit -qm newer; cd ~/callytics"
    )
    follow(imported, of("operations", "Upgrade Callytics"), MIGRATION=newest(), VERSION="before")
    assert "Verified" in imported.works("callytics verify audio_analysis.sqlite consultation_quality.sqlite").out


def test_nothing_but_the_sqlite_files_stays_after_uninstalling(imported: Terminal) -> None:
    imported.works("sudo -u postgres dropdb callytics_restored")
    follow(imported, of("operations", "Uninstall"))
    left = "select datname from pg_database union all select rolname from pg_roles"
    assert "callytics" not in imported.works(f'sudo -u postgres psql -XAtc "{left}"').out
    assert imported.works(
        "test ! -e .venv && test ! -e .env && test ! -e callytics-imports && ls *.sqlite"
    ).out.split() == [
        "Callytics_new.sqlite",
        "audio_analysis.sqlite",
        "consultation_quality.sqlite",
        "large.sqlite",
        "pressed.sqlite",
        "shop.sqlite",
    ]
