"""What changes in a models directory while it is served: files touched, versions added and removed.

A version under another number has the same weights, so its answers stay the right ones.
"""

import shutil
from pathlib import Path
from random import Random

from routes.loading import find_routes


class Reloads:
    """`step` does one change after the other; each is one move, so that nothing half is seen."""

    def __init__(self, root: Path, spare: Path, seed: int = 0) -> None:
        self._root = root
        self._spare = spare  # of the same file system
        self._rng = Random(seed)
        self._added: list[Path] = []
        self._next_version = 100

    def step(self) -> str:
        """What was done, in words."""
        if len(self._added) >= 2:
            return self._remove(self._added.pop(0))
        route = self._rng.choice(find_routes(self._root))
        if self._rng.random() < 0.5 or route in self._added:
            (route / "route.toml").touch()
            return f"touched {route.parent.name}/{route.name}"
        return self._add(route)

    def _add(self, directory: Path) -> str:
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
