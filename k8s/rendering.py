"""Renders the Kustomize overlays and the Helm chart into objects."""

import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from k8s.tools import need_tool

FOLDER = Path(__file__).parent
OVERLAYS = ("dev", "prod", "edge", "gpu", "kserve")
CHARTED = ("dev", "prod", "edge", "gpu")  # KServe takes its two objects, not a chart
NAMESPACES = {"dev": "sparing-dev"}  # of overlays that have another one than `sparing`

Object = dict[str, Any]  # as YAML holds it


@cache
def render_overlay(name: str) -> tuple[Object, ...]:
    """Render an overlay. Raises RuntimeError with kubectl's message if it cannot."""
    kubectl = str(need_tool("kubectl"))
    return parse(_run([kubectl, "kustomize", str(FOLDER / "overlays" / name)]))


@cache
def render_chart(name: str) -> tuple[Object, ...]:
    """Render the chart with the values of an overlay, and its namespace. Raises RuntimeError if
    helm cannot.
    """
    chart = FOLDER / "chart"
    values = chart / f"values-{name}.yaml"
    command = [str(need_tool("helm")), "template", "sparing", str(chart), "--values", str(values)]
    command += ["--namespace", NAMESPACES.get(name, "sparing"), "--set", "namespace.create=true"]
    return parse(_run(command))


def parse(text: str) -> tuple[Object, ...]:
    return tuple(one for one in yaml.safe_load_all(text) if one)


def write(objects: Sequence[Object]) -> str:
    text: str = yaml.safe_dump_all(objects, sort_keys=False)
    return text


def _run(command: Sequence[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{Path(command[0]).name}: {done.stderr.strip()}")
    return done.stdout
