"""The settings in force, and where each comes from: an option, the environment, the file, or the
default, in this order.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from pydantic import ValidationError

from serving.configuration.environment import GivenValue, read_variables
from serving.configuration.keys import SettingKey, mask, setting_keys
from serving.settings import Settings, read_table

NO_OPTIONS: Mapping[str, GivenValue] = MappingProxyType({})
_MAX_SHOWN = 200  # characters of a wrong value


class Origin(NamedTuple):
    """Where a setting's value comes from."""

    source: Literal["option", "environment", "file", "default"]
    name: str = ""  # of the option or variable, or the path of the file


class Effective(NamedTuple):
    """The settings in force, and the origin of each by its key."""

    settings: Settings
    origins: Mapping[str, Origin]


def compose_settings(
    file: Path | None,
    environment: Mapping[str, str],
    options: Mapping[str, GivenValue] = NO_OPTIONS,
) -> Effective:
    """Return the settings in force. `options` holds the given command-line options by the key of
    their setting. Raises ValueError, with one line that names the option, the variable, or the file
    and its key, and the fault.
    """
    table: dict[str, Any] = {} if file is None else read_table(file)
    origins = dict.fromkeys(setting_keys(), Origin("default"))
    if file is not None:
        origins |= {key: Origin("file", str(file)) for key in _list_given(table)}
    values: dict[str, object] = {}
    for source, layer in (("environment", read_variables(environment)), ("option", options)):
        for key, (name, value) in layer.items():
            _put(table, setting_keys()[key], value)
            values[key] = value
            origins[key] = Origin("option" if source == "option" else "environment", name)
    try:
        return Effective(Settings.model_validate(table), MappingProxyType(origins))
    except ValidationError as error:
        raise ValueError(_describe(error, file, origins, values)) from error


def _list_given(table: Mapping[str, Any]) -> list[str]:
    """Return the keys of the settings that a table of sections holds."""
    given = []
    for key, setting in setting_keys().items():
        place: Any = table
        for part in setting.path:
            place = place.get(part) if isinstance(place, Mapping) else None
        if place is not None:
            given.append(key)
    return given


def _put(table: dict[str, Any], setting: SettingKey, value: object) -> None:
    """Put a value into a table of sections, unless a section there is no table, which is an error
    that the settings report.
    """
    *sections, last = setting.path
    place: Any = table
    for name in sections:
        place = place.setdefault(name, {})
        if not isinstance(place, dict):
            return
    place[last] = value


def _describe(
    error: ValidationError,
    file: Path | None,
    origins: Mapping[str, Origin],
    values: Mapping[str, object],
) -> str:
    """Return one line for the first fault, beginning with where the faulty value was given."""
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    for one, setting in setting_keys().items():
        if setting.is_secret and place.startswith(f"{one}."):
            place = one  # what follows may be a secret that stands where a name should
    key = next((one for one in values if f"{place}.".startswith(f"{one}.")), None)
    if key is not None:
        inner = place[len(key) + 1 :]
        sentence = f"{origins[key].name}: {inner + ': ' if inner else ''}{first['msg']}"
        setting = setting_keys()[key]
        if setting.is_secret or setting.is_structured:
            return sentence
        return f"{sentence}, given {str(mask(setting, values[key]))[:_MAX_SHOWN]!r}"
    # a fault of several settings together: name the variables that its sentence is about
    words = set(re.findall(r"\w+", first["msg"]))
    within = [
        origins[one].name
        for one in values
        if one.startswith(f"{place}.") and one.rpartition(".")[2] in words
    ]
    start = " and ".join(([str(file)] if file is not None else []) + within)
    return f"{start or 'settings'}: {place}: {first['msg']}"
