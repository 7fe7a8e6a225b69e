"""Agents of an imported file log in with the passwords they have."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from callytics.agents.auth import AgentAuth
from callytics.agents.passwords import Passwords
from callytics.exceptions import LoginRefused, NotAuthenticated
from callytics.importer import Options, import_files
from callytics.settings import Settings
from callytics.trial.sample import SAMPLE_PASSWORD, write_sample
from tests.support.agents import accounts_of, agents_of, ask, logged

pytestmark = pytest.mark.slow

CALLS = 60
CHANGED = "정말 새로운 비밀번호입니다"


def enters(auth: AgentAuth, username: str, password: str) -> bool:
    try:
        auth.login(username, password)
    except LoginRefused:
        return False
    return True


def test_imported_agents_log_in_with_the_old_password(database: Settings, tmp_path: Path) -> None:
    write_sample(tmp_path / "old", generation=3, calls=CALLS, seed=7)
    files = sorted((tmp_path / "old").iterdir())
    import_files(database, files, Options(tmp_path / "snapshots"), lambda *_: None)
    with agents_of(database, passwords=Passwords(), empty=False) as auth:
        accounts = accounts_of(auth).list_agents()
        assert {account.password for account in accounts} == {"pbkdf2"}
        states = {account.state: account.username for account in accounts}
        assert states.keys() == {"active", "no profile"}
        assert [state for state, username in states.items() if enters(auth, username, SAMPLE_PASSWORD)] == ["active"]

        # Wrong passwords from before count on.
        username = next(account.username for account in accounts if account.agent_id and account.login_attempts == 0)
        assert not enters(auth, username, SAMPLE_PASSWORD + "!")
        before = len(logged(auth))
        first = auth.login(username, SAMPLE_PASSWORD, ip_address="10.0.0.7")
        stored = ask(auth, "select password_hash from agent_accounts where username = %s", username)
        assert re.match(r"\$argon2id\$v=19\$m=65536,t=3,p=4\$", stored)
        second = auth.login(username, SAMPLE_PASSWORD)
        assert ask(auth, "select password_hash from agent_accounts where username = %s", username) == stored
        assert len(logged(auth)) == before + 2
        assert auth.authenticate(first.token).full_name == auth.authenticate(second.token).full_name

        accounts_of(auth).set_password(username, CHANGED)
        for token in (first.token, second.token):
            with pytest.raises(NotAuthenticated):
                auth.authenticate(token)
        assert not enters(auth, username, SAMPLE_PASSWORD)
        assert auth.authenticate(auth.login(username, CHANGED).token).id == first.agent.id
