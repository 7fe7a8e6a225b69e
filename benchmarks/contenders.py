"""Who imports: callytics, psql's \\copy and pgloader, each up to the same end state."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from processes import Usage, run_watched

from callytics.importer.target.catalogue import declared_columns
from callytics.postgres.sql import quote
from callytics.settings import Settings
from callytics.trial.embedded import EmbeddedPostgres

TIMEOUT_SECONDS = 1800.0
USER, PASSWORD = "callytics_user", "benchmark-user"


@dataclass(frozen=True)
class Bench:
    """What all contenders share: the server, the files and their tables, these as text, and a folder to work in.

    With ``search`` the indexes for searching are built by all who build indexes.
    """

    server: EmbeddedPostgres
    files: tuple[Path, ...]
    tables: tuple[str, ...]
    exported: Path
    folder: Path
    search: bool = False

    def settings(self, database: str) -> Settings:
        return Settings(("127.0.0.1",), self.server.port, database, USER, PASSWORD)

    def environment(self, database: str) -> dict[str, str]:
        """Return the environment by which psql, pgloader and callytics find a database."""
        settings = {"HOST": "127.0.0.1", "PORT": str(self.server.port), "USER": USER, "PASSWORD": PASSWORD}
        ours = {f"POSTGRES_{name}": value for name, value in settings.items()} | {"POSTGRES_DB": database}
        return ours | {f"PG{name}": value for name, value in settings.items()} | {"PGDATABASE": database}


@dataclass(frozen=True)
class Step:
    """A part of a contender's work that is timed by itself."""

    name: str
    usage: Usage


def ours(bench: Bench, database: str, *, verify: bool) -> Iterator[Step]:
    """`callytics import`; without verification by a limit that commands do not offer."""
    arguments = ["--env-file", os.devnull, "import", "--quiet", "--yes", "--snapshots", bench.folder / database]
    code = f"from callytics.cli import main; from callytics.importer import Limits; main(Limits(verify={verify}))"
    command = [sys.executable, "-c", code, *arguments, *bench.files]
    yield Step("import", run_watched(command, timeout=TIMEOUT_SECONDS, environment=bench.environment(database))[0])
    shutil.rmtree(bench.folder / database)


def text_copy(bench: Bench, database: str, *, sessions: int) -> Iterator[Step]:
    """psql's \\copy of the tables, then the indexes and keys, by as many sessions side by side."""
    yield Step("load", psql(bench, database, [list(map(_copy, part)) for part in _shared(bench, sessions)]))
    yield from builds(bench, database, sessions)


def _shared(bench: Bench, sessions: int) -> list[list[Path]]:
    """Return the exported tables of each session, so that all have about as much to do."""
    shares: list[list[Path]] = [[] for _ in range(sessions)]
    exported = {file.stem: file for file in bench.exported.iterdir()}
    for file in sorted((exported[table] for table in bench.tables), key=lambda file: -file.stat().st_size):
        min(shares, key=lambda share: sum(one.stat().st_size for one in share)).append(file)
    return shares


def _copy(exported: Path) -> str:
    if exported.suffix == ".txt":
        return f"\\copy {exported.stem} from '{exported}'"
    names = ", ".join(map(quote, declared_columns()[exported.stem]))
    return f"\\copy {exported.stem} ({names}) from '{exported}' with (format csv)"


def pgloader(bench: Bench, database: str) -> Iterator[Step]:
    """pgloader into tables that stand there with keys and partitions, then the same indexes and foreign keys."""
    yield from _pgloader(bench, database, "data only, truncate, reset no sequences")
    yield from builds(bench, database, 1)


def pgloader_alone(bench: Bench, database: str) -> Iterator[Step]:
    """pgloader as it comes: it makes its own tables, with the source's indexes and foreign keys, unpartitioned."""
    yield from _pgloader(bench, database, "include drop, create tables, create indexes, reset sequences")


def _pgloader(bench: Bench, database: str, how: str) -> Iterator[Step]:
    for file in bench.files:
        yield Step(f"load {file.stem}", _pgloader_of(bench, file, database, how))


def _pgloader_of(bench: Bench, file: Path, database: str, how: str) -> Usage:
    command_file = bench.folder / "pgloader.load"
    place = f"postgresql://{USER}:{PASSWORD}@127.0.0.1:{bench.server.port}/{database}"
    command_file.write_text(
        f"load database from sqlite://{file} into {place} with {how}, workers = 4, concurrency = 2\n"
        "set timezone to 'UTC', maintenance_work_mem to '256MB';\n"
    )
    usage, output = run_watched(
        ["pgloader", "--root-dir", bench.folder / "pgloader", command_file], timeout=TIMEOUT_SECONDS
    )
    if "ERROR" in output or "FATAL" in output:
        raise SystemExit(f"pgloader lost rows:\n{output}")
    return usage


def builds(bench: Bench, database: str, sessions: int) -> Iterator[Step]:
    """What brings a loaded database to the common end state."""
    recorded = json.loads((bench.folder / "definitions.json").read_text())
    indexes = [definition for kind, _, _, definition in recorded if kind == "index"]
    keys = [
        f"alter table {table} add constraint {name} {definition}"
        for kind, table, name, definition in recorded
        if kind == "foreign key"
    ]
    statistics_of = [f"analyze {table}" for table in bench.tables]
    for name, statements in (("analyze", statistics_of), ("indexes", indexes), ("foreign keys", keys)):
        # Each session has one of the two large tables.
        halves = [statements[half::sessions] for half in range(sessions)]
        yield Step(name, psql(bench, database, halves))


def psql(bench: Bench, database: str, sessions: Iterable[list[str]]) -> Usage:
    """Run statements by psql, one session a list, side by side."""
    scripts = []
    for number, statements in enumerate(sessions):
        script = bench.folder / f"script-{number}.sql"
        lines = ["set timezone = 'UTC';", *(f"{line}{'' if line.startswith(chr(92)) else ';'}" for line in statements)]
        script.write_text("\n".join(lines) + "\n")
        scripts.append(f"psql -X -q -v ON_ERROR_STOP=1 -f {script}")
    command = ["sh", "-c", " & ".join(scripts[1:]) + f"{' & ' if scripts[1:] else ''}{scripts[0]} && wait"]
    return run_watched(command, timeout=TIMEOUT_SECONDS, environment=bench.environment(database))[0]


AS_IT_COMES = "pgloader as it comes"
OURS = ("callytics import, every value verified", "callytics import, verification left out")
AS_USERS_HAVE_IT = "callytics import, verified, search index included"
CONTENDERS: dict[str, Callable[[Bench, str], Iterator[Step]]] = {
    "callytics import, every value verified": lambda bench, database: ours(bench, database, verify=True),
    "callytics import, verification left out": lambda bench, database: ours(bench, database, verify=False),
    AS_USERS_HAVE_IT: lambda bench, database: ours(bench, database, verify=True),
    "psql \\copy of exported text": lambda bench, database: text_copy(bench, database, sessions=1),
    "psql \\copy, two sessions": lambda bench, database: text_copy(bench, database, sessions=2),
    "pgloader": pgloader,
    "pgloader as it comes": pgloader_alone,
}
INSTALLATION = (
    "callytics import, every value verified",
    "callytics import, verification left out",
    "psql \\copy of exported text",
    "psql \\copy, two sessions",
    AS_IT_COMES,
)
PEERS = ("pgloader", AS_IT_COMES, "psql \\copy of exported text")
