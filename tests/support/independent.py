"""What PostgreSQL must hold of a SQLite file: a second opinion that shares no code with the importer.

Where each table and column goes is written down here by hand, from the sources' DDL and the design; `problems` reads
both sides row by row and compares every value.
"""

from __future__ import annotations

import json
import re
import sqlite3
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from decimal import Decimal
from itertools import accumulate
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from psycopg2.extensions import connection as Connection


@dataclass(frozen=True)
class Home:
    """A target table, its key, and which of its columns takes which source column (`mfcc[3]`: an element)."""

    target: str
    key: str
    columns: dict[str, str]


def same(names: str) -> dict[str, str]:
    """Return columns that keep their names."""
    return {name: name for name in names.split()}


MFCC = range(1, 14)
BANDS = ("20_250", "250_2000", "2000_6000", "6000_20000")

TOPIC = Home("topics", "id", {"ID": "id", "Name": "name"})
FILE = Home(
    "audio_files",
    "id",
    {
        "ID": "id", "Name": "file_name", "Path": "file_path", "Rate": "sample_rate", "Channels": "channels",
        "Duration": "duration_seconds", "Extension": "format",
    },
)  # fmt: skip
FILE_FEATURES = Home(
    "audio_features",
    "audio_file_id",
    {
        "ID": "audio_file_id", "TopicID": "topic_id", "MinFreq": "min_frequency", "MaxFreq": "max_frequency",
        "BitDepth": "bit_depth", "RMSLoudness": "rms_loudness", "ZeroCrossingRate": "zero_crossing_rate",
        "SpectralCentroid": "spectral_centroid", "Summary": "summary", "Conflict": "conflict_flag",
        "Silence": "silence_value",
    }
    | {f"EQ_{band}_Hz": f"eq_{band}_hz" for band in BANDS}
    | {f"MFCC_{number}": f"mfcc[{number}]" for number in MFCC},
)  # fmt: skip
UTTERANCE = Home(
    "utterances",
    "id",
    {
        "ID": "id", "FileID": "audio_file_id", "Speaker": "speaker", "Sequence": "sequence", "StartTime": "start_time",
        "EndTime": "end_time", "Content": "text", "Sentiment": "sentiment", "Profane": "profane",
    },
)  # fmt: skip
PROPERTIES = Home(
    "audio_files",
    "id",
    same("id file_path file_name sample_rate channels created_at")
    | {"duration": "duration_seconds", "extension": "format"},
)
PROPERTIES_FEATURES = Home(
    "audio_features",
    "audio_file_id",
    same(
        "topic_id min_frequency max_frequency bit_depth rms_loudness zero_crossing_rate spectral_centroid summary "
        "conflict_flag silence_value"
    )
    | {"id": "audio_file_id"}
    | {f"eq_{band}_hz": f"eq_{band}_hz" for band in BANDS}
    | {f"mfcc_{number}": f"mfcc[{number}]" for number in MFCC},
)

KEPT = {
    # Generation 2
    "business_type_codes", "classification_type_codes", "detail_classification_codes", "communication_quality_details",
    # Generation 3, the audio database
    "audio_files", "speaker_segments", "transcriptions", "audio_metrics", "processing_logs",
    # Generation 3, the quality database
    "consultation_sessions", "quality_metrics", "sentiment_analysis", "communication_patterns",
    "improvement_suggestions", "consultation_keywords", "agent_performance", "analysis_history", "llm_analysis",
    "llm_summary_analysis", "llm_issue_detection", "llm_sentiment_timeline", "llm_improvement_recommendations",
    "llm_communication_analysis", "agent_accounts", "agent_profiles", "agent_permissions",
    "agent_performance_history", "agent_training_history", "agent_activity_logs", "agent_settings", "agent_teams",
    "agent_team_memberships", "sentiment_timeline", "detailed_quality_metrics", "communication_pattern_analysis",
    "consultation_phase_analysis", "agent_behavior_analysis", "customer_response_analysis",
    # Two shapes, by audio_properties_id and by audio_path
    "utterances", "consultation_analysis", "communication_quality",
}  # fmt: skip
"""Tables that keep their names and their columns (but for audio_properties_id)."""

JSON_COLUMNS = {
    "analysis_details", "matched_patterns", "parameters", "result_json", "analysis_parameters", "key_points",
    "customer_concerns", "agent_actions", "satisfaction_indicators", "emotion_triggers", "success_metrics",
    "communication_breakdowns", "strengths_identified", "activity_data", "notification_preferences",
    "dashboard_preferences", "analysis_preferences", "privacy_settings", "key_activities", "challenges_encountered",
    "strengths_demonstrated",
}  # fmt: skip
JSON_IN_SOME = {
    "areas_for_improvement": {
        "llm_communication_analysis", "agent_performance_history", "consultation_phase_analysis",
    },
    "training_recommendations": {"agent_performance_history"},
}  # fmt: skip

FLAGS = {"conflict_flag", *(f"has_{word}" for word in (
    "honorific", "positive_word", "negative_word", "euphonious_word", "empathy", "apology"))}  # fmt: skip

PARENTS = {
    "audio_file_id": ("audio_files",),
    "topic_id": ("Topic",),
    "speaker_segment_id": ("speaker_segments",),
    "session_id": ("consultation_sessions",),
    "llm_analysis_id": ("llm_analysis",),
    "communication_quality_id": ("communication_quality",),
    "account_id": ("agent_accounts",),
    "agent_id": ("agent_profiles",),
    "supervisor_id": ("agent_profiles",),
    "granted_by": ("agent_profiles",),
    "evaluator_id": ("agent_profiles",),
    "team_leader_id": ("agent_profiles",),
    "team_id": ("agent_teams",),
}

OWN = ("id", "created_at")
"""What may differ between a code of one installation and the same code of another."""

REFERRING = {"FileID": ("File",), "audio_properties_id": ("audio_properties",)}
"""Source columns whose parent is not that of the target's column."""


def homes(table: str, columns: list[str]) -> list[Home]:
    """Return where a source table goes, told apart by its name and columns; nothing for an unknown one."""
    has = set(columns)
    if table == "Topic":
        return [TOPIC]
    if table == "File":
        return [FILE, FILE_FEATURES]
    if table == "Utterance":
        return [UTTERANCE]
    if table == "audio_properties":
        return [PROPERTIES, PROPERTIES_FEATURES]
    if table not in KEPT:
        return []
    renamed = {"audio_properties_id": "audio_file_id"} if "audio_properties_id" in has else {}
    return [Home(table, "id", {name: renamed.get(name, name) for name in columns})]


def target_type(target: str, column: str, declared: str) -> str:
    """Return the type a column must have in PostgreSQL, going by what the source declared."""
    if column in JSON_COLUMNS or target in JSON_IN_SOME.get(column, ()):
        return "jsonb"
    if column in FLAGS:
        return "boolean"
    if column == "suggestions" or column.startswith("mfcc"):
        return "double precision"
    return {
        "INTEGER": "bigint",
        "REAL": "double precision",
        "TEXT": "text",
        "BOOLEAN": "boolean",
        "DATETIME": "timestamp with time zone",
        "DATE": "date",
    }[declared.upper()]


DEEPEST_DOCUMENT = 500
"""How deep JSON may be nested to be held as a document; deeper, it is a string."""


class Impossible(Exception):
    """The type cannot hold the value: a row with it must not be loaded."""


class Text(bytes):
    """TEXT as SQLite stores it, to tell it from a BLOB."""


def becomes(value: Any, kind: str, zone: tzinfo = UTC) -> Any:
    """Return what a loaded value must be; `Impossible` when it can't be held."""
    if value is None:
        return None
    if isinstance(value, bytes) and not isinstance(value, Text):
        raise Impossible("a BLOB fits nowhere")
    return BECOMES[kind](value.decode() if isinstance(value, Text) and _is_text(value) else value, zone)


def _is_text(value: bytes) -> bool:
    try:
        text = value.decode()
    except UnicodeDecodeError:
        raise Impossible("not UTF-8") from None
    if "\0" in text:
        raise Impossible("NUL")
    return True


def _integer(value: Any, zone: tzinfo) -> int:
    if isinstance(value, str) or value != value or value in (float("inf"), float("-inf")) or value != int(value):
        raise Impossible(value)
    return int(value)


def _float(value: Any, zone: tzinfo) -> float:
    if isinstance(value, str) or (isinstance(value, int) and Decimal(float(value)) != value):
        raise Impossible(value)
    return float(value)


def _string(value: Any, zone: tzinfo) -> str:
    return value if isinstance(value, str) else repr(value)


def _flag(value: Any, zone: tzinfo) -> bool:
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if isinstance(value, str) or value not in (0, 1):
        raise Impossible(value)
    return bool(value)


def _instant(value: Any, zone: tzinfo) -> datetime:
    if isinstance(value, int | float):
        return _number_as_instant(value, zone)
    if re.fullmatch("[1-9][0-9]{,18}", value):
        return _number_as_instant(int(value), zone)
    if re.search(r"\.\d{6}\d*[1-9]", value):
        raise Impossible("finer than a microsecond")
    # Python reads an offset after a time only.
    value = re.sub(r"^(\d{4}-\d\d-\d\d)(?= ?[Z+-])", r"\1 00:00", value)
    try:
        moment = datetime.fromisoformat(value.replace(" Z", "Z").replace(" +", "+").replace(" -", "-"))
        return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise Impossible(value) from None


def _number_as_instant(value: float, zone: tzinfo) -> datetime:
    """Return the one instant that a number means: as digits of a date, or counted since 1970."""
    if not abs(value) < 1e15:
        raise Impossible(value)
    digits = str(int(value))
    if value == int(value) and len(digits) in (8, 12, 14):
        written = digits.ljust(14, "0")
        when = f"{written[:4]}-{written[4:6]}-{written[6:8]} {written[8:10]}:{written[10:12]}:{written[12:]}"
        with suppress(Impossible):
            if 1990 <= int(written[:4]) <= 2100:
                return _instant(when, zone)
    exact = Decimal(value) if abs(value) < 1e11 else Decimal(value) / 1000
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=round(exact * 1_000_000))


def _day(value: Any, zone: tzinfo) -> date:
    text = value if isinstance(value, str) else str(int(value)) if abs(value) < 1e9 else ""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise Impossible(value) from None
    if moment.tzinfo or moment.time() != moment.min.time():
        raise Impossible("a time of day")
    return moment.date()


def _document(value: Any, zone: tzinfo) -> Any:
    """Return a JSON text's content, or as a string what is not JSON or more than jsonb can hold."""
    text = value if isinstance(value, str) else repr(value)
    if not isinstance(value, str):
        return text
    try:
        with room_on_the_stack():
            return document(text)
    except (ValueError, ArithmeticError):
        return text


BECOMES: dict[str, Callable[[Any, tzinfo], Any]] = {
    "bigint": _integer,
    "double precision": _float,
    "text": _string,
    "boolean": _flag,
    "timestamp with time zone": _instant,
    "date": _day,
    "jsonb": _document,
}


def document(text: str) -> Any:
    """Parse JSON without losing a digit; `ValueError` for what jsonb would refuse, drop or round, or is too deep."""
    if depth(text) > DEEPEST_DOCUMENT:
        raise ValueError("nested too deep")

    def members(pairs: list[tuple[str, Any]]) -> Any:
        if len({name for name, _ in pairs}) != len(pairs):
            raise ValueError("repeated key")
        return ("object", frozenset((name, _hashable(value)) for name, value in pairs))

    def number(digits: str) -> Any:
        found = Decimal(digits)
        if abs(found.adjusted()) > 1000 or -int(found.as_tuple().exponent) > 1000:
            raise ValueError("a number beyond reason")
        return ("number", found)

    def refuse(word: str) -> Any:
        raise ValueError(word)

    parsed = json.loads(text, object_pairs_hook=members, parse_int=number, parse_float=number, parse_constant=refuse)
    if re.search(r"[\ud800-\udfff\0]", repr_strings(parsed)):
        raise ValueError("NUL or half a surrogate pair")
    return parsed


def depth(text: str) -> int:
    """Return how deep the brackets of a text are nested, not counting those in its strings."""
    brackets = re.sub(r'"(?:[^"\\]|\\.)*"?|[^"\[\]{}]+', "", text, flags=re.DOTALL)
    return max(accumulate((1 if bracket in "[{" else -1 for bracket in brackets), initial=0))


@contextmanager
def room_on_the_stack() -> Iterator[None]:
    """Let the block recurse as deep as a document may be, wherever it is called."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(before + 20 * DEEPEST_DOCUMENT)
    try:
        yield
    finally:
        sys.setrecursionlimit(before)


def _hashable(value: Any) -> Any:
    return tuple(map(_hashable, value)) if isinstance(value, list) else value


def repr_strings(value: Any) -> str:
    """Return all strings of a parsed document, one after the other."""
    if isinstance(value, str):
        return value
    return "".join(map(repr_strings, value)) if isinstance(value, list | tuple | frozenset) else ""


def equal(expected: Any, actual: Any, kind: str) -> bool:
    """Compare what must be with what is: doubles by their bits, documents by their content."""
    if expected is None or actual is None:
        return expected is actual
    if kind == "double precision":
        return struct.pack(">d", expected) == struct.pack(">d", actual)
    if kind == "jsonb":
        return _same_document(expected, actual)
    return type(expected) is type(actual) and bool(expected == actual)


def _same_document(expected: Any, actual: str) -> bool:
    with room_on_the_stack():
        try:
            parsed = document(actual)
        except ValueError:
            return False
        # A document that this check does not take for one may still have been held exactly.
        return bool(parsed == expected) or (isinstance(expected, str) and actual == expected)


@dataclass(frozen=True)
class Recorded:
    """A row of imports.tables."""

    id: int
    run: int
    offset: int


def problems(source: Path, connection: Connection, zone: str = "UTC") -> list[str]:
    """Compare every value of a file with what PostgreSQL holds; returns what is wrong, nothing when all is right."""
    check = Check(source, connection, UTC if zone == "UTC" else ZoneInfo(zone))
    with closing(check.sqlite):
        return list(check.problems())


class Check:
    """One comparison of a file and the database it was imported into."""

    def __init__(self, source: Path, connection: Connection, zone: tzinfo) -> None:
        self.zone = zone
        # By table: the columns that SQLite fills with its own time.
        self.filled: dict[str, set[str]] = {}
        self.connection = connection
        self.sqlite = sqlite3.connect(f"{source.resolve().as_uri()}?mode=ro", uri=True)
        self.sqlite.text_factory = Text
        self.recorded = {
            (table, target): Recorded(*rest)
            for table, target, *rest in self._all(
                "select t.source_table, t.target_table, t.id, s.run_id, t.id_offset "
                "from imports.tables t join imports.sources s on s.id = t.source_id "
                "where s.path = %s and s.undone_at is null",
                (str(source.resolve()),),
            )
        }

    def problems(self) -> Iterator[str]:
        """Yield everything that is wrong."""
        if not self.recorded:
            yield "nothing is recorded of this file"
        names = self.sqlite.execute(
            "select name from sqlite_master where type = 'table' and name not like 'sqlite@_%' escape '@'"
        )
        for table in [name.decode() for (name,) in names.fetchall()]:
            info = self.sqlite.execute("select name, type from pragma_table_info(?)", (table,)).fetchall()
            declared = {name.decode(): kind.decode() for name, kind in info}
            yield from self._table(table, declared)

    def _table(self, table: str, declared: dict[str, str]) -> Iterator[str]:
        found = homes(table, list(declared))
        for home in found:
            home = Home(home.target, home.key, {k: v for k, v in home.columns.items() if k in declared})
            yield from self._mapped(table, declared, home)
        homeless = set(declared) - {column for home in found for column in home.columns}
        types = self._types(found[0].target) if found else {}
        if len(found) == 1:
            homeless |= {column for column in declared if found[0].columns.get(column, "") not in types} - homeless
        if homeless:
            yield from self._unmapped(table, homeless)

    def _mapped(self, table: str, declared: dict[str, str], home: Home) -> Iterator[str]:
        types = self._types(home.target)
        columns = {source: target for source, target in home.columns.items() if target.split("[")[0] in types}
        kinds = {source: target_type(home.target, target, declared[source]) for source, target in columns.items()}
        for source, target in columns.items():
            if types[target.split("[")[0]].removesuffix("[]") != kinds[source]:
                yield f"{home.target}.{target} is {types[target]}, not {kinds[source]}"
        record = self.recorded.get((table, home.target))
        if record is None:
            yield f"{table} → {home.target} is not recorded"
            return
        yield from self._rows(table, home, columns, kinds, types, record)

    def _rows(
        self,
        table: str,
        home: Home,
        columns: dict[str, str],
        kinds: dict[str, str],
        types: dict[str, str],
        record: Recorded,
    ) -> Iterator[str]:
        offsets = {
            target: self._offset(source, target, home, record, kinds[source]) for source, target in columns.items()
        }
        there = self._target(home, types)
        rejected, shared = self._rejected(record), self._shared(record)
        names = ", ".join(f'"{column}"' for column in columns)
        seen = 0
        for rowid, *values in self.sqlite.execute(f'select rowid, {names} from "{table}"'):
            seen += 1
            row = dict(zip(columns, values, strict=True))
            if rowid in rejected:
                yield from (f"{table} row {rowid}: {what}" for what in self._wrong_reject(row, rejected.pop(rowid)))
                continue
            place = f"{table} row {rowid} → {home.target}"
            if rowid in shared:
                target_id, source_row = shared.pop(rowid)
                yield from (f"{place}: {what}" for what in self._wrong_reject(row, (None, None, None, source_row)))
                own = {source: kind for source, kind in kinds.items() if source not in OWN}
                actual = {name: held for name, held in there.get(target_id, {}).items() if name not in OWN}
                expected = {columns[source]: becomes(row[source], kind, self.zone) for source, kind in own.items()}
                wrong = differences(expected, actual, {columns[source]: kind for source, kind in own.items()})
                yield from (f"{place}: {what}" for what in wrong) if actual else (f"{place}: shares no row",)
                continue
            yield from self._row(place, row, home, columns, kinds, offsets, there)
        yield from (f"{table}: row {rowid} is in imports.rejected but not in the file" for rowid in rejected)
        yield from (f"{table}: row {rowid} is in imports.shared but not in the file" for rowid in shared)
        counted = self._all(
            "select sum(copied + inserted + rejected + shared) from imports.chunks where table_id = %s", (record.id,)
        )
        if (counted[0][0] or 0) != seen:
            yield f"{table} → {home.target}: {seen} rows, {counted[0][0]} accounted for"

    def _row(
        self,
        place: str,
        row: dict[str, Any],
        home: Home,
        columns: dict[str, str],
        kinds: dict[str, str],
        offsets: dict[str, int],
        there: dict[int, dict[str, Any]],
    ) -> Iterator[str]:
        expected: dict[str, Any] = {}
        for source, target in columns.items():
            try:
                value = becomes(row[source], kinds[source], self._zone(place, source, row[source]))
            except Impossible:
                yield f"{place}: {target} was loaded, though nothing can hold it"
                return
            expected[target] = value + offsets[target] if offsets[target] and value is not None else value
        actual = there.get(expected[home.key])
        if actual is None:
            yield f"{place}: missing"
            return
        yield from (
            f"{place}: {what}" for what in differences(expected, actual, {columns[s]: k for s, k in kinds.items()})
        )

    def _zone(self, place: str, column: str, value: Any) -> tzinfo:
        """Return UTC for what SQLite wrote: in its form, in a column that it fills; the file's zone otherwise."""
        table = place.partition(" ")[0]
        if table not in self.filled:
            columns = self.sqlite.execute("select name, dflt_value from pragma_table_info(?)", (table,)).fetchall()
            self.filled[table] = {name.decode() for name, default in columns if default == b"CURRENT_TIMESTAMP"}
        own = column in self.filled[table] and isinstance(value, Text) and len(value) == 19 and value[10:11] == b" "
        return UTC if own else self.zone

    def _offset(self, source: str, target: str, home: Home, record: Recorded, kind: str) -> int:
        """Return what is added to an id or a reference: the parent's offset."""
        if target == "id" or target == home.key:
            return record.offset
        if target not in PARENTS or kind != "bigint":
            return 0
        parents = REFERRING.get(source, PARENTS[target])
        own = [found.offset for (name, _), found in self.recorded.items() if name in parents]
        if own or home.target != "consultation_sessions":
            return own[0] if own else 0
        # Sessions are the one table whose parent is in another file: the latest one that came with or before it.
        audio = self._all(
            "select t.id_offset from imports.tables t join imports.sources s on s.id = t.source_id "
            "where s.run_id <= %s and t.source_table = 'audio_files' order by s.run_id desc limit 1",
            (record.run,),
        )
        return int(audio[0][0]) if audio else 0

    def _target(self, home: Home, types: dict[str, str]) -> dict[int, dict[str, Any]]:
        select = ", ".join(f'"{name}"::text' if kind == "jsonb" else f'"{name}"' for name, kind in types.items())
        rows = self._all(f"select {select} from public.{home.target}")
        found = [dict(zip(types, row, strict=True)) for row in rows]
        return {row[home.key]: row for row in found}

    def _types(self, table: str) -> dict[str, str]:
        return dict(
            self._all(
                "select attname, format_type(atttypid, atttypmod) from pg_attribute "
                "where attrelid = to_regclass('public.' || %s) and attnum > 0 and not attisdropped",
                (table,),
            )
        )

    def _rejected(self, record: Recorded) -> dict[int, tuple[Any, ...]]:
        rows = self._all(
            "select source_rowid, source_column, storage_class, raw, source_row::text "
            "from imports.rejected where table_id = %s",
            (record.id,),
        )
        return {rowid: rest for rowid, *rest in rows}  # type: ignore[misc]

    def _shared(self, record: Recorded) -> dict[int, tuple[int, str]]:
        rows = self._all(
            "select source_rowid, target_id, source_row::text from imports.shared where table_id = %s", (record.id,)
        )
        return {rowid: rest for rowid, *rest in rows}  # type: ignore[misc]

    def _wrong_reject(self, row: dict[str, Any], kept: tuple[Any, ...]) -> Iterator[str]:
        column, storage, raw, source_row = kept
        named = {name.lower(): value for name, value in row.items()}
        if column is not None:
            value = named[column.lower()]
            if (storage, raw and bytes(raw)) != (storage_class(value), raw_form(value)):
                yield f"{column} is kept as {storage}, not as it was"
        for name, value in decoded_row(source_row).items():
            if not identical(named[name.lower()], value):
                yield f"{name} is kept otherwise than it was"
        if len(json.loads(source_row)) != len(row):
            yield "not the whole row is kept"

    def _unmapped(self, table: str, columns: set[str]) -> Iterator[str]:
        record = self.recorded.get((table, "imports.unmapped"))
        if record is None:
            yield f"{table}: {sorted(columns)} went nowhere"
            return
        kept = dict(
            self._all("select source_rowid, source_row::text from imports.unmapped where table_id = %s", (record.id,))
        )
        names = sorted(columns)
        quoted = ", ".join('"' + name.replace('"', '""') + '"' for name in names)
        select = f'select row_number() over (), {quoted} from "{table.replace(chr(34), chr(34) * 2)}"'
        rows = [dict(zip(names, values, strict=True)) for _, *values in self.sqlite.execute(select)]
        found = [decoded_row(text) for text in kept.values()]
        if sorted(map(_sortable, rows)) != sorted(map(_sortable, found)):
            yield f"{table}: imports.unmapped does not hold what the file holds"

    def _all(self, query: str, parameters: tuple[Any, ...] = ()) -> list[Any]:
        with self.connection.cursor() as cursor:
            cursor.execute("set timezone = 'UTC'")
            cursor.execute(query, parameters)
            return cursor.fetchall()


def differences(expected: dict[str, Any], actual: dict[str, Any], kinds: dict[str, str]) -> Iterator[str]:
    """Yield the columns of a row that are not what they should be; those without a source must be NULL."""
    for column, value in actual.items():
        if column == "speaker_role":
            if value != speaker_role(actual["speaker"]):
                yield "speaker_role does not follow from speaker"
        elif column == "mfcc":
            elements = [expected.get(f"mfcc[{number}]") for number in MFCC]
            wanted = None if elements == [None] * 13 else elements
            if (value is None) != (wanted is None) or not all(
                equal(one, other, "double precision") for one, other in zip(wanted or [], value or [], strict=True)
            ):
                yield "mfcc differs"
        elif column not in expected:
            if value is not None:
                yield f"{column} is {value!r}, though the file has nothing for it"
        elif not equal(expected[column], value, kinds[column]):
            yield f"{column} is {value!r}, not {expected[column]!r}"


def speaker_role(speaker: str | None) -> str | None:
    """Return who speaks, whatever generation and language named them."""
    roles = {
        "customer": "customer",
        "고객": "customer",
        "agent": "agent",
        "csr": "agent",
        "상담사": "agent",
        "상담원": "agent",
    }
    return roles.get((speaker or "").strip().lower())


def storage_class(value: Any) -> str:
    """Name the storage class of a value."""
    if isinstance(value, bytes):
        return "text" if isinstance(value, Text) else "blob"
    return {type(None): "null", int: "integer", float: "real"}[type(value)]


def raw_form(value: Any) -> bytes | None:
    """Return what imports.rejected.raw must hold: the bytes of text and blobs, the decimal text of numbers."""
    if value is None or isinstance(value, bytes):
        return value
    return repr(value).encode()


def decoded_row(text: str) -> dict[str, Any]:
    """Return the values of imports.rejected.source_row or imports.unmapped.source_row with their storage classes."""
    return {name: _decoded(value) for name, value in json.loads(text).items()}


def _decoded(value: Any) -> Any:
    if isinstance(value, dict):
        ((form, content),) = value.items()
        return {"real": float, "blob": bytes.fromhex, "text": lambda h: Text(bytes.fromhex(h))}[form](content)
    return Text(value.encode()) if isinstance(value, str) else value


def identical(one: Any, other: Any) -> bool:
    """Compare two values and their storage classes, doubles by their bits."""
    return _sortable({"": one}) == _sortable({"": other})


def _sortable(row: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [
        (name, storage_class(value), repr(bytes(value) if isinstance(value, bytes) else value))
        for name, value in sorted(row.items())
    ]
