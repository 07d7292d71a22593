"""The whole recipe on made-up pictures: what it writes is served as it was judged."""

import dataclasses
import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from core.devices.onnx import OnnxDevice
from core.manifest import Manifest, read_manifest
from routes.offline import run_offline
from routes.table import PIPELINES
from training.data.sets import DataSet
from training.dual_cnn import choose, write_routes
from training.export.cost import count_macs
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
