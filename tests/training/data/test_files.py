"""What is downloaded is kept only where it is what it should be."""

import gzip
import hashlib
import socket
import struct
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from training.data import idx
from training.data.sets import HELD_OUT_ROWS, SOURCES, Source, load_data

TRAIN_ROWS, TEST_ROWS = HELD_OUT_ROWS + 7, 3
SIZES = {
    "train-images-idx3": (TRAIN_ROWS, 1, 1),
    "train-labels-idx1": (TRAIN_ROWS,),
    "t10k-images-idx3": (TEST_ROWS, 1, 1),
    "t10k-labels-idx1": (TEST_ROWS,),
}
FIRST = "train-images-idx3-ubyte.gz"


class Files(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder and the address under which its files are to be had."""
    folder = tmp_path / "served"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Files, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield folder, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where downloads of the set "squares" go."""
    monkeypatch.delenv("SPARING_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return tmp_path / "cache" / "sparing" / "squares"


def offer(monkeypatch: pytest.MonkeyPatch, url: str, folder: Path | None = None) -> None:
    """Make "squares" a data set, and its files if there is a folder for them."""
    hashes = {}
    for stem, sizes in SIZES.items():
        values = np.arange(np.prod(sizes)) % 251
        raw = bytes((0, 0, 8, len(sizes))) + struct.pack(f">{len(sizes)}I", *sizes)
        raw += values.astype(np.uint8).tobytes()
        hashes[stem] = hashlib.sha256(raw).hexdigest()
        if folder:
            (folder / f"{stem}-ubyte.gz").write_bytes(gzip.compress(raw))
    monkeypatch.setitem(SOURCES, "squares", Source(url, hashes, ("a",), (0.3,), (0.3,)))


def test_good_files_are_read_and_kept(
    served: tuple[Path, str], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, url = served
    offer(monkeypatch, url, folder)
    first = load_data("squares")
    assert len(first.train.pictures) == 7
    assert first.test.labels.tolist() == [0, 1, 2]
    for path in folder.iterdir():
        path.unlink()
    assert load_data("squares").identity == first.identity
    assert sorted(path.name for path in cache.iterdir()) == sorted(f"{s}-ubyte.gz" for s in SIZES)


def test_a_file_of_another_hash_is_refused_and_downloaded_anew_next_time(
    served: tuple[Path, str], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, url = served
    offer(monkeypatch, url, folder)
    good = (folder / FIRST).read_bytes()
    (folder / FIRST).write_bytes(gzip.compress(b"not the pictures"))
    with pytest.raises(ValueError, match=rf"{FIRST} is damaged: sha256 \w+, expected"):
        load_data("squares")
    assert list(cache.iterdir()) == []
    (folder / FIRST).write_bytes(good)
    assert len(load_data("squares").train.pictures) == 7


def test_a_file_larger_than_the_limit_is_not_kept(
    served: tuple[Path, str], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, url = served
    offer(monkeypatch, url, folder)
    size = (folder / FIRST).stat().st_size
    monkeypatch.setattr(idx, "LIMIT_BYTES", size - 1)
    with pytest.raises(ValueError, match=rf"{FIRST} is larger than {size - 1} bytes; not kept"):
        load_data("squares")
    assert not cache.exists()


def test_a_refused_connection_says_where_else_files_may_come_from(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as taken:  # bound and not listening: connections are refused
        taken.bind(("127.0.0.1", 0))
        offer(monkeypatch, f"http://127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(ValueError, match=rf"download .*{FIRST} .*refused.*SPARING_DATA"):
            load_data("squares")
    assert not cache.exists()


def test_a_missing_file_at_the_source_is_told_with_its_status(
    served: tuple[Path, str], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(monkeypatch, served[1])
    with pytest.raises(ValueError, match=rf"could not download .*{FIRST} .*404"):
        load_data("squares")
    assert not cache.exists()
