"""The settings in `settings.toml` as a frozen object. An unknown key is an error that names it."""

import json
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from core.devices.interface import Precision
from serving.old_settings import find_old_settings

NO_SECRET = (
    "url or url_file is set, but the secret that all processes share is missing; make one with "
    "`openssl rand -hex 32` and give it as secret, or in a file that secret_file names"
)


DEFAULT_DEVICE = "cpu"  # ONNX Runtime on the CPU with one thread, unless the settings change it
_DEVICE_PATTERN = r"^[a-z0-9][a-z0-9_-]{0,31}$"
TENANT_PATTERN = r"[A-Za-z0-9._@:-]{1,64}"
TOKEN_PATTERN = r"^[!-~]{1,1024}$"  # visible ASCII


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class ServerSettings(_Frozen):
    """Where the server listens and how much a client may send."""

    host: str = "127.0.0.1"
    http_port: int = Field(ge=0, le=65535, default=3000)  # 0: any free port
    grpc_port: int = Field(ge=0, le=65535, default=3001)
    max_body_bytes: int = Field(gt=0, default=16 * 2**20)
    max_body_bytes_in_flight: int = Field(gt=0, default=256 * 2**20)
    max_picture_pixels: int = Field(gt=0, default=16_000_000)
    max_decode_bytes: int = Field(ge=2**20, default=176 * 2**20)  # 11 bytes a pixel allowed above
    decode_threads: int = Field(ge=0, le=256, default=0)  # 0: one for each core
    max_decode_wait_s: float = Field(gt=0, default=10.0)  # predicted, for all waiting pictures
    drain_s: float = Field(ge=0, default=0.5)  # answering with "connection: close" before closing
    drain_timeout_s: float = Field(gt=0, default=30.0)
    head_timeout_s: float = Field(gt=0, default=30.0)  # for the head of a request
    body_timeout_s: float = Field(gt=0, default=20.0)  # without a new byte of a body
    min_body_bytes_per_s: float = Field(ge=0, default=4096.0)  # mean rate from body_timeout_s on
    keep_alive_s: float = Field(gt=0, default=75.0)  # for a connection between two requests
    write_timeout_s: float = Field(gt=0, default=30.0)  # for a client that does not read its answer
    max_connections: int = Field(gt=0, default=32768)  # over HTTP, in each process
    max_unread_bytes: int = Field(gt=0, default=64 * 2**20)  # of incomplete heads and bodies
    grpc_message_timeout_s: float = Field(gt=0, default=30.0)  # for a message in either direction
    grpc_stream_idle_s: float = Field(gt=0, default=600.0)  # for a stream without a request
    grpc_max_concurrent_streams: int = Field(ge=1, le=2**20, default=1024)  # on one connection
    grpc_max_connection_idle_s: float = Field(ge=0, le=1e6, default=300.0)  # 0: never
    grpc_max_connection_age_s: float = Field(ge=0, le=1e6, default=0.0)  # 0: never
    grpc_keepalive_s: float = Field(ge=0, le=1e6, default=60.0)  # between pings; 0: no pings
    grpc_min_ping_interval_s: float = Field(ge=0, le=1e6, default=5.0)  # between clients' pings
    tls_certificate_file: str = ""  # PEM, with its chain; empty: no TLS
    tls_key_file: str = ""  # PEM, without a password
    access_log: bool = False  # one line for each request
    console: bool = True  # the pages for a browser at "/" and "/docs"
    bearer_token: SecretStr = SecretStr("")  # empty: no token is needed
    tenants: dict[
        Annotated[str, Field(pattern=f"^{TENANT_PATTERN}$")],
        SecretStr,
    ] = Field(default={}, max_length=256)  # tenant to bearer token
    bearer_token_file: str = ""  # a file with the token, or with several, one a line
    tenants_file: str = ""  # a TOML file of tenants and tokens
    tenant_header: str = Field(
        pattern=r"^([A-Za-z0-9-]{1,64})?$", default=""
    )  # set by a trusted proxy only; empty: no header names a tenant

    @model_validator(mode="after")
    def _certificate_has_a_key(self) -> "ServerSettings":
        if bool(self.tls_certificate_file) != bool(self.tls_key_file):
            raise PydanticCustomError(
                "tls", "tls_certificate_file and tls_key_file: one is given, allowed both or none"
            )
        return self

    @model_validator(mode="after")
    def _secrets_are_given_once(self) -> "ServerSettings":
        if self.bearer_token_file and self.bearer_token.get_secret_value():
            raise PydanticCustomError(
                "token", "bearer_token and bearer_token_file are given, allowed one"
            )
        if self.tenants_file and self.tenants:
            raise PydanticCustomError("tenants", "tenants and tenants_file are given, allowed one")
        return self

    @model_validator(mode="after")
    def _tokens_differ(self) -> "ServerSettings":
        tokens = [token.get_secret_value() for token in self.tenants.values()]
        if any(not re.fullmatch(TOKEN_PATTERN, token) for token in tokens):
            raise PydanticCustomError(
                "tenants", "tenants: a token is not 1 to 1024 visible ASCII characters"
            )
        if len({*tokens, self.bearer_token.get_secret_value()}) <= len(tokens):
            raise PydanticCustomError(
                "tenants", "two tenants, or a tenant and bearer_token, have the same token"
            )
        return self


class EngineSettings(_Frozen):
    """Queues, batches and deadlines."""

    max_rows_per_request: int = Field(gt=0, default=256)
    max_queued_rows: int = Field(gt=0, default=4096)  # in all lanes of one route version
    max_queued_s: float = Field(
        gt=0, default=10.0
    )  # predicted seconds until one caller's waiting rows for one route are done
    patience_s: float = Field(
        gt=0, default=1.0
    )  # a row is due this long after its arrival, or at its deadline if that is earlier
    reply_margin_s: float = Field(
        ge=0, default=0.002
    )  # answers leave this long before their deadline
    stalled_after_s: float = Field(
        gt=0, default=10.0
    )  # rows wait and no batch ends: not ready after this, not live after twice as long
    rebatch_stages: bool = True  # False only to measure the benefit of re-batching
    state_limit_bytes: int = Field(gt=0, default=256 * 2**20)


class RemoteSettings(_Frozen):
    """A Redis that processes share as a remote cache. Secret values are never printed."""

    url: SecretStr = SecretStr("")  # empty: no remote cache; forms: docs/cache.md
    url_file: str = ""  # a file that holds the URL, instead
    password_file: str = ""  # a file that holds the password, which the URL then lacks
    secret: SecretStr = SecretStr("")  # the same for all processes that share the cache
    secret_file: str = ""  # a file that holds the secret, instead
    timeout_ms: float = Field(gt=0, le=1000, default=10.0)  # longest wait for a lookup
    prefix: str = Field(max_length=64, default="sparing:")
    max_connections: int = Field(ge=2, le=64, default=4)

    @model_validator(mode="after")
    def _has_a_secret(self) -> "RemoteSettings":
        url = self.url.get_secret_value()
        if url and self.url_file:
            raise PydanticCustomError("url", "url and url_file are given, allowed one")
        if self.password_file and not (url or self.url_file):
            raise PydanticCustomError("url", "password_file is given without url or url_file")
        if (url or self.url_file) and not (self.secret_file or self.secret.get_secret_value()):
            raise PydanticCustomError("secret", NO_SECRET)
        return self

    def read_secret(self) -> bytes:
        """Return the secret, from the settings or the file. Raises ValueError, with one sentence,
        if the file cannot be read.
        """
        if not self.secret_file:
            return self.secret.get_secret_value().encode()
        try:
            return Path(self.secret_file).read_bytes().strip()
        except OSError as error:
            raise ValueError(f"{self.secret_file}: {error.strerror}") from error


class PerceptualRouteSettings(_Frozen):
    """How one route shares answers between pictures that look alike; `docs/perceptual_cache.md`."""

    limit_bytes: int = Field(gt=0, default=16 * 2**20)  # for each version of the route
    max_distance: int = Field(ge=0, le=8, default=1)  # in stable bits of the hash
    max_difference: float = Field(gt=0, le=32, default=4.0)  # root mean square, in grey levels
    least_confidence: float = Field(ge=0, le=1, default=0.95)  # of a shared answer
    audit_rate: float = Field(gt=0, le=1, default=0.05)
    audit_burn_in: int = Field(ge=0, default=500)
    audit_seed: int = Field(ge=0, default=0)
    max_wrong: float = Field(gt=0, lt=1, default=0.001)
    delta: float = Field(gt=0, lt=1, default=0.01)


class PerceptualSettings(_Frozen):
    """Routes that share answers between similar pictures, by name; off for all others."""

    routes: dict[str, PerceptualRouteSettings] = {}


class CacheSettings(_Frozen):
    enabled: bool = True
    limit_bytes: int = Field(gt=0, default=64 * 2**20)
    remote: RemoteSettings = RemoteSettings()
    perceptual: PerceptualSettings = PerceptualSettings()

    @model_validator(mode="after")
    def _perceptual_needs_the_cache(self) -> "CacheSettings":
        if self.perceptual.routes and not self.enabled:
            raise PydanticCustomError(
                "perceptual", "perceptual.routes: given, but the cache is off; set enabled = true"
            )
        return self


class RouteSettings(_Frozen):
    """Where the route directories are, how often they are checked, which device runs which, and
    which file of stages that have two.
    """

    directories: tuple[Path, ...] = (Path("models"),)
    reload_interval_s: float = Field(gt=0, default=1.0)
    devices: dict[str, str] = {}  # route to device; DEFAULT_DEVICE runs all others
    precision: Precision = "auto"  # of stages with a float and an int8 file; auto: the faster one
    precisions: dict[str, Precision] = {}  # of single routes by name, instead


class DeviceSettings(_Frozen):
    """A device: its runtime, on what hardware, and how much of it."""

    runtime: Literal["onnx", "torch"] = "onnx"
    providers: tuple[str, ...] = ()  # of ONNX Runtime, in order of preference; empty: the CPU
    backend: Literal["cpu", "cuda"] = "cpu"  # of torch
    gpu: int = Field(ge=0, le=63, default=0)  # its number, on machines with several
    threads: int = Field(ge=1, le=1024, default=1)  # on the CPU
    state_limit_bytes: int = Field(ge=0, default=0)  # 0: engine.state_limit_bytes

    @model_validator(mode="after")
    def _fits_its_runtime(self) -> "DeviceSettings":
        if self.runtime == "onnx" and self.backend != "cpu":
            raise PydanticCustomError(
                "backend", "backend: given for the runtime onnx, which takes providers instead"
            )
        if self.runtime == "torch" and self.providers:
            raise PydanticCustomError(
                "providers", "providers: given for the runtime torch, which takes a backend instead"
            )
        return self


class MetricsSettings(_Frozen):
    enabled: bool = True


class ModelSettings(_Frozen):
    """Watts assumed if no meter measures them; `sparing meter calibrate` fits them. If
    `busy_core_w` is 0, the figures published for the processor are used.
    """

    idle_w: float = Field(ge=0, le=1e5, default=0.0)
    busy_core_w: float = Field(ge=0, le=1e4, default=0.0)
    dram_w: float = Field(ge=0, le=1e4, default=0.0)


class EnergySettings(_Frozen):
    """Which meter to read and how often, and the carbon intensity that applies."""

    source: Literal["auto", "none", "rapl", "nvml", "ina3221", "pmic", "model", "replay"] = "auto"
    interval_s: float = Field(ge=0.02, le=10.0, default=0.1)
    idle_w: float = Field(ge=0, le=1e5, default=0.0)  # 0: the lowest one-second reading
    model: ModelSettings = ModelSettings()  # used if the meter fails
    replay: str = ""  # the CSV file of the source `replay`
    sysfs: Path = Path("/sys")
    carbon_grams_per_kwh: float = Field(ge=0, le=1e4, default=0.0)
    embodied_grams_per_hour: float = Field(ge=0, le=1e6, default=0.0)

    @model_validator(mode="after")
    def _source_has_what_it_needs(self) -> "EnergySettings":
        if self.source == "replay" and not self.replay:
            raise PydanticCustomError(
                "replay", "replay: not given, source = 'replay' needs the path of a CSV file"
            )
        return self


class TracingSettings(_Frozen):
    """OpenTelemetry spans for a sample of requests; see `docs/tracing.md`."""

    enabled: bool = False
    sample_ratio: float = Field(ge=0, le=1, default=0.01)  # unless the caller decides
    endpoint: str = Field(pattern=r"^https?://[^/]", default="http://127.0.0.1:4318/v1/traces")


class LogSettings(_Frozen):
    """The log on stderr, except inside another server, which has a log of its own."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["text", "json"] = "text"


class WorkerSettings(_Frozen):
    """Processes that serve together, each with an engine, a device and a cache of its own."""

    count: int = Field(ge=1, le=256, default=1)
    check_interval_s: float = Field(ge=0.05, le=60, default=1.0)  # between two checks of a worker
    max_missed_checks: int = Field(ge=2, le=1000, default=6)  # in a row, then replaced
    start_timeout_s: float = Field(gt=0, le=86400, default=600.0)  # until a worker is ready


class Settings(_Frozen):
    server: ServerSettings = ServerSettings()
    engine: EngineSettings = EngineSettings()
    cache: CacheSettings = CacheSettings()
    routes: RouteSettings = RouteSettings()
    devices: dict[Annotated[str, Field(pattern=_DEVICE_PATTERN)], DeviceSettings] = Field(
        default={}, max_length=64
    )
    metrics: MetricsSettings = MetricsSettings()
    tracing: TracingSettings = TracingSettings()
    log: LogSettings = LogSettings()
    workers: WorkerSettings = WorkerSettings()
    energy: EnergySettings = EnergySettings()


def read_settings(path: Path) -> Settings:
    """Read and check a settings file. Raises ValueError, with one line that names the file, the key
    and the fault.
    """
    try:
        return Settings.model_validate(read_table(path))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"{path}: {place}: {first['msg']}") from error


def read_table(path: Path) -> dict[str, Any]:  # Any: TOML values
    """Read a settings file without checking its keys and values, except for old settings. Raises
    ValueError, with one line that names the file and the fault.
    """
    try:
        given = tomllib.loads(path.read_text())
        if fault := find_old_settings(given):
            raise ValueError(fault)
        return given
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def write_settings(settings: Settings) -> str:
    """Return all settings as JSON, which `Settings.model_validate_json` reads.

    Secrets are in clear text: send it only through a pipe to a process that must have them, never
    to a file, a command line or a log.
    """
    return json.dumps(settings.model_dump(), default=_write_value)


def _write_value(value: object) -> str:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    assert isinstance(value, Path)
    return str(value)
