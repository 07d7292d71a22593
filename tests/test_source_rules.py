"""Rules that no linter knows: what serving loads, and what no source may do."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGES: list[str] = PROJECT["tool"]["setuptools"]["packages"]
TOP_LEVEL = sorted({name.partition(".")[0] for name in PACKAGES})
NOT_INSTALLED = ["studies"]  # runs in a checkout only
SOURCES = sorted(
    path for name in (*TOP_LEVEL, *NOT_INSTALLED) for path in (ROOT / name).rglob("*.py")
)
DANGEROUS_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
DANGEROUS_CALLS = {
    "eval", "exec", "torch.load", "torch.save", "yaml.load", "numpy.save", "np.save",
    "os.system", "os.popen",
}  # fmt: skip


def find_dangers(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names = {(node.module or "").partition(".")[0]}
        elif isinstance(node, ast.Call):
            yield from _find_dangers_of_call(node)
            continue
        else:
            continue
        yield from (f"line {node.lineno}: {name}" for name in names & DANGEROUS_MODULES)


def _find_dangers_of_call(call: ast.Call) -> Iterator[str]:
    name = ast.unparse(call.func)
    if name in DANGEROUS_CALLS:
        yield f"line {call.lineno}: {name}"
    for keyword in call.keywords:
        allowed = isinstance(keyword.value, ast.Constant) and keyword.value.value is False
        if keyword.arg in {"allow_pickle", "shell"} and not allowed:
            yield f"line {call.lineno}: {name}({keyword.arg}=...)"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_source_unpickles_evaluates_or_shells_out(path: Path) -> None:
    assert list(find_dangers(path.read_text())) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from pickle import loads",
        "import torch\ntorch.load('a')",
        "eval('1')",
        "import numpy as np\nnp.load('a', allow_pickle=True)",
        "import subprocess\nsubprocess.run('a', shell=True)",
    ],
)
def test_the_search_for_dangers_finds_them(source: str) -> None:
    assert len(list(find_dangers(source))) == 1


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_module_says_what_it_is(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text()))


def test_serving_loads_no_training_framework_and_no_client_before_it_is_asked_for() -> None:
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in sorted((ROOT / "serving").rglob("*.py"))
        if path.stem not in {"__init__", "service"}  # service needs BentoML
    ]
    modules += ["sparing.cli", "sparing.options", "sparing.predicting", "sparing.tables"]
    code = (
        f"import importlib, sys\nfor name in {modules}: importlib.import_module(name)\n"
        "print(*sorted({'torch', 'onnx', 'onnxscript', 'safetensors', 'matplotlib', 'redis', "
        "'opentelemetry', 'prometheus_client'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == ""


def test_serving_installs_no_training_framework() -> None:
    needed = {_name(line) for line in PROJECT["project"]["dependencies"]}
    assert not needed & {"torch", "onnx", "onnxscript", "safetensors", "matplotlib"}


def test_every_folder_with_code_is_installed() -> None:
    folders = {".".join(path.parent.relative_to(ROOT).parts) for path in SOURCES}
    studies = {name for name in folders if name.partition(".")[0] in NOT_INSTALLED}
    assert sorted(PACKAGES) == sorted(folders - studies)


def test_packages_hold_only_a_docstring_in_their_init() -> None:
    for name in PACKAGES:
        body = ast.parse((ROOT / name.replace(".", "/") / "__init__.py").read_text()).body
        assert [type(node) for node in body] == [ast.Expr], name


def _name(requirement: str) -> str:
    return re.split(r"[^\w.-]", requirement)[0].lower().replace("_", "-")
