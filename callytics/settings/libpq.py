"""libpq reads an environment of its own, which would lead a connection elsewhere behind POSTGRES_HOST's back.

https://www.postgresql.org/docs/15/libpq-envars.html; the last lines are those of later versions, as each driver brings
a libpq of its own.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

from callytics.settings.checks import Problem

# libpq looks for a parameter in the environment only where it is not given, not even as an empty text. These are its
# own defaults, of parameters that each libpq of today knows: an unknown one would be an error.
EXPLICIT = {
    "hostaddr": "",
    "passfile": "",
    "options": "",
    "sslmode": "prefer",
    "sslcert": "",
    "sslkey": "",
    "sslrootcert": "",
    "sslcrl": "",
    "requirepeer": "",
    "channel_binding": "prefer",
    "gssencmode": "prefer",
    "krbsrvname": "postgres",
    "target_session_attrs": "any",
}
# Of several hosts one may be gone: whoever has a connection to it, or tries it first, goes on to the next one in
# seconds. For each host, in seconds; tcp_user_timeout in milliseconds.
FAILOVER = {
    "connect_timeout": "3",
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "2",
    "tcp_user_timeout": "5000",
}
# Settings take the place of these, which many shells hold for psql.
REPLACED = ("PGHOST", "PGPORT", "PGDATABASE", "PGUSER", "PGPASSWORD")
ALTERING = (
    *("PGHOSTADDR", "PGSERVICE", "PGSERVICEFILE", "PGSYSCONFDIR", "PGPASSFILE", "PGOPTIONS", "PGTARGETSESSIONATTRS"),
    *("PGSSLMODE", "PGREQUIRESSL", "PGSSLCOMPRESSION", "PGSSLCERT", "PGSSLKEY", "PGSSLROOTCERT", "PGSSLCRL"),
    *("PGSSLCRLDIR", "PGSSLSNI", "PGSSLMINPROTOCOLVERSION", "PGSSLMAXPROTOCOLVERSION", "PGREQUIREPEER"),
    *("PGCHANNELBINDING", "PGGSSENCMODE", "PGGSSLIB", "PGKRBSRVNAME", "PGAPPNAME", "PGCONNECT_TIMEOUT"),
    *("PGCLIENTENCODING", "PGDATESTYLE", "PGTZ", "PGGEQO"),
    *("PGLOADBALANCEHOSTS", "PGREQUIREAUTH", "PGSSLCERTMODE", "PGSSLNEGOTIATION", "PGGSSDELEGATION"),
    *("PGMINPROTOCOLVERSION", "PGMAXPROTOCOLVERSION", "PGSSLKEYLOGFILE"),
)


def check_environment(environ: Mapping[str, str]) -> Iterator[Problem]:
    """Yield a note for each variable of libpq's that would change a connection, and does not."""
    for name in ALTERING:
        if environ.get(name):
            yield Problem("note", f"{name} is ignored: the POSTGRES_ variables alone say how to connect")


def forget_libpq() -> None:
    """Remove libpq's variables from this process's environment, whose own settings are the POSTGRES_ variables.

    Only for programs of ours: `Settings.parameters` is proof against nearly all of them in any process, but not against
    a PGSERVICE that does not exist, nor against PGTZ, PGDATESTYLE and PGGEQO, which no parameter replaces.
    """
    for name in (*REPLACED, *ALTERING):
        os.environ.pop(name, None)
