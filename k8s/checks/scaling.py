"""Scalers: one or none, on metrics that the server exports, with bounds that fit the rest."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from k8s.checks.objects import (
    PROMETHEUS,
    Pod,
    Rendered,
    demand,
    matches,
    name_of,
    place_of,
    read_quantity,
)  # fmt: skip
from k8s.rendering import Object

ADAPTER = Path(__file__).parents[1] / "components" / "hpa" / "prometheus-adapter.yaml"
SCALERS = ("HorizontalPodAutoscaler", "ScaledObject")
BUSY, DELAY_S = 0.7, 0.02  # device seconds a second, and seconds in queues, for each pod
TRIGGERS = {"device-busy": BUSY, "queue-delay": DELAY_S}
SCALE_UP = {
    "stabilizationWindowSeconds": 0,
    "selectPolicy": "Max",
    "policies": [
        {"type": "Percent", "value": 100, "periodSeconds": 30},
        {"type": "Pods", "value": 2, "periodSeconds": 30},
    ],
}
SCALE_DOWN = {
    "stabilizationWindowSeconds": 300,
    "selectPolicy": "Max",
    "policies": [{"type": "Percent", "value": 25, "periodSeconds": 60}],
}


def check_scaling(rendered: Rendered) -> Iterator[str]:
    scalers = list(rendered.of(*SCALERS))
    if len(scalers) > 1:
        yield "two scalers on one workload: use keda or hpa"
    for scaler in scalers:
        yield from (f"{place_of(scaler)}: {fault}" for fault in _check_scaler(scaler, rendered))
    for pod in rendered.servers():
        if pod.owner["kind"] == "Deployment":
            yield from (f"{pod.where}: {fault}" for fault in _check_replicas(pod, rendered))
    for service in rendered.of("InferenceService"):
        predictor = service["spec"]["predictor"]
        if not 1 < predictor.get("minReplicas", 0) <= predictor.get("maxReplicas", 0) <= 50:
            yield f"{place_of(service)}: bounds of its replicas"
        if predictor.get("automountServiceAccountToken") is not False:
            yield f"{place_of(service)}: the pods get a token of the Kubernetes API"


def _check_scaler(scaler: Object, rendered: Rendered) -> Iterator[str]:
    spec = scaler["spec"]
    target = spec.get("scaleTargetRef", {})
    owner = rendered.find(target.get("kind", ""), target.get("name", ""))
    if owner is None or owner.get("apiVersion") != target.get("apiVersion"):
        yield f"no {target.get('kind')} {target.get('name')!r}"
    elif name_of(owner) != "sparing":
        yield "it scales something else than the server"
    elif "replicas" in owner["spec"]:
        yield "the workload names a number of replicas, which each apply would reset"
    if scaler["kind"] == "ScaledObject":
        least, most = spec.get("minReplicaCount", 0), spec.get("maxReplicaCount", 0)
        yield from _check_keda(spec, rendered, least, most)
    else:
        least, most = spec.get("minReplicas", 1), spec.get("maxReplicas", 0)
        yield from _check_hpa(spec)
    if not 2 <= least < most <= 50:
        yield f"between {least} and {most} replicas: nothing to scale, or a single pod"


def _check_keda(spec: Object, rendered: Rendered, least: int, most: int) -> Iterator[str]:
    fallback = spec.get("fallback", {})
    behavior = spec.get("advanced", {}).get("horizontalPodAutoscalerConfig", {}).get("behavior")
    yield from _check_behavior(behavior)
    triggers = {trigger.get("name"): trigger for trigger in spec.get("triggers", [])}
    yield from demand(
        (least <= fallback.get("replicas", 0) <= most, "it falls back to a wrong number of pods"),
        (
            1 < fallback.get("failureThreshold", 0) <= 10,
            "it falls back at the first failure, or never",
        ),
        (
            fallback.get("behavior") == "currentReplicasIfHigher",
            "without metrics it would take pods away",
        ),
        (5 <= spec.get("pollingInterval", 0) <= 30, "it looks too seldom, or too often"),
        (60 <= spec.get("cooldownPeriod", 0) <= 900, "it calms down too soon, or never"),
        (triggers.keys() == TRIGGERS.keys(), f"it scales on {sorted(map(str, triggers))}"),
    )
    for name in triggers.keys() & TRIGGERS.keys():
        faults = _check_trigger(triggers[name], TRIGGERS[name], rendered.namespace())
        yield from (f"{name}: {fault}" for fault in faults)


def _check_trigger(trigger: Object, threshold: float, namespace: str) -> Iterator[str]:
    metadata = trigger.get("metadata", {})
    yield from demand(
        (
            (trigger.get("type"), trigger.get("metricType")) == ("prometheus", "AverageValue"),
            "not an average over pods, which fallback and thresholds need",
        ),
        (metadata.get("serverAddress") == PROMETHEUS, f"it asks {metadata.get('serverAddress')}"),
        (metadata.get("threshold") == f"{threshold:g}", "the threshold is another one"),
        (
            f'namespace="{namespace}"' in metadata.get("query", ""),
            "the query counts pods of other namespaces",
        ),
    )


def _check_hpa(spec: Object) -> Iterator[str]:
    yield from _check_behavior(spec.get("behavior"))
    found = {}
    for metric in spec.get("metrics", []):
        pods = metric.get("pods", {})
        target = pods.get("target", {})
        if metric.get("type") != "Pods" or target.get("type") != "AverageValue":
            yield "a metric is not an average over pods"
        try:
            value = read_quantity(target.get("averageValue"))
            found[pods.get("metric", {}).get("name")] = round(value, 6)
        except ValueError as error:
            yield str(error)
    names = [rule["name"]["as"] for rule in read_adapter_rules()]
    if found != dict(zip(names, (BUSY, DELAY_S), strict=True)):
        yield f"it scales on {found}"


def _check_behavior(behavior: Any) -> Iterator[str]:
    if behavior != {"scaleUp": SCALE_UP, "scaleDown": SCALE_DOWN}:
        yield "it does not scale up at once and down slowly"


def read_adapter_rules() -> list[Object]:
    """Return the rules of prometheus-adapter that the autoscaler needs, in its order of metrics."""
    rules: list[Object] = yaml.safe_load(ADAPTER.read_text())["rules"]["custom"]
    return rules


def _check_replicas(pod: Pod, rendered: Rendered) -> Iterator[str]:
    scaled = any(rendered.of(*SCALERS))
    replicas = pod.owner["spec"].get("replicas")
    if scaled == (replicas is not None):
        yield "the number of replicas is given twice, or not at all"
    if not scaled and replicas not in {1, 2}:
        yield f"{replicas} replicas without a scaler"
    budgets = [
        budget["spec"]
        for budget in rendered.of("PodDisruptionBudget")
        if matches(budget["spec"].get("selector"), pod.labels)
    ]
    if len(budgets) != 1:
        yield f"{len(budgets)} disruption budgets"
    for budget in budgets:
        if "minAvailable" in budget or budget.get("maxUnavailable") != 1:
            yield "a node could not be drained, or all pods go at once"
        if budget.get("unhealthyPodEvictionPolicy") != "AlwaysAllow":
            yield "a pod that is not ready blocks the drain of its node"
