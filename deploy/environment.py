"""Read the environment and .env for inventory.py, and reject what cannot work.

Everything here raises InventoryError, with what to do, before any host is connected to.
"""

from __future__ import annotations

import os
import re
import socket
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from dotenv import dotenv_values
from paramiko import Transport
from pyinfra.api import HiddenValue, InventoryError

CHECKOUT = Path(__file__).resolve().parents[1]
ENV_FILE = Path(os.environ.get("CALLYTICS_ENV_FILE") or CHECKOUT / ".env")
# Without interpolation: a password may hold a $.
VALUES = {**dotenv_values(ENV_FILE, interpolate=False), **os.environ}
# The two rules that callytics/settings has as well: neither side imports the other, and a test compares them.
PLACEHOLDER = re.compile(r"change[-_ ]?me.*|your[-_ ].*|1234\d*|<.*>", re.IGNORECASE)
# RFC 7518, section 3.2: a key of HS256 has at least as many bits as its hash.
KEY_BYTES = 32
# Of three the other two agree which of them goes on without the third.
CLUSTER_HOSTS = 3
# What units and settings hold without quoting.
FOLDER = re.compile(r"/[\w./-]*\w")
# As many as 'callytics partitions archive --keep' takes.
MOST_MONTHS = 1200


class Secret(HiddenValue):
    """A value that is masked in debug-inventory and in the arguments of operations."""

    def to_json(self) -> str:
        """Return what debug-inventory may print."""
        return str(self)


def value(name: str, default: str = "") -> str:
    """Return a variable's value; one that is set but empty takes the default."""
    return VALUES.get(name) or default


def words(name: str, default: str = "") -> list[str]:
    """Return the items of a comma-separated list."""
    return [item.strip() for item in value(name, default).split(",") if item.strip()]


def file_path(name: str) -> Path | None:
    """Return an absolute path, as pyinfra may be started in any folder; None if it is not set."""
    return Path(value(name)).expanduser().absolute() if value(name) else None


def password(name: str, *, required: bool = True) -> Secret | None:
    """Read a password, or return None if it is not set and not ``required``.

    Rejects what an env file cannot carry between single quotes for systemd and python-dotenv alike, and placeholders.
    """
    found = value(name)
    if not found and not required:
        return None
    if not found.strip() or PLACEHOLDER.fullmatch(found.strip()):
        raise InventoryError(
            f"{name} is not set or still a placeholder: run 'callytics env init', or set your own in .env"
        )
    if re.search(r"['\\\x00-\x1f\x7f]", found):
        raise InventoryError(f"{name} holds a quote, a backslash or a control character: use another password")
    return Secret(found)  # type: ignore[no-untyped-call]  # pyinfra's class has no types


def number(name: str, default: int) -> int:
    """Return a whole number from 1 to 99,999; raises InventoryError for anything else."""
    text = value(name, str(default))
    if not re.fullmatch(r"[0-9]{1,5}", text) or int(text) < 1:
        raise InventoryError(f"{name} '{text}' is not a whole number from 1: correct it")
    return int(text)


def signing_key() -> Secret | None:
    """Read the key that signs logins; None means that deploy/app.py makes one and keeps it on this machine."""
    key = password("JWT_SECRET_KEY", required=False)
    if key and len(key.unmask().encode()) < KEY_BYTES:
        raise InventoryError(
            f"JWT_SECRET_KEY is shorter than {KEY_BYTES} bytes: leave it out, or run 'openssl rand -base64 48'"
        )
    return key


def service_settings() -> dict[str, str]:
    """Return the service's settings that .env names; the service has its own defaults for the others."""
    names = (
        "POSTGRES_READ_LAG",
        "JWT_EXPIRE_MINUTES",
        "SESSION_IDLE_MINUTES",
        "MAX_LOGIN_ATTEMPTS",
        "ACCOUNT_LOCK_MINUTES",
        "API_HOST",
        "API_PORT",
        "API_NAMES",
        "CORS_ORIGINS",
        "PROMETHEUS_URL",
    )
    return {name: value(name) for name in names if value(name)}


def health_url() -> str:
    """Return where a host asks its own service how it is."""
    listens = value("API_HOST", "127.0.0.1")
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(listens, f"[{listens}]" if ":" in listens else listens)
    return f"http://{host}:{value('API_PORT', '8000')}/health"


def refuse_other_roles() -> None:
    """Raise InventoryError for roles of other names: the migrations grant to these."""
    for variable, role in (("POSTGRES_USER", "callytics_user"), ("POSTGRES_OWNER_USER", "callytics_owner")):
        if value(variable, role) != role:
            raise InventoryError(
                f"{variable} is {value(variable)}, but hosts have the role {role}: leave it out, or set it to that"
            )


def certificates() -> dict[str, Path | None]:
    """Return the paths of certificates of another authority: all three files, or three times None."""
    names = {
        "tls_authority_file": "DATABASE_TLS_CA",
        "tls_certificate_file": "DATABASE_TLS_CERTIFICATE",
        "tls_key_file": "DATABASE_TLS_KEY",
    }
    paths = {key: file_path(name) for key, name in names.items()}
    given = [path for path in paths.values() if path]
    if given and len(given) < len(paths):
        raise InventoryError(f"{', '.join(names.values())}: set all three, or none to have them made")
    for path in given:
        if not path.is_file():
            raise InventoryError(f"{path} is not there: correct {', '.join(names.values())}")
    return paths


def hosts(name: str) -> list[str]:
    """Return the hosts of a list, this machine (``@local``) if it is not set; raises InventoryError if it is empty."""
    found = words(name, "@local")
    if not found:
        raise InventoryError(f"{name} names no host: set it to host names separated by commas, or leave it out")
    return found


def database_hosts() -> list[str]:
    """Return the database's host, or the three of a cluster; raises InventoryError for other numbers.

    The three have no order but their own: what is written of them is the same however they are listed.
    """
    found = hosts("DATABASE_HOSTS")
    if len(found) == 1:
        return found
    if len(found) == 2:
        raise InventoryError(
            "DATABASE_HOSTS names two hosts, of which neither could tell whether the other is gone or only out of its "
            "reach: name one, or three"
        )
    if len(set(found)) != CLUSTER_HOSTS:
        raise InventoryError(f"DATABASE_HOSTS names {len(found)} hosts: a cluster has three different ones")
    _refuse_backups_beside(found)
    return sorted(found)


def _refuse_backups_beside(members: list[str]) -> None:
    """Raise InventoryError where the backups of ``members`` would be on one of them."""
    place = value("BACKUP_REPOSITORY")
    if place == "off" or place.startswith("s3://"):
        return
    if not words("BACKUP_HOST") or set(words("BACKUP_HOST")) & set(members):
        raise InventoryError(
            "BACKUP_HOST is to keep the backups of three hosts and must be none of them, as any of them may be lost: "
            "set it to another host, such as the service's, or BACKUP_REPOSITORY to s3://BUCKET/FOLDER or off"
        )


def cluster_hosts() -> list[str]:
    """Return the hosts of the cluster; none where one host has the database to itself."""
    found = database_hosts()
    return found if len(found) > 1 else []


def survivor() -> str:
    """Return the member whose data count where the two others are lost for good; raises InventoryError for another."""
    found, members = value("CLUSTER_SURVIVOR"), cluster_hosts()
    if found and found not in members:
        raise InventoryError(
            f"CLUSTER_SURVIVOR is {found}, which is none of the three in DATABASE_HOSTS: name the member that is left, "
            "and two empty hosts"
        )
    return found


def address(name: str) -> str:
    """Return a host's address, as pg_hba.conf and listen_addresses need it.

    A name is resolved here, on the control machine, and not by the server: there it would depend on its DNS at boot.
    """
    try:
        return str(ip_address(name))
    except ValueError:
        pass
    try:
        return str(socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)[0][4][0])
    except OSError:
        raise InventoryError(
            f"'{name}' has no address that this machine knows: use its address in DATABASE_HOSTS and APP_HOSTS, "
            "or set DATABASE_LISTEN and DATABASE_CLIENTS"
        ) from None


def network(address: str) -> str:
    """Return an address as the network that has only this address."""
    return address if "/" in address else f"{address}/{ip_address(address).max_prefixlen}"


def undelayed_transport(connected: Any, **options: Any) -> Transport:
    """Return an SSH connection that waits with no packet for the one before: each command would take 40 ms longer."""
    # Through a jump host, or a command, it is no socket.
    if isinstance(connected, socket.socket):
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return Transport(connected, **options)


def connection(hosts: list[str]) -> dict[str, Any]:
    """Return how to reach the hosts, through sudo if not as root."""
    user = value("SSH_USER", "root")
    root = os.geteuid() == 0 if "@local" in hosts else user == "root"
    found = {
        "ssh_user": user,
        "ssh_port": int(value("SSH_PORT", "22")),
        "ssh_key": str(file_path("SSH_KEY") or ""),
        "ssh_known_hosts_file": str(file_path("SSH_KNOWN_HOSTS") or ""),
        "ssh_config_file": str(file_path("SSH_CONFIG") or ""),
        "ssh_strict_host_key_checking": value("SSH_STRICT_HOST_KEY_CHECKING"),
        "ssh_paramiko_connect_kwargs": {"transport_factory": undelayed_transport},
        "_sudo": not root,
    }
    return {name: one for name, one in found.items() if one not in ("", None)}


def all_hosts() -> list[str]:
    """Return every host once: either this machine, or others by name.

    The two cannot mix, as "@local" has no address that the others could use.
    """
    # Also where nothing is monitored any more: what an earlier run has started there is to stop.
    others = {"BACKUP_HOST": backup_hosts(), "MONITORING_HOST": monitoring_hosts() or words("MONITORING_HOST")}
    named = [*database_hosts(), *hosts("APP_HOSTS"), *others["BACKUP_HOST"], *others["MONITORING_HOST"]]
    found = list(dict.fromkeys(named))
    if "@local" in found and len(found) > 1:
        *first, last = ["DATABASE_HOSTS", "APP_HOSTS", *(name for name in others if words(name))]
        names = f"{', '.join(first)} and {last}"
        raise InventoryError(f"{names} mix this machine with others: name it by its address, too")
    return found


def clients() -> list[str]:
    """Return the networks that reach the database from elsewhere, sorted; none if every application is beside it."""
    apart = [host for host in hosts("APP_HOSTS") if host not in hosts("DATABASE_HOSTS")]
    named = [network(client) for client in words("DATABASE_CLIENTS")]
    # Members reach each other: to copy and replicate, and for an application on one of them.
    members = [network(address(host)) for host in cluster_hosts()]
    return sorted({*members, *(named or [network(address(host)) for host in apart])})


def backup_hosts() -> list[str]:
    """Return the host that keeps the backups, or kept them before a store did, if it is none of the database's."""
    found = words("BACKUP_HOST")
    if len(found) > 1:
        raise InventoryError("BACKUP_HOST names several hosts: set it to one, or leave it out")
    if found and found[0] in hosts("DATABASE_HOSTS"):
        raise InventoryError("BACKUP_HOST serves a database on another host: name that one, or leave it out")
    return found


def backup_host() -> str:
    """Return the host that keeps the backups; empty where the database's own does, or a store."""
    return "" if value("BACKUP_REPOSITORY").startswith("s3://") else next(iter(backup_hosts()), "")


def monitoring_hosts() -> list[str]:
    """Return the host that has Prometheus unless it is named; none if nothing is monitored.

    It is the database's; of three, each of which may be lost, the first application's.
    """
    found = words("MONITORING_HOST", hosts("APP_HOSTS" if cluster_hosts() else "DATABASE_HOSTS")[0])
    if len(found) > 1:
        raise InventoryError("MONITORING_HOST names several hosts: set it to one, or leave it out")
    return found if switch("MONITORING") else []


def monitoring() -> dict[str, Any]:
    """Return whether hosts are monitored, for how long that is kept, and who is told of alerts."""
    webhook, smtp, sender = password("ALERT_WEBHOOK", required=False), value("ALERT_SMTP"), value("ALERT_SMTP_FROM")
    if webhook and not re.fullmatch(r"https?://[^\s@]+", webhook.unmask()):
        raise InventoryError("ALERT_WEBHOOK is not an address: write it as https://name/path")
    if words("ALERT_EMAIL") and not (re.fullmatch(r"\S+:[0-9]{1,5}", smtp) and sender):
        raise InventoryError("ALERT_EMAIL needs ALERT_SMTP, as mail.example.com:587, and ALERT_SMTP_FROM: set both")
    return {
        "monitoring_on": switch("MONITORING"),
        "monitoring_days": number("MONITORING_DAYS", 30),
        "alert_webhook": webhook,
        "alert_webhook_token": password("ALERT_WEBHOOK_TOKEN", required=False),
        "alert_email": words("ALERT_EMAIL"),
        "alert_smtp": smtp,
        "alert_smtp_from": sender,
        "alert_smtp_user": value("ALERT_SMTP_USER"),
        "alert_smtp_password": password("ALERT_SMTP_PASSWORD", required=False),
        "alert_smtp_tls": switch("ALERT_SMTP_TLS"),
    }


def scraped_services(prometheus: str) -> dict[str, str]:
    """Return where Prometheus, on a host of that name, reaches the services' metrics, by host.

    A service that listens on its own host's loopback, as by default, is seen from there alone: of the others only the
    machine and the unit's state are known.
    """
    listens, port = value("API_HOST", "127.0.0.1"), value("API_PORT", "8000")
    is_open = listens not in ("127.0.0.1", "::1", "localhost")
    found = {}
    for host in hosts("APP_HOSTS"):
        if host == prometheus and (not is_open or listens in ("0.0.0.0", "::")):
            found[host] = f"127.0.0.1:{port}" if listens != "::1" else f"[::1]:{port}"
        elif is_open:
            name = host if listens in ("0.0.0.0", "::") else listens
            found[host] = f"[{name}]:{port}" if ":" in name else f"{name}:{port}"
    return found


def switch(name: str) -> bool:
    """Return whether something is on, as it is by default; raises InventoryError for anything but on and off."""
    text = value(name, "on")
    if text not in ("on", "off"):
        raise InventoryError(f"{name} '{text}' is neither on nor off: correct it")
    return text == "on"


def backups() -> dict[str, Any]:
    """Return where backups are kept and for how long: a folder, a store that speaks S3, or nowhere.

    Secrets are apart from the options, as they go to another file.
    """
    place = value("BACKUP_REPOSITORY", "/var/lib/pgbackrest")
    found: dict[str, Any] = {
        "backup_stanza": "callytics",
        "backup_on": place != "off",
        "backup_keep_days": number("BACKUP_KEEP_DAYS", 28),
        "backup_processes": number("BACKUP_PROCESSES", 2),
        "backup_key": password("BACKUP_KEY", required=False),
        "backup_options": {},
        "backup_secrets": {},
    }
    if place.startswith("s3://"):
        return found | _backups_in_s3(place)
    if place != "off" and not FOLDER.fullmatch(place):
        raise InventoryError(
            f"BACKUP_REPOSITORY '{place}' is neither an absolute folder nor s3://BUCKET/FOLDER nor off: correct it"
        )
    return found | {"backup_options": {"repo1-type": "posix", "repo1-path": place} if place != "off" else {}}


def retention() -> dict[str, Any]:
    """Return how many months stay in the database, 0 for all of them, and where those go that do not.

    Raises InventoryError for a policy without backups: what is dropped must be in one.
    """
    months = number("RETENTION_MONTHS", 1) if value("RETENTION_MONTHS") else 0
    if months and value("BACKUP_REPOSITORY") == "off":
        raise InventoryError(
            "RETENTION_MONTHS has months dropped, and BACKUP_REPOSITORY is off: leave one of them out, or archive by "
            "'callytics partitions archive' yourself"
        )
    if months > MOST_MONTHS:
        raise InventoryError(f"RETENTION_MONTHS '{months}' is more than a century: leave it out to keep every month")
    folder = value("ARCHIVE_FOLDER", "/var/lib/callytics-archives")
    if not FOLDER.fullmatch(folder):
        raise InventoryError(f"ARCHIVE_FOLDER '{folder}' is not an absolute folder: correct it")
    return {"retention_months": months, "archive_folder": folder}


def _backups_in_s3(place: str) -> dict[str, Any]:
    bucket, _, folder = place.removeprefix("s3://").partition("/")
    names = ("BACKUP_S3_ENDPOINT", "BACKUP_S3_REGION", "BACKUP_S3_KEY", "BACKUP_S3_SECRET")
    if missing := [name for name in names if not value(name)]:
        raise InventoryError(f"{', '.join(missing)} not set: a repository in {place} needs {', '.join(names)}")
    return {
        "backup_options": {
            "repo1-type": "s3",
            "repo1-path": f"/{folder}".rstrip("/") or "/callytics",
            "repo1-s3-bucket": bucket,
            "repo1-s3-endpoint": value("BACKUP_S3_ENDPOINT"),
            "repo1-s3-region": value("BACKUP_S3_REGION"),
            "repo1-s3-uri-style": value("BACKUP_S3_STYLE", "host"),
        },
        "backup_secrets": {
            "repo1-s3-key": password("BACKUP_S3_KEY"),
            "repo1-s3-key-secret": password("BACKUP_S3_SECRET"),
        },
    }
