"""Finding a data set's files: in `$SPARING_DATA/<name>/`, else by a download into the user's cache.

The reader of a file (`idx`, `cifar`) verifies its content and calls `forget` where it is damaged,
so that a damaged download is not used again.
"""

import os
import urllib.request
from collections.abc import Sequence
from http.client import HTTPException, HTTPResponse
from pathlib import Path

_CHUNK_BYTES = 1 << 20


def find_file(name: str, choices: Sequence[str], url: str, limit_bytes: int) -> Path:
    """The first of `choices` that exists, else the last one, downloaded from the folder `url`.

    Raises ValueError where neither works or the file is larger than `limit_bytes`.
    """
    root = os.environ.get("SPARING_DATA")
    folder = (Path(root) if root else _cache_folder()) / name
    for choice in choices:
        if (folder / choice).exists():
            return folder / choice
    if root:
        wanted = " or ".join(f"{name}/{choice}" for choice in choices)
        raise ValueError(f"{folder / choices[-1]} does not exist; SPARING_DATA must hold {wanted}")
    _download(f"{url}/{choices[-1]}", folder / choices[-1], limit_bytes)
    return folder / choices[-1]


def forget(path: Path) -> None:
    """Delete a damaged file if it is a download; the next call downloads it again."""
    if not os.environ.get("SPARING_DATA"):
        path.unlink()


def _cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "sparing"


def _download(url: str, path: Path, limit_bytes: int) -> None:
    partial = path.with_suffix(".partial")
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            _keep(answer, partial, limit_bytes, url)
        partial.replace(path)
    except (OSError, HTTPException) as error:
        raise ValueError(
            f"could not download {url} ({error}); set SPARING_DATA to a folder that has the files"
        ) from error
    finally:
        partial.unlink(missing_ok=True)


def _keep(answer: HTTPResponse, path: Path, limit_bytes: int, url: str) -> None:
    """Write the body piece by piece; ValueError once it is larger than allowed."""
    size_bytes = answer.length or 0  # as announced
    if size_bytes <= limit_bytes:
        size_bytes = 0
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            while size_bytes <= limit_bytes and (chunk := answer.read(_CHUNK_BYTES)):
                size_bytes += file.write(chunk)
    if size_bytes > limit_bytes:
        raise ValueError(f"{url} is larger than {limit_bytes} bytes; not kept")
