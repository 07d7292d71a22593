"""What changes in a models directory while it is served: files touched, versions added and removed.

A version under another number has the same weights, so its answers stay the right ones.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path
from random import Random

from routes.loading import find_routes

MOST_ADDED = 2


class Reloads:
    """`step` makes one change after another by moving folders, so no version is seen incomplete."""

    def __init__(self, root: Path, spare: Path, adding: Sequence[str], seed: int = 0) -> None:
        self._root = root
        self._spare = spare  # of the same file system
        self._adding = adding  # routes that get versions, best alike in size
        self._rng = Random(seed)
        self._added: list[Path] = []
        self._next_version = 100

    def fill(self) -> None:
        """Add all later versions at once, so that memory does not grow by them during the run."""
        while len(self._added) < MOST_ADDED:
            self._add(self._rng.choice(self._adding))

    def step(self) -> str:
        """Make the next change and return a description of it."""
        if self._rng.random() < 0.5:
            route = self._rng.choice(find_routes(self._root))
            (route / "route.toml").touch()
            return f"touched {route.parent.name}/{route.name}"
        said = [self._remove(self._added.pop(0))] if len(self._added) >= MOST_ADDED else []
        return ", ".join([*said, self._add(self._rng.choice(self._adding))])

    def _add(self, name: str) -> str:
        directory = self._root / name / "1"
        version = str(self._next_version)
        self._next_version += 1
        made = self._spare / version
        shutil.copytree(directory, made)
        manifest = made / "route.toml"
        lines = manifest.read_text().splitlines(keepends=True)
        manifest.write_text(
            "".join(
                f'version = "{version}"\n'
                if line.startswith(("version =", '"version" ='))
                else line
                for line in lines
            )
        )
        target = directory.parent / version
        made.rename(target)
        self._added.append(target)
        return f"added {target.parent.name}/{version}"

    def _remove(self, directory: Path) -> str:
        gone = self._spare / f"{directory.parent.name}-{directory.name}"
        directory.rename(gone)
        shutil.rmtree(gone)
        return f"removed {directory.parent.name}/{directory.name}"
