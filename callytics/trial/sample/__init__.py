"""Realistic SQLite files of any generation and size, for demos, tests and measurements.

Python invents the calls (`callytics.trial.sample.calls`), SQLite makes the rows: a batch of calls goes into a temporary
table, which the statements in rows/ join with the stock of scripts and words. Secondary indexes, as the application
created them, are added after the rows.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

from callytics.exceptions import CallyticsError
from callytics.postgres.sql import Queries
from callytics.trial.sample.calls import Call, Stock
from callytics.trial.sample.scripts import Agent, Keyword, Phase, Scenario, Script, Turn, read_words, salt

# The password of every agent account in a generation 3 sample.
SAMPLE_PASSWORD = "callytics-sample"

HERE = Path(__file__).parent
# The names of a generation's files (None: the user's choice) and where their tables and rows are described.
FILES: dict[int, dict[str | None, str]] = {
    1: {None: "generation_1"},
    2: {None: "generation_2"},
    3: {"audio_analysis.sqlite": "generation_3_audio", "consultation_quality.sqlite": "generation_3_quality"},
}
BATCH_CALLS = 2_000
# One hash for a few agents: each takes a tenth of a second.
PASSWORD_SALTS = 4
# As the application hashed: AgentAuth must be able to check them.
PASSWORD_ROUNDS = 100_000

# Speed for a file that nobody reads before it is complete. None of these stays in the file.
FAST = """
pragma journal_mode = off;
pragma synchronous = off;
pragma locking_mode = exclusive;
pragma cache_size = -32768;
"""


def write_sample(
    path: Path,
    *,
    generation: int,
    calls: int,
    seed: int,
    progress: Callable[[int], None] | None = None,
) -> dict[str, int]:
    """Write a database of a generation with a number of calls and return the number of rows of each table.

    Generations 1 and 2 write the file ``path``, generation 3 the files audio_analysis.sqlite and
    consultation_quality.sqlite into the folder ``path``, which must be absent or empty. The same seed gives the same
    bytes (with the same SQLite version). Nothing has its final name before it is complete, and nothing that exists is
    overwritten; a run that is killed may leave a folder .callytics-sample-… behind. ``progress`` is called after each
    batch with the number of calls in it. Memory does not grow with ``calls``. Raises CallyticsError for a path or
    number that can't be used.
    """
    _refuse(path, generation, calls)
    # A text as seed is hashed with SHA-512, unlike by hash(), which differs from process to process.
    rng = Random(f"callytics-{generation}-{seed}")
    with _staging(path, folder=generation == 3) as staging:
        rows = _write(staging, path, Stock(generation, calls, rng), calls, rng, progress)
        _publish(staging, path, folder=generation == 3)
    return rows


def _refuse(path: Path, generation: int, calls: int) -> None:
    if generation not in FILES:
        raise CallyticsError(f"generation {generation} does not exist: choose 1, 2 or 3")
    if calls < 0:
        raise CallyticsError(f"calls is {calls}: give a number that is not negative")
    if generation == 3 and path.is_dir() and not path.is_symlink():
        if any(path.iterdir()):
            raise CallyticsError(f"{path} is not empty: name an empty folder or one that does not exist yet")
    elif path.exists() or path.is_symlink():
        raise CallyticsError(f"{path} exists already: remove it or choose another name")
    elif not path.parent.is_dir():
        raise CallyticsError(f"{path.parent} is not a folder: create it first or choose another place")


@contextmanager
def _staging(path: Path, *, folder: bool) -> Iterator[Path]:
    """Lend a folder beside the target, or in it if it is an existing folder, and remove it afterwards."""
    # On the same file system as the target, so that renaming is all that is left to do.
    beside = path if folder and path.is_dir() else path.parent
    try:
        staging = Path(tempfile.mkdtemp(prefix=".callytics-sample-", dir=beside))
        try:
            yield staging
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    except (OSError, sqlite3.OperationalError) as error:
        raise CallyticsError(f"{path} can't be written: {error}") from error


def _publish(staging: Path, path: Path, *, folder: bool) -> None:
    """Give the finished files their names."""
    if path.exists() and not folder:
        raise CallyticsError(f"{path} appeared while the sample was written: choose another name")
    if folder:
        path.mkdir(exist_ok=True)
    for file in sorted(staging.iterdir()):
        file.rename(path / file.name if folder else path)


def _write(
    staging: Path,
    path: Path,
    stock: Stock,
    count: int,
    rng: Random,
    progress: Callable[[int], None] | None,
) -> dict[str, int]:
    words = _analysis_words(stock, rng)
    calls = stock.calls(count, rng)
    with ExitStack() as stack:
        files = [
            stack.enter_context(SampleFile(staging / (name or path.name), source))
            for name, source in FILES[stock.generation].items()
        ]
        for file in files:
            file.begin(stock, words)
        while batch := list(islice(calls, BATCH_CALLS)):
            for file in files:
                file.add(batch)
            if progress is not None:
                progress(len(batch))
        return {table: rows for file in files for table, rows in file.finish().items()}


def _analysis_words(stock: Stock, rng: Random) -> dict[str, list[dict[str, Any]]]:
    """Return generation 3's word lists, each word with its number and salt."""
    if stock.generation < 3:
        return {}
    words = read_words("analysis")
    words["department"] = [{"name": name} for name in words.pop("departments")]
    words["specialization"] = [{"name": name} for name in words.pop("specializations")]
    words["password"] = [{"hash": _password_hash(f"{rng.getrandbits(128):032x}")} for _ in range(PASSWORD_SALTS)]
    return {
        name: [{"n": n, "salt": salt(rng), **word} for n, word in enumerate(entries)] for name, entries in words.items()
    }


def _password_hash(password_salt: str) -> str:
    """Hash the sample password as the application does: the salt's text, not its bytes, is what salts."""
    digest = hashlib.pbkdf2_hmac("sha256", SAMPLE_PASSWORD.encode(), password_salt.encode(), PASSWORD_ROUNDS)
    return f"{password_salt}${digest.hex()}"


class SampleFile:
    """One SQLite file in the making: `begin`, `add` batches of calls, `finish`; a context manager closes it."""

    def __init__(self, path: Path, source: str) -> None:
        schema = (HERE / "schema" / f"{source}.sql").read_text(encoding="utf-8")
        self.tables = [part for part in statements(schema) if is_table(part)]
        self.rest = [part for part in statements(schema) if not is_table(part)]
        self.rows = Queries(HERE / "rows" / f"{source}.sql")
        # The transactions are ours: the module would begin its own before each INSERT.
        self.connection = sqlite3.connect(path, isolation_level=None)

    def __enter__(self) -> SampleFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    def begin(self, stock: Stock, words: dict[str, list[dict[str, Any]]]) -> None:
        """Create the tables, without indexes, and the rows that do not depend on calls."""
        # Before the first transaction, inside which these pragmas change nothing.
        self.connection.executescript(FAST)
        self._run("\n".join(self.tables))
        self._stock(stock, words)
        self._run(self.rows["before"])

    def _stock(self, stock: Stock, words: dict[str, list[dict[str, Any]]]) -> None:
        """Copy the stock of scripts and words into temporary tables."""
        languages = stock.languages
        self._table("scenario", Scenario._fields, stock.scenarios)
        self._table("keyword", Keyword._fields, (row for part in languages for row in part.keywords))
        self._table("script", Script._fields, stock.scripts)
        self._table("turn", Turn._fields, (row for part in languages for row in part.turns), key="script, n")
        self._table("phase", Phase._fields, (row for part in languages for row in part.phases), key="script, n")
        self._table("agent", Agent._fields, stock.agents)
        self._table("call", Call._fields, [], key="id")
        for name, entries in words.items():
            fields = list(dict.fromkeys(field for entry in entries for field in entry))
            self._table(name, fields, ([entry.get(field) for field in fields] for entry in entries))
        common = Queries(HERE / "rows" / "common.sql")
        self.connection.executescript(common["spoken"])
        for name in words:
            # A table's name can't be a parameter; these come from our own files.
            self.connection.executescript(common["each"].replace("WORD", name))

    def _table(self, name: str, fields: Iterable[str], rows: Iterable[Sequence[Any]], key: str = "") -> None:
        columns = ", ".join(fields)
        ending = f", primary key ({key})) without rowid" if key else ")"
        self.connection.execute(f"create temp table {name} ({columns}{ending}")
        self._insert(name, len(columns.split(",")), rows)

    def _insert(self, table: str, width: int, rows: Iterable[Sequence[Any]]) -> None:
        self.connection.execute("begin")
        marks = ", ".join("?" * width)
        self.connection.executemany(f"insert into temp.{table} values ({marks})", rows)  # noqa: S608
        self.connection.execute("commit")

    def _run(self, script: str) -> None:
        self.connection.executescript(f"begin;\n{script}\ncommit;")

    def add(self, batch: list[Call]) -> None:
        """Write all rows of these calls."""
        self.connection.execute("delete from temp.call")
        self._insert("call", len(Call._fields), batch)
        self._run(self.rows["batch"])

    def finish(self) -> dict[str, int]:
        """Write the last rows, create indexes, views and triggers, and return the number of rows of each table."""
        self._run(self.rows["after"])
        self._run("\n".join(self.rest))
        return dict(self._counts())

    def _counts(self) -> Iterator[tuple[str, int]]:
        tables = "select name from sqlite_master where type = 'table' and name <> 'sqlite_sequence'"
        for (table,) in self.connection.execute(tables).fetchall():
            yield table, self.connection.execute(f"select count(*) from {table}").fetchone()[0]  # noqa: S608


def statements(script: str) -> Iterator[str]:
    """Split SQL into statements; a trigger's body stays together."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def is_table(statement: str) -> bool:
    """Tell whether a statement creates a table."""
    return re.search(r"^create table", statement, re.IGNORECASE | re.MULTILINE) is not None
