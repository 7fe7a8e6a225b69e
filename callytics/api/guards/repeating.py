"""Requests that are repeated: one that brings the Idempotency-Key of an earlier one gets the same answer.

As https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header has it, but for its 422: what contradicts
what is there is 409 here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar

from fastapi import Header
from psycopg.types.json import Jsonb
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from callytics.postgres import PostgreSQLManager
from callytics.postgres.sql import Queries

SQL = Queries(Path(__file__).with_name("repeating.sql"))
OTHER = "this Idempotency-Key was used for another request: take a new key for each"
UNDER_WAY = "a request with this Idempotency-Key is under way: try again in a moment"

Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=r"^[!-~]+$",
        description="Any text that is new for each request, such as a UUID. Sent again within a day, with the same "
        "body, it gets the same answer, and nothing is stored again.",
    ),
]
Answer = TypeVar("Answer", bound=BaseModel)


@dataclass(frozen=True)
class Once(Generic[Answer]):
    """Work that is done once for an agent's key, whose answer is kept for a day."""

    postgres: PostgreSQLManager
    account_id: int
    key: str
    status: int

    def run(self, asked: BaseModel, work: Callable[[], Answer], answer: type[Answer]) -> Answer:
        """Do the work and keep its answer, in one transaction, or return the answer that was kept.

        Raises HTTPException 409 for a key that stands for something else, and while a request with it is under way.
        Nothing is kept of work that fails.
        """
        values = {"account_id": self.account_id, "key": self.key}
        fingerprint = hashlib.sha256(asked.model_dump_json().encode()).hexdigest()
        with self.postgres.transaction():
            self._take_turn(values)
            kept = self.postgres.execute_query(SQL["answered"], values, fetch="one")
            if kept is None:
                done = work()
                self._keep(values, fingerprint, done)
                return done
        if kept["fingerprint"] != fingerprint:
            raise HTTPException(409, OTHER)
        return answer.model_validate(kept["body"])

    def _take_turn(self, values: dict[str, Any]) -> None:
        if not self.postgres.execute_query(SQL["take_turn"], values, fetch="val"):
            raise HTTPException(409, UNDER_WAY, {"Retry-After": "1"})
        self.postgres.execute_query(SQL["forget"], fetch="none")
        self.postgres.execute_query(SQL["forget_own"], values, fetch="none")

    def _keep(self, values: dict[str, Any], fingerprint: str, done: BaseModel) -> None:
        body = Jsonb(done.model_dump(mode="json"))
        kept = values | {"fingerprint": fingerprint, "status": self.status, "body": body}
        self.postgres.execute_query(SQL["keep"], kept, fetch="none")
