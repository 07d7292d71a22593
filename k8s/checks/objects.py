"""Rendered objects by kind and name, and the pods that they make."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from k8s.rendering import Object

CLUSTER_WIDE = {"Namespace", "PriorityClass"}
# What the overlays expect in the cluster: secrets with their keys, and what other charts bring.
SECRETS: Mapping[str, frozenset[str]] = {
    "sparing-secrets": frozenset({"bearer-token", "cache-secret", "redis-password"})
}
VOLUMES = frozenset({"sparing-models"})  # with KServe, part of the cluster
MONITORING_NAMESPACE = "monitoring"
PROMETHEUS = f"http://prometheus-operated.{MONITORING_NAMESPACE}.svc:9090"
REDIS = {"app.kubernetes.io/name": "sparing", "app.kubernetes.io/component": "redis"}
SERVER = {"app.kubernetes.io/name": "sparing", "app.kubernetes.io/component": "server"}


@dataclass(frozen=True, slots=True)
class Pod:
    """The template of pods, with the object that makes them."""

    owner: Object
    labels: Mapping[str, str]
    spec: Object

    @property
    def where(self) -> str:
        return f"{self.owner['kind']}/{name_of(self.owner)}"

    def containers(self) -> Iterator[Object]:
        """Yield init containers, then the others."""
        yield from self.spec.get("initContainers", [])
        yield from self.spec.get("containers", [])

    def main(self) -> Object:
        container: Object = self.spec["containers"][0]
        return container

    def ports(self) -> dict[str, int]:
        """Return the named ports of all containers."""
        return {
            port.get("name", ""): port["containerPort"]
            for container in self.spec.get("containers", [])
            for port in container.get("ports", [])
        }


@dataclass(frozen=True, slots=True)
class Rendered:
    """All objects of one overlay."""

    objects: tuple[Object, ...]

    def of(self, *kinds: str) -> Iterator[Object]:
        return (one for one in self.objects if one["kind"] in kinds)

    def find(self, kind: str, name: str) -> Object | None:
        return next((one for one in self.of(kind) if name_of(one) == name), None)

    def pods(self) -> Iterator[Pod]:
        for owner in self.of("Deployment", "StatefulSet"):
            template = owner["spec"]["template"]
            yield Pod(owner, template.get("metadata", {}).get("labels", {}), template["spec"])
        for owner in self.of("ServingRuntime"):
            yield Pod(owner, owner["metadata"].get("labels", {}), owner["spec"])

    def servers(self) -> Iterator[Pod]:
        """Yield the pods that run `sparing serve`."""
        return (pod for pod in self.pods() if "serve" in pod.main().get("args", []))

    def namespace(self) -> str:
        """Return the name of the Namespace object, or an empty string."""
        return next((name_of(one) for one in self.of("Namespace")), "")


def demand(*demands: tuple[object, str]) -> Iterator[str]:
    """Yield the sentence of each pair whose first part is false."""
    return (sentence for true, sentence in demands if not true)


def name_of(thing: Object) -> str:
    return str(thing.get("metadata", {}).get("name", ""))


def place_of(thing: Object) -> str:
    return f"{thing.get('kind')}/{name_of(thing)}"


def matches(selector: Mapping[str, Any] | None, labels: Mapping[str, str]) -> bool:
    """Whether a label selector, without expressions, selects these labels. One without labels
    selects nothing here: where the manifests mean everything, the checks say so themselves.
    """
    wanted = (selector or {}).get("matchLabels", selector or {})
    return bool(wanted) and wanted.items() <= labels.items()


def read_quantity(text: object) -> float:
    """Return a Kubernetes quantity in its base unit. Raises ValueError if it is none."""
    units = {"m": 1e-3, "": 1, "k": 1e3, "M": 1e6, "G": 1e9}
    units |= {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
    written = str(text)
    number = written.rstrip("mkKMGTi")
    unit = written[len(number) :]
    if unit not in units or not number.replace(".", "", 1).isdigit():
        raise ValueError(f"{written!r} is no quantity")
    return float(number) * units[unit]
