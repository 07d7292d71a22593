"""Reads settings where there is no command line: from a settings file and environment variables.

`serving.configuration.environment` has the variables. Relative paths of the settings file and of
routes start at the project's folder, whatever the working directory is; in a Bento these are the
Bento's own files.
"""

from collections.abc import Mapping
from pathlib import Path

from serving.configuration.effective import compose_settings
from serving.configuration.environment import SETTINGS_FILE
from serving.settings import Settings

ROOT = Path(__file__).resolve().parents[2]


def read_environment(environment: Mapping[str, str], root: Path = ROOT) -> Settings:
    """Return the settings. Raises ValueError, with one line that names the file or variable and the
    fault.
    """
    given = environment.get(SETTINGS_FILE)
    file = root / (given or "settings.toml")
    settings = compose_settings(file if given or file.is_file() else None, environment).settings
    folders = tuple(root / folder for folder in settings.routes.directories)
    routes = settings.routes.model_copy(update={"directories": folders})
    return settings.model_copy(update={"routes": routes})
