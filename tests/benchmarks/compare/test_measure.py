"""The comparison measures what it says, once, and its report follows from the numbers alone."""

import gzip
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from benchmarks.compare import measure as compare
from benchmarks.compare.measure import QUICK, Plan, gather, measure
from benchmarks.compare.measuring import candidates
from benchmarks.compare.measuring import times as compare_time
from benchmarks.compare.measuring.bare import measure_bare
from benchmarks.compare.measuring.candidates import CANDIDATES, open_candidates
from benchmarks.compare.measuring.int8 import measure_int8
from benchmarks.compare.measuring.replay import make_trials, measure_accuracy, measure_robustness
from benchmarks.compare.measuring.times import (
    SERVER_SETTINGS,
    SHAPES,
    make_loads,
    measure_load,
    wait_for_ledger,
)
from benchmarks.serving.measure import run_load
from core.devices.onnx import OnnxDevice
from harness import servers
from harness.results import Sample
from harness.servers import run_sparing
from harness.small_cnn import MACS, build_small_cnn
from routes.offline import run_offline
from studies.converters.frozen import VARIANTS, frozen_file
from studies.converters.study import CANDIDATES as TRAINED
from tests.fakes.comparison_routes import DATA, make_data, write_candidate, write_contest

ROWS = 96
QUIET = Console(quiet=True)
FEW = {name: CANDIDATES[name] for name in ("lenet", "branchynet", "cbnet-gated")}


def by_metric(samples: list[Sample]) -> dict[str, float]:
    return {sample.metric: sample.value for sample in samples}


def write_frozen(runs: Path, seed: int) -> None:
    for place, variant in enumerate(VARIANTS):
        path = frozen_file(candidates.seed_folder(runs, DATA, seed), variant)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(build_small_cnn(seed=100 + place).SerializeToString())
        path.with_suffix(".json").write_text(f'{{"macs": {MACS}}}')


def test_whoever_is_trained_is_compared() -> None:
    assert set(CANDIDATES) == set(TRAINED)


def test_a_candidate_that_was_not_trained_is_named(tmp_path: Path) -> None:
    write_contest(tmp_path, 1, ["lenet"])
    with pytest.raises(FileNotFoundError, match=f"has no route {DATA}-branchynet"):
        open_candidates(tmp_path, DATA, 1)


def test_missing_unrelated_are_told_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("trained")

    monkeypatch.setenv("SPARING_DATA", str(tmp_path))
    monkeypatch.setattr(compare, "load_data", lambda name: make_data(ROWS))
    monkeypatch.setattr(compare, "train", refuse)
    monkeypatch.setattr(sys, "argv", ["compare", "--data", "fashion-mnist"])
    with pytest.raises(SystemExit, match="SPARING_DATA must hold mnist"):
        compare.main()


def test_what_to_do_about_a_missing_training_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"compare --data noise --seeds 1 --only train"):
        gather(make_data(ROWS), tmp_path, Plan(seeds=1))


def test_other_unrelated_are_another_measurement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPARING_DATA", str(tmp_path))
    data = make_data(ROWS)
    before = make_trials(data, 4).identity
    assert make_trials(data, 4).identity == before
    (tmp_path / "kmnist").mkdir()
    raw = gzip.compress(bytes(16) + data.test.pictures[:4].tobytes())
    (tmp_path / "kmnist" / "t10k-images-idx3-ubyte.gz").write_bytes(raw)
    assert make_trials(data, 4).identity != before


@pytest.mark.parametrize(
    ("plan", "command", "trial"),
    [
        (Plan(), "--seeds 3", False),
        (Plan(seeds=2, epochs=1), "--seeds 2 --epochs 1", True),
        (QUICK, "--quick", True),
    ],
)
def test_fewer_epochs_make_a_trial(plan: Plan, command: str, trial: bool) -> None:
    assert (plan.say(), plan.is_trial) == (command, trial)


def test_a_replay_tells_what_the_slow_run_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candidates, "CANDIDATES", FEW)
    write_contest(tmp_path, 1, list(FEW))
    data = make_data(ROWS)
    for one in open_candidates(tmp_path, DATA, 1):
        found = by_metric(list(measure_accuracy(one, data)))
        rows = run_offline(one.pipeline, {"image": data.test.pictures}, OnnxDevice())
        labels = [row.outcome and int(row.outcome.outputs["label"]) for row in rows]
        right = np.array(labels) == data.test.labels
        assert found["epochs"] == 4
        assert found["accuracy"] == pytest.approx(right.mean())
        assert found["macs"] == pytest.approx(np.mean([row.macs for row in rows]))
        for index, stage in enumerate(one.pipeline.stages):
            here = np.array([row.stages[-1] == stage for row in rows])
            assert 0 < here.mean() == pytest.approx(found[f"ended_{index}"])
            assert found[f"right_{index}"] == pytest.approx(right[here].mean())


def test_confidence_in_unrelated_is_told_of_all_and_of_what_the_gate_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candidates, "CANDIDATES", FEW)
    write_contest(tmp_path, 1, list(FEW))
    trials = make_trials(make_data(ROWS), 40)
    lenet, _, gated = open_candidates(tmp_path, DATA, 1)
    plain = by_metric(list(measure_robustness(lenet, trials)))
    rows = run_offline(lenet.pipeline, {"image": trials.unrelated["noise"]}, OnnxDevice())
    sure = [row.outcome.outputs["probabilities"].max() >= 0.9 for row in rows if row.outcome]
    assert plain["strange_noise"] == pytest.approx(np.mean(sure))
    assert sum(metric.startswith("corrupt_") for metric in plain) == 15
    assert not any(metric.startswith("converted") for metric in plain)
    rows = run_offline(gated.pipeline, {"image": trials.unrelated["noise"]}, OnnxDevice())
    stopped = [row.stages[-1] == list(gated.pipeline.stages)[1] for row in rows]
    found = by_metric(list(measure_robustness(gated, trials)))
    assert 0 < np.mean(stopped) == pytest.approx(found["converted_noise"])


def test_bare_nets_count_as_often_as_pictures_run_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candidates, "CANDIDATES", FEW)
    monkeypatch.setattr("benchmarks.compare.measuring.bare.time_bare", lambda path: 10.0)
    write_contest(tmp_path, 1, list(FEW))
    found = open_candidates(tmp_path, DATA, 1)
    reached = {"lenet": [1.0], "branchynet": [1.0, 0.3], "cbnet-gated": [1.0, 0.5, 0.1]}
    samples = list(measure_bare(found, reached))
    values = {(s.case, s.metric): s.value for s in samples}
    assert values == {
        ("lenet", "bare_us"): 10.0,
        ("branchynet", "bare_us"): 13.0,
        ("cbnet-gated", "bare_us"): 16.0,
    }


def test_candidates_are_measured_in_int8_beside_float(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candidates, "CANDIDATES", {"lenet": ""})
    times = {"stage0.onnx": 10.0, "stage0-int8.onnx": 4.0}
    monkeypatch.setattr(
        "benchmarks.compare.measuring.int8.time_bare", lambda path: times[path.name]
    )
    monkeypatch.setattr("importing.compressing.comparing.MAX_DROP_AT_ALL", 1.0)
    monkeypatch.setattr("importing.compressing.route.MAX_DROP_AT_ALL", 1.0)
    write_contest(tmp_path, 1, ["lenet"])
    found = list(measure_int8(open_candidates(tmp_path, DATA, 1), make_data(200)))
    values = {(s.metric, s.run): s.value for s in found}
    assert 0 <= values["int8_accuracy", 1] <= 1
    assert (values["float32_bare_us", 1], values["int8_bare_us", 1]) == (10.0, 4.0)


def test_candidates_that_cannot_be_quantised_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candidates, "CANDIDATES", {"lenet": ""})
    write_contest(tmp_path, 1, ["lenet"])
    (one,) = open_candidates(tmp_path, DATA, 1)
    assert list(measure_int8([one], make_data(20))) == []  # too few rows


def test_all_is_measured_once_through_a_real_server_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candidates, "CANDIDATES", FEW)
    for seed in (1, 2):
        write_contest(tmp_path, seed, list(FEW))
        write_frozen(tmp_path, seed)
    plan = Plan(seeds=2, trial_rows=16, runs=1, seconds=0.2)
    data = make_data(ROWS)
    samples = measure(data, tmp_path, plan, QUIET)
    found = {(s.case, s.run, s.metric): s.value for s in samples}
    for name in FEW:
        assert {seed for case, seed, metric in found if (case, metric) == (name, "accuracy")} == {
            1,
            2,
        }
        for shape in SHAPES:
            assert found[name, 1, f"{shape.name}_cpu_us"] > 0
            assert found[name, 1, f"{shape.name}_device_us"] > 0
            assert found[name, 1, f"{shape.name}_errors"] == 0
            assert found[name, 1, f"{shape.name}_wrong"] == 0
        assert found[name, 1, "bulk_mj"] >= 0
    assert all((variant, 2, "accuracy") in found for variant in VARIANTS)

    def refuse(*_: Any) -> AbstractContextManager[Any]:  # anything that starts a server
        raise AssertionError("measured again")

    monkeypatch.setattr(compare_time, "run_sparing", refuse)
    monkeypatch.setattr(compare, "measure_accuracy", refuse)
    assert measure(data, tmp_path, plan, QUIET) == samples
    write_candidate(tmp_path, 2, "lenet", 1, first=77)  # trained again
    with pytest.raises(AssertionError, match="measured again"):
        measure(data, tmp_path, plan, QUIET)


def test_joules_are_read_when_the_ledger_has_entered_the_load_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_candidate(tmp_path, 1, "lenet", 1, first=1)
    monkeypatch.setattr(candidates, "CANDIDATES", {"lenet": ""})
    (one,) = open_candidates(tmp_path, DATA, 1)
    settings, order = tmp_path / "settings.toml", list[str]()
    settings.write_text(SERVER_SETTINGS)

    def note(name: str, act: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*given: Any) -> Any:
            order.append(name)
            return act(*given)

        return noted

    monkeypatch.setattr(compare_time, "wait_for_ledger", note("wait", wait_for_ledger))
    monkeypatch.setattr(servers, "read_counters", note("read", servers.read_counters))
    monkeypatch.setattr(compare_time, "run_load", note("load", run_load))
    with run_sparing(tmp_path / DATA / "seed1" / "models", settings) as server:
        *_, bulk = make_loads(one, make_data(ROWS).test.pictures, server)
        list(measure_load(bulk, server, 0, tmp_path, 0.2, QUIET))
    assert order == ["wait", "read", "load", "wait", "read"]


def test_a_server_that_answers_otherwise_than_the_replay_stops_the_comparison(
    tmp_path: Path,
) -> None:
    write_candidate(tmp_path, 1, "lenet", 1, first=1)
    write_candidate(tmp_path / "other", 1, "lenet", 1, first=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(candidates, "CANDIDATES", {"lenet": ""})
        (one,) = open_candidates(tmp_path, DATA, 1)
    settings = tmp_path / "settings.toml"
    settings.write_text(SERVER_SETTINGS)
    models = tmp_path / "other" / DATA / "seed1" / "models"
    with (
        run_sparing(models, settings) as server,
        pytest.raises(RuntimeError, match="lenet: the server answers"),
    ):
        make_loads(one, make_data(ROWS).test.pictures, server)
