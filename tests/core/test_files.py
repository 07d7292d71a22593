"""Only regular files are read; what would hold a reader for ever is refused at once."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from core.files import open_regular, read_regular


def _bind(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path.name)  # a short name: paths of sockets are bounded


def _link_to_zeros(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _link_to_itself(path: Path) -> None:
    path.symlink_to(path)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (os.mkfifo, "is a FIFO"),
        (Path.mkdir, "is a directory"),
        (_bind, "is a socket"),
        (_link_to_zeros, "is a device"),
        (_link_to_itself, "symbolic links"),
        (lambda path: None, "No such file"),
    ],
)
def test_what_is_no_regular_file_is_refused(
    make: Callable[[Path], None], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "file")
    with pytest.raises(OSError, match=sentence):
        open_regular(tmp_path / "file")


def test_a_link_to_a_regular_file_is_read_to_the_limit(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"weights")
    (tmp_path / "link").symlink_to("file")
    assert read_regular(tmp_path / "link") == b"weights"
    assert read_regular(tmp_path / "link", 3) == b"wei"
