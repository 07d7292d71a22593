"""Folders that cannot be looked into are named, and the others are found."""

from pathlib import Path

import pytest

from core.errors import ModelDirectoryError
from routes import scanning
from routes.scanning import scan_routes


def test_a_loop_of_links_is_named_and_a_link_to_a_folder_followed(tmp_path: Path) -> None:
    (tmp_path / "good" / "1").mkdir(parents=True)
    (tmp_path / "good" / "2").symlink_to("2")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "link").symlink_to("good")
    (tmp_path / "nowhere").symlink_to("absent")
    found = scan_routes(tmp_path)
    assert found.directories == [tmp_path / "good" / "1", tmp_path / "link" / "1"]
    assert {path.relative_to(tmp_path).as_posix() for path in found.faults} == {
        "good/2", "link/2", "loop",
    }  # fmt: skip
    assert "symbolic links" in found.faults[tmp_path / "loop"]


def test_a_route_with_too_many_entries_is_named_and_the_others_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scanning, "MAX_ENTRIES", 3)
    (tmp_path / "good" / "1").mkdir(parents=True)
    for number in range(4):
        (tmp_path / "full" / str(number)).mkdir(parents=True)
    found = scan_routes(tmp_path)
    assert found.directories == [tmp_path / "good" / "1"]
    assert found.faults == {tmp_path / "full": f"{tmp_path}/full: holds more than 3 entries"}


def test_a_root_with_too_many_entries_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scanning, "MAX_ENTRIES", 3)
    for number in range(4):
        (tmp_path / str(number)).touch()
    with pytest.raises(ModelDirectoryError, match="holds more than 3 entries"):
        scan_routes(tmp_path)
