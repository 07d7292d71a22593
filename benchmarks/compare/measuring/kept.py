"""Measurements that are kept, so that an interrupted comparison goes on where it was.

One JSON file holds the samples of one measurement and what was measured; of anything else the file
is measured anew. What is measured is its caller's.
"""

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path

from harness.results import Sample


def identify(*parts: object) -> str:
    """One line for all that decides a measurement's numbers."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part if isinstance(part, bytes) else repr(part).encode())
        digest.update(b"\0")
    return digest.hexdigest()


def keep(path: Path, identity: str, measure: Callable[[], Iterable[Sample]]) -> list[Sample]:
    """The samples in `path` where they are of `identity`, else those measured, written there."""
    kept = read_kept(path, identity)
    if kept is not None:
        return kept
    samples = list(measure())
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    table = {"identity": identity, "samples": [asdict(sample) for sample in samples]}
    partial.write_text(json.dumps(table) + "\n")
    partial.replace(path)
    return samples


def read_kept(path: Path, identity: str) -> list[Sample] | None:
    """None where there is no such file, or it is of something else, or damaged."""
    if not path.exists():
        return None
    try:
        table = json.loads(path.read_text())
        return (
            [Sample(**one) for one in table["samples"]] if table["identity"] == identity else None
        )
    except (ValueError, KeyError, TypeError):
        return None
