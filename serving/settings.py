"""`settings.toml` as a frozen object. An unknown key stops the server with a line naming it."""

import tomllib
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DoorSettings(_Frozen):
    """Where the server listens and how much a caller may send."""

    host: str = "127.0.0.1"
    http_port: int = Field(ge=0, le=65535, default=3000)  # 0: any free port
    grpc_port: int = Field(ge=0, le=65535, default=3001)
    max_body_bytes: int = Field(gt=0, default=16 * 2**20)
    max_body_bytes_in_flight: int = Field(gt=0, default=256 * 2**20)
    max_picture_pixels: int = Field(gt=0, default=16_000_000)
    drain_s: float = Field(ge=0, default=0.5)  # answering with "connection: close" before closing
    drain_timeout_s: float = Field(gt=0, default=30.0)
    bearer_token: str = ""  # empty: no token is asked for


class EngineSettings(_Frozen):
    """Queues and batches."""

    max_rows_per_request: int = Field(gt=0, default=256)
    max_queued_rows: int = Field(gt=0, default=4096)  # in all lanes of one route version
    patience_s: float = Field(
        gt=0, default=1.0
    )  # a row is due this long after its arrival, or at its deadline if that is earlier
    reply_margin_s: float = Field(
        ge=0, default=0.002
    )  # answers leave this long before their deadline
    rebatch_stages: bool = True  # off only to measure what re-batching is worth
    state_limit_bytes: int = Field(gt=0, default=256 * 2**20)


class MemorySettings(_Frozen):
    enabled: bool = True
    limit_bytes: int = Field(gt=0, default=64 * 2**20)


class RouteSettings(_Frozen):
    directories: tuple[Path, ...] = (Path("models"),)
    reload_interval_s: float = Field(gt=0, default=1.0)


class MetricsSettings(_Frozen):
    enabled: bool = True


class WorkerSettings(_Frozen):
    """Processes that serve together, each with an engine, a device and a memory of its own."""

    count: int = Field(ge=1, le=256, default=1)


class Settings(_Frozen):
    doors: DoorSettings = DoorSettings()
    engine: EngineSettings = EngineSettings()
    memory: MemorySettings = MemorySettings()
    routes: RouteSettings = RouteSettings()
    metrics: MetricsSettings = MetricsSettings()
    workers: WorkerSettings = WorkerSettings()


def read_settings(path: Path) -> Settings:
    """Raises ValueError with one line that names the file, the key and what is wrong."""
    try:
        return Settings.model_validate(tomllib.loads(path.read_text()))
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"{path}: {place}: {first['msg']}") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
