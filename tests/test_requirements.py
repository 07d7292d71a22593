"""The lock files name everything that is installed, by version and hash, and no index."""

import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from requirements.lock import Pin, is_of_cuda_build, read_lock
from tests.test_bento_requirements import find_needed

FOLDER = Path(__file__).parents[1] / "requirements"
DOCUMENT = tomllib.loads((FOLDER.parent / "pyproject.toml").read_text())
PROJECT = DOCUMENT["project"]
LOCKS = (
    "serve", "vlm", "image", "image-torch", "test", "tools", "k8s", "torch-cpu", "torch-cuda",
)  # fmt: skip


def read(name: str) -> dict[str, Pin]:
    return {pin.name: pin for pin in read_lock(FOLDER / f"{name}.txt")}


@pytest.mark.parametrize("name", LOCKS)
def test_every_line_is_one_version_with_its_hashes(name: str) -> None:
    pins = read_lock(FOLDER / f"{name}.txt")
    assert pins and len({pin.name for pin in pins}) == len(pins)
    for pin in pins:
        assert [one.operator for one in pin.requirement.specifier] == ["=="], pin
        assert pin.hashes and pin.name == canonicalize_name(pin.name), pin


@pytest.mark.parametrize("name", LOCKS)
def test_no_index_is_named(name: str) -> None:
    lines = (FOLDER / f"{name}.txt").read_text().splitlines()
    assert not [line for line in lines if line.startswith("-") or "://" in line]


def test_all_that_the_project_asks_for_is_locked_as_asked() -> None:
    everything, serve, torch = read("test"), read("serve"), read("torch-cuda")
    extras = PROJECT["optional-dependencies"].values()
    for line in [*PROJECT["dependencies"], *(one for extra in extras for one in extra)]:
        asked = Requirement(line)
        name = canonicalize_name(asked.name)
        if name != "sparing":
            [version] = ({**everything, **torch})[name].requirement.specifier
            assert asked.specifier.contains(version.version), line
    assert {name: str(pin.requirement) for name, pin in serve.items()}.items() <= {
        name: str(pin.requirement) for name, pin in everything.items()
    }.items()


def test_all_that_these_need_is_locked_too_so_that_nothing_is_resolved() -> None:
    asked = [line for extra in PROJECT["optional-dependencies"].values() for line in extra]
    asked = [line for line in asked if not line.startswith("sparing[")]
    for name, lines in {"serve": [], "test": asked}.items():
        needed = find_needed([*PROJECT["dependencies"], *lines])
        assert {one for one in needed if not is_of_cuda_build(one)} <= read(name).keys()


def test_both_builds_of_torch_are_locked_at_one_version() -> None:
    index, cpu = read("torch-cuda")["torch"], read("torch-cpu")["torch"]
    assert str(cpu.requirement) == f"{index.requirement}+cpu" == "torch==2.13.0+cpu"
    assert not set(cpu.hashes) & set(index.hashes)
    assert read("torch-cuda")["triton"] == read("test")["triton"]
    assert all(is_of_cuda_build(name) for name in read("torch-cuda"))


def test_what_builds_the_project_is_locked() -> None:
    tools = read("tools")
    assert {"pip", "setuptools", "wheel"} <= tools.keys()
    assert DOCUMENT["build-system"]["requires"] == [str(tools["setuptools"].requirement)]
    makefile = (FOLDER.parent / "Makefile").read_text()
    assert "--require-hashes" in makefile and "--no-build-isolation" in makefile
