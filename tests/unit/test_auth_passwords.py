"""Passwords: what is good enough, what matches, what is imported, and what it costs."""

from __future__ import annotations

import hashlib
import threading
import time
import unicodedata
from collections import Counter
from contextlib import suppress

import pytest
from argon2 import PasswordHasher, Type
from hypothesis import given
from hypothesis import strategies as st

from callytics.agents.passwords import Passwords, kind, refuse_unfit
from callytics.exceptions import PasswordRefused
from callytics.trial.sample import SAMPLE_PASSWORD, _password_hash

CHEAP = {"time_cost": 1, "memory_cost": 8, "parallelism": 1}
PASSWORD = "정확한 말 배터리 스테이플"
WRONG = "틀린 말 배터리 스테이플"
IMPORTED = _password_hash("0123456789abcdef0123456789abcdef")

MALFORMED = [
    "",
    "$",
    "plain text",
    "salt$",
    "$" + "0" * 64,
    "salt$" + "0" * 63,
    "salt$" + "g" * 64,
    "salt$" + "0" * 64 + "\n",
    "salt$" + "0" * 64 + "$",
    "소금$" + "가" * 64,
    "$argon2id$",
    "$argon2id$v=19$m=8,t=1,p=1$!!!$???",
    "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$",
    "$argon2id$v=19$m=-8,t=x,p=1$c2FsdHNhbHQ$aGFzaA",
    "$argon2id$v=19$m=4294967295,t=4294967295,p=1$c2FsdHNhbHQ$aGFzaGhhc2g",
    "$argon2id$소금",
    "$2b$12$KIXQ4lZ0E1vD0d3Zq1Zq1uJ3b1Q0bJtq8qk0Q9Xv9Q9Xv9Q9Xv9Q9",
]


@pytest.fixture
def passwords() -> Passwords:
    return Passwords(PasswordHasher(**CHEAP))


class Work:
    """How often each kind of hash was computed, and how many at the same time."""

    def __init__(self) -> None:
        self.done: Counter[str] = Counter()
        self.most = self._now = 0
        self._lock = threading.Lock()

    def begin(self, what: str) -> None:
        with self._lock:
            self.done[what] += 1
            self._now += 1
            self.most = max(self.most, self._now)

    def end(self) -> None:
        with self._lock:
            self._now -= 1


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Work:
    """Count the hashes that are computed, by their cost; no imported one matches then, since few rounds are run."""
    counted = Work()
    pbkdf2 = hashlib.pbkdf2_hmac

    def counting_pbkdf2(name: str, password: bytes, salt: bytes, rounds: int) -> bytes:
        counted.begin(f"{name} {rounds}")
        try:
            return pbkdf2(name, password, salt, rounds // 10)
        finally:
            counted.end()

    def counting_verify(self: PasswordHasher, stored: str, password: bytes) -> bool:
        costs = stored.split("$")[3]
        counted.begin(costs)
        try:
            return bool(verify(self, stored, password))
        finally:
            counted.end()

    verify = PasswordHasher.verify
    monkeypatch.setattr(hashlib, "pbkdf2_hmac", counting_pbkdf2)
    monkeypatch.setattr(PasswordHasher, "verify", counting_verify)
    return counted


def test_the_recommended_profile_is_what_is_hashed_with() -> None:
    """RFC 9106, section 4, second choice: 64 MiB, three passes, four lanes."""
    passwords = Passwords()
    stored = passwords.hash(PASSWORD)
    assert stored.startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    assert passwords.matches(stored, PASSWORD)
    assert not passwords.matches(stored, WRONG)


def test_equal_passwords_have_different_hashes(passwords: Passwords) -> None:
    assert passwords.hash(PASSWORD) != passwords.hash(PASSWORD)


@pytest.mark.parametrize("typed", ["NFC", "NFD"])
@pytest.mark.parametrize("chosen", ["NFC", "NFD"])
def test_hangul_is_the_same_however_it_is_composed(passwords: Passwords, chosen: str, typed: str) -> None:
    """A Mac may send 한 as three letters where Windows sends one."""
    stored = passwords.hash(unicodedata.normalize(chosen, PASSWORD))
    assert passwords.matches(stored, unicodedata.normalize(typed, PASSWORD))


def test_letters_that_only_look_alike_are_different(passwords: Passwords) -> None:
    stored = passwords.hash("password²²²")
    assert not passwords.matches(stored, "password222")


def test_an_imported_password_works_as_it_was_typed(passwords: Passwords) -> None:
    assert passwords.matches(IMPORTED, SAMPLE_PASSWORD)
    assert not passwords.matches(IMPORTED, SAMPLE_PASSWORD + " ")
    decomposed = unicodedata.normalize("NFD", PASSWORD)
    digest = hashlib.pbkdf2_hmac("sha256", decomposed.encode(), "소금".encode(), 100_000).hex()
    assert passwords.matches(f"소금${digest}", decomposed)
    assert passwords.matches(f"소금${digest.upper()}", decomposed)
    assert not passwords.matches(f"소금${digest}", PASSWORD)


@pytest.mark.parametrize("stored", [None, *MALFORMED])
def test_what_is_no_hash_is_nobodys(passwords: Passwords, stored: str | None) -> None:
    for password in ("", "plain text", "0" * 64, PASSWORD):
        assert not passwords.matches(stored, password)


@given(st.text(st.characters(exclude_categories=["Cs"])).map(lambda end: "$argon2id$" + end))
def test_no_text_after_the_name_of_argon2_is_an_error(stored: str) -> None:
    assert kind(stored) in ("unusable", "argon2id")


@pytest.mark.parametrize("password", ["\ud800" * 12, "긴" * 400, "x" * 1025, "x" * 10**6], ids=len)
def test_what_nobody_can_have_as_password_is_refused_and_matches_nothing(passwords: Passwords, password: str) -> None:
    assert not passwords.matches(passwords.hash(""), password)
    with pytest.raises(PasswordRefused, match=r"longer than 1024 bytes, or not text"):
        refuse_unfit(password, "kim")


def test_every_check_costs_the_same(passwords: Passwords, work: Work) -> None:
    """One Argon2id of our cost and one PBKDF2, whatever is stored, and whatever is typed."""
    stored = [None, IMPORTED, passwords.hash(PASSWORD), *(text for text in MALFORMED if "c2Fs" not in text)]
    for each in stored:
        for password in (SAMPLE_PASSWORD, PASSWORD, WRONG, "", "\ud800", "x" * 2000):
            work.done.clear()
            passwords.matches(each, password)
            assert work.done["sha256 100000"] == 1
            assert work.done["m=8,t=1,p=1"] == 1 + (each is not None and "???" in each)
            assert len(work.done) == 2


def test_a_hash_that_needs_more_memory_than_there_is_does_not_match(passwords: Passwords, work: Work) -> None:
    greedy = next(text for text in MALFORMED if "m=4294967295" in text)
    assert not passwords.matches(greedy, PASSWORD)
    assert work.done == {"sha256 100000": 1, "m=8,t=1,p=1": 1}


def test_only_so_many_are_computed_at_once(work: Work) -> None:
    passwords = Passwords(PasswordHasher(**CHEAP), at_once=2)
    threads = [threading.Thread(target=passwords.matches, args=(IMPORTED, WRONG)) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert work.done["sha256 100000"] == 12
    assert work.most <= 2


def test_only_a_hash_of_todays_kind_and_cost_is_current(passwords: Passwords) -> None:
    assert passwords.is_current(passwords.hash(PASSWORD))
    assert not passwords.is_current(PasswordHasher(**CHEAP | {"time_cost": 2}).hash(PASSWORD))
    assert not passwords.is_current(IMPORTED)
    assert not passwords.is_current("")


@pytest.mark.parametrize(
    ("stored", "name"),
    [
        (IMPORTED, "pbkdf2"),
        (PasswordHasher(**CHEAP).hash("x"), "argon2id"),
        (PasswordHasher(**CHEAP, type=Type.I).hash("x"), "unusable"),
        ("", "unusable"),
    ],
    ids=["PBKDF2", "Argon2id", "Argon2i", "nothing"],
)
def test_what_is_stored_has_a_name(stored: str, name: str) -> None:
    assert kind(stored) == name


LONG = "".join(chr(33 + number * number % 94) for number in range(1024))


@pytest.mark.parametrize(
    "password",
    ["열두글자는꼭되어야한다네", "correct horse", "lower case only", LONG, "가나다라마바사아자차카타파하" * 22],
)
def test_no_kind_of_character_is_asked_for(password: str) -> None:
    refuse_unfit(password, "kim")


@pytest.mark.parametrize("password", ["", "열한글자밖에되지않는다", "x" * 11])
def test_a_short_password_is_refused(password: str) -> None:
    for form in ("NFC", "NFD"):
        with pytest.raises(PasswordRefused, match="fewer than 12 characters"):
            refuse_unfit(unicodedata.normalize(form, password), "kim")


@pytest.mark.parametrize("password", ["Kim.Min-su.1990", unicodedata.normalize("NFD", "상담사김민수는지금여기있다")])
def test_the_username_is_no_password(password: str) -> None:
    with pytest.raises(PasswordRefused, match="is the username"):
        refuse_unfit(password, unicodedata.normalize("NFC", password).upper())


@pytest.mark.parametrize(
    "password",
    [
        "password1234",
        "P@ssw0rd2024!",
        "passwordpassword",
        "qwertyuiop123",
        "1qaz2wsx3edc4rfv",
        "123456789012",
        "aaaaaaaaaaaaaaaa",
        "abcdefghijklmnop",
        "iloveyou1234",
        "tkfkdgotkfkdgo",
        "비밀번호비밀번호비밀번호",
        "callytics2026",
        "minsu.kim.99",
        "1234" * 200,
    ],
)
def test_what_is_guessed_first_is_refused(password: str) -> None:
    with pytest.raises(PasswordRefused, match="among those that are guessed first") as refusal:
        refuse_unfit(password, "minsu.kim")
    assert password not in str(refusal.value)


@pytest.mark.parametrize(
    "password",
    [
        "correct horse battery",
        "정확한 말 배터리 스테이플",
        "vK3-ohQu7-eePh9",
        "한강에서 자전거를 탄다",
    ],
)
def test_what_takes_many_guesses_is_taken(password: str) -> None:
    refuse_unfit(password, "minsu.kim")


def test_judging_a_password_is_bounded() -> None:
    """Whatever is typed: the estimate's time grows faster than the password."""
    begun = time.process_time()
    for password in ("a1B2" * 250, "4@8({[<369!1|0$5+7%2" * 50, "qwerty" * 170, "가" * 340):
        with suppress(PasswordRefused):
            refuse_unfit(password, "kim")
    # 3 on a quiet processor.
    assert time.process_time() - begun < 10
