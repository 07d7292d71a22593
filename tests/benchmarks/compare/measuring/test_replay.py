"""Pictures of none of the classes, and what a frozen classifier makes of corrupted ones."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from benchmarks.compare.measuring.replay import gather_unrelated, make_trials, measure_frozen
from core.devices.onnx import OnnxDevice
from harness.small_cnn import MACS, build_small_cnn
from studies.converters.frozen import AS_IT_IS, frozen_file
from tests.fakes.comparison_routes import make_data

RNG = np.random.default_rng(0)
PICTURES = (RNG.integers(0, 2, (40, 28, 28)) * 255).astype(np.uint8)


def test_a_frozen_classifier_is_measured_on_clean_and_on_corrupted_pictures(
    tmp_path: Path,
) -> None:
    path = frozen_file(tmp_path, AS_IT_IS)
    path.parent.mkdir(parents=True)
    path.write_bytes(build_small_cnn().SerializeToString())
    path.with_suffix(".json").write_text(f'{{"macs": {MACS}}}')
    data = make_data(96)
    trials = make_trials(data, 50)
    values = {s.metric: s.value for s in measure_frozen(tmp_path, data, 1, AS_IT_IS, trials)}
    session = OnnxDevice().open(path)
    for metric, pictures, labels in (
        ("accuracy", data.test.pictures, data.test.labels),
        ("corrupt_noise_3", trials.corrupted["noise_3"], trials.labels),
    ):
        (logits,) = session.run(["logits"], {"image": pictures})
        assert values[metric] == pytest.approx((logits.argmax(axis=1) == labels).mean())
    assert values["macs"] == MACS


def test_unrelated_are_the_other_set_and_kmnist_where_it_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPARING_DATA", str(tmp_path))
    assert list(gather_unrelated("absent", 3, seed=1)) == ["noise"]
    (tmp_path / "kmnist").mkdir()
    raw = bytes([0, 0, 8, 3]) + np.array([40, 28, 28], ">u4").tobytes() + PICTURES.tobytes()
    (tmp_path / "kmnist" / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(raw))
    found = gather_unrelated("absent", 3, seed=1)
    assert np.array_equal(found["kmnist"], PICTURES[:3])
    with pytest.raises(ValueError, match="SPARING_DATA must hold fashion-mnist"):
        gather_unrelated("mnist", 3, seed=1)


@pytest.mark.parametrize(
    "raw",
    [b"junk", gzip.compress(bytes(16 + 50)), gzip.compress(b"x")[:-9]],
    ids=["no gzip", "too short", "broken off"],  # gzip's bytes hold the time
)
def test_damaged_unrelated_are_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raw: bytes
) -> None:
    monkeypatch.setenv("SPARING_DATA", str(tmp_path))
    (tmp_path / "kmnist").mkdir()
    (tmp_path / "kmnist" / "t10k-images-idx3-ubyte.gz").write_bytes(raw)
    with pytest.raises(ValueError, match=r"t10k-images-idx3-ubyte\.gz is damaged"):
        gather_unrelated("absent", 3, seed=1)
