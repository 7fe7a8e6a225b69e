"""What migrate finds in a database that is not as it should be: one line that names it, and nothing is made."""

from __future__ import annotations

import pytest

from callytics.exceptions import MigrationError
from callytics.schema.migrate import migrate
from tests.support.servers import Databases, execute

LEFT = {
    "audio_files": "create table audio_files (id integer primary key, file_path text)",
    "topics": "create table topics (id bigint, name text)",
    "business_type_codes": "create view business_type_codes as select 1 as id",
}


@pytest.mark.parametrize(
    "name", ["topics", *(pytest.param(one, marks=pytest.mark.slow) for one in LEFT if one != "topics")]
)
def test_a_table_that_somebody_left_there_is_not_taken_for_ours(name: str, databases: Databases) -> None:
    with databases.empty() as settings:
        execute(settings, LEFT[name])
        with pytest.raises(MigrationError, match=rf"^{name} is in database .* already, and not from Callytics: rename"):
            migrate(settings, report=lambda line: None)
        assert execute(settings, "select to_regclass('utterances')") == [(None,)]
        execute(settings, f"drop {'view' if 'view' in LEFT[name] else 'table'} {name}")
        assert migrate(settings, report=lambda line: None)


ANOTHER_PROGRAM = """
create table _yoyo_migration (migration_hash text primary key, migration_id text, applied_at_utc timestamp);
insert into _yoyo_migration values ('ff', '0001.orders', now())
"""


def test_migrations_of_another_program_are_named_before_anything_is_altered(databases: Databases) -> None:
    """An older program's table lacks the others of the tool's, which would begin to alter it."""
    with databases.empty() as settings:
        execute(settings, ANOTHER_PROGRAM)
        with pytest.raises(
            MigrationError, match=r"has migrations of another program \(0001.orders\): give Callytics a"
        ):
            migrate(settings, report=lambda line: None)
        assert execute(settings, "select to_regclass('_callytics_migration')") == [(None,)]
        execute(settings, "drop table _yoyo_migration")
        assert migrate(settings, report=lambda line: None)
