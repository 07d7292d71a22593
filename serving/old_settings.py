"""Keys of `settings.toml` that there were once, and what to do about each.

A file with one of them is refused with its sentence, which says more than that the key is unknown.
To remove or rename a setting, or a whole table, add a line here.
"""

from collections.abc import Mapping
from types import MappingProxyType

OLD_SETTINGS: Mapping[str, str] = MappingProxyType(
    {
        "engine.gather_s": "was removed: rows that wait for company saved no CPU that could be "
        "measured; delete the line",
    }
)


def find_old_setting(given: Mapping[str, object]) -> str | None:
    """The first key in use that is no longer one, and its sentence; None where there is none."""
    for key, sentence in OLD_SETTINGS.items():
        table: object = given
        for part in key.split("."):
            if not isinstance(table, Mapping) or part not in table:
                break
            table = table[part]
        else:
            return f"{key}: {sentence}"
    return None
