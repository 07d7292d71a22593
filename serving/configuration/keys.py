"""Every setting by its key, such as `server.http_port`, with what its type means for text."""

import re
from collections.abc import Iterator, Mapping
from functools import cache
from types import MappingProxyType, NoneType
from typing import Any, NamedTuple, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from serving.settings import Settings

MASK = "********"
_URL_PASSWORD = re.compile(r"(?<=://)[^/@\s]+(?=@)")
UNITS: Mapping[str, str] = MappingProxyType(
    {
        "_bytes_per_s": "bytes/s",
        "_ms": "ms",
        "_s": "s",
        "_bytes": "bytes",
        "_bytes_in_flight": "bytes",
        "_pixels": "pixels",
        "_w": "W",
        "_grams_per_kwh": "g/kWh",
        "_grams_per_hour": "g/h",
    }
)


class SettingKey(NamedTuple):
    """One setting: where it is, its default, and how it is written as text."""

    key: str  # sections and name, with dots between
    default: object
    is_structured: bool  # a list or a table: its text is TOML or JSON
    is_secret: bool

    @property
    def path(self) -> list[str]:
        return self.key.split(".")

    @property
    def unit(self) -> str:
        """The unit that the name ends with; empty if it has none."""
        endings = [ending for ending in UNITS if self.key.endswith(ending)]
        return UNITS[max(endings, key=len)] if endings else ""


@cache
def setting_keys() -> Mapping[str, SettingKey]:
    """Return every setting by its key, in the order of the settings."""
    return MappingProxyType({one.key: one for one in _walk(Settings, "")})


def _walk(section: type[BaseModel], prefix: str) -> Iterator[SettingKey]:
    for name, field in section.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from _walk(kind, f"{prefix}{name}.")
        else:
            yield _describe(f"{prefix}{name}", field)


def _describe(key: str, field: FieldInfo) -> SettingKey:
    kind: Any = field.annotation  # Any: the annotation of a field is a type of any form
    is_structured = get_origin(kind) in {tuple, list, dict}
    return SettingKey(key, field.default, is_structured, SecretStr in {kind, *get_args(kind)})


def find_value(settings: Settings, key: SettingKey) -> object:
    """Return a setting's value."""
    found: object = settings
    for part in key.path:
        found = getattr(found, part)
    return found


def mask(key: SettingKey, value: object) -> object:
    """Return a value as JSON has it, without secrets: a set one is shown as asterisks."""
    if isinstance(value, SecretStr):
        return MASK if value.get_secret_value() else ""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return {str(name): mask(key, one) for name, one in value.items()}
    if isinstance(value, tuple | list):
        return [mask(key, one) for one in value]
    if isinstance(value, bool | int | float | NoneType):
        return value
    return _URL_PASSWORD.sub(MASK, str(value))
