"""Hypothesis strategies for odd SQLite files: the tables of the three generations made odd, and tables of nobody."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from tests.support.independent import FLAGS, JSON_COLUMNS, JSON_IN_SOME
from tests.support.odd_files import FOREIGN, Damage, OddFile, OddTable, Text, quoted
from tests.support.samples import write_sample

Draw = Callable[[st.SearchStrategy[Any]], Any]

MOST_ROWS = 15
PAGE_SIZES = [512, 1024, 4096, 8192, 65536]
NAMES = [
    "", " ", "a b", "select", 'quo"te', "it's", "a]b", "`", "테이블", "표 1", "a\nb", "\x1b[31mred", "x" * 300,
    "%s", "{}", "\u202e", "audio_files ", "audio_file", "main", "temp", "other", "json_each",
    "pragma_table_info", "abs", "count", "sqlite", "SQLITEX", "mapped", "source_rowid", "imports", "unmapped",
    "rejected", "Ä", "ä", "İ", "ſ", "K", "é", "e\u0301", "0", "-1", "null", "true", "rowid", "pg_class",
    "public.audio_files", "\\", "a;drop table b", "\ufeff", "\x7f", "😀", "utterances_x", "sqlite_master2",
    "x.y", "values", FOREIGN[0], f"{FOREIGN[0]} 2",
]  # fmt: skip
FILE_NAMES = [
    b"odd \xff\xfe.sqlite", "odd 상담.sqlite".encode("cp949"), "odd 상담.sqlite".encode(), b"odd\n\x1b[31m.sqlite",
    b"odd" + b"x" * 230, b"odd'%s{}\"$(x)?#.sqlite", b"odd\\xff.db", "odd\u202e.sqlite".encode(), b"odd file:.sqlite",
]  # fmt: skip
COLUMN_NAMES = [
    *NAMES, "_rowid_", "oid", "ROWID", "number of the row", "id", "ID", "number", "table_id", "speaker_role",
    "audio_path", "created_at", "updated_at", "mfcc", "mfcc_14", "snapshot", "raw", "text", "blob", "real",
]  # fmt: skip
DATES = [
    "2024-07-01 09:02:04", "2024-07-01T09:02:04.123456", "2024-07-01", "2024-07-01 09:02",
    "2024-07-01 09:02:04Z", "2024-07-01 09:02:04+09:00", "2024-07-01 09:02:04 +0900", "2024-02-30",
    "2023-02-29 00:00:00", "0000-00-00", "0001-01-01", "0001-01-01 00:00:00+14:00", "9999-12-31 23:59:59",
    "9999-12-31 23:59:59.999999-12:00", "10000-01-01", "24-07-01", "2024/07/01", "01.07.2024", "20240701",
    "20240701090204", "202407010902", "1719824524", "1719824524000", "2024050109", "2024-07-01 24:00:00",
    "2024-07-01 23:59:60", "2024-07-01 09:02:04.1234567", "2024-07-01 09:02:04.1000000000", "2024-07-01 ",
    " 2024-07-01", "2024-07-01\n", "2024-W27-1", "2024-183", "now", "infinity", "-infinity", "epoch",
    "allballs", "today", "2024-07-01 09:02:04+24:00", "2024-07-01 09:02:04+00:60", "２０２４-07-01",
    "2024-07-01 09:02:04 AM", "12:00", "1900-01-01 00:00:00", "0099-01-01 00:00:00", "2024-07-01 09:02:04,5",
    "2024-07-01t09:02:04z", "2024-07", "1e9", "2460492.5",
]  # fmt: skip
DOCUMENTS = [
    "{}", "[]", "null", "true", '""', "1", "-0", "-0.0", "1.0", "1.50", "1e400", "1E-400", "-1e400",
    "1e131071", "1e-16384", "9" * 400, "0." + "0" * 300 + "1", "0." + "1" * 2000, "NaN", "Infinity",
    "-Infinity", '{"a": 1, "a": 2}', '{"a": {"b": 1, "b": 1}}', '{"": 1}', '"\\u0000"', '"\\\\u0000"',
    '"\\ud800"', '"\\udc00\\ud800"', '"\\ud83d\\ude00"', "[1,]", "{'a': 1}", "", " ", " {} ", "\ufeff{}",
    '{"a": "\t"}', '"\\t"', "01", "+1", ".5", "1.", "0x10", "/**/1", '["a"] x', '{"b": 1, "a": 2}',
    '{"\\u0061": 1, "a": 2}', "1\n", "\u00a01", '"\\/"', '{"k": "한국어 😀"}',
    "12345678901234567890.12345678901234567890", "tRUE", "[[]]", '{"a": null}', "1e5", "1E5", "100000",
    '{"a":1e1000}', "1e1001", "\v1", "-", "[" * 50,
]  # fmt: skip
NESTING = st.sampled_from([100, 480, *range(496, 505), 700, 950, 3000, 20000])
WORDS = [
    "", " ", "\0", "a\0b", "NULL", "\\N", "\\.", "\t\n\r", "%s %(f)s {e}", "상담 🙂 👨‍👩‍👧 \u202e", "\ufeffBOM",
    "\ud7ff\ue000", "\U0010ffff", "\ufffe\uffff", "e\u0301", "1", "1.0", "true", "TRUE", "false", "f", "NaN",
    "inf", "-0", "1e999", "Customer", "customer", "고객", " CSR ", "İ", "pending", "x" * 9000, "'", '"',
    "\x1b[31m", "\x7f\x80\x9f", "\u2028\u2029", "\x01", "ſ", "\u0130",
]  # fmt: skip
BROKEN = [
    b"\xff", b"\xed\xa0\x80", b"\xc0\x80", b"a\xf0\x9f\x98", b"\xf4\x90\x80\x80", b"\0", b"\xfe\xff\0a",
    b"\x00\xd8", b"\xd8\x00", b"\xc1\xfd\xc0\xfc", b"abc\x80", b"\xe2\x82",
]  # fmt: skip
INTEGERS = [
    0, 1, -1, 2, 2**31, -(2**31), 2**53, 2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63), 2**62, 10**18, 20240701,
    20240701090204, 1719824524, 1719824524000, 2024050109, 240701, 99999999, 946684800,
]  # fmt: skip
REALS = [
    0.0, -0.0, 5e-324, -5e-324, 2.2250738585072014e-308, 1.7976931348623157e308, float("inf"), float("-inf"),
    1e15, 1e16, 0.1, 1 / 3, 2.0**53, 2.0**63, -(2.0**63), 1.0, 2.5, 20240701.0, 1719824524.5,
    1719824524.123456, 1e-7, 123456789012345680.0,
]  # fmt: skip


@dataclass(frozen=True)
class Sample:
    """A table as an application has it."""

    name: str
    # (name, declared type)
    columns: tuple[tuple[str, str], ...]
    rows: tuple[tuple[Any, ...], ...]
    statement: str


@cache
def samples() -> tuple[Sample, ...]:
    """Return every table of the three generations with rows that are all right."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for generation in (1, 2, 3):
            write_sample(folder / f"{generation}.sqlite", generation=generation, calls=10, seed=5)
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        return tuple(sample for file in files for sample in _samples(file))


def _samples(file: Path) -> list[Sample]:
    found = []
    with closing(sqlite3.connect(file)) as sqlite:
        query = "select name, sql from sqlite_master where type = 'table' and name not glob 'sqlite_*' order by 1"
        for name, statement in sqlite.execute(query).fetchall():
            columns = [(column, kind) for _, column, kind, *_ in sqlite.execute(f"pragma table_info({name})")]
            rows = sqlite.execute(f"select * from {name} order by 1 limit {MOST_ROWS}").fetchall()
            found.append(Sample(name, tuple(columns), tuple(rows), statement))
    return found


INTEGER = st.sampled_from(INTEGERS) | st.integers(-(2**63), 2**63 - 1)
REAL = st.sampled_from(REALS) | st.floats(allow_nan=False)
DATE = st.sampled_from(DATES).map(lambda text: Text(text.encode()))
STRING = st.one_of(
    st.sampled_from(WORDS).map(lambda text: Text(text.encode("utf-8", "surrogatepass"))),
    st.sampled_from(BROKEN).map(Text),
    st.text(max_size=20).map(lambda text: Text(text.encode())),
)
DOCUMENT = st.one_of(
    st.sampled_from(DOCUMENTS).map(lambda text: Text(text.encode())),
    NESTING.map(lambda depth: Text(b"[" * depth + b"]" * depth)),
    NESTING.map(lambda depth: Text(b'{"a":' * depth + b"1" + b"}" * depth)),
    st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5), st.lists, max_leaves=5).map(
        lambda value: Text(repr(value).replace("'", '"').encode(errors="replace"))
    ),
)
BLOB = st.sampled_from([b"", b"\0", b"1", b"true", b"2024-07-01", b"{}", b"\xff" * 40]) | st.binary(max_size=30)
ANYTHING = st.one_of(st.none(), INTEGER, REAL, DATE, STRING, DOCUMENT, BLOB)
# Of several megabytes.
LARGE = st.sampled_from(
    [
        Text(b"x" * 3_000_000),
        Text("가😀".encode() * 700_000),
        Text(b"\xff" * 2_000_000),
        bytes(4_000_000),
        Text(b"[" + b"1, " * 1_000_000 + b"1]"),
        Text(b'{"a": "' + b"y" * 5_000_000 + b'"}'),
    ]
)


def values_for(column: str, declared: str, table: str) -> st.SearchStrategy[Any]:
    """Return odd values of the kind that a column should hold, most of the time."""
    if column in JSON_COLUMNS or table in JSON_IN_SOME.get(column, ()):
        return DOCUMENT | ANYTHING
    if column in FLAGS or declared == "BOOLEAN":
        return st.sampled_from([0, 1, 2, -1, 0.0, 1.0, True, Text(b"TRUE"), Text(b"false"), Text(b"1")]) | ANYTHING
    kinds = {"INTEGER": INTEGER, "REAL": REAL, "TEXT": STRING, "DATETIME": DATE | INTEGER, "DATE": DATE | INTEGER}
    return kinds.get(declared, ANYTHING) | ANYTHING


@st.composite
def odd_files(draw: Draw) -> OddFile:
    """Draw a file: some tables of a generation, most of them odd in some way, and some tables of nobody."""
    tables = [draw(_mapped(sample)) for sample in draw(_choice())]
    tables += draw(st.lists(_foreign(), max_size=2))
    if draw(_rarely(3)):
        tables.append(draw(_special()))
    page_size = draw(st.sampled_from(PAGE_SIZES))
    return OddFile(
        tables=tuple(tables),
        page_size=page_size,
        encoding=draw(st.sampled_from(["UTF-8", "UTF-8", "UTF-16le", "UTF-16be"])),
        auto_vacuum=draw(st.sampled_from([0, 0, 1, 2])),
        reserved=draw(st.sampled_from([0, 0, 0, 8, 32])),
        user_version=draw(st.sampled_from([0, 1, -1, 2**31 - 1])),
        application_id=draw(st.sampled_from([0, 0x0F055112, -1])),
        journal=draw(st.sampled_from(["delete", "delete", "delete", "wal", "uncheckpointed", "hot"])),
        freelist=draw(st.booleans()),
        damage=draw(_damages()) if draw(_rarely(5)) else None,
        locked=draw(_rarely(25)),
        name=draw(st.sampled_from(FILE_NAMES)) if draw(_rarely(4)) else b"odd.sqlite",
    )


def _rarely(times: int) -> st.SearchStrategy[bool]:
    """Draw True once in so many times."""
    return st.integers(0, times - 1).map(lambda number: number == times - 1)


@st.composite
def _choice(draw: Draw) -> list[Sample]:
    """Draw a few tables that belong together, sometimes of several generations, sometimes none."""
    if draw(_rarely(15)):
        return []
    return list(
        draw(st.lists(st.sampled_from(samples()), min_size=1, max_size=5, unique_by=lambda one: one.name.lower()))
    )


@st.composite
def _mapped(draw: Draw, sample: Sample) -> OddTable:
    """Draw a table of the application: as it is but for its values, or odd in its statement too."""
    if draw(_rarely(12)):
        return draw(_view(sample))
    columns = list(sample.columns)
    statement = sample.statement
    if not draw(_rarely(4)):
        columns, statement = draw(_remade(sample))
    rows = draw(_rows(sample, [name for name, _ in columns]))
    names = tuple(name for name, _ in columns)
    return OddTable(sample.name, (statement,), names, rows, draw(_additions(sample.name, names)))


@st.composite
def _view(draw: Draw, sample: Sample) -> OddTable:
    """Draw a view, or a virtual table, that has the name of a table; what it shows is elsewhere or nowhere."""
    names = [name for name, _ in sample.columns]
    base = draw(st.sampled_from([f"{sample.name}_base", "nowhere"]))
    virtual = f"create virtual table {sample.name} using fts5({', '.join(map(quoted, names))})"
    before = (
        f"create table {sample.name}_base ({', '.join(map(quoted, names))})",
        draw(st.sampled_from([f"create view {sample.name} as select * from {base}", virtual])),
    )
    return OddTable(f"{sample.name}_base", before, tuple(names), sample.rows[:3])


@st.composite
def _remade(draw: Draw, sample: Sample) -> tuple[list[tuple[str, str]], str]:
    """Draw the columns that can be written, and a statement that makes the table otherwise than the application."""
    columns = list(sample.columns)
    for column in draw(st.lists(st.sampled_from(columns[1:] or columns), max_size=2)):
        if column in columns and len(columns) > 1:
            columns.remove(column)
    if draw(_rarely(12)):
        columns = columns[1:] or columns
    columns += [(name, "") for name in draw(_extra_names([name for name, _ in columns]))]
    if draw(st.booleans()):
        columns = draw(st.permutations(columns))
    form = draw(st.sampled_from(["keyed"] * 6 + ["none", "int", "desc", "text", "without rowid", "strict", "auto"]))
    renamed = [(draw(_cased(name)), kind) for name, kind in columns]
    types = [
        kind if draw(st.booleans()) else draw(st.sampled_from(["", "BLOB", "NUMERIC", "TEXT", "REAL", "x y(3)"]))
        for _, kind in columns
    ]
    key = sample.columns[0][0].lower()
    defined = [_defined(name, kind, name.lower() == key, form) for (name, _), kind in zip(renamed, types, strict=True)]
    defined += draw(_generated([name for name, _ in renamed]))
    has_key = form in ("without rowid", "strict") and any(name.lower() == key for name, _ in renamed)
    end = {"without rowid": " without rowid", "strict": " strict"}.get(form, "") if has_key else ""
    name = draw(_cased(sample.name))
    return renamed, f"create table {quoted(name)} ({', '.join(defined)}){end}"


def _defined(name: str, kind: str, is_key: bool, form: str) -> str:
    if form == "strict":
        kind = {"": "ANY", "INTEGER": "INTEGER", "REAL": "REAL", "TEXT": "TEXT", "BLOB": "BLOB"}.get(kind, "ANY")
    if not is_key:
        return f"{quoted(name)} {kind}"
    keys = {
        "keyed": "integer primary key", "auto": "integer primary key autoincrement", "int": "int primary key",
        "desc": "integer primary key desc", "text": "text primary key", "without rowid": "integer primary key",
        "strict": "integer primary key",
    }  # fmt: skip
    return f"{quoted(name)} {keys.get(form, '')}"


@st.composite
def _generated(draw: Draw, names: list[str]) -> list[str]:
    """Draw columns that are computed: from another one, by what is missing here, or by what fails."""
    if not draw(_rarely(4)):
        return []
    other = quoted(draw(st.sampled_from(names)))
    expressions = [f"{other}", f"{other} || 'x'", "1", f"abs({other})", f"json({other})", f"typeof({other})", "x'00'"]
    stored = draw(st.sampled_from(["virtual", "stored"]))
    name = draw(st.sampled_from(["computed", "updated_at", "speaker", "summary", "text", "rate", "file_name"]))
    if name in {one.lower() for one in names}:
        return []
    return [f"{quoted(name)} generated always as ({draw(st.sampled_from(expressions))}) {stored}"]


def _cased(name: str) -> st.SearchStrategy[str]:
    return st.sampled_from([name] * 5 + [name.upper(), name.lower()])


def _extra_names(taken: list[str]) -> st.SearchStrategy[list[str]]:
    folded = {name.lower() for name in taken}
    names = st.sampled_from([name for name in COLUMN_NAMES if name.lower() not in folded])
    return st.lists(names, max_size=2, unique_by=str.lower) | st.just([])


@st.composite
def _rows(draw: Draw, sample: Sample, names: list[str]) -> tuple[tuple[Any, ...], ...]:
    """Draw rows of the sample: some as they are, some with an odd value or two, some odd throughout."""
    known = {name.lower(): number for number, (name, _) in enumerate(sample.columns)}
    kinds = {name.lower(): kind for name, kind in sample.columns}
    found = []
    for row in sample.rows[: draw(st.integers(0, MOST_ROWS))]:
        values = [row[known[name.lower()]] if name.lower() in known else draw(ANYTHING) for name in names]
        odd = draw(st.sampled_from([0, 0, 1, 1, 1, 2, len(names)]))
        places = (
            range(len(names)) if odd == len(names) else draw(st.lists(st.integers(0, len(names) - 1), max_size=odd))
        )
        for place in places:
            name = names[place]
            values[place] = draw(values_for(name.lower(), kinds.get(name.lower(), ""), sample.name))
        if draw(_rarely(40)):
            values[draw(st.integers(0, len(names) - 1))] = draw(LARGE)
        found.append(tuple(values))
    return tuple(found)


@st.composite
def _additions(draw: Draw, name: str, columns: tuple[str, ...]) -> tuple[str, ...]:
    """Draw what else stands in a schema: indexes, triggers, statistics, another schema's references."""
    column, table = quoted(draw(st.sampled_from(columns))), quoted(name)
    return tuple(
        draw(
            st.lists(
                st.sampled_from(
                    [
                        f"create index i1 on {table} ({column} collate nocase desc)",
                        f"create index i2 on {table} (lower({column})) where {column} is not null",
                        f"create trigger t1 after insert on {table} begin select missing_function(new.{column}); end",
                        f"create trigger t2 before delete on {table} begin delete from missing_table; end",
                        "analyze",
                        f"delete from {table} where rowid % 2",
                        f"update {table} set {column} = {column}",
                        f"alter table {table} add column added default 'later'",
                        f"insert into sqlite_sequence values ('{name}', 9e18)",
                        f"update sqlite_sequence set seq = 'x' where name = '{name}'",
                        f"create view v1 as select missing from {table}",
                    ]
                ),
                max_size=2,
                unique=True,
            )
        )
    )


@st.composite
def _foreign(draw: Draw) -> OddTable:
    """Draw a table that no mapping knows, with odd names, now and then as wide as SQLite allows."""
    name = draw(st.sampled_from(NAMES) | st.text(min_size=1, max_size=8).filter(_is_name))
    columns = draw(st.lists(st.sampled_from(COLUMN_NAMES), min_size=1, max_size=5, unique_by=str.lower))
    if draw(_rarely(15)):
        columns = [f"c{number}" for number in range(draw(st.sampled_from([999, 1000, 1001, 1600, 1999, 2000])))]
    types = draw(st.sampled_from(["", "", " integer", " text", " real", " blob", " numeric"]))
    end = draw(st.sampled_from(["", "", "", " without rowid"]))
    key = f", primary key ({quoted(columns[0])})" if end or draw(_rarely(5)) else ""
    defined = ", ".join(f"{quoted(column)}{types}" for column in columns)
    wide = len(columns) > 5
    width = len(columns[:5])
    row = st.tuples(*[ANYTHING | LARGE if draw(_rarely(40)) else ANYTHING] * width)
    rows = draw(st.lists(row, max_size=3 if wide else MOST_ROWS))
    statement = f"create table {quoted(name)} ({defined}{key}){end}"
    return OddTable(name, (statement,), tuple(columns[:5]), tuple(rows))


def _is_name(name: str) -> bool:
    return "\0" not in name and not name.lower().startswith("sqlite_")


@st.composite
def _special(draw: Draw) -> OddTable:
    """Draw a virtual table, whose content is in tables of its own."""
    using = draw(
        st.sampled_from(
            [
                "fts3(a, b)",
                "fts4(a, b)",
                "fts5(a, b)",
                "fts5(a, b, content='')",
                "rtree(a, b, c)",
                "fts4(a, b, content='x')",
            ]
        )
    )
    values = (
        st.tuples(st.integers(-5, 5), st.integers(6, 9), st.integers(6, 9))
        if "rtree" in using
        else st.tuples(STRING, STRING)
    )
    columns = ("a", "b", "c") if "rtree" in using else ("a", "b")
    name = draw(st.sampled_from(["search", "검색", "utterances_search", "s p"]))
    return OddTable(
        name,
        (f"create virtual table {quoted(name)} using {using}",),
        columns,
        tuple(draw(st.lists(values, max_size=3))),
    )


@st.composite
def _damages(draw: Draw) -> Damage:
    places = draw(st.lists(st.integers(0, 999), min_size=1, max_size=5))
    kind = draw(
        st.sampled_from(["flipped", "flipped", "flipped", "header", "truncated", "trailing", "zeroed", "replaced"])
    )
    content = draw(st.binary(min_size=1, max_size=20))
    if kind == "replaced":
        content = draw(
            st.sampled_from(
                [b"", b"SQLite format 3", b"SQLite format 3\0", b"id,name\n1,a\n", b"SQLite format 3\0" + bytes(84)]
            )
        )
    return Damage(kind, tuple(places), content)
