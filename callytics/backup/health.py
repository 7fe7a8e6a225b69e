"""What the doctor finds wrong with a cluster: with the live one, with a backup's, and with what was restored of it."""

from __future__ import annotations

from callytics.backup.place import Place
from callytics.schema.doctor import doctor
from callytics.schema.doctor.doctor import Diagnosis
from callytics.settings import Settings


def examine(place: Place, *, socket: str | None = None, port: int | None = None) -> Diagnosis:
    """Have the doctor look at the cluster of ``place``, or at a trial's at another socket.

    As the application and the tables' owner: what a database holds gets no superuser's rights. The live cluster lets
    PostgreSQL's account in as both, as deploy/access.py has it; elsewhere it is the login that is found wrong.
    """
    login = Settings(
        (socket or place.socket,),
        port or place.port,
        place.database,
        "callytics_user",
        "",
        owner_user=place.owner,
        owner_password="",
    )
    return doctor.examine(login)


def faults(diagnosis: Diagnosis) -> list[str]:
    """Return the errors among what was found, a line each."""
    return [one.what for one in diagnosis.findings if one.level == "error"]
