"""Rendered objects for tests, and marks for what needs a program that may be missing."""

import copy
from collections.abc import Callable

import pytest

from k8s.checks.everything import find_faults
from k8s.rendering import Object, render_overlay
from k8s.tools import find_schemas, find_tool

needs_kubectl = pytest.mark.skipif(
    find_tool("kubectl") is None or find_schemas() is None,
    reason="kubectl is missing, which renders the overlays: make k8s-tools",
)
needs_helm = pytest.mark.skipif(
    find_tool("helm") is None or find_tool("kubectl") is None,
    reason="helm is missing, which renders the chart: make k8s-tools",
)


def find_faults_after(change: Callable[[dict[str, Object]], None], overlay: str = "prod") -> str:
    """Return all faults, as one text, of an overlay after a change. The change gets copies of the
    objects by `Kind/name`; config maps lack the hash in their names there.
    """
    objects = copy.deepcopy(render_overlay(overlay))
    named = {f"{one['kind']}/{one['metadata']['name']}": one for one in objects}
    settings = next(name for name in named if name.startswith("ConfigMap/sparing-settings"))
    named["ConfigMap/sparing-settings"] = named.pop(settings)
    change(named)
    return "\n".join(find_faults(tuple(named.values())))
