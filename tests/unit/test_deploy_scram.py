"""Verifiers are what PostgreSQL would make of a password."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest

from deploy.operations.cluster import scram

# https://www.rfc-editor.org/rfc/rfc7677#section-3
SALT = "W22ZaJ0SNY7soEsUEjb6gQ=="
AUTH_MESSAGE = (
    "n=user,r=rOprNGfwEbeRWgbNEkqO,"
    "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,"
    "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
)
CLIENT_PROOF = "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
SERVER_SIGNATURE = "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


def keys() -> tuple[bytes, bytes]:
    """Return StoredKey and ServerKey of the RFC's exchange."""
    verifier = scram.verifier("pencil", salt=base64.b64decode(SALT), iterations=4096)
    assert verifier.startswith(f"SCRAM-SHA-256$4096:{SALT}$")
    stored, server = verifier.rpartition("$")[2].split(":")
    return base64.b64decode(stored), base64.b64decode(server)


def test_server_key_signs_as_in_the_rfc() -> None:
    _stored, server = keys()
    assert base64.b64encode(hmac.digest(server, AUTH_MESSAGE.encode(), "sha256")).decode() == SERVER_SIGNATURE


def test_stored_key_accepts_the_rfcs_proof() -> None:
    stored, _server = keys()
    signature = hmac.digest(stored, AUTH_MESSAGE.encode(), "sha256")
    client_key = bytes(a ^ b for a, b in zip(signature, base64.b64decode(CLIENT_PROOF), strict=True))
    assert hashlib.sha256(client_key).digest() == stored


def test_two_verifiers_of_a_password_differ() -> None:
    assert scram.verifier("pencil") != scram.verifier("pencil")


def found(password: str) -> dict[str, str | int]:
    """Return what the server tells of the verifier of ``password``."""
    verifier = scram.verifier(password)
    iterations, salt = verifier.split("$")[1].split(":")
    fingerprint = hashlib.sha256(verifier.encode()).hexdigest()
    return {"salt": salt, "iterations": int(iterations), "fingerprint": fingerprint}


def test_matches() -> None:
    assert scram.matches("pencil", **found("pencil"))  # type: ignore[arg-type]
    assert not scram.matches("Pencil", **found("pencil"))  # type: ignore[arg-type]


# https://www.rfc-editor.org/rfc/rfc4013#section-3, and beyond it what PostgreSQL does: what is refused stays as it is.
@pytest.mark.parametrize(
    ("text", "prepared"),
    [
        ("I\u00adX", "IX"),
        ("user", "user"),
        ("USER", "USER"),
        ("\u00aa", "a"),
        ("\u2168", "IX"),
        ("\u0007", "\u0007"),
        ("\u0627\u0031", "\u0627\u0031"),
        ("\u0627\u0031\u0627", "\u0627\u0031\u0627"),
        ("a\u0627", "a\u0627"),
        ("a\u00a0b", "a b"),
        ("\u00ad", "\u00ad"),
        ("한국", "한국"),
        ("\u1112\u1161\u11ab", "한"),
    ],
)
def test_saslprep(text: str, prepared: str) -> None:
    assert scram.saslprep(text) == prepared
