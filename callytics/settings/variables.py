"""The variables that Callytics reads, their defaults, and which of them are secrets."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

DEFAULT_ENV_FILE = Path(".env")
REQUIRED = ("POSTGRES_HOST", "POSTGRES_DB", "POSTGRES_USER", "POSTGRES_PASSWORD")
OPTIONAL = {
    "POSTGRES_PORT": "5432",
    "POSTGRES_READ_HOST": "",
    "POSTGRES_READ_LAG": "5",
    "POSTGRES_OWNER_USER": "",
    "POSTGRES_OWNER_PASSWORD": "",
    "POSTGRES_SUPERUSER_PASSWORD": "",
    "POSTGRES_READONLY_PASSWORD": "",
    "POSTGRES_MONITOR_PASSWORD": "",
    "POSTGRES_MIN_CONNECTIONS": "5",
    "POSTGRES_MAX_CONNECTIONS": "20",
    "POSTGRES_SSLMODE": "",
    "POSTGRES_SSLROOTCERT": "",
    "JWT_SECRET_KEY": "",
    "JWT_EXPIRE_MINUTES": "480",
    # https://owasp.org/www-project-application-security-verification-standard/ 3.3.2 for level 2
    "SESSION_IDLE_MINUTES": "30",
    "MAX_LOGIN_ATTEMPTS": "5",
    "ACCOUNT_LOCK_MINUTES": "30",
    "API_HOST": "127.0.0.1",
    "API_PORT": "8000",
    "API_NAMES": "",
    "CORS_ORIGINS": "",
    "PROMETHEUS_URL": "",
}
# Masked in what is shown and taken out of errors. The superuser's and the two after it are for those who make the
# roles: hosts' provisioning and Docker Compose.
SECRETS = (
    "POSTGRES_PASSWORD",
    "POSTGRES_OWNER_PASSWORD",
    "POSTGRES_SUPERUSER_PASSWORD",
    "POSTGRES_READONLY_PASSWORD",
    "POSTGRES_MONITOR_PASSWORD",
    "JWT_SECRET_KEY",
)


def value(values: Mapping[str, str], variable: str) -> str:
    """Return the value or, where it is unset or empty, its default."""
    text = values.get(variable, "")
    return text if text.strip() else OPTIONAL.get(variable, "")


def hosts(text: str) -> tuple[str, ...]:
    """Return the hosts of a comma-separated list, an empty text for one that is missing between two commas."""
    return tuple(host.strip() for host in text.split(","))
