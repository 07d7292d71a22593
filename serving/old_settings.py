"""Settings that were removed or renamed, and what to do about each.

A settings file that uses one of them is refused with its sentence, which is more helpful than the
error for an unknown key. To remove or rename a setting, or a whole section, add a line here.
"""

from collections.abc import Mapping
from types import MappingProxyType

OLD_SETTINGS: Mapping[str, str] = MappingProxyType(
    {
        "doors": "[doors] is now [server]",
        "memory": "[memory] is now [cache]",
        "memory.remote": "[memory.remote] is now [cache.remote]",
        "memory.similar": "[memory.similar] is now [cache.perceptual]",
        "server.idle_timeout_s": "server.idle_timeout_s is now server.keep_alive_s",
        "engine.gather_s": "engine.gather_s was removed: rows that waited for others to join their "
        "batch saved no CPU that could be measured; delete the line",
    }
)


def find_old_settings(given: Mapping[str, object]) -> str:
    """Return the sentences of all old settings in use, on one line; empty if there is none."""
    return "; ".join(sentence for key, sentence in OLD_SETTINGS.items() if _has(given, key))


def _has(given: object, key: str) -> bool:
    for part in key.split("."):
        if not isinstance(given, Mapping) or part not in given:
            return False
        given = given[part]
    return True
