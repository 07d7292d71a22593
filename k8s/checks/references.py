"""What one object names in another one is there: maps, secrets, volumes, accounts, services."""

from collections.abc import Iterator, Mapping
from typing import Any

from k8s.checks.objects import (
    SECRETS,
    VOLUMES,
    Pod,
    Rendered,
    demand,
    name_of,
    place_of,
    read_quantity,
)  # fmt: skip
from k8s.rendering import Object

GATEWAY = {"name": "public", "namespace": "gateway"}  # k8s/README.md names it
DEPLOYMENT_MODE = "serving.kserve.io/deploymentMode"
CLIENT_PATHS = {"/v1", "/v2"}
GRPC_SERVICES = {"inference.GRPCInferenceService", "grpc.health.v1.Health"}
HOSTNAMES = {"HTTPRoute": "sparing.example.com", "GRPCRoute": "grpc.sparing.example.com"}


def check_references(rendered: Rendered) -> Iterator[str]:
    for pod in rendered.pods():
        yield from (f"{pod.where}: {fault}" for fault in _check_pod(pod, rendered))
    for route in rendered.of("HTTPRoute", "GRPCRoute"):
        yield from (f"{place_of(route)}: {fault}" for fault in _check_route(route, rendered))
    for claim in rendered.of("PersistentVolumeClaim"):
        size = claim["spec"].get("resources", {}).get("requests", {}).get("storage", "0")
        faults = demand(
            (
                claim["spec"].get("accessModes") == ["ReadWriteMany"],
                "pods on several nodes cannot share it",
            ),
            (2**20 <= read_quantity(size) < 2**40, f"its size is {size}"),
        )
        yield from (f"{place_of(claim)}: {fault}" for fault in faults)
    yield from _check_used(rendered)
    yield from _check_kserve(rendered)


def _check_pod(pod: Pod, rendered: Rendered) -> Iterator[str]:
    spec = pod.spec
    account, priority = spec.get("serviceAccountName"), spec.get("priorityClassName")
    server = pod.labels.get("app.kubernetes.io/component") == "server"
    if pod.owner["kind"] != "ServingRuntime":
        yield from demand(
            (rendered.find("ServiceAccount", account or ""), f"no service account {account!r}"),
            (
                not priority or rendered.find("PriorityClass", priority),
                f"no priority class {priority!r}",
            ),
            (
                priority or not server or not any(rendered.of("PriorityClass")),
                "the priority class is not used",
            ),
        )
    volumes = {volume.get("name"): volume for volume in spec.get("volumes", [])}
    for volume in volumes.values():
        yield from _check_volume(volume, rendered)
    mounts = [mount for one in pod.containers() for mount in one.get("volumeMounts", [])]
    for mount in mounts:
        yield from _check_mount(mount, volumes)
    unused = volumes.keys() - {mount.get("name") for mount in mounts}
    yield from (f"nothing mounts the volume {name!r}" for name in unused)
    for container in pod.containers():
        yield from _check_container(container, pod, rendered)


def _check_mount(mount: Object, volumes: Mapping[str, Object]) -> Iterator[str]:
    name = mount.get("name", "")
    yield from demand(
        (name in volumes, f"no volume {name!r}"),
        ("emptyDir" in volumes.get(name, {}) or mount.get("readOnly"), f"{name} can be written"),
    )


def _check_volume(volume: Object, rendered: Rendered) -> Iterator[str]:
    yield from demand((len(volume.keys() - {"name"}) == 1, f"{volume.get('name')!r}: two sources"))
    if "emptyDir" in volume and "sizeLimit" not in (volume["emptyDir"] or {}):
        yield f"volume {volume.get('name')!r} has no size limit"
    if "secret" in volume:
        yield from _check_secret(volume["secret"].get("secretName", ""), None)
        if volume["secret"].get("defaultMode") != 0o440:
            yield "files of secrets can be read by others"
    if "persistentVolumeClaim" in volume:
        claim = volume["persistentVolumeClaim"]
        name = claim.get("claimName", "")
        yield from demand(
            (rendered.find("PersistentVolumeClaim", name), f"no volume claim {name!r}"),
            (claim.get("readOnly"), "the claim with the models can be written"),
        )
    if "image" in volume:
        yield from _check_artefact(volume["image"])


def _check_artefact(image: Object) -> Iterator[str]:
    name, _, version = str(image.get("reference", "")).partition(":")
    yield from demand(
        (
            name.rpartition("/")[2] == "sparing-models" and version[:1].isdigit(),
            f"the artefact {image.get('reference')!r} has no version",
        ),
        (image.get("pullPolicy") == "IfNotPresent", "the artefact is pulled again, or never"),
    )


def _check_container(container: Object, pod: Pod, rendered: Rendered) -> Iterator[str]:
    for source in container.get("envFrom", []):
        name = source.get("configMapRef", {}).get("name", "")
        if rendered.find("ConfigMap", name) is None:
            yield f"no config map {name!r}"
    names = {one.get("name") for one in pod.containers()}
    for source in (variable.get("valueFrom", {}) for variable in container.get("env", [])):
        if "secretKeyRef" in source:
            yield from _check_secret(source["secretKeyRef"].get("name", ""), source["secretKeyRef"])
        field = source.get("resourceFieldRef")
        if field is not None:
            yield from demand(
                (field.get("containerName") in names, f"no container {field}"),
                (
                    (field.get("resource"), field.get("divisor")) == ("requests.cpu", "1"),
                    "threads do not follow the requested cores",
                ),
            )


def _check_secret(name: str, key: Any) -> Iterator[str]:
    if name not in SECRETS:
        yield f"no secret {name!r}"
    elif key is not None and key.get("key") not in SECRETS[name]:
        yield f"the secret {name} has no key {key.get('key')!r}"


def _check_route(route: Object, rendered: Rendered) -> Iterator[str]:
    spec, over_http = route["spec"], route["kind"] == "HTTPRoute"
    wanted = CLIENT_PATHS if over_http else GRPC_SERVICES
    yield from demand(
        (spec.get("parentRefs") == [GATEWAY], "it belongs to another gateway, or to none"),
        (spec.get("hostnames") == [HOSTNAMES[route["kind"]]], "the host name is another one"),
        (len(spec.get("rules", [])) == 1, "not one rule"),
    )
    for rule in spec.get("rules", []):
        found = {_describe_match(match) for match in rule.get("matches", [])}
        time_s = rule.get("timeouts", {}).get("request")
        yield from demand(
            (found == wanted, f"it exposes {sorted(map(str, found))}, not {sorted(wanted)}"),
            (len(rule.get("backendRefs", [])) == 1, "a rule leads nowhere, or to two services"),
            (time_s == ("60s" if over_http else None), f"requests may take {time_s}"),
        )
        for target in rule.get("backendRefs", []):
            yield from _check_target(target, "http" if over_http else "grpc", rendered)


def _check_target(target: Object, port_name: str, rendered: Rendered) -> Iterator[str]:
    service = rendered.find("Service", target.get("name", "")) or {"spec": {"ports": []}}
    ports = [p["port"] for p in service["spec"]["ports"] if p.get("name") == port_name]
    if target.get("port") not in ports:
        yield f"{target.get('name')}:{target.get('port')} is no {port_name} port of a service"


def _describe_match(match: Object) -> str | None:
    if "path" in match:
        return match["path"].get("value") if match["path"].get("type") == "PathPrefix" else None
    service: str | None = match.get("method", {}).get("service")
    return service


def _check_used(rendered: Rendered) -> Iterator[str]:
    """Check that what was made for pods is used by them."""
    text = str([pod.spec for pod in rendered.pods()])
    for thing in rendered.of("ConfigMap", "PersistentVolumeClaim", "ServiceAccount"):
        labels = thing["metadata"].get("labels", {})
        if "grafana_dashboard" not in labels and f"'{name_of(thing)}'" not in text:
            yield f"{place_of(thing)} is used by no pod"


def _check_kserve(rendered: Rendered) -> Iterator[str]:
    for service in rendered.of("InferenceService"):
        model = service["spec"]["predictor"].get("model", {})
        runtime = rendered.find("ServingRuntime", model.get("runtime", ""))
        formats = (runtime or {}).get("spec", {}).get("supportedModelFormats", [])
        if runtime is None:
            yield f"no serving runtime {model.get('runtime')!r}"
        elif model.get("modelFormat") not in [
            {key: one.get(key) for key in ("name", "version")} for one in formats
        ]:
            yield "the runtime does not know the model's format"
        elif model.get("protocolVersion") not in runtime["spec"].get("protocolVersions", []):
            yield "the runtime does not speak the model's protocol"
        if runtime is not None:
            yield from _check_runtime(runtime)
        if service["metadata"].get("annotations") != {DEPLOYMENT_MODE: "RawDeployment"}:
            yield "KServe would make something else than a Deployment"
        if model.get("storageUri") not in {f"pvc://{name}/" for name in VOLUMES}:
            yield f"no volume {model.get('storageUri')!r}"


def _check_runtime(runtime: Object) -> Iterator[str]:
    spec = runtime["spec"]
    yield from demand(
        (spec.get("protocolVersions") == ["v2", "grpc-v2"], "it speaks two protocols"),
        (
            [one.get("autoSelect") for one in spec.get("supportedModelFormats", [])] == [True],
            "KServe would not choose the runtime by the model's format",
        ),
    )
