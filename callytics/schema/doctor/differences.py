"""The doctor's words for what is not as the migrations make it, with the statements that put it right."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from callytics.schema.catalogue.catalogue import Difference, Part, migration_of
from callytics.schema.doctor.findings import Fact, Level, Site, Words, listed

# What an import drops and brings back.
DEFERRED = ("index", "constraint")
# A column's definition, as the query writes it.
COLUMN = re.compile(
    r"(?P<type>.+?)(?P<constraint> not null)?( generated (?P<identity>by default|always) as identity)?"
    r"( generated always as (?P<generated>\(.*) stored)?( default (?P<default>.*))?"
)


def put_away(deferred: Sequence[tuple[int, str, str]]) -> Words:
    """Say what is missing because of an import, of which the check of the imports says more."""
    runs = sorted({run for run, _table, _name in deferred})
    which = f"away for import {', '.join(map(str, runs))}, which brings"
    if len(deferred) == 1:
        return "ok", f"1 index or key is {which} it back", ""
    return "ok", f"{len(deferred)} indexes and keys are {which} them back", ""


def difference(found: Difference, site: Site, *, can_tell: bool) -> Words:
    """The application and the importer rely on what the migrations make; what others add can be in their way."""
    if found.there.kind == "vacuuming":
        return "warning", str(found), "run 'callytics partitions ahead'"
    if found.made is None:
        return _added(found.there, site)
    if found.found is None and found.made.kind in DEFERRED and not can_tell:
        return "warning", f"{found}, or an import has it put away", "set POSTGRES_OWNER_USER, whose login can tell"
    if found.made.kind in ("view", "routine") or (found.found is None and found.made.kind == "table"):
        return (
            "error",
            str(found),
            f"as {site.owner}, create it again as migration {migration_of(found.made.name)} does",
        )
    return "error", str(found), f"as {site.owner}: {_repair(found.made, found.found)}"


def owners(fact: Fact, site: Site) -> Words:
    """Only its owner can change a table, grant it, or import into it."""
    names = listed(fact["names"], 5).replace("tables", "tables, views and routines")
    fix = f"as a superuser: ALTER … OWNER TO {site.as_owner} for each"
    return "error", f"role {fact['role']} owns {names}, which should be {site.owner}'s", fix


def _added(part: Part, site: Site) -> Words:
    what = f"{part} was made by no migration"
    if part.kind == "event trigger":
        return "ok", f"{part} runs at each change of tables ({part.definition})", ""
    if part.kind == "partition" or (part.kind == "index" and not part.definition.startswith("CREATE UNIQUE")):
        return "ok", what, ""
    # The importer and the application name the columns that they fill.
    stays_empty = part.kind == "column" and part.definition.endswith(" not null")
    level: Level = "error" if stays_empty else "warning"
    return level, what, f"know why it is there, or as {site.owner}: {_drop(part)}"


def _repair(made: Part, found: Part | None) -> str:
    if found is None:
        return _make(made)
    if made.kind == "sequence":
        return f"ALTER SEQUENCE {made.name} {made.definition}"
    if made.kind == "column":
        return f"ALTER TABLE {made.relation} {', '.join(_alter_column(made, found))}"
    if made.kind == "table":
        return f"ALTER TABLE {made.name} {_alter_table(found)}"
    return f"{_drop(found)}; {_make(made)}"


def _make(part: Part) -> str:
    """Return the statement that makes a part that is missing."""
    if part.kind in ("index", "trigger"):
        return part.definition
    if part.kind == "partition":
        return f"ALTER TABLE {_parent(part)} ATTACH PARTITION {part.name} {part.definition}"
    added = "COLUMN" if part.kind == "column" else "CONSTRAINT"
    return f"ALTER TABLE {part.relation} ADD {added} {part.name} {part.definition}"


def _drop(part: Part) -> str:
    """Return the statement that takes a part away."""
    if part.kind == "index":
        schema, dot, _table = part.relation.rpartition(".")
        return f"DROP INDEX {schema}{dot}{part.name}"
    if part.kind in ("trigger", "rule"):
        return f"DROP {part.kind.upper()} {part.name} ON {part.relation}"
    if part.kind == "partition":
        return f"ALTER TABLE {_parent(part)} DETACH PARTITION {part.name}"
    return f"ALTER TABLE {part.relation} DROP {part.kind.upper()} {part.name}"


def _parent(partition: Part) -> str:
    return re.sub(r"_(default|\d{4}_\d\d)$", "", partition.name)


def _alter_table(found: Part) -> str:
    if found.definition.startswith("unlogged"):
        return "SET LOGGED"
    if "row level" in found.definition:
        return "DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY"
    return "… is not to be changed in place: rename it, run 'callytics migrate' in a new database, and move the rows"


def _alter_column(made: Part, found: Part) -> Iterator[str]:
    """Yield the actions that make of a column what it was."""
    ours, theirs = COLUMN.fullmatch(made.definition), COLUMN.fullmatch(found.definition)
    if not ours or not theirs or ours["generated"] != theirs["generated"]:
        yield f"DROP COLUMN {made.name}, ADD COLUMN {made.name} {made.definition}"
        return
    change = f"ALTER COLUMN {made.name}"
    if ours["type"] != theirs["type"]:
        yield f"{change} TYPE {ours['type']} USING {made.name}::{ours['type']}"
    if ours["constraint"] != theirs["constraint"]:
        yield f"{change} {'SET' if ours['constraint'] else 'DROP'} NOT NULL"
    if ours["identity"] != theirs["identity"]:
        yield f"{change} {_alter_identity(ours['identity'], theirs['identity'])}"
    if ours["default"] != theirs["default"]:
        yield f"{change} " + (f"SET DEFAULT {ours['default']}" if ours["default"] else "DROP DEFAULT")


def _alter_identity(ours: str | None, theirs: str | None) -> str:
    if ours is None:
        return "DROP IDENTITY"
    return f"SET GENERATED {ours}" if theirs else f"ADD GENERATED {ours} AS IDENTITY"
