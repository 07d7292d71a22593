"""A rollout: which version of a route answers for its bare name, and for what share of callers.

`<root>/<route>/rollout.toml` declares it, beside the folders of the versions. The choice is a hash
of the caller's key and the rollout, so every process and every machine makes the same one, and a
caller who got the canary keeps it while the share grows.
"""

import os
import re
import tempfile
import tomllib
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal

from core.errors import ModelDirectoryError

FILE = "rollout.toml"
MAX_BYTES = 4096
Role = Literal["stable", "canary"]

_KEYS = ("stable", "canary", "share")
_VERSION = re.compile(r"[0-9]{1,9}")
_SCALE = 2.0**64


@dataclass(frozen=True, slots=True)
class RolloutPlan:
    """The versions of one route and the share of callers, in [0, 1], that get the canary."""

    stable: str
    canary: str = ""  # empty: every caller gets the stable version
    share: float = 0.0

    def choose(self, route: str, key: str) -> Role:
        """Return the role whose version answers callers with this key."""
        if self.canary and find_fraction(route, self.canary, key) < self.share:
            return "canary"
        return "stable"


def find_fraction(route: str, canary: str, key: str) -> float:
    """Return a key's place in [0, 1): its caller gets the canary where the share is larger.

    Another route or canary mixes the callers anew.
    """
    salt = _make_salt(route, canary)
    digest = blake2b(key.encode("utf-8", "surrogateescape"), key=salt, digest_size=8).digest()
    return int.from_bytes(digest, "big") / _SCALE


@lru_cache(maxsize=256)
def _make_salt(route: str, canary: str) -> bytes:
    return blake2b(f"{route}\0{canary}".encode(), digest_size=32).digest()


def read_plan(path: Path) -> RolloutPlan:
    """Read a rollout file. Raises ModelDirectoryError, with one sentence that names the file, and
    OSError if it cannot be read.
    """
    with path.open("rb") as file:
        raw = file.read(MAX_BYTES + 1)
    if len(raw) > MAX_BYTES:
        raise ModelDirectoryError(f"{path}: given more than {MAX_BYTES} bytes")
    try:
        table = tomllib.loads(raw.decode())
    except ValueError as error:
        raise ModelDirectoryError(f"{path}: {error}") from error
    try:
        return _check(table)
    except ValueError as error:
        raise ModelDirectoryError(f"{path}: {error}") from None


def write_plan(path: Path, plan: RolloutPlan) -> None:
    """Write a rollout file in one step: readers see the old one or the new one. Raises OSError."""
    lines = [f'stable = "{plan.stable}"']
    if plan.canary:
        lines += [f'canary = "{plan.canary}"', f"share = {plan.share!r}"]
    handle, name = tempfile.mkstemp(prefix=f".{FILE}.", dir=path.parent)
    try:
        with os.fdopen(handle, "w") as file:
            file.write("\n".join(lines) + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _check(table: dict[str, Any]) -> RolloutPlan:
    if unknown := sorted(table.keys() - {*_KEYS}):
        raise ValueError(f"{unknown[0]}: unknown, allowed {', '.join(_KEYS)}")
    stable = _read_version(table, "stable")
    if "canary" not in table:
        if "share" in table:
            raise ValueError("share: given without canary")
        return RolloutPlan(stable)
    canary = _read_version(table, "canary")
    if canary == stable:
        raise ValueError(f"canary: given {canary!r}, allowed another version than stable")
    share = table.get("share")
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
        raise ValueError(f"share: given {share!r}, allowed a number from 0 to 1")
    return RolloutPlan(stable, canary, float(share))


def _read_version(table: dict[str, Any], name: str) -> str:
    version = table.get(name)
    if not isinstance(version, str) or not _VERSION.fullmatch(version):
        raise ValueError(f'{name}: given {version!r}, allowed a version such as "1"')
    return version
