"""Compares what the Helm chart and the Kustomize overlays render: the same objects.

Only what the two tools cannot share is left out: Kustomize adds a hash to the name of a config map,
the chart a checksum to the pods; and the order of lists whose items have names.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

from k8s.checks.objects import place_of
from k8s.rendering import Object, render_chart, render_overlay

_HASH = re.compile(r"(sparing-settings)-[a-z0-9]{10}")
_CHECKSUM = "checksum/settings"


def compare(name: str) -> Iterator[str]:
    """Yield a sentence for each difference between an overlay and the chart with its values."""
    overlay, chart = (_index(render(name)) for render in (render_overlay, render_chart))
    yield from (f"{key}: only in the chart" for key in sorted(chart.keys() - overlay.keys()))
    yield from (f"{key}: only in the overlay" for key in sorted(overlay.keys() - chart.keys()))
    for key in sorted(overlay.keys() & chart.keys()):
        for path, (ours, theirs) in _differ(overlay[key], chart[key], ()):
            yield f"{key}: {'.'.join(path)}: {_short(ours)} and, in the chart, {_short(theirs)}"


def _index(objects: tuple[Object, ...]) -> dict[str, Any]:
    return {place_of(thing): thing for thing in map(normalise, objects)}


def normalise(value: Any) -> Any:
    """Return the value without what only one of the tools writes, in one order."""
    if isinstance(value, dict):
        kept = {key: normalise(inner) for key, inner in value.items() if key != _CHECKSUM}
        if not kept.get("annotations", True):
            del kept["annotations"]
        return kept
    if isinstance(value, list):
        items = [normalise(item) for item in value]
        named = all(isinstance(item, dict) and "name" in item for item in items)
        return sorted(items, key=lambda item: json.dumps(item["name"])) if named else items
    if isinstance(value, str):
        return _HASH.sub(r"\1", value).strip()
    return value


def _differ(
    ours: Any, theirs: Any, path: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], tuple[Any, Any]]]:
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key in sorted(ours.keys() | theirs.keys()):
            yield from _differ(ours.get(key), theirs.get(key), (*path, key))
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for number, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            yield from _differ(one, other, (*path, str(number)))
    elif ours != theirs:
        yield path, (ours, theirs)


def _short(value: object) -> str:
    return json.dumps(value)[:120]
