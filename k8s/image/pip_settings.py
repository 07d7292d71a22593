"""This machine's settings of pip, for a build: which indexes and folders it takes packages from.

A build installs by hash, so that where a file comes from does not matter. torch's build for CPUs is
on some indexes only.
"""

import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

USED = ("index-url", "extra-index-url", "find-links")
_LINE = re.compile(r"^(?:global|:env:)\.([\w-]+)='(.*)'$", re.MULTILINE)
_FOLDER = re.compile(r"(?<![\w:/])(?:file://)?(/[^\s']+)")


def read_pip_settings() -> dict[str, str]:
    """Return the settings that say where packages come from."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return parse_settings(done.stdout)


def parse_settings(text: str) -> dict[str, str]:
    """Return them from the output of `pip config list`; lists are separated by spaces."""
    found = _LINE.findall(text)
    return {name: value.replace("\\n", " ").strip() for name, value in found if name in USED}


def find_folders(values: Iterable[str]) -> list[Path]:
    """Return the folders of this machine that the values name, outermost only."""
    named = {Path(path) for value in values for path in _FOLDER.findall(value)}
    return sorted(path for path in named if path.is_dir() and not named & set(path.parents))


def make_options(folder: Path) -> list[str]:
    """Write pip's settings into `folder`, and return the options of a build that applies them."""
    settings = read_pip_settings()
    if not settings:
        return []
    target = folder / "pip.conf"
    lines = [f"{name} = {value}" for name, value in sorted(settings.items())]
    target.write_text("\n".join(["[global]", *lines, ""]))
    # An index of files refers to other folders beside it, so the folder above is at hand too.
    folders = {
        path.parent if path.name == "simple" else path for path in find_folders(settings.values())
    }
    mounts = [(target, Path("/etc/pip.conf")), *((path, path) for path in sorted(folders))]
    return [f"--volume={source}:{place}:ro" for source, place in mounts]
