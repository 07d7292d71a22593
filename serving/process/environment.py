"""Reads settings where there is no command line: from a settings file and environment variables.

    SPARING_SETTINGS    a TOML file; default: the project's settings.toml, if it exists
    SPARING_MODELS      directories of routes, separated as in PATH
    SPARING_HOST        the address that gRPC listens on
    SPARING_GRPC_PORT   0: any free port

Relative paths start at the project's folder, whatever the working directory is; in a Bento these
are the Bento's own files.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from serving.settings import ServerSettings, Settings, read_settings

ROOT = Path(__file__).resolve().parents[2]
_ENDPOINT_VARIABLES = {"SPARING_HOST": "host", "SPARING_GRPC_PORT": "grpc_port"}


def read_environment(environment: Mapping[str, str], root: Path = ROOT) -> Settings:
    """Return the settings. Raises ValueError, with one line that names the file or variable and the
    fault.
    """
    given = environment.get("SPARING_SETTINGS")
    default = root / "settings.toml"
    if given:
        settings = read_settings(root / given)
    else:
        settings = read_settings(default) if default.is_file() else Settings()
    models = environment.get("SPARING_MODELS")
    folders = models.split(os.pathsep) if models else settings.routes.directories
    routes = settings.routes.model_copy(
        update={"directories": tuple(root / folder for folder in folders)}
    )
    return settings.model_copy(
        update={"server": _read_endpoint_settings(environment, settings.server), "routes": routes}
    )


def _read_endpoint_settings(
    environment: Mapping[str, str], endpoint_settings: ServerSettings
) -> ServerSettings:
    given = {
        key: environment[variable]
        for variable, key in _ENDPOINT_VARIABLES.items()
        if environment.get(variable)
    }
    try:
        return ServerSettings.model_validate({**endpoint_settings.model_dump(), **given})
    except ValidationError as error:
        first = error.errors()[0]
        variable = next(name for name, key in _ENDPOINT_VARIABLES.items() if key == first["loc"][0])
        raise ValueError(f"{variable}: {first['msg']}, given {environment[variable]!r}") from error
