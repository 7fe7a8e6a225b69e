"""Attempts to enter a database: who, from where, with what, and what came of it."""

from __future__ import annotations

import json
from dataclasses import dataclass

import psycopg2

from tests.infra.deployment import Deployment, conninfo
from tests.infra.lab import LabHost

WRONG = "not the password"
# psycopg2 of the installed application, on its host.
ATTEMPT = """
import json, sys
import psycopg2
answers = []
for info, sql in json.load(sys.stdin):
    try:
        connection = psycopg2.connect(info)
        try:
            with connection, connection.cursor() as cursor:
                cursor.execute(sql)
                answers.append([cursor.fetchall() if cursor.description else [], None])
        finally:
            connection.close()
    except psycopg2.Error as error:
        answers.append([None, str(error).strip()])
json.dump(answers, sys.stdout, default=str)
"""


@dataclass(frozen=True)
class Answer:
    """The rows of a statement, or why there are none."""

    rows: list[list[object]] | None
    error: str

    @property
    def entered(self) -> bool:
        return self.rows is not None


def info(deployment: Deployment, role: str, address: str, password: str | None = None, **options: str) -> str:
    """Return how a role would connect: with its password unless another is given, '' for none."""
    given = deployment.password(role) if password is None else password
    values = {"host": address, "dbname": "callytics", "user": role, "connect_timeout": "5"} | options
    return conninfo(**values, **({"password": given} if given else {"passfile": "/nonexistent"}))


def ask(host: LabHost, *questions: tuple[str, str]) -> list[Answer]:
    """Ask several questions, each a connection string and a statement, from an application's host."""
    command = ["/opt/callytics/current/bin/python", "-c", f"'{ATTEMPT}'"]
    answers = json.loads(host.run(*command, input=json.dumps(questions)).stdout)
    return [Answer(rows, error or "") for rows, error in answers]


def ask_from_here(*questions: tuple[str, str]) -> list[Answer]:
    """Ask from the machine that runs the tests, which no installation knows."""
    return [_ask(info, sql) for info, sql in questions]


def _ask(info: str, sql: str) -> Answer:
    try:
        connection = psycopg2.connect(info)
    except psycopg2.OperationalError as error:
        return Answer(None, str(error).strip())
    with connection, connection.cursor() as cursor:
        cursor.execute(sql)
        rows = [list(row) for row in cursor.fetchall()]
    connection.close()
    return Answer(rows, "")
