"""How long the first and the next page of a search take, of what was said and of calls.

    python benchmarks/search.py [--calls 75000] [--runs 5] [--inside] [--computed] [--keep FOLDER] [WORD …]

Makes generation 3 databases with so many calls, imports them into a private PostgreSQL with the settings that deploy/
gives a host of this size, and asks `MultiDatabaseManager` for pages of 50, excerpts included, as the API
does: for a reader who sees all calls, for an agent who sees their own, as many as half of the agents have at least, and
for the ten of a team. The words are those of every frequency that the sample has, and some that stand together or
nowhere. With --keep the server stays in FOLDER, and the next run with it takes seconds.

--inside applies the optional migration that finds Korean words inside others, and tells how long it took and how large
its indexes are. --computed counts, instead of the clock's milliseconds, those that this process and the server computed
(Linux): what other work on the machine changes little.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import click
from contenders import PASSWORD, USER
from machine import memory_bytes, versions
from processes import TICKS, tree

from callytics.calls import MultiDatabaseManager
from callytics.calls.finding.paging import Page
from callytics.importer import Options, import_files
from callytics.postgres import PostgreSQLManager, connected
from callytics.schema import optional
from callytics.schema.migrate import migrate
from callytics.settings import Settings
from callytics.trial.embedded import EmbeddedPostgres
from callytics.trial.sample import write_sample
from deploy.tuning import postgres_settings

WORDS = (
    "네",
    "고객님",
    "확인을",
    "문의",
    "요금",
    "하루",
    "해지",
    "환불",
    "위약금",
    "재발행",
    "없는말",
    "요금 할인",
    "고객님 확인",
)
# Agents of a team, as many as a team of the sample has.
TEAM = 10
READERS = """
with agents as (
    select agent_name, row_number() over (order by count(*), agent_name) as place, count(*) over () as agents
    from consultation_sessions
    where agent_name <> ''
    group by agent_name
)
select array_agg(agent_name order by place) as names
from agents
where place between (agents + 1) / 2 and (agents + 1) / 2 + %s
"""
HITS = """
select count(*) as hits from transcriptions where to_tsvector('simple', left(text_content, 100000)) @@ %s::tsquery
"""
OPTIONAL = "search-inside-words"
# Words that the sample has inside others, and one that is nowhere.
INSIDE = ("결제", "불요청", "객님", "약금", "하십", "습니", "없는말", "요금 결제")
SIZES = """
select sum(pg_relation_size(i.indexrelid))
from pg_index as i
join pg_class as c on c.oid = i.indexrelid
where c.relname ~ %s
"""
Clock = Callable[[], float]


def provide(server: EmbeddedPostgres, settings: Settings, folder: Path, calls: int) -> None:
    """Fill a database with a sample of so many calls, unless an earlier run with --keep has."""
    server.provide(settings)
    migrate(settings, report=lambda line: None)
    with connected(settings) as connection, connection.cursor() as cursor:
        cursor.execute("select from audio_files limit 1")
        filled = cursor.rowcount
    if not filled:
        write_sample(folder / "sample", generation=3, calls=calls, seed=1)
        files = sorted((folder / "sample").iterdir())
        if code := import_files(settings, files, Options(folder / "snapshots"), lambda *_: None).exit_code:
            raise SystemExit(f"the import of the sample ended with {code}")


def index_words_inside(server: EmbeddedPostgres, settings: Settings, *, wanted: bool) -> None:
    """Apply the optional migration, or take it back, and tell what the index took."""
    begun, computing = time.perf_counter(), computed(server)
    before = computing()
    if not (optional.add if wanted else optional.take_back)(settings, OPTIONAL, report=lambda line: None):
        return
    if wanted:
        with connected(settings) as connection, connection.cursor() as cursor:
            cursor.execute("analyze transcriptions, utterances")
            sizes = []
            for name in ("_syllable_pairs_idx$", "_to_tsvector_idx$"):
                cursor.execute(SIZES, (name,))
                sizes.append(float(cursor.fetchone()[0]) / 1e6)
        click.echo(
            f"{OPTIONAL}: made in {time.perf_counter() - begun:.0f} s, of which the server computed "
            f"{computing() - before:.0f}; {sizes[0]:.0f} MB beside {sizes[1]:.0f} MB of the words' index"
        )


def computed(server: EmbeddedPostgres) -> Clock:
    """Return a clock of the seconds that this process and a server have computed, in sessions that have ended, too."""
    postmaster = int((server.data / "postmaster.pid").read_text().split()[0])

    def read() -> float:
        running = sum(
            _ran(task) for pid in (os.getpid(), *tree(postmaster)) for task in Path(f"/proc/{pid}/task").glob("*")
        )
        ended = Path(f"/proc/{postmaster}/stat").read_text().rpartition(")")[2].split()[13:15]
        return running / 1e9 + sum(map(int, ended)) / TICKS

    return read


def _ran(task: Path) -> int:
    """Return the nanoseconds that a thread has run, none where it has just ended."""
    with suppress(OSError):
        return int((task / "schedstat").read_text().split()[0])
    return 0


def median_ms(run: Callable[[], Page], runs: int, clock: Clock) -> tuple[float, Page]:
    """Return the median of the times of some runs in milliseconds, and what the last one found."""
    times = []
    for _ in range(runs):
        begun = clock()
        page = run()
        times.append((clock() - begun) * 1000)
    return round(statistics.median(times), 1), page


def measure(calls: MultiDatabaseManager, word: str, runs: int, clock: Clock) -> dict[str, Any]:
    """Return how long a word's pages take in milliseconds; None without a second page."""
    found: dict[str, Any] = {"word": word}
    searches: dict[str, Callable[..., Page]] = {
        "said": lambda after: calls.search_transcripts(word, after, snippets=True),
        "calls": lambda after: calls.find_calls(search=word, after=after),
    }
    for name, search in searches.items():
        found[f"{name}_first"], page = median_ms(lambda search=search: search(None), runs, clock)  # type: ignore[misc]
        found[f"{name}_next"] = None
        if page.next:
            found[f"{name}_next"], _ = median_ms(lambda search=search, page=page: search(page.next), runs, clock)  # type: ignore[misc]
    return found


def hits(postgres: PostgreSQLManager, word: str) -> int:
    """Return how many transcriptions a search finds."""
    query = " & ".join(f"'{part}':*" for part in word.split())
    return int(postgres.execute_query(HITS, (query,), fetch="val"))


def readers(postgres: PostgreSQLManager) -> dict[str, list[str] | None]:
    """Return the names whose calls each kind of reader sees."""
    names: list[str] = postgres.execute_query(READERS, (TEAM - 1,), fetch="val")
    return {"all": None, "own": names[:1], "team": names}


def table(reader: str, measured: list[dict[str, Any]]) -> str:
    """Return a reader's figures as a table of the README."""
    lines = [f"| {reader}: word | hits of all | said, first page ms | next | calls, first page ms | next |"]
    lines.append("|---|---|---|---|---|---|")
    for one in measured:
        times = (one[name] for name in ("said_first", "said_next", "calls_first", "calls_next"))
        lines.append(
            f"| {one['word']} | {one['hits']:,} | {' | '.join('' if ms is None else f'{ms:.0f}' for ms in times)} |"
        )
    return "\n".join(lines)


@click.command(help=__doc__)
@click.argument("words", nargs=-1)
@click.option(
    "--calls", default=75_000, show_default=True, help="Calls of the sample: 27 sentences each, in two tables."
)
@click.option("--runs", default=5, show_default=True, help="The median of so many is taken.")
@click.option("--inside", is_flag=True, help="Find Korean words inside others, too.")
@click.option("--computed", "by_account", is_flag=True, help="Count what was computed, not what the clock says.")
@click.option("--keep", type=click.Path(path_type=Path), help="Keep the server in this folder.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the figures there, too.")
def main(
    words: tuple[str, ...],
    calls: int,
    runs: int,
    inside: bool,
    by_account: bool,
    keep: Path | None,
    json_file: Path | None,
) -> None:
    with nullcontext(keep) if keep else tempfile.TemporaryDirectory(dir="/var/tmp") as place:
        folder = Path(place)
        options = postgres_settings(memory_bytes=memory_bytes(), cores=os.cpu_count() or 1)
        server = EmbeddedPostgres(folder / "server", options=options)
        with server:
            settings = Settings(("127.0.0.1",), server.port, "callytics", USER, PASSWORD)
            provide(server, settings, folder, calls)
            index_words_inside(server, settings, wanted=inside)
            clock = computed(server) if by_account else time.perf_counter
            with PostgreSQLManager(settings) as postgres:
                counted = {word: hits(postgres, word) for word in words or (WORDS + INSIDE if inside else WORDS)}
                everything = MultiDatabaseManager(postgres)
                measured = {
                    reader: [
                        measure(everything.seen_by(names), word, runs, clock) | {"hits": counted[word]}
                        for word in counted
                    ]
                    for reader, names in readers(postgres).items()
                }
        if not keep:
            server.remove()
    click.echo("\n\n".join(table(reader, found) for reader, found in measured.items()))
    if json_file:
        json_file.write_text(json.dumps({"versions": versions(), "calls": calls, "readers": measured}, indent=1))


if __name__ == "__main__":
    main()
