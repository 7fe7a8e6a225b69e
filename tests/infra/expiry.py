"""Certificates of a cluster that end, all of them, as where nobody has deployed for more than a year."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.infra.cluster import Cluster
from tests.infra.fault import Fault, Scene

# The authorities of the control machine, where hosts have what those have issued, and how it is read anew.
ISSUED = (
    ("tls", "/etc/postgresql/15/main", "kill -HUP $(head -n 1 /var/lib/postgresql/15/main/postmaster.pid)"),
    ("cluster-tls", "/etc/etcd", "true"),
    ("cluster-tls", "/etc/patroni", "systemctl reload patroni"),
    ("backup-tls", "/etc/pgbackrest/tls", "systemctl restart pgbackrest"),
)
LOOPS_SECONDS = 15


def ends(cluster: Cluster, moment: datetime) -> None:
    """Have all certificates of the hosts end at a moment, on the control machine, too."""
    kept = Path(cluster.deployment.checkout, ".deploy")
    for authority in {authority for authority, _folder, _read in ISSUED}:
        for file in (kept / authority).glob("*[0-9].crt"):
            file.write_bytes(_shortened(kept / authority, file, moment))
    places = [
        (host, kept / authority / f"{host.address}.crt", f"{folder}/server.crt", read)
        for host in (*cluster.members.values(), cluster.deployment.app)
        for authority, folder, read in ISSUED
        if (host.root / folder.lstrip("/") / "server.crt").exists()
    ]
    for host, issued, dest, read in places:
        host.run(f"cat >{dest}; {read}", input=issued.read_text())
    # Patroni reads a certificate within a loop, and serves it from the next one on.
    time.sleep(LOOPS_SECONDS)
    for host, _issued, _dest, read in places:
        host.run(read)


def ended(scene: Scene) -> None:
    """Have all certificates end, and etcd lose its connections: nobody leads any more."""
    moment = datetime.now(UTC) + timedelta(seconds=60)
    ends(scene.cluster, moment)
    time.sleep(max(0.0, (moment - datetime.now(UTC)).total_seconds()) + 1)
    for member in scene.cluster.members.values():
        member.run("systemctl restart --no-block callytics-etcd")


def deployed(scene: Scene) -> None:
    """Run the one command, as somebody does who is told of it."""
    run = scene.cluster.deployment.run()
    scene.found.append(", ".join(run.changed))


RENEWED = Fault(
    "certificates are renewed before their end",
    lambda scene: ends(scene.cluster, datetime.now(UTC) + timedelta(days=20)),
    deployed,
    least=30,
    person="deploy/site.py",
)
FAULTS = (
    RENEWED,
    Fault("all certificates have ended", ended, deployed, least=90, most=120, person="deploy/site.py"),
)


def _shortened(authority: Path, file: Path, moment: datetime) -> bytes:
    """Return what an authority has issued for a host, but with another end."""
    issued = x509.load_pem_x509_certificate(file.read_bytes())
    signer = x509.load_pem_x509_certificate((authority / "ca.crt").read_bytes())
    key = serialization.load_pem_private_key((authority / "ca.key").read_bytes(), password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    begins, number = issued.not_valid_before_utc, x509.random_serial_number()
    builder = x509.CertificateBuilder(
        signer.subject, issued.subject, issued.public_key(), number, begins, moment, [*issued.extensions]
    )
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
