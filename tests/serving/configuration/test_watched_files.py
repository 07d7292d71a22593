"""Files that change: a new content is used, a bad one is not, and the log has one line for it."""

import asyncio
import logging
import os
from pathlib import Path

import pytest

from serving.configuration.watched_files import FileWatch, WatchedFile, read_file, read_secret


def open_file(path: Path) -> WatchedFile[str]:
    return WatchedFile([path], lambda: read_secret("a.b_file", path))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text(" first \n")
    return path


def test_a_file_is_read_again_only_when_it_has_changed(path: Path) -> None:
    file = open_file(path)
    assert file.value == "first"
    assert not file.refresh()
    path.write_text("second")
    assert file.refresh()
    assert file.value == "second"
    assert not file.refresh()


def test_a_link_to_another_file_is_a_change(tmp_path: Path, path: Path) -> None:
    other, link = tmp_path / "other", tmp_path / "link"
    other.write_text("other")
    link.symlink_to(path)
    file = open_file(link)
    fresh = tmp_path / "fresh"
    fresh.symlink_to(other)
    os.replace(fresh, link)  # as Kubernetes changes a mounted Secret
    assert file.refresh()
    assert file.value == "other"


@pytest.mark.parametrize("content", ["", "  \n", None, "two\nlines"])
def test_the_last_good_value_stays_while_a_file_is_bad_and_one_line_says_so(
    path: Path, content: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    file = open_file(path)
    path.unlink()
    if content is not None:
        path.write_text(content)
    for _ in range(3):
        assert not file.refresh()
        assert file.value == "first"
    assert len(caplog.records) == 1
    assert "a.b_file" in caplog.text
    assert "stays in use" in caplog.text
    path.write_text("second")
    assert file.refresh()
    assert file.value == "second"
    assert "first" not in caplog.text
    assert "two" not in caplog.text


def test_a_content_written_anew_is_no_new_value(path: Path) -> None:
    file = open_file(path)
    path.write_text("first")
    assert not file.refresh()


def test_a_file_that_cannot_be_read_at_the_start_is_one_sentence(tmp_path: Path) -> None:
    for name, fault in {
        "absent": "No such file",
        "": "regular file",
        "fifo": "regular file",
    }.items():
        path = tmp_path / name
        if name == "fifo":
            os.mkfifo(path)
        with pytest.raises(ValueError, match=f"^a.b_file: {path}: .*{fault}"):
            open_file(path)
    path = tmp_path / "large"
    path.write_bytes(b"x" * (2**20 + 1))
    with pytest.raises(ValueError, match="larger than"):
        read_file("a.b_file", path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match="not UTF-8"):
        open_file(path)


def test_new_values_are_used_on_the_event_loop(path: Path) -> None:
    async def main() -> None:
        watch = FileWatch()
        assert not watch
        file, used = open_file(path), asyncio.get_running_loop().create_future()
        watch.add(file, used.set_result)
        assert watch
        path.write_text("second")
        assert not await asyncio.to_thread(watch.look)
        assert await asyncio.wait_for(used, 10.0) == "second"

    asyncio.run(main())


def test_a_public_secret_is_worth_a_warning_of_one_process(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        path.chmod(0o600)
        FileWatch().warn_if_public("a.b_file", path)
        assert caplog.records == []
        path.chmod(0o644)
        FileWatch(warns=False).warn_if_public("a.b_file", path)
        assert caplog.records == []
        FileWatch().warn_if_public("a.b_file", path)
        [record] = caplog.records
        assert record.levelno == logging.WARNING
        assert str(path) in record.getMessage()

    asyncio.run(main())
