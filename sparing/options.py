"""Settings of a command: those of the file, overridden by command-line options."""

from collections.abc import Sequence
from pathlib import Path

from serving.settings import RouteSettings, ServerSettings, Settings, WorkerSettings, read_settings
from sparing.failure import Failure


def choose_settings(
    file: Path | None,
    default_file: Path,
    *,
    http_port: int | None = None,
    grpc_port: int | None = None,
    host: str | None = None,
    models: Sequence[Path] | None = None,
    workers: int | None = None,
) -> Settings:
    """Read `file`, else `default_file` if it exists, else use the defaults.

    An option that is not None overrides the file. Raises Failure if the file cannot be read or
    holds a wrong setting.
    """
    try:
        settings = _read(file, default_file)
    except ValueError as error:
        raise Failure(str(error), exit_code=2) from error
    given_options = {"http_port": http_port, "grpc_port": grpc_port, "host": host}
    given = {key: value for key, value in given_options.items() if value is not None}
    return settings.model_copy(
        update={
            "server": ServerSettings.model_validate({**settings.server.model_dump(), **given}),
            "routes": RouteSettings(
                directories=tuple(models) if models else settings.routes.directories,
                reload_interval_s=settings.routes.reload_interval_s,
            ),
            "workers": settings.workers if workers is None else WorkerSettings(count=workers),
        }
    )


def _read(file: Path | None, default_file: Path) -> Settings:
    if file is not None:
        return read_settings(file)
    return read_settings(default_file) if default_file.is_file() else Settings()
