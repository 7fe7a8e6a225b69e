"""Passwords: which ones are acceptable, how they are hashed, and how they are checked.

New hashes are Argon2id over the password in Unicode's composed form (NFC, as RFC 8265 has it for passwords), so that
한글 typed on one system is the same 한글 on another. Compatibility forms stay distinct: NFKC would make one password
of two. Imported hashes are PBKDF2 over the text as it was typed, and are checked that way.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
import secrets
import threading
import unicodedata
from contextlib import suppress
from dataclasses import dataclass

from argon2 import PasswordHasher, extract_parameters
from argon2.exceptions import InvalidHashError, VerificationError, VerifyMismatchError

from callytics.agents.names import folded
from callytics.exceptions import PasswordRefused

# NIST SP 800-63B, section 5.1.1.2: require length, not a mix of kinds of characters. OWASP ASVS 2.1.1: 12.
SHORTEST = 12
# Nobody types more; an attacker may send more to keep the processors busy.
MOST_BYTES = 1024
# OWASP ASVS 2.1.7. On zxcvbn's scale, 2 is below 10^8 guesses. It takes no more than 72 characters.
LOWEST_SCORE, LONGEST_JUDGED = 3, 72
PBKDF2_ROUNDS = 100_000
PBKDF2 = re.compile(r"([^$]+)\$([0-9a-fA-F]{64})")
# Argon2 takes its cost from the stored hash: a planted one must not make us allocate more than this.
MOST_MEMORY_KIB, MOST_PASSES, MOST_LANES = 1 << 18, 16, 16
# Each Argon2id of the recommended profile takes 64 MiB, and keeps four processors busy.
MOST_AT_ONCE = 2


@dataclass(frozen=True, repr=False)
class _Typed:
    """A password in the two Unicode forms that are hashed."""

    raw: bytes
    composed: bytes


class Passwords:
    """Hashes and checks passwords, in the same time whatever is stored.

    ``hasher`` is argon2-cffi's with its recommended profile (RFC 9106, low memory: 64 MiB, 3 passes, 4 lanes).
    Thread-safe; at most ``at_once`` hashes are computed at the same time, so that memory stays bounded.
    """

    def __init__(self, hasher: PasswordHasher | None = None, *, at_once: int | None = None) -> None:
        self._hasher = hasher or PasswordHasher()
        self.at_once = at_once or min(os.cpu_count() or 1, MOST_AT_ONCE)
        self._slots = threading.BoundedSemaphore(self.at_once)
        self._dummy_argon2 = self._random_argon2()
        self._dummy_salt = secrets.token_hex(16).encode()

    def hash(self, password: str) -> str:
        """Return the Argon2id hash of a password that `refuse_unfit` or `matches` has accepted."""
        typed = _typed(password)
        if typed is None:
            raise PasswordRefused("the password is too long, or not text")
        with self._slots:
            return self._hasher.hash(typed.composed)

    def matches(self, stored: str | None, password: str) -> bool:
        """Tell whether a password matches a stored hash; False for a hash that is None, malformed or of another kind.

        One Argon2id and one PBKDF2 are computed in every case, against a dummy hash if the account has none of that
        kind, so that the time does not tell what is stored, or whether anything is.
        """
        typed = _typed(password)
        computed = typed or _Typed(b"", b"")
        with self._slots:
            by_argon2 = self._matches_argon2(stored or "", computed)
            by_pbkdf2 = self._matches_pbkdf2(stored or "", computed)
        return typed is not None and (by_argon2 or by_pbkdf2)

    def is_current(self, stored: str) -> bool:
        """Tell whether a stored hash has the kind and cost of new ones; if not, the next login replaces it."""
        return _is_argon2(stored) and not self._hasher.check_needs_rehash(stored)

    def _matches_argon2(self, stored: str, typed: _Typed) -> bool:
        if _is_argon2(stored):
            try:
                return self._hasher.verify(stored, typed.composed)
            except VerifyMismatchError:
                return False
            except (VerificationError, InvalidHashError):
                pass  # Damaged, so nothing was computed: the dummy takes the time instead.
        with suppress(VerifyMismatchError):
            self._hasher.verify(self._dummy_argon2, typed.composed)
        return False

    def _matches_pbkdf2(self, stored: str, typed: _Typed) -> bool:
        imported = PBKDF2.fullmatch(stored)
        salt = imported[1].encode(errors="replace") if imported else self._dummy_salt
        digest = hashlib.pbkdf2_hmac("sha256", typed.raw, salt, PBKDF2_ROUNDS)
        expected = bytes.fromhex(imported[2]) if imported else bytes(len(digest))
        return hmac.compare_digest(digest, expected) and imported is not None

    def _random_argon2(self) -> str:
        """Return a hash that no password matches, of the same cost as ours, without computing one."""
        hasher = self._hasher
        salt, digest = (_base64(secrets.token_bytes(size)) for size in (hasher.salt_len, hasher.hash_len))
        costs = f"m={hasher.memory_cost},t={hasher.time_cost},p={hasher.parallelism}"
        return f"$argon2id$v=19${costs}${salt}${digest}"


def refuse_unfit(password: str, username: str) -> None:
    """Raise PasswordRefused for a new password: too short, too long, not text, the user's name, or guessed early."""
    typed = _typed(password)
    if typed is None:
        raise PasswordRefused(f"the password is longer than {MOST_BYTES} bytes, or not text: choose another one")
    if len(typed.composed.decode()) < SHORTEST:
        raise PasswordRefused(f"the password has fewer than {SHORTEST} characters: choose a longer one")
    if folded(password) == folded(username):
        raise PasswordRefused("the password is the username: choose another one")
    if _is_guessed_first(typed.composed.decode(), username):
        raise PasswordRefused("the password is among those that are guessed first: choose one with less of a pattern")


def _is_guessed_first(password: str, username: str) -> bool:
    """Tell whether a password is a common one, or made of such, of rows of keys, repetitions, dates or the username.

    zxcvbn knows the 30,000 most common ones and estimates how many guesses a password takes; below 10^8 is refused.
    """
    # Only here: its lists take a while to load, which logging in should not wait for.
    from zxcvbn import zxcvbn

    estimated = zxcvbn(password[:LONGEST_JUDGED], user_inputs=[username, "callytics"])
    return int(estimated["score"]) < LOWEST_SCORE


def kind(stored: str) -> str:
    """Return the kind of a stored hash: argon2id, pbkdf2 (imported, until the next login) or unusable."""
    if _is_argon2(stored):
        return "argon2id"
    return "pbkdf2" if PBKDF2.fullmatch(stored) else "unusable"


def _typed(password: str) -> _Typed | None:
    """Return a password's bytes, or None for a text that can't be a password."""
    # A character has at least one byte, so this is decided before the costly normalisation.
    if len(password) > MOST_BYTES:
        return None
    try:
        raw = password.encode()
    except UnicodeEncodeError:
        return None
    composed = unicodedata.normalize("NFC", password).encode()
    return _Typed(raw, composed) if max(len(raw), len(composed)) <= MOST_BYTES else None


def _is_argon2(stored: str) -> bool:
    if not (stored.isascii() and stored.startswith("$argon2id$")):
        return False
    try:
        costs = extract_parameters(stored)
    except (InvalidHashError, ValueError):
        return False
    return costs.memory_cost <= MOST_MEMORY_KIB and costs.time_cost <= MOST_PASSES and costs.parallelism <= MOST_LANES


def _base64(value: bytes) -> str:
    """Encode as Argon2's hashes do, without padding."""
    return base64.b64encode(value).rstrip(b"=").decode()
