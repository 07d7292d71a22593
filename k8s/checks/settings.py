"""Environment variables: each a setting that the server knows, with a value that it takes."""

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from k8s.checks.objects import SECRETS, Pod, Rendered, read_quantity
from k8s.checks.pods import ENDS_AFTER_DRAIN_S
from serving.configuration.environment import read_variables
from serving.settings import Settings

# Settings that name a file with a secret: by variable, the key of the Secret that becomes the file.
SECRET_FILES = {
    "SPARING_SERVER__BEARER_TOKEN_FILE": "bearer-token",
    "SPARING_CACHE__REMOTE__PASSWORD_FILE": "redis-password",
    "SPARING_CACHE__REMOTE__SECRET_FILE": "cache-secret",
}
SECRETS_AT = "/run/secrets/sparing"
# What the manifests rely on is written in them.
SAID = (
    "SPARING_SERVER__HTTP_PORT", "SPARING_SERVER__GRPC_PORT", "SPARING_SERVER__DECODE_THREADS",
    "SPARING_SERVER__DRAIN_S", "SPARING_SERVER__DRAIN_TIMEOUT_S", "SPARING_CACHE__LIMIT_BYTES",
    "SPARING_SERVER__MAX_BODY_BYTES_IN_FLIGHT", "SPARING_SERVER__MAX_DECODE_BYTES",
    "SPARING_SERVER__MAX_UNREAD_BYTES",
)  # fmt: skip
PROCESS_BYTES = 170 * 2**20  # resident under load, without what the settings below allow
MEMORY_SETTINGS = (
    ("cache", "limit_bytes"),
    ("server", "max_body_bytes_in_flight"),
    ("server", "max_decode_bytes"),
    ("server", "max_unread_bytes"),
)
BYTES_A_PIXEL = 11  # of decoding: docs/serving.md
BALANCER_IDLE_S = 600  # of the balancers of large clouds


def check_settings(rendered: Rendered) -> Iterator[str]:
    for pod in rendered.servers():
        if pod.owner["kind"] == "Deployment":
            yield from (f"{pod.where}: {fault}" for fault in _check_server(pod, rendered))
    for pod in rendered.pods():
        if pod.main().get("name") == "valkey":
            yield from (f"{pod.where}: {fault}" for fault in _check_redis(pod))


def read_environment(pod: Pod, rendered: Rendered) -> dict[str, str]:
    """Return the variables of the main container; those from elsewhere have the value `1`."""
    found: dict[str, str] = {}
    for source in pod.main().get("envFrom", []):
        config = rendered.find("ConfigMap", source.get("configMapRef", {}).get("name", ""))
        found |= (config or {}).get("data", {})
    for variable in pod.main().get("env", []):
        found[variable.get("name", "")] = str(variable.get("value", "1"))
    return found


def _check_server(pod: Pod, rendered: Rendered) -> Iterator[str]:
    variables = read_environment(pod, rendered)
    try:
        settings = read_settings(variables)
    except ValidationError as error:
        first = error.errors()[0]
        yield f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        return
    except ValueError as error:
        yield str(error)
        return
    ports = {"http": settings.server.http_port, "grpc": settings.server.grpc_port}
    if pod.ports() != ports or settings.server.host != "0.0.0.0":
        yield f"it listens on {settings.server.host} {ports}, its container on {pod.ports()}"
    yield from _check_times(pod, settings)
    yield from _check_memory(pod, settings)
    yield from _check_files(pod, variables)
    yield from _check_links(variables, rendered)
    if settings.log.format != "json":
        yield "its log is not JSON, which the cluster's collector takes apart"
    if settings.tracing.enabled and not 0 < settings.tracing.sample_ratio <= 0.1:
        yield "tracing samples too many requests"
    unsaid = [name for name in SAID if name not in variables]
    yield from (f"{name} is left to its default, and the manifests rely on it" for name in unsaid)


def read_settings(variables: Mapping[str, str]) -> Settings:
    """Return the settings that the server reads from these variables. Raises ValueError, with a
    sentence, if it refuses them.
    """
    table: dict[str, Any] = {}
    for key, given in read_variables(variables).items():
        *sections, name = key.split(".")
        inner = table
        for section in sections:
            inner = inner.setdefault(section, {})
        inner[name] = given.value
    return Settings.model_validate(table)


def _check_times(pod: Pod, settings: Settings) -> Iterator[str]:
    server = settings.server
    stop_s = pod.main().get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    needed_s = stop_s + server.drain_s + server.drain_timeout_s + ENDS_AFTER_DRAIN_S
    grace_s = pod.spec.get("terminationGracePeriodSeconds", 30)
    if not needed_s <= grace_s <= 2 * needed_s:
        yield f"its grace period is {grace_s} s, and it may need {needed_s:g} s to end"
    if not 1 <= server.drain_s <= 30 or not 10 <= server.drain_timeout_s <= 300:
        yield f"it drains for {server.drain_s:g} s and {server.drain_timeout_s:g} s"
    if not BALANCER_IDLE_S < server.keep_alive_s <= 2 * BALANCER_IDLE_S:
        yield f"it closes idle connections after {server.keep_alive_s:g} s, before the balancer"
    if not 60 <= server.grpc_max_connection_age_s <= 3600:
        yield "gRPC clients never look for new pods, or all the time"


def _check_memory(pod: Pod, settings: Settings) -> Iterator[str]:
    limit = read_quantity(pod.main()["resources"]["limits"]["memory"])
    table = settings.model_dump()
    parts = [table[section][key] for section, key in MEMORY_SETTINGS]
    if PROCESS_BYTES + sum(parts) > limit:
        yield f"its settings allow {(PROCESS_BYTES + sum(parts)) / 2**20:.0f} MiB, above its limit"
    if min(parts) < 2**24:
        yield "a limit of memory is too small to be of use"
    if settings.server.max_picture_pixels * BYTES_A_PIXEL > settings.server.max_decode_bytes:
        yield "a picture that it accepts needs more memory than decoding may take"


def _check_files(pod: Pod, variables: Mapping[str, str]) -> Iterator[str]:
    mounts = {mount.get("mountPath"): mount.get("name") for mount in pod.main()["volumeMounts"]}
    secrets = {
        volume["name"]: volume["secret"].get("secretName")
        for volume in pod.spec.get("volumes", [])
        if "secret" in volume
    }
    for name, key in SECRET_FILES.items():
        if name not in variables:
            continue
        folder, _, file = variables[name].rpartition("/")
        keys = SECRETS.get(secrets.get(mounts.get(folder, ""), ""), frozenset())
        if folder != SECRETS_AT or file != key or key not in keys:
            yield f"{name}: no secret is mounted as {variables[name]}"
    if secrets and not SECRET_FILES.keys() & variables.keys():
        yield "a secret is mounted for nothing"


def _check_links(variables: Mapping[str, str], rendered: Rendered) -> Iterator[str]:
    url = variables.get("SPARING_CACHE__REMOTE__URL", "")
    redis = rendered.find("Service", "sparing-redis")
    if bool(url) != (redis is not None):
        yield "a Redis that the server does not use, or none that it wants"
    if redis is not None and url != f"redis://sparing-redis:{redis['spec']['ports'][0]['port']}/0":
        yield f"it looks for Redis at {url!r}"
    needed = {"SPARING_CACHE__REMOTE__PASSWORD_FILE", "SPARING_CACHE__REMOTE__SECRET_FILE"}
    if url and not needed <= variables.keys():
        yield "it has no password for Redis, or no secret for its entries"
    endpoint = variables.get("SPARING_TRACING__ENDPOINT")
    wanted = "http://otel-collector.observability.svc:4318/v1/traces"
    if endpoint not in {None, wanted}:
        yield f"it sends spans to {endpoint}"
    if (endpoint is None) != (variables.get("SPARING_TRACING__ENABLED") != "true"):
        yield "tracing is on without a collector, or off with one"


def _check_redis(pod: Pod) -> Iterator[str]:
    container = pod.main()
    options = dict(zip(container["args"][::2], container["args"][1::2], strict=False))
    wanted = {"--maxmemory-policy": "allkeys-lru", "--save": "", "--appendonly": "no",
              "--requirepass": "$(REDIS_PASSWORD)"}  # fmt: skip
    if {key: options.get(key) for key in wanted} != wanted or len(container["args"]) != 10:
        yield "it keeps what a cache should not, or lets everybody in"
    if container.get("command") != ["valkey-server"]:
        yield "it runs another program"
    if [variable.get("name") for variable in container.get("env", [])] != ["REDIS_PASSWORD"]:
        yield "it does not know the password"
    if pod.ports() != {"redis": 6379}:
        yield f"it listens on 6379, the container on {pod.ports()}"
    memory = str(options.get("--maxmemory", ""))
    limit = read_quantity(container["resources"]["limits"]["memory"])
    request = read_quantity(container["resources"]["requests"]["memory"])
    size = float(memory[:-2]) * 2**20 if memory.endswith("mb") and memory[:-2].isdigit() else 0.0
    if not 0.5 * limit <= size <= 0.8 * limit or request < size:
        yield f"its maxmemory is {memory}, its limit {limit / 2**20:.0f} MiB"
