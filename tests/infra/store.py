"""A store that speaks S3 by TLS, on this machine: moto's, as hosts of the lab see it."""

from __future__ import annotations

import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from tests.infra.lab import GATEWAY, LabHost
from tests.support.needs import lacking
from tests.support.network import free_port

# Its own server closes connections as pgBackRest takes for an attack on TLS.
SERVE = """
import sys, uvicorn
from moto.server import DomainDispatcherApplication, create_backend_app
host, port, certificate, key = sys.argv[1:]
app = DomainDispatcherApplication(create_backend_app)
uvicorn.run(app, host=host, port=int(port), ssl_certfile=certificate, ssl_keyfile=key, interface="wsgi")
"""
BUCKET, SECRET = "calls", "a secret of the store"


@contextmanager
def store(folder: Path, hosts: Iterable[LabHost]) -> Iterator[dict[str, str]]:
    """Run a store that the hosts trust; give what .env says of it."""
    if not find_spec("moto"):
        lacking("no store that speaks S3: pip install '.[store]'")
    _certificates(folder)
    port = free_port()
    command = [sys.executable, "-c", SERVE, GATEWAY, str(port), folder / "server.crt", folder / "server.key"]
    with (folder / "log").open("w") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            _made(folder, f"https://{GATEWAY}:{port}/{BUCKET}")
            for host in hosts:
                trust = "cat >/usr/local/share/ca-certificates/store.crt && update-ca-certificates >/dev/null 2>&1"
                host.run(trust, input=(folder / "ca.crt").read_text())
            yield {
                "BACKUP_REPOSITORY": f"s3://{BUCKET}/callytics",
                "BACKUP_S3_ENDPOINT": f"{GATEWAY}:{port}",
                "BACKUP_S3_REGION": "eu-1",
                "BACKUP_S3_KEY": "a key of the store",
                "BACKUP_S3_SECRET": SECRET,
                "BACKUP_S3_STYLE": "path",
            }
        finally:
            process.terminate()


def _certificates(folder: Path) -> None:
    """Make an authority, and the store's certificate by it."""
    openssl = ["openssl", "req", "-newkey", "rsa:2048", "-nodes", "-keyout"]
    own = ["-x509", "-days", "2", "-subj", "/CN=store's authority", "-out", folder / "ca.crt"]
    subprocess.run([*openssl, folder / "ca.key", *own], capture_output=True, check=True)
    # pgBackRest looks for an address among the names, too.
    names = f"subjectAltName=IP:{GATEWAY},DNS:{GATEWAY}"
    wanted = [*openssl, folder / "server.key", "-subj", f"/CN={GATEWAY}", "-addext", names]
    request = subprocess.run(wanted, capture_output=True, check=True).stdout
    sign = ["openssl", "x509", "-req", "-days", "2", "-copy_extensions", "copyall", "-CAcreateserial"]
    signed = ["-CA", folder / "ca.crt", "-CAkey", folder / "ca.key", "-out", folder / "server.crt"]
    subprocess.run([*sign, *signed], input=request, capture_output=True, check=True)


def _made(folder: Path, bucket: str) -> None:
    """Make the bucket once the store answers."""
    trusted, deadline = ssl.create_default_context(cafile=folder / "ca.crt"), time.monotonic() + 60
    while True:
        try:
            urllib.request.urlopen(urllib.request.Request(bucket, method="PUT"), context=trusted, timeout=5).close()
            return
        except urllib.error.URLError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)
