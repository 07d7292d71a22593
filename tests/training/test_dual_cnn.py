"""The whole recipe on made-up pictures: what it writes is served as it was judged."""

import dataclasses
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from rich.console import Console

from core.devices.onnx import OnnxDevice
from core.manifest import Manifest, read_manifest
from routes.offline import run_offline
from routes.table import PIPELINES
from training.data.sets import DataSet
from training.dual_cnn import choose, write_routes
from training.export.cost import count_macs
from training.export.members import Measure
from training.export.twins import SUFFIX, make_twin
from training.fitting.pool_net import fit
from training.nets.pools import NetSpec
from training.reporting.findings import Findings
from training.reporting.pool_report import write_report


def cost_of_macs(path: Path, batches: Sequence[int]) -> dict[int, float]:
    return dict.fromkeys(batches, count_macs(path) / 1e4)


def quiet() -> Console:
    return Console(file=io.StringIO())


@pytest.fixture(scope="module")
def runs(
    tiny_data: DataSet, tiny_pool: tuple[NetSpec, ...], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    for spec in tiny_pool:
        fit(spec, tiny_data, folder, seed=1, epochs=4, report=lambda line: None)
    return folder


@pytest.fixture(scope="module")
def findings(tiny_data: DataSet, tiny_pool: tuple[NetSpec, ...], runs: Path) -> Findings:
    return find(tiny_data, tiny_pool, runs)


def find(data: DataSet, pool: Sequence[NetSpec], runs: Path) -> Findings:
    return choose(data, pool, runs, measure=cost_of_macs, max_cost_fraction=0.6, console=quiet())


def quantise(path: Path, rows: Mapping[str, np.ndarray], *, outer_in_float: bool = False) -> bytes:
    """A twin that is smaller: the same net with shorter names."""
    assert set(rows) == {"image"} and rows["image"].dtype == np.uint8
    model = onnx.load(path)
    made = [name for node in model.graph.node for name in node.output if name != "logits"]
    shorter = {name: f"{place:x}" for place, name in enumerate(made)}
    for node in model.graph.node:
        node.input[:] = [shorter.get(name, name) for name in node.input]
        node.output[:] = [shorter.get(name, name) for name in node.output]
    del model.graph.value_info[:]
    raw: bytes = model.SerializeToString()
    return raw


def cost_less_in_int8(path: Path, batches: Sequence[int]) -> dict[int, float]:
    share = 0.5 if path.stem.endswith(SUFFIX) else 1.0
    return {batch: share * us for batch, us in cost_of_macs(path, batches).items()}


def find_with_twins(
    data: DataSet, pool: Sequence[NetSpec], runs: Path, measure: Measure
) -> Findings:
    return choose(
        data, pool, runs, measure=measure, quantise=quantise, max_cost_fraction=0.6, console=quiet()
    )


def test_the_cascade_is_chosen_among_faster_files_and_has_both(
    tiny_data: DataSet, tiny_pool: tuple[NetSpec, ...], runs: Path, tmp_path: Path
) -> None:
    found = find_with_twins(tiny_data, tiny_pool, runs, cost_less_in_int8)
    members = found.choice.chosen.members
    assert all(name.endswith(SUFFIX) for name in members)
    assert found.choice.reference_cost == found.costs_us([found.large])[0]  # of the float file
    cascade, large = (read_manifest(path) for path in write_routes(found, tmp_path))
    names = [stage.name for stage in cascade.stages]
    assert names == [name.removesuffix(SUFFIX) for name in members]
    assert [stage.int8_file for stage in cascade.stages] == [f"{name}-int8.onnx" for name in names]
    assert large.stages[0].files == (f"{found.large}.onnx", f"{found.large}-int8.onnx")
    assert cascade.provenance["measured_files"] == list(members)
    assert 0 < cascade.provenance["float32_test_accuracy"] <= 1


def test_float_files_are_chosen_where_int8_is_not_faster(
    findings: Findings, tiny_pool: tuple[NetSpec, ...], runs: Path, tmp_path: Path
) -> None:
    found = find_with_twins(findings.data, tiny_pool, runs, cost_of_macs)
    assert found.choice.chosen == findings.choice.chosen
    manifest = read_manifest(write_routes(found, tmp_path)[0])
    assert all(stage.int8_file for stage in manifest.stages)
    facts = write_report(found, runs, tmp_path / "img", tmp_path / "results", quiet())
    assert len(facts["pool"]) == 2 * len(facts["complementarity"]["nets"])


def test_a_twin_that_loses_accuracy_or_is_no_smaller_is_left_out(
    findings: Findings, tiny_pool: tuple[NetSpec, ...], runs: Path
) -> None:
    def spoil(
        path: Path, _rows: Mapping[str, np.ndarray], *, outer_in_float: bool = False
    ) -> bytes:
        model = onnx.ModelProto.FromString(quantise(path, {"image": np.zeros(1, np.uint8)}))
        for node in model.graph.node:
            node.output[:] = ["negated" if name == "logits" else name for name in node.output]
        model.graph.node.append(onnx.helper.make_node("Neg", ["negated"], ["logits"]))
        raw: bytes = model.SerializeToString()
        return raw

    def copy(path: Path, _rows: Mapping[str, np.ndarray], *, outer_in_float: bool = False) -> bytes:
        return path.read_bytes()

    net = findings.ready[findings.large]
    for how in (spoil, copy):
        assert make_twin(net, findings.data, how) is None

    def spoil_inside(
        path: Path, rows: Mapping[str, np.ndarray], *, outer_in_float: bool = False
    ) -> bytes:
        return quantise(path, rows) if outer_in_float else spoil(path, rows)

    assert make_twin(net, findings.data, spoil_inside) is not None


def test_two_routes_are_written_and_load(findings: Findings, tmp_path: Path) -> None:
    cascade, large = (read_manifest(path) for path in write_routes(findings, tmp_path))
    assert (cascade.route, large.route) == ("squares", "squares-large")
    assert [stage.name for stage in cascade.stages] == list(findings.choice.chosen.members)
    assert [stage.name for stage in large.stages] == [findings.large]
    assert len(cascade.stages) > 1 and large.pipeline == "single"
    assert cascade.provenance["data_identity"] == findings.data.identity
    assert cascade.expected_macs < 0.6 * large.expected_macs


def test_the_route_answers_as_the_replay_said(findings: Findings, tmp_path: Path) -> None:
    directory, _ = write_routes(findings, tmp_path)
    manifest = read_manifest(directory)
    pipeline = PIPELINES[manifest.pipeline](directory, OnnxDevice())
    rows = run_offline(pipeline, {"image": findings.data.test.pictures}, OnnxDevice())
    names = findings.choice.chosen.members
    expected = findings.replay_test(names, findings.plan)
    served = [int(row.outcome.outputs["label"]) for row in rows if row.outcome]
    assert np.array_equal(served, expected.answers)
    assert np.mean([row.macs for row in rows]) == pytest.approx(expected.mean(findings.macs(names)))


def test_the_route_does_not_depend_on_test_labels(
    findings: Findings, tiny_pool: tuple[NetSpec, ...], runs: Path, tmp_path: Path
) -> None:
    data = findings.data
    shuffled = dataclasses.replace(data.test, labels=np.roll(data.test.labels, 1))
    other = find(dataclasses.replace(data, test=shuffled), tiny_pool, runs)
    assert decided(write_routes(other, tmp_path / "a")) == decided(
        write_routes(findings, tmp_path / "b")
    )


def test_the_route_depends_on_held_out_labels(
    findings: Findings, tiny_pool: tuple[NetSpec, ...], runs: Path, tmp_path: Path
) -> None:
    data = findings.data
    labels = data.held_out.labels.copy()
    labels[:40] = np.roll(labels[:40], 1)
    changed = dataclasses.replace(data.held_out, labels=labels)
    other = find(dataclasses.replace(data, held_out=changed), tiny_pool, runs)
    assert decided(write_routes(other, tmp_path / "a")) != decided(
        write_routes(findings, tmp_path / "b")
    )


def test_the_report_has_every_net_rule_and_figure(
    findings: Findings, runs: Path, tmp_path: Path
) -> None:
    facts = write_report(findings, runs, tmp_path / "img", tmp_path / "results", quiet())
    assert json.loads((runs / "report.json").read_text()) == facts
    assert [net["net"] for net in facts["pool"]] == list(findings.ready)
    assert set(facts["rules"]) == {"post_check", "last", "average"}
    chosen = facts["rules"][findings.choice.chosen.combine]
    assert chosen == facts["cascade"]
    assert {path.name for path in (tmp_path / "img").iterdir()} == {
        "squares-complementarity.png",
        "squares-costs.png",
    }
    (table,) = (tmp_path / "results").iterdir()
    assert "# command: sparing train dual-cnn --data squares" in table.read_text()


def decided(directories: Sequence[Path]) -> list[Manifest]:
    """The manifests without what only reports: provenance, and the hash which covers it."""
    manifests = [read_manifest(path) for path in directories]
    return [m.model_copy(update={"provenance": {}, "digest": b""}) for m in manifests]
