"""What an import writes where a stage has a float and an int8 file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cascades.answer_kinds import ONE_LABEL
from cascades.candidates import Candidate
from core.devices.onnx import OnnxDevice
from importing import route
from importing.choosing import Measured, Parts, find_other_files
from importing.onnx_files.graphs import Feed
from importing.options import Stage
from importing.quantising import SUFFIX
from importing.stage_files import INT8, StageFile
from importing.timing import Cost
from routes.loading import load_route
from tests.fakes.own_models import Rows, import_own, make_picture_net, make_pictures, save

LABELS = np.arange(200) % 4
PARTS = Parts(np.arange(0, 200, 2), np.arange(1, 200, 2))
FAST, SLOW = 50.0, 100.0


def _measured(name: str, us: float, wrong: int = 0) -> Measured:
    """A file that answers the first `wrong` rows of each part wrongly."""
    logits = np.eye(4, dtype=np.float32)[LABELS] * 5
    logits[: 2 * wrong] = np.roll(logits[: 2 * wrong], 1, axis=1)
    precision = INT8 if name.endswith(SUFFIX) else "float32"
    stage = StageFile(name, b"", (), (), 0, 0, True, "", (), precision)
    return Measured(stage, logits, us)


def _choose(*members: str) -> Candidate:
    limits, temperatures = (0.5,) * (len(members) - 1), (1.0,) * len(members)
    return Candidate(members, "max_probability", "last", limits, temperatures, 0, 0, 0, 0, 0)


def _find(files: Mapping[str, Measured], *members: str) -> list[str | None]:
    others = find_other_files(files, _choose(*members), LABELS, PARTS, ONE_LABEL, 0.01)
    return [None if one is None else one.name for one in others]


def test_the_slower_file_stands_beside_the_chosen_one() -> None:
    files = {
        "a": _measured("a", FAST),
        "a-int8": _measured("a-int8", SLOW),
        "b": _measured("b", SLOW),
        "b-int8": _measured("b-int8", FAST),
    }
    assert _find(files, "a", "b-int8") == ["a-int8", "b"]


def test_a_file_that_a_server_here_would_not_run_stands_alone() -> None:
    files = {"a": _measured("a", SLOW), "a-int8": _measured("a-int8", FAST)}
    assert _find(files, "a") == [None]
    level = {"a": _measured("a", SLOW), "a-int8": _measured("a-int8", 0.97 * SLOW)}
    assert _find(level, "a-int8") == [None]
    assert _find({"a": _measured("a", SLOW)}, "a") == [None]


@pytest.mark.parametrize(("wrong", "expected"), [(0, ["a"]), (1, [None])])
def test_no_file_stands_beside_one_that_is_more_accurate(
    wrong: int, expected: list[str | None]
) -> None:
    files = {"a": _measured("a", SLOW, wrong), "a-int8": _measured("a-int8", FAST)}
    assert _find(files, "a-int8") == expected


def _make_int8_fast(stages: Mapping[str, StageFile], rows: Feed, **options: Any) -> dict[str, Cost]:
    return {name: Cost(SLOW if name == name.removesuffix(SUFFIX) else FAST) for name in stages}


def test_an_import_writes_both_files_of_a_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(route, "measure_costs", _make_int8_fast)
    rows: Rows = make_pictures(400)
    stage = Stage(save(make_picture_net(name="x", width=48), tmp_path / "large.onnx"))
    imported = import_own(tmp_path, [stage], rows, compress="auto", max_loss=0.05)
    assert imported.directory is not None
    manifest = load_route(imported.directory, OnnxDevice(precision="float32")).manifest
    (spec,) = manifest.stages
    assert (spec.name, spec.file, spec.int8_file) == ("large", "large.onnx", "large-int8.onnx")
    assert manifest.provenance["members"] == ["large-int8"]
