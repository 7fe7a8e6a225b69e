"""The base of the models of a call: its errors name element and field, but never a value, which may be private."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, TypeVar

from pydantic import AliasChoices, BaseModel, ConfigDict, ValidationError, ValidationInfo, model_validator
from pydantic_core import ErrorDetails, PydanticCustomError

from callytics.calls.fields import INSIDE, whole
from callytics.exceptions import InvalidAnalysis

LONGEST_NAME = 63
MOST_UNKNOWN = 100
# How pydantic prints the values of a Literal.
LISTED = re.compile("'([^']*)'")


class Part(BaseModel):
    """A part of an analysis. Unknown fields are refused, since the value of a misspelt one would be lost."""

    # Fields have one name over HTTP; `checked` also accepts the columns' names.
    model_config = ConfigDict(extra="forbid", strict=True, validate_by_name=True, validate_by_alias=False)
    table: ClassVar[str] = ""
    kind: ClassVar[str] = "field"

    @model_validator(mode="before")
    @classmethod
    def _known(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse unknown fields and fields given twice; over HTTP pydantic's own check is enough."""
        if info.context is not INSIDE or not isinstance(value, Mapping):
            return _not_too_wide(cls, value) if isinstance(value, Mapping) else value
        columns = cls.columns()
        seen = set()
        for name in value:
            column = columns.get(name, name) if isinstance(name, str) else None
            if column is None or column not in columns.values():
                raise _unknown(cls, name)
            if column in seen:
                raise _twice(name, column)
            seen.add(column)
        return dict(value)

    @classmethod
    def columns(cls) -> dict[str, str]:
        """Map each field to its column."""
        aliases = {name: field.validation_alias for name, field in cls.model_fields.items()}
        return {name: str(a.choices[-1]) if isinstance(a, AliasChoices) else name for name, a in aliases.items()}

    def row(self) -> dict[str, Any]:
        """Return the given values by column. Columns that are absent take their default; None is NULL."""
        columns = type(self).columns()
        return {columns[name]: getattr(self, name) for name in self.model_fields_set}


Checked = TypeVar("Checked", bound=Part)


def checked(model: type[Checked], element: Any, name: str = "") -> Checked:
    """Validate an element; raise InvalidAnalysis, which names element and field but no value."""
    try:
        # The first error only: its message names a place, and the others often follow from it.
        return model.model_validate(element, context=INSIDE, by_alias=True, by_name=False)
    except ValidationError as error:
        raise InvalidAnalysis(_refusal(name, error.errors(include_url=False)[0])) from None


def checked_all(model: type[Checked], elements: Any, name: str) -> list[Checked]:
    """Validate a list's elements; raise InvalidAnalysis with index and field of the first invalid one."""
    if not isinstance(elements, Sequence) or isinstance(elements, str | bytes):
        raise InvalidAnalysis(f"{name}: must be a list")
    return [checked(model, element, f"{name}[{index}]") for index, element in enumerate(elements)]


def identifier(value: Any, name: str) -> int:
    """Validate an id; raise InvalidAnalysis for a value that can't be one."""
    if value is None:
        raise InvalidAnalysis(f"{name}: is required")
    try:
        return whole(value)
    except ValueError as error:
        raise InvalidAnalysis(f"{name}: {error}") from None


def _not_too_wide(model: type[Part], value: Mapping[Any, Any]) -> dict[Any, Any]:
    # Each unknown field would be an error of its own, of which a body could have hundreds of thousands.
    if len(value) > len(model.model_fields) + MOST_UNKNOWN:
        raise PydanticCustomError("too_wide", "has more fields than there are")
    return dict(value)


def _unknown(model: type[Part], name: Any) -> PydanticCustomError:
    """Report an unknown field. Names that are not identifiers are not echoed: they could contain anything."""
    shown = isinstance(name, str) and name.isidentifier() and len(name) <= LONGEST_NAME
    what = f".{name}: there is no such {model.kind}" if shown else f": a {model.kind} has no name"
    use = ", ".join(sorted(model.model_fields))
    return PydanticCustomError("placed", "{what}: use {use}", {"what": what, "use": use})


def _refusal(name: str, error: ErrorDetails) -> str:
    place = name + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error["loc"])
    if error["type"] == "placed":
        text = place + error["msg"]
        return f"analysis{text}" if text.startswith(":") else text.removeprefix(".")
    return f"{place.removeprefix('.') or 'analysis'}: {_reason(error)}"


def _reason(error: ErrorDetails) -> str:
    kind = error["type"]
    if kind == "missing" or (error["input"] is None and error["loc"] and isinstance(error["loc"][-1], str)):
        return "is required"
    if kind == "literal_error":
        return f"must be one of {', '.join(LISTED.findall(error['ctx']['expected']))}"
    if kind == "model_type":
        return "must be a dict"
    return str(error["ctx"]["error"]) if kind == "value_error" else error["msg"]


def _twice(name: str, column: str) -> PydanticCustomError:
    where = f".{name}: "
    return PydanticCustomError("placed", "{where}is given twice, as {column} too", {"where": where, "column": column})
