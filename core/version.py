"""The project's version: of the installed package, else of the pyproject.toml next to the code.

Inside a Bento the code is not installed, but pyproject.toml is next to it.
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
