"""What the server writes into its log of the statements that it is given: with them go people's words and names.

The driver puts values into the text of a statement, so that whatever logs a statement logs what it stores. Which
settings do that: https://www.postgresql.org/docs/15/runtime-config-logging.html
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from callytics.postgres.sql import literal
from callytics.schema.doctor.findings import Fact, Site, Words

FAILED = "statements that fail are written to the server's log with their values"
SLOW = "slow statements are written to the server's log with their values"
SAMPLED = "some statements are written to the server's log with their values"
ALL = "what is said in calls is written to the server's log"


@dataclass(frozen=True)
class Quiet:
    """The values of a setting that log nobody's words, the first of which is the one to set, and what others log."""

    values: tuple[str, ...]
    otherwise: str


# log_parameter_max_length is not among them: without the others no parameter is logged, and the driver sends none.
SETTINGS = {
    # "fatal" would do for most, but a session that is ended has its statement logged then.
    "log_min_error_statement": Quiet(("panic",), FAILED),
    # The detail of an error quotes the row that was refused, the key that is taken, and the statements of a deadlock.
    "log_error_verbosity": Quiet(("terse",), "the rows that an error is about are quoted in the server's log"),
    "log_statement": Quiet(("none", "ddl"), ALL),
    "log_min_duration_statement": Quiet(("-1",), SLOW),
    "log_min_duration_sample": Quiet(("-1",), SAMPLED),
    "log_transaction_sample_rate": Quiet(("0",), SAMPLED),
    "log_parameter_max_length_on_error": Quiet(("0",), FAILED),
    "debug_print_parse": Quiet(("off",), ALL),
    "debug_print_rewritten": Quiet(("off",), ALL),
    "debug_print_plan": Quiet(("off",), ALL),
    # Without parameters it logs the text all the same.
    "auto_explain.log_min_duration": Quiet(("-1",), SLOW),
    "pgaudit.log": Quiet(("none", "ddl", "role"), ALL),
}


def settings(facts: Sequence[Fact], site: Site) -> Iterator[Words]:
    """Yield the settings of a session by which words would be logged; a new session has what the fix sets."""
    for fact in facts:
        name, setting, quiet = fact["name"], fact["setting"], SETTINGS[fact["name"]]
        if {part.strip() for part in setting.split(",")} <= {*quiet.values}:
            continue
        statement = f"ALTER {_place(fact, site)} SET {name} = {literal(quiet.values[0])}"
        yield (
            "warning",
            f"{name} is {setting}: {quiet.otherwise}",
            f"as a superuser, or as the provider lets you: {statement}",
        )


def _place(fact: Fact, site: Site) -> str:
    # What is set for a role wins over the database, and the database over the server.
    in_database = f"DATABASE {site.as_database}"
    return {"user": f"ROLE {fact['role']}", "database user": f"ROLE {fact['role']} IN {in_database}"}.get(
        fact["source"], in_database
    )
