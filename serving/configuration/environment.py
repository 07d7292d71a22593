"""Settings by environment variables: `server.http_port` is `SPARING_SERVER__HTTP_PORT`.

The name is `SPARING_` and the setting's key in capitals, with two underscores for each dot. An
empty variable is one that is not given. A variable that begins with `SPARING_` and is not known is
an error, except those that Kubernetes adds to a container for each Service of its namespace.
"""

import difflib
import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

from serving.configuration.keys import SettingKey, setting_keys

PREFIX = "SPARING_"
SETTINGS_FILE = "SPARING_SETTINGS"  # a TOML file of settings
ROUTE_DIRECTORIES = "SPARING_MODELS"  # directories, separated as in PATH
# Short names, which the full ones override.
SHORT_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "SPARING_HOST": "server.host",
        "SPARING_GRPC_PORT": "server.grpc_port",
        ROUTE_DIRECTORIES: "routes.directories",
    }
)
# Variables that are no settings: of other commands, tests and dashboards.
OTHER_NAMES = frozenset(
    {
        SETTINGS_FILE,
        "SPARING_CASES",
        "SPARING_DASHBOARDS",
        "SPARING_DATA",
        "SPARING_NODE",
        "SPARING_PROMETHEUS",
        "SPARING_TOKEN",
    }
)
_SERVICE_PORT = re.compile(r"(tcp|udp|sctp)://")
_SERVICE_NAME = re.compile(
    r"(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)$"
)


class GivenValue(NamedTuple):
    """A value of a setting, and the name under which it was given."""

    name: str
    value: object


def environment_names() -> frozenset[str]:
    """Return the names of all variables that the server reads: one for each setting, the short
    names, and that of the settings file.
    """
    return frozenset({*map(name_variable, setting_keys()), *SHORT_NAMES, SETTINGS_FILE})


def name_variable(key: str) -> str:
    """Return the name of a setting's variable."""
    return PREFIX + key.upper().replace(".", "__")


def read_variables(environment: Mapping[str, str]) -> Mapping[str, GivenValue]:
    """Return the settings that the environment gives, by key. Raises ValueError, with one sentence
    that names the variable, for an unknown one and for a list or table that cannot be parsed.
    """
    if unknown := sorted(_find_unknown(environment)):
        raise ValueError(_describe_unknown(unknown[0]))
    keys, given = setting_keys(), {}
    for name, key in SHORT_NAMES.items():
        text = environment.get(name)
        if text and not _SERVICE_PORT.match(text):
            value = text.split(os.pathsep) if name == ROUTE_DIRECTORIES else text
            given[key] = GivenValue(name, value)
    for key, setting in keys.items():
        name = name_variable(key)
        if text := environment.get(name):
            given[key] = GivenValue(name, _read_value(name, setting, text))
    return given


def _find_unknown(environment: Mapping[str, str]) -> Iterator[str]:
    known = environment_names() | OTHER_NAMES
    for name, text in environment.items():
        if name.startswith(PREFIX) and name not in known:
            of_kubernetes = _SERVICE_NAME.search(name) or (
                name.endswith("_PORT") and _SERVICE_PORT.match(text)
            )
            if not of_kubernetes:
                yield name


def _describe_unknown(name: str) -> str:
    names = sorted(environment_names())
    ending = "__" + name.removeprefix(PREFIX)  # a wrong section is often all that differs
    nearest = next((one for one in names if one.endswith(ending)), None)
    if nearest is None:
        [nearest] = difflib.get_close_matches(name, names, n=1, cutoff=0.0)
    return f"{name}: no such setting; the nearest name is {nearest}"


def _read_value(name: str, setting: SettingKey, text: str) -> object:
    """Return a variable's value: text, which the settings check, or what its TOML or JSON says."""
    if not setting.is_structured:
        return text
    try:
        table = tomllib.loads(f"value = {text}")
        if table.keys() == {"value"}:
            return table["value"]
    except ValueError:
        pass
    try:
        return json.loads(text)
    except ValueError:
        raise ValueError(
            f"{name}: neither a TOML nor a JSON value; a list is written as "
            '["a", "b"] and a table as {a = "b"} or {"a": "b"}'
        ) from None
