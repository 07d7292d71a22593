"""The documentation is true: settings, paths, errors, outputs, links, and the worked example."""

import importlib.util
import json
import re
import tomllib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from core.devices.onnx import OnnxDevice
from core.manifest import CacheSpec, FileSpec, Manifest, PictureSpec, StageSpec, TensorSpec
from harness.tiny_routes import make_pictures, make_poison, write_route
from monitoring.metrics.collector import Metrics
from routes.offline import run_offline
from routes.table import PIPELINES
from serving.configuration.listing import write_table
from serving.grpc.status import STATUS as RPC_STATUS
from serving.http.openapi.document import make_document
from serving.http.status import STATUS as HTTP_STATUS
from serving.oip.outputs import EXPLANATIONS
from serving.oip.tensors import CONTROLS
from serving.settings import DeviceSettings, PerceptualRouteSettings, Settings

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), *ROOT.glob("*.md"), *ROOT.glob("k8s/*.md")])
DECISIONS = sorted((DOCS / "decisions").glob("*.md"))
SERVING = (DOCS / "serving.md").read_text()
LINK = re.compile(r"\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`[^`\n]*`")

# What tells of the machine a page was written on, and not of the project. Written in two pieces,
# because this file is searched too.
STRANGERS = ("/wo" + "rk/", "/ro" + "ot/")
NOT_OURS = {"__pycache__", "runs", "build", "dist"}
TEXT = {".md", ".py", ".toml", ".txt", ".json", ".csv", ".yaml", ".yml", ".proto", ".sh", ""}


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def read_rows(text: str) -> dict[str, list[str]]:
    """Table rows by what stands in backticks in their first cell."""
    rows: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line.startswith("| `"):
            first, *others = [cell.strip() for cell in line.strip("|").split("|")]
            rows.update(dict.fromkeys(re.findall(r"`([^`]+)`", first), others))
    return rows


def find_text_files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        hidden = path.name.startswith(".") and path.name not in {".ci", ".gitignore"}
        if hidden or path.name in NOT_OURS or path.name.endswith(".egg-info"):
            continue
        if path.is_dir():
            yield from find_text_files(path)
        elif path.suffix in TEXT:
            yield path


def find_anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def list_settings() -> dict[str, object]:
    return flatten(json.loads(Settings().model_dump_json()))


def flatten(table: dict[str, Any], prefix: str = "") -> dict[str, object]:
    """Keys of tables in tables with dots between."""
    flat: dict[str, object] = {}
    for key, value in table.items():
        flat |= (
            flatten(value, f"{prefix}{key}.")
            if isinstance(value, dict) and value
            else {prefix + key: value}
        )
    return flat


def test_every_setting_stands_in_the_table_with_its_default_and_no_other_one() -> None:
    rows = read_rows(SERVING)
    documented = {
        key: json.loads(cells[0].strip("`"))
        for key, cells in rows.items()
        if key.partition(".")[0] in Settings.model_fields and ("." in key or key == "devices")
    }
    assert documented == list_settings()


def test_every_setting_of_a_device_stands_in_its_table() -> None:
    rows = read_rows(SERVING.partition("\n## Devices\n")[2].partition("\n## ")[0])
    documented = {key: json.loads(cells[0].strip("`")) for key, cells in rows.items()}
    assert documented == json.loads(DeviceSettings().model_dump_json())


def test_the_table_of_variables_is_what_its_command_prints() -> None:
    assert (DOCS / "configuration.md").read_text().count(write_table()) == 1


def test_every_setting_of_a_route_in_the_perceptual_cache_stands_in_its_table() -> None:
    rows = read_rows((DOCS / "perceptual_cache.md").read_text())
    documented = {key: json.loads(cells[0].strip("`")) for key, cells in rows.items()}
    assert documented == json.loads(PerceptualRouteSettings().model_dump_json())


MANIFEST_TABLES: dict[str, type[BaseModel]] = {
    "Top level": Manifest,
    "Tensors": TensorSpec,
    "Pictures": PictureSpec,
    "Cache": CacheSpec,
    "Stages": StageSpec,
    "Files": FileSpec,
}
COMPLEX_DEFAULTS = {
    "cache": "enabled", "picture": "none", "threshold": "none", "int8_file": "none",
    "min": "none", "max": "none",
}  # fmt: skip


@pytest.mark.parametrize("heading", MANIFEST_TABLES)
def test_every_key_of_a_manifest_stands_in_its_table_with_its_default(heading: str) -> None:
    page = (DOCS / "route_toml.md").read_text()
    rows = read_rows(page.partition(f"\n## {heading}\n")[2].partition("\n## ")[0])
    fields = {
        name: field
        for name, field in MANIFEST_TABLES[heading].model_fields.items()
        if not field.exclude
    }
    assert list(rows) == list(fields)
    for name, field in fields.items():
        shown = rows[name][0].strip("`")
        if field.is_required():
            assert shown == "required", name
        elif name in COMPLEX_DEFAULTS:
            assert shown == COMPLEX_DEFAULTS[name]
        else:
            default = field.get_default()
            assert json.loads(shown) == (list(default) if default == () else default), name


def test_every_kind_of_pipeline_stands_in_the_reference() -> None:
    rows = read_rows((DOCS / "route_toml.md").read_text())
    assert set(re.findall(r"`([^`]+)`", rows["pipeline"][1])) == set(PIPELINES)


def test_every_path_of_the_openapi_document_is_named_and_no_other_one() -> None:
    rows = read_rows(SERVING)
    documented = {name: cells[0] for name, cells in rows.items() if name.startswith("/")}
    paths = {
        path: ", ".join(verb.upper() for verb in item if verb in {"get", "post"})
        for path, item in make_document("1")["paths"].items()
    }
    assert documented == paths


def test_every_error_has_both_its_statuses_in_the_table() -> None:
    rows = read_rows(SERVING)
    documented = {name: rows[name][:2] for name in (error.__name__ for error in HTTP_STATUS)}
    assert documented == {
        error.__name__: [str(status), RPC_STATUS[error]] for error, status in HTTP_STATUS.items()
    }


def test_every_explanation_and_every_control_stands_in_a_table() -> None:
    rows = read_rows(SERVING)
    for name, fact in EXPLANATIONS.items():
        if name != "energy_mj":  # a parameter too, so the table above has this name as well
            assert rows[name][0] == fact.datatype
    assert f"| `energy_mj` | {EXPLANATIONS['energy_mj'].datatype} |" in SERVING
    assert {*CONTROLS, "timeout_ms", "timeout", "energy_mj", "no_cache"} <= set(rows)


def test_every_metric_is_described() -> None:
    described = set(read_rows((DOCS / "metrics.md").read_text()))
    counted = re.findall(r"^# TYPE (sparing_\w+)", Metrics().render()[0].decode(), re.MULTILINE)
    assert len(counted) > 5
    assert set(counted) <= described


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(CODE.sub("", FENCE.sub("", page.read_text()))):
        if re.match(r"[a-z]+:", link):
            continue
        place, _, anchor = link.partition("#")
        target = (page.parent / place).resolve() if place else page
        assert target.exists(), f"{link}: no such file"
        assert not anchor or anchor in find_anchors(target), f"{link}: no such heading"


def test_the_index_leads_to_every_page() -> None:
    text = (DOCS / "index.md").read_text()
    linked = {(DOCS / link).resolve() for link in LINK.findall(text)}
    pages = {page for page in DOCS.rglob("*.md") if "reports" not in page.parts}
    assert pages - {DOCS / "index.md"} <= linked


def test_decisions_are_numbered_without_gaps_and_say_what_they_cost() -> None:
    assert [page.name[:4] for page in DECISIONS] == [f"{n + 1:04}" for n in range(len(DECISIONS))]
    for page in DECISIONS:
        text = page.read_text()
        assert text.startswith(f"# {page.name[:4]} ")
        assert "**Cost.**" in text
        assert re.search(r"\*\*What (would (make us drop|change)|changed) it\.\*\*", text)


def test_the_citation_has_the_version_of_the_project_and_the_papers_of_the_page() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == project["version"]
    assert citation["license"] == project["license"]
    page = (DOCS / "papers.md").read_text()
    for paper in citation["references"]:
        [number] = [entry["value"].removeprefix("arXiv:") for entry in paper["identifiers"]]
        assert f"arXiv {number}" in page


def test_every_dependency_has_a_decision() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    named = {re.split(r"[^\w.-]", line)[0] for group in groups for line in group} - {"sparing"}
    decided: set[str] = set()
    for page in DECISIONS:
        for line in re.findall(r"Dependenc.*?\n\n", page.read_text(), re.DOTALL):
            decided.update(re.findall(r"`([^`]+)`", line))
    assert named == decided


def test_no_file_tells_of_the_machine_it_was_written_on() -> None:
    found = [
        f"{name_of(path)}: {stranger}"
        for path in find_text_files(ROOT)
        for stranger in STRANGERS
        if stranger in path.read_text(errors="replace").lower()
    ]
    assert found == []


def load_worked_example(folder: Path) -> ModuleType:
    page = (DOCS / "adding_a_pipeline.md").read_text()
    code = re.search(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert code is not None
    path = folder / "agreement.py"
    path.write_text(code.group(1))
    spec = importlib.util.spec_from_file_location("agreement", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_worked_example_stops_where_two_nets_agree(tmp_path: Path) -> None:
    directory = write_route(
        tmp_path,
        stages=3,
        poison=True,
        pipeline="agreement",
        change=lambda table: table.update(options={}),
    )
    pictures = make_pictures(64)
    pictures[7] = make_poison()
    device = OnnxDevice()
    pipeline = load_worked_example(tmp_path).build(directory, device)
    rows = run_offline(pipeline, {"image": pictures}, device)
    assert rows[7].outcome is None
    del rows[7]
    assert {len(row.stages) for row in rows} == {2, 3}
    for row in rows:
        labels = [int(step.answer.outputs["label"]) for step in row.steps if step.answer]
        agreed = [a == b for a, b in pairwise(labels)]
        assert agreed.index(True) == len(agreed) - 1 if any(agreed) else len(labels) == 3


def test_the_architecture_names_what_is_there() -> None:
    page = (DOCS / "architecture.md").read_text()
    named = re.findall(r"\b[a-z]+/[\w/]*(?:\.py\b)?", LINK.sub("", page))
    assert len(named) > 60
    assert [path for path in named if not (ROOT / path).exists()] == []
    packages = {f"serving/{path.parent.name}/" for path in (ROOT / "serving").glob("*/__init__.py")}
    assert packages <= {*named}
