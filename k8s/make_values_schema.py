"""`python -m k8s.make_values_schema`: writes chart/values.schema.json from chart/values.yaml.

Helm refuses values that the schema does not know. Types come from the defaults; what they cannot
say, such as the names of settings and the choices, is in the tables here.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from serving.configuration.environment import environment_names

CHART = Path(__file__).parent / "chart"
TARGET = CHART / "values.schema.json"
CHOICES: Mapping[str, list[str]] = {
    "logLevel": ["", "debug", "info", "warning", "error"],
    "models.source": ["image", "pvc", "oci"],
    "autoscaling.scaler": ["none", "keda", "hpa"],
}
PATTERNS: Mapping[str, str] = {
    "name": "^[a-z0-9]([a-z0-9-]{0,40}[a-z0-9])?$",
    "image.digest": "^(sha256:[0-9a-f]{64})?$",
    "redis.maxmemory": "^[0-9]+(mb|gb)$",
    "tracing.endpoint": "^https?://.+",
    "monitoring.runbooks": "^https?://.+",
    "autoscaling.prometheus": "^https?://.+",
    "autoscaling.deviceBusy": "^[0-9.]+$",
    "autoscaling.queueDelaySeconds": "^[0-9.]+$",
}
LEAST: Mapping[str, int] = {"autoscaling.minReplicas": 1, "terminationGracePeriodSeconds": 1}
OPEN = {"resources", "redis.resources", "nodeSelector"}  # any keys; Kubernetes checks them
TYPES = {bool: "boolean", int: "integer", str: "string", list: "array"}


def make_schema() -> dict[str, Any]:
    """Return the schema of the chart's values."""
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    head = {"$schema": "http://json-schema.org/draft-07/schema#", "title": "Values of the chart"}
    return {**head, **_describe(values, "")}


def _describe(value: Any, path: str) -> dict[str, Any]:
    if path == "settings":
        names = {name: {"type": "string"} for name in sorted(environment_names())}
        return {"type": "object", "properties": names, "additionalProperties": False}
    if path in OPEN:
        return {"type": "object"}
    if isinstance(value, dict):
        prefix = f"{path}." if path else ""
        parts = {key: _describe(inner, prefix + key) for key, inner in value.items()}
        return {"type": "object", "properties": parts, "additionalProperties": False}
    schema: dict[str, Any] = {"type": TYPES[type(value)]}
    if path in CHOICES:
        schema["enum"] = CHOICES[path]
    if path in PATTERNS:
        schema["pattern"] = PATTERNS[path]
    if isinstance(value, int) and not isinstance(value, bool):
        schema["minimum"] = LEAST.get(path, 0)
    return schema


def make_text() -> str:
    return json.dumps(make_schema(), indent=2) + "\n"


if __name__ == "__main__":
    TARGET.write_text(make_text())
