"""Databases and roles may have any names: every command works with them, from the migrations to the service."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from callytics.settings import Settings
from callytics.trial.embedded import EmbeddedPostgres
from tests.support.life import lead
from tests.support.servers import settings_for, superuser

pytestmark = pytest.mark.slow

# Database, owner, application.
NAMES = {
    "hyphens and capitals": ("Call-DB", "Call-Owner", "Call-App"),
    "blanks and percents": (" 100% of %s calls ", "owner 100%", "app %(name)s"),
    "quotes and backslashes": ('it\'s "ours" \\ {}', "o'\"wner\\", "a'p\"p\\"),
    "Korean and at": ("상담@통화", "소유자@회사", "앱@회사"),
    "words of SQL": ("select", "user", "table"),
}


@contextmanager
def named(server: EmbeddedPostgres, database: str, owner: str, application: str) -> Iterator[Settings]:
    settings = replace(settings_for(server, database), owner_user=owner, user=application)
    server.provide(settings)
    try:
        yield settings
    finally:
        superuser(server, "drop database {} with (force)", database)
        superuser(server, "drop role {}", owner)
        superuser(server, "drop role {}", application)


@pytest.mark.parametrize("kind", NAMES)
def test_names_that_have_to_be_quoted(
    kind: str, server: EmbeddedPostgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with named(server, *NAMES[kind]) as settings:
        lead(settings, tmp_path)
