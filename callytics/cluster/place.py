"""Where a member of a cluster is told about the others: what deploy/patroni.py has written down for Patroni."""

from __future__ import annotations

import json
import ssl
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from callytics.exceptions import ClusterError

DEFAULT = Path("/etc/patroni/patroni.yml")
PORT = 8008


@dataclass(frozen=True)
class Place:
    """A member's cluster: the address of every member's Patroni, and by which certificate it lets itself be led.

    ``address`` is this member's own among them.
    """

    name: str
    addresses: tuple[str, ...]
    authority: str
    certificate: str
    key: str
    scope: str = "callytics"
    address: str = ""

    @classmethod
    def load(cls, path: Path = DEFAULT) -> Place:
        """Read the file; raises ClusterError for one that is not there, not this account's to read, or not ours."""
        try:
            found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            addresses = tuple(one.rpartition(":")[0] for one in found["etcd3"]["hosts"])
            tls = (found["ctl"]["cacert"], found["ctl"]["certfile"], found["ctl"]["keyfile"])
            own = found["restapi"]["connect_address"].rpartition(":")[0]
            return cls(found["name"], addresses, *tls, found["scope"], own)
        except FileNotFoundError:
            raise ClusterError(f"{path} is not there: run this as root on a member of the cluster") from None
        except PermissionError:
            raise ClusterError(f"{path} is not for this account to read: run the command with sudo") from None
        except (ValueError, KeyError, TypeError, AttributeError):
            raise ClusterError(
                f"{path} is not of Callytics' making: run 'pyinfra inventory.py deploy/site.py' again"
            ) from None

    @classmethod
    def here(cls, path: Path = DEFAULT) -> Place | None:
        """Read the file as `load` does; return None where this host is no member."""
        try:
            path.stat()
        except FileNotFoundError:
            return None
        except PermissionError:
            # As of anybody who may not even see it.
            pass
        return cls.load(path)

    def tls(self) -> ssl.SSLContext:
        """Return what proves this host to the others, and them to this host."""
        context = ssl.create_default_context(cafile=self.authority)
        context.load_cert_chain(self.certificate, self.key)
        return context

    def send(self, request: urllib.request.Request, seconds: float) -> bytes:
        """Send a request to a member, and return the answer; raises OSError where there is none."""
        # Not by a proxy of the environment: members are this installation's own.
        direct = urllib.request.ProxyHandler({})
        opener = urllib.request.build_opener(direct, urllib.request.HTTPSHandler(context=self.tls()))
        with opener.open(request, timeout=seconds) as answer:
            return bytes(answer.read())
