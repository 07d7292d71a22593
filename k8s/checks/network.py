"""Selectors and ports: who selects which pods, and over which of their ports they are reached."""

from collections.abc import Iterator
from typing import Any

from k8s.checks.objects import REDIS, SERVER, Pod, Rendered, matches, name_of, place_of
from k8s.rendering import Object

IN_NAMESPACE = "kubernetes.io/metadata.name"
DNS = {"to": [{"namespaceSelector": {"matchLabels": {IN_NAMESPACE: "kube-system"}},
               "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}}}],
       "ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]}  # fmt: skip
CLIENTS = {"from": [{"namespaceSelector": {},
                     "podSelector": {"matchLabels": {"sparing/client": "true"}}},
                    {"namespaceSelector": {"matchLabels": {IN_NAMESPACE: "gateway"}}}],
           "ports": [{"port": "http", "protocol": "TCP"},
                     {"port": "grpc", "protocol": "TCP"}]}  # fmt: skip
PROMETHEUS = {"from": [{"namespaceSelector": {"matchLabels": {IN_NAMESPACE: "monitoring"}},
                        "podSelector": {"matchLabels": {"app.kubernetes.io/name": "prometheus"}}}],
              "ports": [{"port": "http", "protocol": "TCP"}]}  # fmt: skip
TO_REDIS = {"to": [{"podSelector": {"matchLabels": REDIS}}],
            "ports": [{"port": "redis", "protocol": "TCP"}]}  # fmt: skip
FROM_SERVER = {"from": [{"podSelector": {"matchLabels": SERVER}}],
               "ports": [{"port": "redis", "protocol": "TCP"}]}  # fmt: skip
TO_COLLECTOR = {"to": [{"namespaceSelector": {"matchLabels": {IN_NAMESPACE: "observability"}}}],
                "ports": [{"port": 4318, "protocol": "TCP"}]}  # fmt: skip


_COMPONENT = "app.kubernetes.io/component"


def check_network(rendered: Rendered) -> Iterator[str]:
    pods = list(rendered.pods())
    yield from _check_selectors(rendered, pods)
    yield from _check_target_ports(rendered, pods)
    yield from _check_policies(rendered, pods)
    for pod in pods:
        yield from (f"{pod.where}: {fault}" for fault in _check_probes(pod))
        ports = [port for one in pod.containers() for port in one.get("ports", [])]
        names = {port.get("name") for port in ports}
        if len(names) != len(ports) or None in names:
            yield f"{pod.where}: a port has no name of its own"
        if any(port.get("protocol") != "TCP" for port in ports):
            yield f"{pod.where}: a port is not TCP"


def _check_selectors(rendered: Rendered, pods: list[Pod]) -> Iterator[str]:
    for pod in pods:
        selector = pod.owner["spec"].get("selector")
        if pod.owner["kind"] != "ServingRuntime" and not _selects(selector, pod):
            yield f"{pod.where}: it does not select its own pods, or others too"
        for spread in pod.spec.get("topologySpreadConstraints", []):
            if not _selects(spread.get("labelSelector"), pod):
                yield f"{pod.where}: the spread over {spread.get('topologyKey')} counts other pods"
    for thing in rendered.of("Service", "PodDisruptionBudget"):
        component = thing["metadata"].get("labels", {}).get(_COMPONENT)
        selected = [
            pod
            for pod in pods
            if pod.labels.get(_COMPONENT) == component and _selects(thing["spec"]["selector"], pod)
        ]
        if len(selected) != 1:
            yield f"{place_of(thing)}: it selects {[pod.where for pod in selected]}"


def _selects(selector: Object | None, pod: Pod) -> bool:
    """Whether the selector names these pods, and by all labels that tell them from others."""
    labels = (selector or {}).get("matchLabels", selector or {})
    return matches(selector, pod.labels) and labels in (SERVER, REDIS)


def _check_target_ports(rendered: Rendered, pods: list[Pod]) -> Iterator[str]:
    for service in rendered.of("Service"):
        selector = service["spec"].get("selector")
        ports = {
            k: v for pod in pods if matches(selector, pod.labels) for k, v in pod.ports().items()
        }
        for port in service["spec"].get("ports", []):
            target = port.get("targetPort")
            if target != port.get("name") or ports.get(target) != port.get("port"):
                yield f"{place_of(service)}: port {port.get('port')} leads to {target!r}"


def _check_probes(pod: Pod) -> Iterator[str]:
    for container in pod.spec.get("containers", []):
        ports = {port.get("name"): port["containerPort"] for port in container.get("ports", [])}
        for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
            probe = container.get(kind)
            if probe is None:
                yield f"no {kind}"
                continue
            way = probe.get("httpGet") or probe.get("tcpSocket") or probe.get("grpc") or {}
            port = way.get("port")
            if port not in ports and port not in ports.values():
                yield f"{kind}: no port {port!r}"
            if "grpc" in probe and port != ports.get("grpc"):
                yield f"{kind}: {port} is not the gRPC port"
            if "httpGet" in probe and port not in {"http", ports.get("http", ports.get("http1"))}:
                yield f"{kind}: {port!r} is not the HTTP port"


def _check_policies(rendered: Rendered, pods: list[Pod]) -> Iterator[str]:
    policies = {name_of(policy): policy["spec"] for policy in rendered.of("NetworkPolicy")}
    if not [pod for pod in pods if pod.owner["kind"] != "ServingRuntime"]:
        return
    deny = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    if policies.get("default-deny") != deny:
        yield "NetworkPolicy/default-deny: it does not deny everything"
    wanted: dict[str, Object] = {
        "sparing": {"podSelector": {"matchLabels": SERVER}, "policyTypes": ["Ingress", "Egress"],
                    "ingress": [CLIENTS, PROMETHEUS], "egress": [DNS]},
    }  # fmt: skip
    if any(name_of(service) == "sparing-redis" for service in rendered.of("Service")):
        wanted["sparing-redis"] = {
            "podSelector": {"matchLabels": REDIS},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [FROM_SERVER],
        }
        wanted["sparing-to-redis"] = _egress(TO_REDIS)
    if "SPARING_TRACING__ENDPOINT" in str([pod.spec for pod in pods]):
        wanted["sparing-to-collector"] = _egress(TO_COLLECTOR)
    for name in wanted.keys() ^ (policies.keys() - {"default-deny"}):
        yield f"NetworkPolicy/{name}: missing, or of no use"
    for name, spec in wanted.items():
        if name in policies and policies[name] != spec:
            yield f"NetworkPolicy/{name}: it allows something else"
    yield from _check_policy_ports(policies, pods)


def _check_policy_ports(policies: dict[str, Any], pods: list[Pod]) -> Iterator[str]:
    """Check that named ports are those of the pods on the receiving side."""
    for name, spec in policies.items():
        for rule in spec.get("ingress", []):
            ports = {k for pod in pods if matches(spec.get("podSelector"), pod.labels)
                     for k in pod.ports()}  # fmt: skip
            for port in rule.get("ports", []):
                if isinstance(port.get("port"), str) and port["port"] not in ports:
                    yield f"NetworkPolicy/{name}: its pods have no port {port['port']!r}"


def _egress(rule: Object) -> Object:
    return {"podSelector": {"matchLabels": SERVER}, "policyTypes": ["Egress"], "egress": [rule]}
