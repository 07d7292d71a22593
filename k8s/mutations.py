"""Faults put into rendered objects, one at a time, to measure what the checks find.

Every scalar of every object is changed, left out, and its key misspelt. What a person may write as
well is not a fault: descriptions, and what other tests compare with a generator, the rules and the
dashboards. A fault is found if the checks say anything about the objects with it.
"""

import copy
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from k8s.checks.everything import check_together
from k8s.checks.schemas import check_schemas
from k8s.rendering import Object

Path = tuple[str | int, ...]
GENERATED = {("PrometheusRule", "spec"), ("ConfigMap/sparing-dashboards", "data")}
PROSE = {"description"}
CLASSES: dict[str, set[str]] = {  # by the last key that says what the value is
    "ports": {"port", "containerPort", "targetPort", "ports", "appProtocol", "protocol"},
    "quantities": {"cpu", "memory", "ephemeral-storage", "storage", "sizeLimit", "nvidia.com/gpu",
                   "averageValue", "threshold", "divisor"},
    "labels and selectors": {"labels", "matchLabels", "selector", "nodeSelector", "annotations",
                             "matchLabelKeys", "labelSelector", "podSelector", "tolerations"},
    "probes and lifecycle": {"startupProbe", "readinessProbe", "livenessProbe", "preStop",
                             "terminationGracePeriodSeconds", "lifecycle"},
    "references": {"configMapRef", "secretKeyRef", "claimName", "secretName", "serviceAccountName",
                   "scaleTargetRef", "backendRefs", "parentRefs", "credentials", "resourceFieldRef",
                   "priorityClassName", "runtime", "storageUri", "volumeMounts", "reference"},
    "security": {"securityContext", "capabilities", "seccompProfile", "enableServiceLinks",
                 "automountServiceAccountToken", "readOnly", "defaultMode", "policyTypes"},
    "images and arguments": {"image", "imagePullPolicy", "args", "command"},
    "settings": {"data", "env", "envFrom"},
    "scaling and rollout": {"replicas", "minReplicas", "maxReplicas", "minReplicaCount", "strategy",
                            "maxReplicaCount", "behavior", "fallback", "triggers", "metrics",
                            "maxUnavailable", "unhealthyPodEvictionPolicy", "pollingInterval",
                            "topologySpreadConstraints", "cooldownPeriod", "advanced"},
    "names": {"name", "namespace", "kind", "apiVersion"},
}  # fmt: skip
OTHER = "other"


@dataclass(frozen=True, slots=True)
class Mutant:
    """All objects of an overlay, with one fault."""

    objects: tuple[Object, ...]
    number: int  # of the object that has the fault
    place: str
    way: str

    @property
    def kind(self) -> str:
        return classify(self.place)

    def __str__(self) -> str:
        return f"{self.place}: {self.way}"


@dataclass(slots=True)
class Score:
    """Mutants made and found, by class of field; and those that nothing found."""

    made: Counter[str] = field(default_factory=Counter)
    found: Counter[str] = field(default_factory=Counter)
    by_schema: Counter[str] = field(default_factory=Counter)  # found by a schema of Kubernetes
    missed: list[str] = field(default_factory=list)

    def add(self, mutant: Mutant, found: bool, by_schema: bool = False) -> None:
        self.made[mutant.kind] += 1
        self.found[mutant.kind] += found
        self.by_schema[mutant.kind] += by_schema
        if not found:
            self.missed.append(str(mutant))

    @property
    def share(self) -> float:
        return self.found.total() / max(1, self.made.total())


def make_mutants(objects: Sequence[Object]) -> Iterator[Mutant]:
    """Yield every mutant of these objects, in their order."""
    for number, thing in enumerate(objects):
        name = f"{thing['kind']}/{thing['metadata']['name']}"
        for path, value in _walk(thing, ()):
            if _is_left_out(thing, path):
                continue
            place = ".".join([name, *map(str, path)])
            for way, change in _ways(path, value):
                changed = copy.deepcopy(thing)
                change(changed)
                if changed != thing:
                    whole = (*objects[:number], changed, *objects[number + 1 :])
                    yield Mutant(whole, number, place, way)


def measure(mutants: Iterable[Mutant]) -> Score:
    """Ask the schema of the changed object, then the checks of all objects, for each mutant."""
    score = Score()
    for mutant in mutants:
        by_schema = next(check_schemas([mutant.objects[mutant.number]]), None) is not None
        found = by_schema or next(check_together(mutant.objects), None) is not None
        score.add(mutant, found, by_schema)
    return score


def classify(place: str) -> str:
    """Return the class of the field at this place: the innermost key that has one."""
    for key in reversed(place.split(".")):
        for name, keys in CLASSES.items():
            if key in keys:
                return name
    return OTHER


def _is_left_out(thing: Object, path: Path) -> bool:
    name = f"{thing['kind']}/{thing['metadata']['name']}"
    outer = {(thing["kind"], path[0]), (name, path[0])}
    return bool(outer & GENERATED) or path[-1] in PROSE


def _walk(value: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    """Yield every scalar and every empty table with its path."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _walk(inner, (*path, key))
    elif isinstance(value, list) and value:
        for number, inner in enumerate(value):
            yield from _walk(inner, (*path, number))
    elif path:
        yield path, value


def _ways(path: Path, value: Any) -> Iterator[tuple[str, Callable[[Object], None]]]:
    for other in _change(value):
        yield f"{value!r} becomes {other!r}", partial(_set, path=path, value=other)
    yield f"{value!r} is left out", partial(_delete, path=path)
    if isinstance(path[-1], str) and path[-1].isidentifier():
        yield "the key is misspelt", partial(_rename, path=path)


def _change(value: Any) -> Iterator[Any]:
    """Yield what a slip of the hand, or a wrong order of magnitude, makes of a value."""
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, int):
        yield value * 10 + 1
        yield -1
    elif isinstance(value, str):
        yield value + "x" if value else "x"
        if value[:1].isdigit() and value[-1:].isalpha():  # a quantity, in a larger unit
            yield value.rstrip("mMiGgbs") + "Ti"
        elif value.isdigit():
            yield f"{value}000"
    elif isinstance(value, dict):
        yield {"x": "x"}


def _parent(thing: Any, path: Path) -> Any:
    for key in path[:-1]:
        thing = thing[key]
    return thing


def _set(thing: Object, path: Path, value: Any) -> None:
    _parent(thing, path)[path[-1]] = value


def _delete(thing: Object, path: Path) -> None:
    del _parent(thing, path)[path[-1]]


def _rename(thing: Object, path: Path) -> None:
    parent, key = _parent(thing, path), str(path[-1])
    parent[key[:-1] + key[-1] * 2] = parent.pop(key)
