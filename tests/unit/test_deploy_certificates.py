"""The authority on the control machine, and what it issues."""

from __future__ import annotations

import itertools
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path

import pytest

pytest.importorskip("pyinfra", reason="the deployment's tests need pyinfra: pip install '.[deploy]'")

from cryptography import x509

from deploy.operations.secret import certificates
from deploy.operations.secret.certificates import Authority

NAMES = ["localhost", "127.0.0.1", "::1", "db.example"]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """An authority that has issued a certificate for ``db``."""
    authority = Authority(tmp_path / "tls")
    authority.issue("db", NAMES)
    return authority


def test_what_was_issued_is_known(authority: Authority) -> None:
    assert authority.has_issued("db", NAMES)


def test_other_names_want_another_certificate(authority: Authority) -> None:
    assert not authority.has_issued("db", [*NAMES, "10.0.0.1"])
    assert not authority.has_issued("other", NAMES)


def test_nothing_is_issued_before_it_is_asked_for(tmp_path: Path) -> None:
    assert not Authority(tmp_path / "tls").has_issued("db", NAMES)
    assert not (tmp_path / "tls").exists()


def test_another_authority_has_not_issued_it(authority: Authority) -> None:
    authority.key.unlink()
    authority.certificate.unlink()
    authority.create()
    assert not authority.has_issued("db", NAMES)


def test_a_certificate_is_renewed_a_month_before_its_end(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certificates, "RENEW_DAYS", certificates.SERVER_DAYS)
    assert not authority.has_issued("db", NAMES)


def test_the_authority_is_made_once(authority: Authority) -> None:
    before = authority.key.read_bytes()
    authority.create()
    authority.issue("second", ["second.example"])
    assert authority.key.read_bytes() == before
    assert authority.has_issued("db", NAMES)


@contextmanager
def ago(days: int) -> Iterator[None]:
    """Have what is made be made so many days ago."""

    class Then(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return datetime.now(tz) - timedelta(days=days)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(certificates, "datetime", Then)
        yield


def test_an_authority_is_renewed_before_what_it_issues_could_outlive_it(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "tls")
    with ago(days=3650 - 397 - 30 + 1):
        authority.create()
    with ago(days=100):
        authority.issue("db", NAMES)
    assert authority.has_issued("db", NAMES) is authority.lasts() is False
    key, before = authority.key.read_bytes(), (authority.certificate.read_bytes(), _file(authority).read_bytes())
    authority.create()
    assert authority.lasts()
    # Patroni would not read the authority's.
    assert not authority.has_issued("db", NAMES)
    authority.issue("db", NAMES)
    assert authority.has_issued("db", NAMES)
    after = authority.certificate.read_bytes(), _file(authority).read_bytes()
    assert (authority.key.read_bytes(), set(before) & set(after)) == (key, set())
    # Hosts get them one after another: either of a server's is good by either of the authority's.
    for signer, issued in itertools.product(*zip(before, after, strict=True)):
        x509.load_pem_x509_certificate(issued).verify_directly_issued_by(x509.load_pem_x509_certificate(signer))


def test_a_server_certificate_signs_no_others_and_lasts_a_year(authority: Authority) -> None:
    certificate = x509.load_pem_x509_certificate(authority.server_files("db")[0].read_bytes())
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert certificate.not_valid_after_utc < datetime.now(UTC) + timedelta(days=398)


def test_only_its_owner_reads_the_folder(authority: Authority) -> None:
    assert stat.S_IMODE(authority.folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in authority.folder.iterdir()} == {0o600}


def _file(authority: Authority) -> Path:
    return authority.server_files("db")[0]
