"""Data in its three forms, and the faults of data, each one sentence."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from importing.onnx_files.faults import ImportFault
from importing.samples import (
    Samples,
    check_classes,
    check_samples,
    drop_repeated,
    fingerprint,
    read_pictures,
    read_samples,
    split_rows,
)
from tests.fakes.own_models import make_pictures

Arrays = dict[str, npt.NDArray[Any]]


def _rows(rows: int = 120, classes: int = 3) -> Arrays:
    rng = np.random.default_rng(0)
    return {"x": rng.normal(size=(rows, 8)).astype(np.float32), "y": np.arange(rows) % classes}


def _save(path: Path, arrays: Arrays) -> str:
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return str(path)


def _write_folder(root: Path, rows: int = 120) -> Path:
    pictures, labels = make_pictures(rows)
    for index, (picture, label) in enumerate(zip(pictures, labels, strict=True)):
        folder = root / f"class-{label}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(folder / f"{index:04}.png")
    return root


def test_an_archive_is_read(tmp_path: Path) -> None:
    arrays = {**_rows(), "classes": np.array(["a", "b", "c"])}
    samples = read_samples(_save(tmp_path / "d.npz", arrays))
    assert samples.names == ("a", "b", "c")
    assert samples.are_classes
    np.testing.assert_array_equal(samples.inputs[""], arrays["x"])


def test_an_archive_may_name_the_models_inputs(tmp_path: Path) -> None:
    ids = np.ones((120, 5), np.int64)
    arrays = {"input_ids": ids, "attention_mask": ids, "labels": np.arange(120) % 3}
    assert set(read_samples(_save(tmp_path / "d.npz", arrays)).inputs) == {
        "input_ids",
        "attention_mask",
    }


@pytest.mark.parametrize("shape", [(240,), (120, 2)])
def test_bools_become_whole_numbers(shape: tuple[int, ...]) -> None:
    labels = (np.arange(240) % 2 == 0).reshape(shape)
    rows = np.zeros((len(labels), 3), np.float32)
    found = check_samples(Samples("rows", {"": rows}, (), labels, ()))
    assert found.labels.dtype == np.int64


def test_a_pair_of_files_is_read(tmp_path: Path) -> None:
    rows = _rows()
    for name, array in rows.items():
        np.save(tmp_path / f"{name}.npy", array)
    samples = read_samples(f"{tmp_path / 'x.npy'},{tmp_path / 'y.npy'}")
    np.testing.assert_array_equal(samples.labels, rows["y"])


def test_a_folder_of_class_folders_is_read_in_one_size(tmp_path: Path) -> None:
    samples = read_samples(str(_write_folder(tmp_path / "pets")))
    assert samples.names == ("class-0", "class-1", "class-2")
    found = read_pictures(samples, 8, 12, 3)
    assert found.inputs[""].shape == (120, 8, 12, 3)
    assert read_pictures(samples, 16, 16, 1).inputs[""].shape == (120, 16, 16)


FAULTS: dict[str, tuple[Arrays, str]] = {
    "counts": ({**_rows(), "y": np.arange(50) % 3}, "120 rows, but 50 labels"),
    "no labels": ({"x": _rows()["x"]}, "has no y, it holds x"),
    "no rows": ({"y": _rows()["y"]}, "has no x"),
    "few rows": (_rows(20), "20 rows, needed are at least 100"),
    "NaN": ({**_rows(), "x": np.full((120, 8), np.nan, np.float32)}, "hold NaN or infinities"),
    "labels of NaN": ({**_rows(), "y": np.full(120, np.nan)}, "labels hold NaN"),
    "labels from 1": ({**_rows(), "y": _rows()["y"] - 1}, "labels begin at -1; classes begin at 0"),
    "names": ({**_rows(), "y": np.array(["cat", "dog"] * 60)}, "labels are <U3, needed are num"),
    "one class": ({**_rows(), "y": np.zeros(120, np.int64)}, "all rows have the class 0"),
    "black pictures": (
        {**_rows(), "x": np.zeros((120, 8, 8, 3), np.uint8)},
        "all rows are the same",
    ),
    "objects": ({**_rows(), "y": np.array([{}] * 120, object)}, "holds Python objects"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_faulty_data_is_named_with_its_fault(case: str, tmp_path: Path) -> None:
    arrays, words = FAULTS[case]
    with pytest.raises(ImportFault, match=words) as raised:
        read_samples(_save(tmp_path / "d.npz", arrays))
    assert str(raised.value).startswith("--data ")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda root: (root / "class-1" / "a.png").write_bytes(b"no"), "a.png: is no picture"),
        (lambda root: (root / "empty").mkdir(), "folder empty holds no pictures"),
    ],
)
def test_a_faulty_folder_is_named(change: Any, words: str, tmp_path: Path) -> None:
    root = _write_folder(tmp_path / "pets")
    change(root)
    with pytest.raises(ImportFault, match=words):
        read_pictures(read_samples(str(root)), 8, 8, 3)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("nowhere.npz", "No such file"),
        ("data.csv", "allowed are a folder"),
        ("{}/damaged.npz", "damaged"),
        ("{}", "0 folders, needed is a folder of pictures for each class"),
    ],
)
def test_data_of_another_form_is_refused_with_the_forms(
    text: str, words: str, tmp_path: Path
) -> None:
    (tmp_path / "damaged.npz").write_bytes(b"PK\x03\x04 no archive")
    with pytest.raises(ImportFault, match=words):
        read_samples(text.format(tmp_path))


@pytest.mark.parametrize(
    ("labels", "classes", "words"),
    [
        (np.arange(120) % 4, 3, "labels reach 3, the model has 3 classes, 0 to 2"),
        (np.arange(120) % 3, 4, "no row of class 3"),
        (np.append(np.arange(119) % 3, 3), 4, "one row of class 3; each class needs at least 2"),
    ],
)
def test_labels_that_do_not_fit_the_model_are_named(
    labels: npt.NDArray[np.int64], classes: int, words: str, tmp_path: Path
) -> None:
    samples = read_samples(_save(tmp_path / "d.npz", {**_rows(), "y": labels}))
    with pytest.raises(ImportFault, match=words):
        check_classes(samples, classes)


def test_a_few_repeated_rows_are_left_out_and_many_are_a_fault(tmp_path: Path) -> None:
    arrays = _rows(300)
    arrays["x"][297:] = arrays["x"][:3]
    found, dropped = drop_repeated(read_samples(_save(tmp_path / "a.npz", arrays)))
    assert (dropped, len(found)) == (3, 297)
    arrays["x"][150:] = arrays["x"][:150]
    with pytest.raises(ImportFault, match="150 of 300 rows are repeated"):
        drop_repeated(read_samples(_save(tmp_path / "b.npz", arrays)))


def test_one_row_with_two_labels_is_a_fault(tmp_path: Path) -> None:
    arrays = _rows()
    arrays["x"][100] = arrays["x"][0]
    with pytest.raises(ImportFault, match="rows 0 and 100 are the same, with the labels 0 and 1"):
        drop_repeated(read_samples(_save(tmp_path / "a.npz", arrays)))


def test_the_parts_are_disjoint_with_the_same_mix_and_the_same_for_one_seed(
    tmp_path: Path,
) -> None:
    samples = read_samples(_save(tmp_path / "a.npz", _rows()))
    choose, test = split_rows(samples, 0)
    assert sorted([*choose, *test]) == list(range(120))
    assert np.bincount(samples.labels[choose]).tolist() == [20, 20, 20]
    np.testing.assert_array_equal(split_rows(samples, 0)[0], choose)
    assert fingerprint(samples, choose) != fingerprint(samples, test)
