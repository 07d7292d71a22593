"""What a Bento installs: serving's packages and BentoML's, whole, pinned, and nothing else."""

import tomllib
from importlib.metadata import requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from requirements.lock import read_lock

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "requirements" / "test.txt"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
IMAGE = {"python_version": "3.11", "python_full_version": "3.11.14"}  # whatever runs the test


def read_pins(path: Path) -> dict[str, str]:
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    return {canonicalize_name(name): line for line in lines for name, _ in [line.split("==")]}


def find_needed(lines: list[str]) -> set[str]:
    """The names of these requirements and of all that they require."""
    wanted = [(Requirement(line), frozenset[str]()) for line in lines]
    needed: dict[str, set[str]] = {}
    while wanted:
        requirement, asking = wanted.pop()
        if not _applies(requirement, asking):
            continue
        extras = needed.get(canonicalize_name(requirement.name))
        if extras is not None and requirement.extras <= extras:
            continue
        extras = (extras or set()) | requirement.extras
        needed[canonicalize_name(requirement.name)] = extras
        wanted += [
            (Requirement(line), frozenset(extras)) for line in requires(requirement.name) or ()
        ]
    return set(needed)


def _applies(requirement: Requirement, extras: frozenset[str]) -> bool:
    marker = requirement.marker
    return marker is None or any(
        marker.evaluate({**IMAGE, "extra": extra}) for extra in extras | {""}
    )


def test_the_bento_lists_what_serving_and_its_host_need_and_no_more() -> None:
    host = [line for line in PROJECT["optional-dependencies"]["bento"] if line.startswith("bento")]
    needed = find_needed([*PROJECT["dependencies"], *host])
    pins = {pin.name: f"{pin.name}{pin.requirement.specifier}" for pin in read_lock(LOCK)}
    listed = read_pins(ROOT / "bento-requirements.txt")
    assert listed == {name: pins[name] for name in needed}
