"""Fields of single objects that no schema holds: names, labels, ports, quantities, namespaces."""

import re
from collections import Counter
from collections.abc import Iterator

from k8s.checks.objects import (
    CLUSTER_WIDE,
    SERVER,
    Rendered,
    demand,
    name_of,
    place_of,
    read_quantity,
)  # fmt: skip
from k8s.rendering import Object

NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
LABEL = re.compile(r"([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?")
PORT_NAME = re.compile(r"(?=.*[a-z])[a-z0-9]([a-z0-9-]{0,13}[a-z0-9])?")
PART_OF = "app.kubernetes.io/part-of"
UNLABELLED = {"ConfigMap", "Namespace", "PriorityClass"}  # not of one part
PROTOCOLS = {"http": "http", "grpc": "kubernetes.io/h2c", "redis": "redis"}
POD_SECURITY = {"enforce": "restricted", "audit": "restricted", "warn": "restricted",
                "enforce-version": "latest"}  # fmt: skip
# Names that clients, other namespaces or this project's documents ask for. A renamed object would
# still be consistent in itself.
PROMISED = {
    "Service": {"sparing", "sparing-grpc", "sparing-redis"},
    "Deployment": {"sparing", "sparing-redis"},
    "Namespace": {"sparing", "sparing-dev"},
    "ConfigMap": {"sparing-settings", "sparing-dashboards"},
    "ServiceAccount": {"sparing"},
    "PodDisruptionBudget": {"sparing"},
    "NetworkPolicy": {"default-deny", "sparing", "sparing-redis", "sparing-to-redis",
                      "sparing-to-collector"},
    "HorizontalPodAutoscaler": {"sparing"},
    "ScaledObject": {"sparing"},
    "ServiceMonitor": {"sparing"},
    "PrometheusRule": {"sparing"},
    "PersistentVolumeClaim": {"sparing-models"},
    "PriorityClass": {"sparing-serving"},
    "HTTPRoute": {"sparing"},
    "GRPCRoute": {"sparing"},
    "ServingRuntime": {"sparing"},
    "InferenceService": {"sparing"},
}  # fmt: skip
_HASH = re.compile(r"-[a-z0-9]{10}$")


def check_fields(rendered: Rendered) -> Iterator[str]:
    twice = Counter((one["kind"], name_of(one)) for one in rendered.objects)
    yield from (f"{kind}/{name} is there twice" for (kind, name), n in twice.items() if n > 1)
    namespace = rendered.namespace()
    for thing in rendered.objects:
        where = place_of(thing)
        yield from (f"{where}: {fault}" for fault in _check_metadata(thing, namespace))
        yield from (f"{where}: {fault}" for fault in _check_numbers(thing))
    yield from _check_namespaces(rendered)
    yield from _check_accounts(rendered)
    yield from _check_services(rendered)


def _check_metadata(thing: Object, namespace: str) -> Iterator[str]:
    kind, name, metadata = thing["kind"], name_of(thing), thing["metadata"]
    labels = metadata.get("labels", {})
    promised = PROMISED.get(kind, set())
    yield from demand(
        (NAME.fullmatch(name), "the name is no DNS label"),
        ({name, _HASH.sub("", name)} & promised, f"no document names a {kind} {name!r}"),
        (
            metadata.get("namespace") == (None if kind in CLUSTER_WIDE else namespace),
            f"the namespace is {metadata.get('namespace')!r}",
        ),
        (labels.get(PART_OF) == "sparing", "it is not labelled as part of sparing"),
        (
            kind in UNLABELLED or name == "default-deny" or SERVER.keys() <= labels.keys(),
            "it lacks the labels that name the application and its part",
        ),
        (
            labels.get("app.kubernetes.io/name", "sparing") == "sparing"
            and labels.get("app.kubernetes.io/component", "server") in {"server", "redis"},
            "the labels name another application or part",
        ),
    )
    for holder in _find_labels(thing):
        for value in holder.values():
            if not isinstance(value, str) or not LABEL.fullmatch(value):
                yield f"{value!r} is no label value"


def _find_labels(value: object) -> Iterator[dict[str, object]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            if key in {"labels", "matchLabels"} and isinstance(inner, dict):
                yield inner
            else:
                yield from _find_labels(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _find_labels(inner)


def _check_numbers(value: object, key: str = "") -> Iterator[str]:
    """Check ports and quantities wherever they stand."""
    if key in {"requests", "limits"} and isinstance(value, dict):
        yield from _check_quantities(value)
    elif key == "sizeLimit":
        yield from _check_quantities({key: value})
    elif isinstance(value, dict | list):
        parts = value.items() if isinstance(value, dict) else [(key, inner) for inner in value]
        for name, inner in parts:
            yield from _check_numbers(inner, name)
    elif key in {"port", "containerPort", "targetPort"} and not _is_port(value):
        yield f"{value!r} is no port"


def _is_port(value: object) -> bool:
    if isinstance(value, int):
        return 0 < value < 65536
    return PORT_NAME.fullmatch(str(value)) is not None


def _check_quantities(table: dict[str, object]) -> Iterator[str]:
    for name, text in table.items():
        try:
            most = 2**31 if name == "sizeLimit" else 2**50
            if not 0 < read_quantity(text) <= most:
                yield f"{name}: {text} is out of bounds"
        except ValueError as error:
            yield f"{name}: {error}"


def _check_namespaces(rendered: Rendered) -> Iterator[str]:
    spaces = list(rendered.of("Namespace"))
    if len(spaces) != 1:
        yield f"{len(spaces)} namespaces"
    for space in spaces:
        labels = space["metadata"].get("labels", {})
        for name, value in POD_SECURITY.items():
            if labels.get(f"pod-security.kubernetes.io/{name}") != value:
                yield f"pod security: {name} is not {value}"


def _check_accounts(rendered: Rendered) -> Iterator[str]:
    for account in rendered.of("ServiceAccount"):
        if account.get("automountServiceAccountToken") is not False:
            yield f"{place_of(account)}: its pods get a token of the Kubernetes API"
    for priority in rendered.of("PriorityClass"):
        if priority.get("globalDefault") or not 0 < priority["value"] <= 1_000_000:
            yield "the priority class is not between batch jobs and the cluster's own"
        if not priority.get("description"):
            yield "the priority class has no description"


def _check_services(rendered: Rendered) -> Iterator[str]:
    for service in rendered.of("Service"):
        spec, where = service["spec"], place_of(service)
        if spec.get("type") != "ClusterIP":
            yield f"{where}: it is reachable from outside"
        headless = name_of(service) == "sparing-grpc"
        if headless != (spec.get("clusterIP") == "None") or ("clusterIP" in spec and not headless):
            yield f"{where}: headless, or not, against its purpose"
        names = [port.get("name") for port in spec["ports"]]
        wanted = {"sparing": ["http", "grpc"], "sparing-grpc": ["grpc"], "sparing-redis": ["redis"]}
        if names != wanted.get(name_of(service)):
            yield f"{where}: its ports are {names}"
        for port in spec["ports"]:
            if port.get("appProtocol") != PROTOCOLS.get(port.get("name", "")):
                yield f"{where}: port {port.get('name')} does not say which protocol it speaks"
            if port.get("protocol") != "TCP":
                yield f"{where}: port {port.get('name')} is not TCP"
