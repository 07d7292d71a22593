"""Every part is measured, and what is not trained yet is left out."""

from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from benchmarks.acm.__main__ import measure_nets
from benchmarks.acm.names import BETAS, TIMED_BETAS, point, timed
from benchmarks.acm.nets import Places, read_nets
from benchmarks.acm.report import HEAT_MAPS, REPORTS
from benchmarks.reporting.pages import write_report
from harness.results import Results, read_results, write_results
from tokens.vision_transformer import VitSpec
from training.data.sets import DataSet

REPORT = REPORTS["fashion-mnist"]

SHAPES = {
    name: VitSpec(28, 4, (0.3,), (0.3,), width, 1, 2, 2 * width, stem=(4, 8, 8))
    for name, width in (("ViT-S", 16), ("ViT-B", 32))
}


def measure(places: Places, data: DataSet, spec: VitSpec, images: Path) -> Results:
    nets = read_nets(places, spec, lambda text: None)
    samples = list(measure_nets(nets, data, images, 2, 1, lambda text: None, SHAPES))
    return Results({}, samples)


@pytest.mark.slow
def test_every_net_is_judged_and_timed_and_the_report_is_written(
    tmp_path: Path, filled: Places, data: DataSet, spec: VitSpec
) -> None:
    results = measure(filled, data, spec, tmp_path / "img")
    unmeasured = [row.what for row in REPORT.judge(results) if row.met is None]
    # A random net may not reach a share of MACs at any budget; nothing is served here.
    known = ("of its MACs", "lead", "through the server")
    assert all(any(part in what for part in known) for what in unmeasured)
    for beta in BETAS:
        assert 0 < results.median(point("acm", beta), "share") < 1.5
    for case in (timed(1, 0.5, 1), timed(64, 0.35, 2)):
        assert len(results.values(case, "ratio")) == 2
        assert results.median(case, "chosen_ratio") <= results.median(case, "ran_ratio")
    for beta in TIMED_BETAS:  # the same weights as the net for every budget
        single, every = (point(family, beta) for family in ("single", "acm"))
        assert results.median(single, "accuracy") == results.median(every, "accuracy")
        assert results.median(single, "over_every") == pytest.approx(0, abs=1e-9)
    assert 0 <= results.median("ablation-all", "entropy") <= 1
    assert (tmp_path / "img" / f"{HEAT_MAPS}.png").stat().st_size > 1_000
    source = write_results("acm", "command", results.samples, tmp_path)
    page = write_report(REPORT, source, tmp_path).read_text()
    assert f"img/{HEAT_MAPS}.png" in page
    assert page.count("| case |") == len(REPORT.tables) - 1  # nothing is served here
    again = read_results(source)
    assert [row.met for row in REPORT.judge(again)] == [row.met for row in REPORT.judge(results)]


def test_what_is_missing_is_left_out_in_a_sentence(
    tmp_path: Path, filled: Places, data: DataSet, spec: VitSpec
) -> None:
    empty = tmp_path / "empty"
    places = Places(filled.teacher, empty, empty, empty, empty)
    said: list[str] = []
    read_nets(places, spec, said.append)
    assert all("left out" in sentence for sentence in said)
    assert any("every budget" in sentence for sentence in said)
    results = measure(places, data, spec, tmp_path)
    assert results.median("dense, teacher", "share") == 1
    assert any(case.startswith("merging-untrained") for case in results.cases())
    assert sum(row.met is not None for row in REPORT.judge(results)) == 1
    write_report(REPORT, write_results("acm", "command", results.samples, tmp_path), tmp_path)


@pytest.mark.slow
def test_without_routes_and_layers_nets_are_judged_and_timed(
    tmp_path: Path, filled: Places, data: DataSet, spec: VitSpec
) -> None:
    nets = read_nets(filled, spec, lambda text: None)
    results = Results({}, list(measure_nets(nets, data, None, 2, 1, lambda text: None, {})))
    judged = {row.what: row.met for row in REPORTS["tiny-imagenet-30"].judge(results)}
    assert not any("layer" in what or "server" in what for what in judged)
    assert all(met is not None for what, met in judged.items() if "Time ratio" in what)
    source = write_results("acm_tiny_imagenet", "command", results.samples, tmp_path)
    assert (
        "img/acm_tiny_imagenet.png"
        in write_report(REPORTS["tiny-imagenet-30"], source, tmp_path).read_text()
    )


def test_files_of_other_nets_are_refused(filled: Places, spec: VitSpec) -> None:
    merging = filled.baselines / "merging.safetensors"
    save_file(load_file(filled.teacher), merging)
    with pytest.raises(ValueError, match="no weights of merging"):
        read_nets(filled, spec, lambda text: None)
