"""Request parameters that a route declares in `route.toml`: their types, bounds and defaults.

A declared parameter reaches the route's stages as a column of `Batch.controls`, one value for each
row. Endpoints parse values with `ParameterSpec.parse`, so every value has its declared type before
it is compared, hashed or run.
"""

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, Any, Literal

import numpy as np
import orjson
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    model_validator,
)
from pydantic_core import PydanticCustomError

from core.messages import Control

# Parameters that have a meaning on every route or in the protocol.
RESERVED = frozenset(
    {
        "binary_data_output",
        "energy_mj",
        "explain",
        "min_confidence",
        "no_cache",
        "partial",
        "priority",
        "rows",
        "sequence_end",
        "sequence_id",
        "sequence_start",
        "timeout",
        "timeout_ms",
        "version",
    }
)
MAX_PARAMETERS = 64  # of one route
MAX_LENGTH = 16_384  # characters of one string
MAX_ITEMS = 1024
MAX_LIST_CHARS = 65_536  # of a list that is given as text
INT64 = np.iinfo(np.int64)

Type = Literal["boolean", "integer", "number", "string", "integers", "numbers", "strings"]
Scalar = StrictBool | StrictInt | StrictFloat | StrictStr

_ITEMS: Mapping[str, str] = {"integers": "integer", "numbers": "number", "strings": "string"}
_INTEGER = re.compile(r"[+-]?\d{1,19}", re.ASCII)
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_FLAGS: Mapping[object, bool] = {"true": True, "false": False, "1": True, "0": False}
_COLUMNS: Mapping[type, Any] = {float: np.float64, int: np.int64, bool: np.bool_}
_NAMED = 8  # allowed values in a sentence


def _check_reserved(name: str) -> str:
    if name in RESERVED or name.startswith("triton_"):
        raise PydanticCustomError("reserved", "this name has a meaning on every route")
    return name


ParameterName = Annotated[
    str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$"), AfterValidator(_check_reserved)
]


class ParameterSpec(BaseModel):
    """One parameter: `[parameters.<name>]` in `route.toml`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: Type
    default: Scalar | tuple[Scalar, ...]  # of requests that do not give it
    min: StrictInt | StrictFloat | None = None  # of numbers, also those in a list
    max: StrictInt | StrictFloat | None = None
    allowed: tuple[Scalar, ...] = ()  # empty: any
    max_length: int = Field(ge=1, le=MAX_LENGTH, default=256)  # characters of a string
    max_items: int = Field(ge=1, le=MAX_ITEMS, default=16)  # of a list
    description: str = ""

    @model_validator(mode="after")
    def _fits_itself(self) -> "ParameterSpec":
        surplus = self.model_fields_set - {"type", "default", "allowed", "description"}
        surplus -= {"max_items"} if self.is_list else set()
        surplus -= {"max_length"} if self._item == "string" else {"min", "max"}
        if surplus or (self.allowed and self._item == "boolean"):
            names = sorted(surplus) or ["allowed"]
            raise PydanticCustomError("surplus", f"given {names}, which {self.type} does not have")
        for value in (*self.allowed, self.default):
            try:
                self.parse(value if value is self.default or not self.is_list else (value,))
            except ValueError:
                raise PydanticCustomError(
                    "unfit", f"given {value!r}, allowed {self.describe()}"
                ) from None
        return self

    @property
    def is_list(self) -> bool:
        return self.type in _ITEMS

    @property
    def _item(self) -> str:
        return _ITEMS.get(self.type, self.type)

    def parse(self, given: object) -> Control:
        """Return the value in its declared type: a list as a tuple, a number as a float.

        Numbers and booleans may be given as text, and a list as the text of a JSON list, because
        queries and gRPC have no lists. Raises ValueError.
        """
        if not self.is_list:
            return self._parse_item(given)
        items = orjson.loads(_cut(given)) if isinstance(given, str) else given
        if not isinstance(items, list | tuple) or len(items) > self.max_items:
            raise ValueError
        return tuple([self._parse_item(item) for item in items])

    def _parse_item(self, given: object) -> Control:
        value = _PARSERS[self._item](given)
        if isinstance(value, str):
            if len(value) > self.max_length:
                raise ValueError
        elif (self.min is not None and value < self.min) or (
            self.max is not None and value > self.max
        ):
            raise ValueError
        if self.allowed and value not in self.allowed:
            raise ValueError
        return value

    def describe(self) -> str:
        """Return what is allowed, for a sentence."""
        item = self._item
        if item == "boolean":
            return "true or false"
        if self.allowed:
            named = ", ".join([repr(value) for value in self.allowed[:_NAMED]])
            item = f"{named} …" if len(self.allowed) > _NAMED else named
            return f"at most {self.max_items} of {item}" if self.is_list else f"one of {item}"
        bounds = self._describe_bounds()
        if self.is_list:
            return f"a list of at most {self.max_items} {item}s{bounds}"
        return f"{'an' if item == 'integer' else 'a'} {item}{bounds}"

    def _describe_bounds(self) -> str:
        if self._item == "string":
            return f" of at most {self.max_length} characters"
        if self.min is None:
            return "" if self.max is None else f" of at most {self.max}"
        return f" of at least {self.min}" if self.max is None else f" from {self.min} to {self.max}"

    def schema_of(self) -> dict[str, Any]:
        """Return a JSON Schema of the parameter, for the route's metadata."""
        facts = {"minimum": self.min, "maximum": self.max}
        item: dict[str, Any] = {"type": self._item}
        item |= {name: bound for name, bound in facts.items() if bound is not None}
        if self._item == "string":
            item["maxLength"] = self.max_length
        if self.allowed:
            item["enum"] = list(self.allowed)
        whole = item
        if self.is_list:
            whole = {"type": "array", "items": item, "maxItems": self.max_items}
        described = {"description": self.description} if self.description else {}
        return {**whole, "default": self.default, **described}


DeclaredParameters = Mapping[str, ParameterSpec]
NO_DECLARED: DeclaredParameters = MappingProxyType({})


def find_defaults(parameters: DeclaredParameters) -> dict[str, Control]:
    """Return the value of each parameter in a request that gives none."""
    return {name: spec.parse(spec.default) for name, spec in parameters.items()}


def make_column(values: Sequence[Control], rows: Sequence[int]) -> np.ndarray:
    """Return a column of `Batch.controls`: each value as often as `rows` says.

    Numbers and booleans become float64, int64 or bool arrays; strings and tuples object arrays.
    """
    kinds = {type(value) for value in values}
    dtype: Any = _COLUMNS.get(kinds.pop(), object) if len(kinds) == 1 else np.float64
    if len(values) == 1 and dtype is not object:
        return np.full(rows[0], values[0], dtype)
    column: np.ndarray = np.fromiter(values, dtype, len(values)).repeat(rows)
    return column


def _cut(text: str) -> str:
    if len(text) > MAX_LIST_CHARS:
        raise ValueError
    return text


def _parse_boolean(given: object) -> bool:
    if isinstance(given, bool):
        return given
    if isinstance(given, int | str) and str(given) in _FLAGS:
        return _FLAGS[str(given)]
    raise ValueError


def _parse_integer(given: object) -> int:
    value = given
    if isinstance(given, str) and _INTEGER.fullmatch(given):
        value = int(given)
    if type(value) is not int or not INT64.min <= value <= INT64.max:
        raise ValueError
    return value


def _parse_number(given: object) -> float:
    if isinstance(given, str):
        if len(given) > 32 or not _NUMBER.fullmatch(given):
            raise ValueError
    elif not isinstance(given, int | float) or isinstance(given, bool):
        raise ValueError
    try:
        value = float(given) + 0.0  # -0.0 becomes 0.0: equal values are one value
    except OverflowError:
        raise ValueError from None
    if not np.isfinite(value):
        raise ValueError
    return value


def _parse_string(given: object) -> str:
    if not isinstance(given, str):
        raise ValueError
    return given


_PARSERS: Mapping[str, Any] = {
    "boolean": _parse_boolean,
    "integer": _parse_integer,
    "number": _parse_number,
    "string": _parse_string,
}
