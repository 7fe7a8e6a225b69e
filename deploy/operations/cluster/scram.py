"""SCRAM-SHA-256 verifiers, as PostgreSQL keeps them instead of passwords."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import stringprep
import unicodedata

# https://www.postgresql.org/docs/15/protocol-flow.html and src/include/common/scram-common.h
ITERATIONS = 4096
SALT_BYTES = 16

# https://www.rfc-editor.org/rfc/rfc4013#section-2.3
PROHIBITED = (
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
    stringprep.in_table_a1,
)


def verifier(password: str, *, salt: bytes | None = None, iterations: int = ITERATIONS) -> str:
    """Return what PostgreSQL keeps of ``password``, with a random salt unless one is given (RFC 5803, RFC 7677)."""
    salt = secrets.token_bytes(SALT_BYTES) if salt is None else salt
    salted = hashlib.pbkdf2_hmac("sha256", _prepared(password), salt, iterations)
    stored = hashlib.sha256(_hmac(salted, b"Client Key")).digest()
    server = _hmac(salted, b"Server Key")
    return f"SCRAM-SHA-256${iterations}:{_base64(salt)}${_base64(stored)}:{_base64(server)}"


def matches(password: str, *, salt: str, iterations: int, fingerprint: str) -> bool:
    """Return whether the verifier with this salt (base64) and SHA-256 (hex) was made of ``password``.

    The verifier itself never has to leave its server.
    """
    expected = verifier(password, salt=base64.b64decode(salt), iterations=iterations)
    return hmac.compare_digest(hashlib.sha256(expected.encode()).hexdigest(), fingerprint)


def saslprep(text: str) -> str:
    """Return ``text`` prepared by RFC 4013, or as it stands where that would refuse it, as PostgreSQL does."""
    if text.isascii():
        return text
    mapped = "".join(
        " " if stringprep.in_table_c12(character) else character
        for character in text
        if not stringprep.in_table_b1(character)
    )
    prepared = unicodedata.normalize("NFKC", mapped)
    return prepared if prepared and _allowed(prepared) else text


def _allowed(text: str) -> bool:
    if any(prohibited(character) for character in text for prohibited in PROHIBITED):
        return False
    if not any(map(stringprep.in_table_d1, text)):
        return True
    # Text from right to left holds nothing from left to right, and begins and ends with such a letter.
    return (
        not any(map(stringprep.in_table_d2, text))
        and stringprep.in_table_d1(text[0])
        and stringprep.in_table_d1(text[-1])
    )


def _prepared(password: str) -> bytes:
    return saslprep(password).encode()


def _hmac(key: bytes, message: bytes) -> bytes:
    return hmac.digest(key, message, "sha256")


def _base64(octets: bytes) -> str:
    return base64.b64encode(octets).decode()
