"""Settings of a command: its options, the environment, and the settings file."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from core.devices.interface import DeviceError
from monitoring.log_lines import LogFormat
from serving.configuration.effective import Effective, compose_settings
from serving.configuration.environment import SETTINGS_FILE, GivenValue, name_variable
from serving.devices import RouteDevices, open_devices
from serving.settings import Settings
from sparing.failure import Failure

SETTINGS = Path("settings.toml")


def choose_settings(
    file: Path | None = None,
    *,
    http_port: int | None = None,
    grpc_port: int | None = None,
    host: str | None = None,
    models: Sequence[Path] | None = None,
    workers: int | None = None,
    log_level: str | None = None,
    log_format: str | None = None,
) -> Settings:
    """Return the settings in force; an option that is None is not given.

    The file is `file`, else that of the environment, else settings.toml in the working directory,
    if it exists. Raises Failure if the file cannot be read or a setting is wrong.
    """
    return find_settings(
        file,
        http_port=http_port,
        grpc_port=grpc_port,
        host=host,
        models=models,
        workers=workers,
        log_level=log_level,
        log_format=log_format,
    ).settings


def find_settings(
    file: Path | None = None,
    environment: Mapping[str, str] = os.environ,
    *,
    http_port: int | None = None,
    grpc_port: int | None = None,
    host: str | None = None,
    models: Sequence[Path] | None = None,
    workers: int | None = None,
    log_level: str | None = None,
    log_format: str | None = None,
) -> Effective:
    """Return the settings in force and where each comes from; as `choose_settings`."""
    options: Mapping[str, tuple[str, object]] = {
        "server.http_port": ("--http-port", http_port),
        "server.grpc_port": ("--grpc-port", grpc_port),
        "server.host": ("--host", host),
        "routes.directories": ("--models", models or None),
        "workers.count": ("--workers", workers),
        "log.level": ("--log-level", log_level),
        "log.format": ("--log-format", log_format),
    }
    given = {key: GivenValue(*one) for key, one in options.items() if one[1] is not None}
    named = file or (Path(environment[SETTINGS_FILE]) if environment.get(SETTINGS_FILE) else None)
    default = SETTINGS if SETTINGS.is_file() else None
    try:
        return compose_settings(named or default, environment, given)
    except ValueError as error:
        raise Failure(str(error), exit_code=2) from error


def open_chosen_devices(settings: Settings) -> RouteDevices:
    """Open the devices of the settings, as a server does. Raises Failure."""
    try:
        return open_devices(settings)
    except DeviceError as error:
        raise Failure(str(error)) from error


def find_log_format(
    option: str | None = None, environment: Mapping[str, str] = os.environ
) -> LogFormat:
    """Return the format for the line that says that the settings are wrong."""
    return "json" if (option or environment.get(name_variable("log.format"))) == "json" else "text"
