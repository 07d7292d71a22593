"""Objects against the strict JSON schemas of Kubernetes, which kubernetes-validate brings.

The program `kubernetes-validate --strict` checks the same; this reads the schemas once for many
objects. Custom resources have no schema there: `k8s.custom_resources` checks them.
"""

import json
import re
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator
from referencing import Registry, Resource

from k8s.checks.objects import place_of
from k8s.rendering import Object
from k8s.tools import find_schemas

CUSTOM = {
    "ScaledObject": "keda.sh/v1alpha1",
    "ServiceMonitor": "monitoring.coreos.com/v1",
    "PrometheusRule": "monitoring.coreos.com/v1",
    "HTTPRoute": "gateway.networking.k8s.io/v1",
    "GRPCRoute": "gateway.networking.k8s.io/v1",
    "ServingRuntime": "serving.kserve.io/v1alpha1",
    "InferenceService": "serving.kserve.io/v1beta1",
}


def check_schemas(objects: Iterable[Object]) -> Iterator[str]:
    """Yield the first fault of each object. Objects without a schema must be known custom ones."""
    for thing in objects:
        kind, version = str(thing.get("kind")), str(thing.get("apiVersion"))
        if kind in CUSTOM:
            if CUSTOM[kind] != version:
                yield f"{place_of(thing)}: {version} is not its version"
            continue
        validator = _open(kind, version)
        if validator is None:
            yield f"{place_of(thing)}: no kind {kind} in {version}"
            continue
        fault = next(iter(validator.iter_errors(thing)), None)
        if fault is not None:
            yield f"{place_of(thing)}: {'.'.join(map(str, fault.path))}: {fault.message[:200]}"


@cache
def _open(kind: str, version: str) -> Any:
    """Return the validator of a kind, or None. Raises RuntimeError if the schemas are missing."""
    folder = find_schemas()
    if folder is None:
        raise RuntimeError("the schemas of Kubernetes are missing: make k8s-tools")
    group = re.sub(r"^([^./]*)(?:\.[^/]*)?/", r"\1-", version)
    path = folder / f"{kind.lower()}-{group}.json"
    if not path.exists():
        return None
    registry = Resource.from_contents(json.loads(path.read_text())) @ Registry()
    registry = _definitions() @ registry
    return Draft202012Validator(json.loads(path.read_text()), registry=registry)


@cache
def _definitions() -> Any:
    folder = find_schemas()
    assert folder is not None
    return Resource.from_contents(json.loads((folder / "_definitions.json").read_text()))
