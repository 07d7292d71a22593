"""Settings as text: those in force for `sparing settings`, and the table of the documentation."""

import json
from collections.abc import Mapping
from typing import TypedDict

from serving.configuration.effective import Effective
from serving.configuration.environment import name_variable
from serving.configuration.keys import SettingKey, find_value, mask, setting_keys
from serving.settings import Settings

TABLE_HEAD = "| setting | environment variable | default | unit |\n|---|---|---|---|\n"


class ListedSetting(TypedDict):
    """A setting in force; secrets are masked."""

    value: object
    source: str  # option, environment, file or default
    name: str  # of the option or variable, or the path of the file
    variable: str  # that would set it


def list_settings(effective: Effective) -> dict[str, ListedSetting]:
    """Return every setting by its key."""
    return {
        key: {
            "value": mask(setting, find_value(effective.settings, setting)),
            "source": effective.origins[key].source,
            "name": effective.origins[key].name,
            "variable": name_variable(key),
        }
        for key, setting in setting_keys().items()
    }


def write_toml(listed: Mapping[str, ListedSetting]) -> str:
    """Return the settings as lines of TOML, each with its origin in a comment."""
    return "\n".join(
        f"{key} = {write_value(one['value'])}  # {one['source']} {one['name']}".rstrip()
        for key, one in listed.items()
    )


def write_value(value: object) -> str:
    """Return a value of JSON as TOML."""
    if isinstance(value, Mapping):
        inner = [f"{json.dumps(name)} = {write_value(one)}" for name, one in value.items()]
        return f"{{{', '.join(inner)}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(write_value, value))}]"
    return json.dumps(value)


def write_table() -> str:
    """Return the Markdown table of every setting, its variable, its default and its unit."""
    defaults = Settings()
    rows = [_write_row(setting, defaults) for setting in setting_keys().values()]
    return TABLE_HEAD + "".join(rows)


def _write_row(setting: SettingKey, defaults: Settings) -> str:
    default = write_value(mask(setting, find_value(defaults, setting)))
    return f"| `{setting.key}` | `{name_variable(setting.key)}` | `{default}` | {setting.unit} |\n"


if __name__ == "__main__":
    print(write_table(), end="")
