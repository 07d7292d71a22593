"""Data in its three forms, and the faults of data, each one sentence."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from importing import data_files
from importing import samples as samples_module
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


def _limit(monkeypatch: pytest.MonkeyPatch, rows: int, row_bytes: int) -> None:
    monkeypatch.setattr(samples_module, "MAX_BYTES", rows * row_bytes)
    monkeypatch.setattr(data_files, "PIECE_BYTES", 7 * row_bytes)


def _save_pair(path: Path, arrays: Arrays) -> str:
    for name, array in arrays.items():
        np.save(path.with_name(f"{name}.npy"), array)
    return f"{path.with_name('x.npy')},{path.with_name('y.npy')}"


@pytest.mark.parametrize("write", [_save, _save_pair])
def test_of_more_rows_than_fit_into_memory_a_sample_of_all_classes_is_read(
    write: Callable[[Path, Arrays], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrays = _rows(900)
    arrays["y"] = np.repeat([0, 1, 2], [600, 290, 10])
    text = write(tmp_path / "d.npz", arrays)
    _limit(monkeypatch, 300, 8 * 4)
    found = read_samples(text, seed=1)
    assert np.bincount(found.labels).tolist() == [200, 96, 3]
    rows = {row.tobytes(): label for row, label in zip(arrays["x"], arrays["y"], strict=True)}
    assert [rows[row.tobytes()] for row in found.inputs[""]] == found.labels.tolist()
    (note,) = found.notes
    assert note.startswith("299 of 900 rows were taken, with the same mix of classes: more than")
    np.testing.assert_array_equal(read_samples(text, seed=1).inputs[""], found.inputs[""])
    assert not np.array_equal(read_samples(text, seed=2).inputs[""], found.inputs[""])


def test_of_more_pictures_than_fit_into_memory_a_sample_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = read_samples(str(_write_folder(tmp_path / "pets", 240)))
    _limit(monkeypatch, 120, 8 * 8 * 3)
    found = read_pictures(samples, 8, 8, 3, seed=0)
    assert 110 <= len(found) <= 120
    assert len(found.inputs[""]) == len(found)
    assert "of 240 rows were taken" in found.notes[0]


def test_of_too_many_small_rows_a_sample_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(samples_module, "MAX_ROWS", 150)
    found = read_samples(_save(tmp_path / "d.npz", _rows(300)))
    assert np.bincount(found.labels).tolist() == [50, 50, 50]


def test_rows_that_cannot_be_taken_singly_are_a_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrays = _rows(900) | {"x": np.asfortranarray(_rows(900)["x"])}
    text = _save(tmp_path / "d.npz", arrays)
    read_samples(text)
    _limit(monkeypatch, 300, 8 * 4)
    with pytest.raises(ImportFault, match=r"in Fortran's order.* numpy\.ascontiguousarray"):
        read_samples(text)


def test_labels_that_alone_need_too_much_are_a_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = _save(tmp_path / "d.npz", _rows(900))
    monkeypatch.setattr(samples_module, "MAX_BYTES", 1000)
    with pytest.raises(ImportFault, match=r"y\.npy alone needs 0\.0 GB"):
        read_samples(text)


def test_rows_of_which_too_few_fit_are_a_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = _save(tmp_path / "d.npz", _rows(150))
    _limit(monkeypatch, 99, 8 * 4)
    with pytest.raises(ImportFault, match="at least 100 rows must fit into 0 MB"):
        read_samples(text)


def test_a_header_that_promises_terabytes_reserves_none(tmp_path: Path) -> None:
    header = BytesIO()
    facts = {"descr": "|u1", "fortran_order": False, "shape": (10**5, 1000, 1000, 3)}
    np.lib.format.write_array_header_1_0(header, facts)
    (tmp_path / "x.npy").write_bytes(header.getvalue() + bytes(100))
    np.save(tmp_path / "y.npy", np.arange(10**5) % 3)
    with pytest.raises(ImportFault, match="is damaged"):
        read_samples(f"{tmp_path / 'x.npy'},{tmp_path / 'y.npy'}")


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


def test_one_row_a_class_is_split_between_choosing_and_testing(tmp_path: Path) -> None:
    samples = read_samples(_save(tmp_path / "d.npz", {**_rows(), "y": np.arange(120)}))
    check_classes(samples, 120)
    choose, test = split_rows(samples, seed=0)
    assert (len(choose), len(test)) == (60, 60)
    assert not set(choose) & set(test)
