"""The project's version: of what is installed, else of the folder that the code stands in.

Inside a Bento the code is not installed, but its pyproject.toml lies beside it.
"""

import tomllib
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

NAME = "sparing"
_PROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"


@cache
def read_version() -> str:
    try:
        return version(NAME)
    except PackageNotFoundError:
        found: str = tomllib.loads(_PROJECT.read_text())["project"]["version"]
        return found
