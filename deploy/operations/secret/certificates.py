"""The servers' certificates, and the authority that signs them: both are made on the control machine.

Clients that verify a server need the authority's certificate only. Its key never leaves the control machine's folder.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from pyinfra.api import FunctionCommand, HiddenValue, operation
from pyinfra.api.command import PyinfraCommand

from deploy.operations.secret import secret_files

AUTHORITY_DAYS = 3650
# Browsers accept 398 days at most from public authorities. A run within the last month renews it.
SERVER_DAYS = 397
RENEW_DAYS = 30


@dataclass(frozen=True)
class Authority:
    """A certificate authority in a folder of the control machine, made when it is first needed.

    With ``peers`` its certificates also identify clients, and hold addresses as names too: pgBackRest compares whom it
    has reached with names only.
    """

    folder: Path
    peers: bool = False

    @property
    def certificate(self) -> Path:
        """Return where the authority's certificate is."""
        return self.folder / "ca.crt"

    @property
    def key(self) -> Path:
        """Return where the authority's key is."""
        return self.folder / "ca.key"

    def server_files(self, name: str) -> tuple[Path, Path]:
        """Return where the certificate and the key of a server are."""
        return self.folder / f"{name}.crt", self.folder / f"{name}.key"

    def lasts(self) -> bool:
        """Return whether the authority is there, and outlives whatever it issues until a run renews that."""
        return self.certificate.exists() and _lasts(_certificate(self.certificate), SERVER_DAYS + RENEW_DAYS)

    def create(self) -> None:
        """Make the authority; or, where it does not last, its certificate anew.

        With the same key, so that what was issued before is good by either certificate, on whatever host.
        """
        if self.lasts():
            return
        key = self._signing_key() if self.certificate.exists() else ec.generate_private_key(ec.SECP256R1())
        subject = _subject("Callytics deployment authority")
        # It signs servers and no other authority.
        basic = x509.BasicConstraints(ca=True, path_length=0)
        usage = _key_usage(key_cert_sign=True, crl_sign=True)
        builder = _builder(subject, subject, key, AUTHORITY_DAYS).add_extension(basic, critical=True)
        certificate = builder.add_extension(usage, critical=True).sign(key, hashes.SHA256())
        # The key first: where there is a certificate, `create` takes the authority for complete.
        _write(self.key, _key_bytes(key))
        _write(self.certificate, certificate.public_bytes(serialization.Encoding.PEM))

    def has_issued(self, name: str, alternatives: Iterable[str]) -> bool:
        """Return whether a certificate of ours for exactly these names exists and is good for another month.

        One from before the authority's is not: Patroni reads its authority anew only with a new certificate of its own.
        """
        certificate_file, key_file = self.server_files(name)
        if not (self.lasts() and certificate_file.exists() and key_file.exists()):
            return False
        certificate, authority = _certificate(certificate_file), _certificate(self.certificate)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return (
            set(names) == set(self._alternatives(alternatives))
            and _lasts(certificate, RENEW_DAYS)
            and certificate.not_valid_before_utc >= authority.not_valid_before_utc
            and self._has_signed(certificate)
        )

    def issue(self, name: str, alternatives: Iterable[str]) -> None:
        """Make a certificate and a key for a server that is reached by any of ``alternatives``, names or addresses."""
        self.create()
        signer, signing_key = _certificate(self.certificate), self._signing_key()
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = (
            _builder(_subject(name), signer.subject, key, SERVER_DAYS)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(digital_signature=True), critical=True)
            .add_extension(x509.ExtendedKeyUsage(self._purposes()), critical=False)
            .add_extension(x509.SubjectAlternativeName(self._alternatives(alternatives)), critical=False)
            .sign(signing_key, hashes.SHA256())
        )
        certificate_file, key_file = self.server_files(name)
        _write(key_file, _key_bytes(key))
        _write(certificate_file, certificate.public_bytes(serialization.Encoding.PEM))

    def _signing_key(self) -> ec.EllipticCurvePrivateKey:
        key = serialization.load_pem_private_key(self.key.read_bytes(), password=None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        return key

    def _purposes(self) -> list[x509.ObjectIdentifier]:
        return [ExtendedKeyUsageOID.SERVER_AUTH] + ([ExtendedKeyUsageOID.CLIENT_AUTH] if self.peers else [])

    def _alternatives(self, names: Iterable[str]) -> list[x509.GeneralName]:
        names = list(dict.fromkeys(names))
        return [_alternative(name) for name in names] + ([x509.DNSName(name) for name in names] if self.peers else [])

    def _has_signed(self, certificate: x509.Certificate) -> bool:
        try:
            certificate.verify_directly_issued_by(_certificate(self.certificate))
        except (ValueError, TypeError, InvalidSignature):
            return False
        return True


@dataclass(frozen=True)
class Given:
    """Certificates of another authority, as files on the control machine."""

    certificate: Path
    server_certificate: Path
    server_key: Path

    def server_files(self, name: str) -> tuple[Path, Path]:
        """Return where the certificate and the key of any server are."""
        return self.server_certificate, self.server_key


@operation()
def server_certificate(
    authority: Authority | Given, server: str, alternatives: list[str], folder: str, owner: str = "postgres"
) -> Generator[PyinfraCommand, None, None]:
    """Install a server's certificate and key in ``folder``, after issuing or renewing it if that is due.

    The key is for ``owner`` alone, the account that serves with it.
    Certificates that were given are only copied: whoever issued them renews them.
    """
    if isinstance(authority, Authority) and not authority.has_issued(server, alternatives):
        yield FunctionCommand(authority.issue, (server, alternatives), {})
    certificate_file, key_file = authority.server_files(server)
    # Between the two they do not match. The server reads neither before it is reloaded, which comes after both.
    yield from secret_files.secret._inner(_reader(key_file), f"{folder}/server.key", owner, owner, 0o600)
    yield from secret_files.secret._inner(_reader(certificate_file), f"{folder}/server.crt", "root", owner, 0o644)


@operation()
def authority_certificate(authority: Authority | Given, dest: str) -> Generator[PyinfraCommand, None, None]:
    """Put the authority's certificate on the host, for clients that verify the server."""
    if isinstance(authority, Authority) and not authority.lasts():
        yield FunctionCommand(authority.create, (), {})
    yield from secret_files.secret._inner(_reader(authority.certificate), dest, "root", "root", 0o644)


def _reader(path: Path) -> Callable[[], HiddenValue]:
    return lambda: HiddenValue(path.read_text())


def _certificate(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def _lasts(certificate: x509.Certificate, days: int) -> bool:
    return certificate.not_valid_after_utc > datetime.now(UTC) + timedelta(days=days)


def _subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, days: int
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        # A host whose clock is behind would refuse a certificate that starts now.
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _key_usage(**used: bool) -> x509.KeyUsage:
    unused = dict.fromkeys(
        (
            "digital_signature",
            "content_commitment",
            "key_encipherment",
            "data_encipherment",
            "key_agreement",
            "key_cert_sign",
            "crl_sign",
            "encipher_only",
            "decipher_only",
        ),
        False,
    )
    return x509.KeyUsage(**{**unused, **used})


def _alternative(name: str) -> x509.GeneralName:
    try:
        # Clients look for an address among a certificate's addresses, for a name among its names.
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _key_bytes(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write(path: Path, content: bytes) -> None:
    """Write a file for its owner only, complete or not at all."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
    new.replace(path)
