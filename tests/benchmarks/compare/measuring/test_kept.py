"""What was measured is not measured again, unless it is something else."""

from pathlib import Path

import pytest

from benchmarks.compare.measuring.kept import identify, keep, read_kept
from harness.results import Sample


def test_a_measurement_is_made_once_for_each_identity(tmp_path: Path) -> None:
    asked: list[str] = []

    def measure(name: str) -> list[Sample]:
        asked.append(name)
        return [Sample(name, 1, "accuracy", 0.1 + 0.2)]

    path = tmp_path / "deep" / "kept.json"
    first = keep(path, identify("a", 1), lambda: measure("first"))
    again = keep(path, identify("a", 1), lambda: measure("again"))
    other = keep(path, identify("a", 2), lambda: measure("other"))
    assert asked == ["first", "other"]
    assert again == first == [Sample("first", 1, "accuracy", 0.1 + 0.2)]
    assert other[0].case == "other"
    assert [entry.name for entry in path.parent.iterdir()] == ["kept.json"]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"identity": "a", "samples": [{"case": "b"}]}'])
def test_a_damaged_file_is_measured_anew(tmp_path: Path, text: str) -> None:
    path = tmp_path / "kept.json"
    path.write_text(text)
    one = Sample("lenet", 1, "accuracy", 0.5)
    assert keep(path, "a", lambda: [one]) == [one]
    assert read_kept(path, "a") == [one]


def test_an_identity_tells_parts_apart() -> None:
    assert identify("a", "b") != identify("ab")
    assert identify(b"a") != identify("a")
    assert identify("a", 1.5) == identify("a", 1.5)
