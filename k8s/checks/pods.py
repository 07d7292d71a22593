"""Pods: what they may do, how they start, report and end, and what they need of a node."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from k8s.checks.objects import Pod, Rendered, demand, read_quantity
from k8s.rendering import Object

VERSION = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"][
    "version"
]
UIDS = {"server": 10001, "redis": 10002}
GPU = "nvidia.com/gpu"
MAX_START_S = 600.0
ENDS_AFTER_DRAIN_S = 5.0  # a drain that hangs is ended after this: docs/serving.md, Shutting down
LEAST_PRE_STOP_S = 5.0  # for balancers and proxies to leave a pod out
_TAGGED = re.compile(r"[a-z0-9./-]+(:\d[\w.-]*(@sha256:[0-9a-f]{64})?|@sha256:[0-9a-f]{64})")
CONFINED = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
    "capabilities": {"drop": ["ALL"]},
}
CONTAINERS = {  # by name, with the last part of the image's name
    "sparing": "sparing", "check-models": "sparing", "valkey": "valkey",
    "kserve-container": "sparing",
}  # fmt: skip
MOUNTS = {"tmp": "/tmp", "data": "/data", "models": "/models", "secrets": "/run/secrets/sparing"}


def check_pods(rendered: Rendered) -> Iterator[str]:
    for pod in rendered.pods():
        faults = [*_check_pod(pod), *_check_end(pod), *_check_rollout(pod), *_check_place(pod)]
        for container in pod.containers():
            faults += _check_container(container, pod)
        for container in pod.spec.get("containers", []):
            faults += _check_probe_times(container)
        yield from (f"{pod.where}: {fault}" for fault in faults)


def _part(pod: Pod) -> str:
    return pod.labels.get("app.kubernetes.io/component", "")


def _check_pod(pod: Pod) -> Iterator[str]:
    spec = pod.spec
    if pod.owner["kind"] == "ServingRuntime":
        return
    wanted: dict[str, Any] = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    uid = UIDS.get(_part(pod))
    wanted |= {"runAsUser": uid, "runAsGroup": uid}
    if _part(pod) == "server":
        wanted |= {"fsGroup": uid, "fsGroupChangePolicy": "OnRootMismatch"}
    if spec.get("securityContext") != wanted:
        yield f"the security context of the pod is {spec.get('securityContext')}"
    if spec.get("automountServiceAccountToken") is not False:
        yield "the pod gets a token of the Kubernetes API"
    if spec.get("enableServiceLinks") is not False:
        yield "services put variables into the pod"
    if not 1 <= pod.owner["spec"].get("revisionHistoryLimit", 0) <= 10:
        yield "no old revision to go back to, or too many"
    if pod.labels.get("app.kubernetes.io/part-of") != "sparing":
        yield "the pods are not labelled as part of sparing"


def _check_container(container: Object, pod: Pod) -> Iterator[str]:
    name, image = container.get("name"), container.get("image", "")
    context = dict(container.get("securityContext", {}))
    if pod.owner["kind"] == "ServingRuntime":  # KServe makes the pod, so all stands here
        wanted = {"runAsUser": UIDS["server"], "seccompProfile": {"type": "RuntimeDefault"}}
        wanted |= CONFINED
    else:
        wanted = CONFINED
    faults = demand(
        (name in CONTAINERS, "no document names this container"),
        (_TAGGED.fullmatch(image), f"the image {image!r} is not pinned"),
        (_names_image(image, CONTAINERS.get(str(name), "")), f"the image is {image!r}"),
        (
            container.get("imagePullPolicy") == "IfNotPresent",
            "a pinned image is pulled again, or never",
        ),
        (context == wanted, f"the security context is {context}"),
    )
    yield from (f"{name}: {fault}" for fault in faults)
    yield from (f"{name}: {fault}" for fault in _check_resources(container))
    for mount in container.get("volumeMounts", []):
        if MOUNTS.get(mount.get("name")) != mount.get("mountPath"):
            yield f"{name}: {mount.get('name')} is mounted at {mount.get('mountPath')}"
    yield from (f"{name}: {fault}" for fault in _check_arguments(container))


def _names_image(image: str, name: str) -> bool:
    """Whether this is the image of that name; the server's has the version of this project."""
    repository, _, tag = image.partition("@")[0].partition(":")
    own = {f"{VERSION}{suffix}" for suffix in ("", "-torch", "-gpu")}
    return repository.rpartition("/")[2] == name and (name != "sparing" or tag in own)


def _check_arguments(container: Object) -> Iterator[str]:
    arguments = container.get("args", [])
    mounts = {mount.get("mountPath") for mount in container.get("volumeMounts", [])}
    match container.get("name"):
        case "sparing":
            if arguments[:3] != ["serve", "--models", "/models"] or len(arguments) not in {3, 5}:
                yield f"it runs {arguments}"
            if arguments[3:] not in ([], ["--log-level", "debug"]):
                yield f"it logs {arguments[3:]}"
        case "check-models":
            if arguments != ["routes", "--models", "/models"] or "/models" not in mounts:
                yield f"it checks nothing: {arguments}"
        case "kserve-container":
            wanted = ["serve", "--host", "0.0.0.0", "--models", "/mnt/models"]
            if arguments != wanted:
                yield f"it runs {arguments}"


def _check_resources(container: Object) -> Iterator[str]:
    resources = container.get("resources", {})
    requests = {k: read_quantity(v) for k, v in resources.get("requests", {}).items()}
    limits = {k: read_quantity(v) for k, v in resources.get("limits", {}).items()}
    if {"cpu", "memory"} - requests.keys() or "memory" not in limits:
        yield "it does not request CPU and memory, or has no limit of memory"
        return
    memory, disk = limits["memory"], "ephemeral-storage"
    yield from (
        f"it requests more {key} than its limit"
        for key in requests.keys() & limits.keys()
        if requests[key] > limits[key]
    )
    yield from demand(
        ("cpu" not in limits, "a CPU limit throttles it"),
        (0.05 <= requests["cpu"] <= 4, f"it requests {requests['cpu']:g} cores"),
        (
            memory <= min(16 * 2**30, 4 * requests["memory"]),
            f"its memory limit is {memory / 2**30:g} GiB",
        ),
        (
            requests.get(GPU) == limits.get(GPU) and limits.get(GPU, 1) == 1,
            "a pod has one GPU, asked for and limited",
        ),
        (
            (disk in requests) == (disk in limits) and limits.get(disk, 0) <= 2**30,
            "its storage on the node is not bounded",
        ),
    )


def _check_probe_times(container: Object) -> Iterator[str]:
    for kind, least_s, most_s in (
        ("startupProbe", 20, MAX_START_S), ("readinessProbe", 5, 30), ("livenessProbe", 25, 120)
    ):  # fmt: skip
        probe = container.get(kind, {})
        period_s, failures = probe.get("periodSeconds", 0), probe.get("failureThreshold", 0)
        if not least_s <= period_s * failures <= most_s:
            yield f"{kind}: it fails after {period_s * failures} s"
        if not 1 <= probe.get("timeoutSeconds", 0) <= max(2, period_s):
            yield f"{kind}: it waits {probe.get('timeoutSeconds')} s for an answer"
        if failures < 2 or "initialDelaySeconds" in probe:
            yield f"{kind}: one lost answer is enough, or it begins late"
    paths = {
        kind: container.get(kind, {}).get("httpGet", {}).get("path")
        for kind in ("startupProbe", "readinessProbe", "livenessProbe")
    }
    if container.get("name") == "sparing" and paths != {
        "startupProbe": "/readyz", "readinessProbe": None, "livenessProbe": "/livez"
    }:  # fmt: skip
        yield f"probes ask {paths}"
    if container.get("name") == "kserve-container" and paths != {
        "startupProbe": "/v2/health/ready", "readinessProbe": "/v2/health/ready",
        "livenessProbe": "/v2/health/live",
    }:  # fmt: skip
        yield f"probes ask {paths}"


def _check_end(pod: Pod) -> Iterator[str]:
    if pod.main().get("name") != "sparing":
        grace_s = pod.spec.get("terminationGracePeriodSeconds", 0)
        if pod.owner["kind"] != "ServingRuntime" and not 5 <= grace_s <= 60:
            yield f"its grace period is {grace_s} s"
        return
    stop = pod.main().get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    if not LEAST_PRE_STOP_S <= stop <= 60:
        yield f"preStop waits {stop} s"


def _check_rollout(pod: Pod) -> Iterator[str]:
    spec = pod.owner["spec"]
    if pod.owner["kind"] != "Deployment":
        return
    if _part(pod) == "server":
        wanted = {"maxSurge": 1, "maxUnavailable": 0}
        if spec.get("strategy") != {"type": "RollingUpdate", "rollingUpdate": wanted}:
            yield f"it rolls out by {spec.get('strategy')}"
        if not 120 < spec.get("progressDeadlineSeconds", 0) <= 1800:
            yield "a rollout is given up too early, or never"
    elif spec.get("strategy") != {"type": "Recreate"} or spec.get("replicas") != 1:
        yield "two caches would each see half of the answers"


def _check_place(pod: Pod) -> Iterator[str]:
    if _part(pod) != "server" or pod.owner["kind"] != "Deployment":
        return
    spreads = {
        spread.get("topologyKey"): {k: v for k, v in spread.items() if k != "labelSelector"}
        for spread in pod.spec.get("topologySpreadConstraints", [])
    }
    for key in ("topology.kubernetes.io/zone", "kubernetes.io/hostname"):
        wanted = {"topologyKey": key, "maxSkew": 1, "whenUnsatisfiable": "ScheduleAnyway",
                  "matchLabelKeys": ["pod-template-hash"]}  # fmt: skip
        if spreads.get(key) != wanted:
            yield f"pods are not spread over {key}"
    asked = GPU in pod.main().get("resources", {}).get("limits", {})
    tolerated = [
        {"key": GPU, "operator": "Exists", "effect": "NoSchedule"}
    ] if asked else None  # fmt: skip
    nodes = pod.spec.get("nodeSelector")
    if pod.spec.get("tolerations") != tolerated:
        yield f"it tolerates {pod.spec.get('tolerations')}"
    if nodes not in (None, {"kubernetes.io/arch": "arm64"}, {"nvidia.com/gpu.present": "true"}):
        yield f"no node is labelled {nodes}"
    if asked != (nodes == {"nvidia.com/gpu.present": "true"}):
        yield "nodes with GPUs are chosen for other pods, or not for these"
