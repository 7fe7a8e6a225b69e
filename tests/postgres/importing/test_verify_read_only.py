"""Verify on a server that takes no writes: it finds the same, and says that the verdict is not recorded."""

from __future__ import annotations

import pytest
from psycopg2 import sql

from tests.support.installation import Installation

pytestmark = pytest.mark.slow

FILE = """
create table audio_files (id integer primary key, file_path text, file_name text, processing_status text);
insert into audio_files values (1, '/1', 'one', 'pending'), (2, '/2', 'two', 'pending');
"""
NOTE = "the server takes no writes (default_transaction_read_only is on): the verdict is not recorded there"


def test_a_difference_is_found_and_not_recorded(installation: Installation) -> None:
    """Exit code 0 or 4 as on any server; the records are as they were."""
    file = installation.write(FILE)
    installation.take(file)
    recorded = installation.all("select verified_at, different_rows from imports.tables")
    database = sql.Identifier(installation.settings.database)
    switch = sql.SQL("alter database {} set default_transaction_read_only = on").format(database)
    installation.all(switch.as_string(installation.connection))
    equal = installation.verify()
    assert (equal.exit_code, equal.notes, equal.tables[0].verified_rows) == (0, [NOTE], 2)
    installation.all("update audio_files set file_name = 'ours' where id = 2")
    different = installation.verify()
    # The update's trigger has written updated_at as well.
    assert (different.exit_code, different.tables[0].different_rows) == (4, 2)
    assert {(one.key, one.column) for one in different.differences} == {(2, "file_name"), (2, "updated_at")}
    assert installation.all("select verified_at, different_rows from imports.tables") == recorded
    assert installation.one("select status from imports.runs") == "verified"
