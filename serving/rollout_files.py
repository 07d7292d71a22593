"""Reads the rollout files of the served routes again when they change.

A file that is wrong or cannot be read is logged once; the plan that was read before stays in force.
"""

import logging
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from core.errors import ModelDirectoryError
from monitoring.log_limit import UNLIMITED
from routes.rollouts import FILE, RolloutPlan, read_plan

_log = logging.getLogger("sparing.routes")

_Signature = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class _Known:
    signature: _Signature | None  # None: it could not even be looked at
    plan: RolloutPlan | None  # None: refused, and nothing was in force before
    fault: str = ""


class RolloutFiles:
    """The plans of the route folders that `refresh` is given."""

    def __init__(self) -> None:
        self._known: dict[Path, _Known] = {}

    def refresh(self, folders: Iterable[Path]) -> bool:
        """Look at each folder's file; return True if a plan changed."""
        known: dict[Path, _Known] = {}
        for folder in dict.fromkeys(folders):
            if (one := self._read(folder)) is not None:
                known[folder] = one
        before, self._known = self.plans(), known
        return self.plans() != before

    def plans(self) -> Mapping[str, RolloutPlan]:
        """Return the plans by route; of two folders of one name the first counts."""
        plans: dict[str, RolloutPlan] = {}
        for folder, one in self._known.items():
            if one.plan is not None:
                plans.setdefault(folder.name, one.plan)
        return plans

    def refused(self) -> Mapping[Path, str]:
        """Return the files that are refused, and why."""
        return {folder / FILE: one.fault for folder, one in self._known.items() if one.fault}

    def _read(self, folder: Path) -> _Known | None:
        old = self._known.get(folder)
        path = folder / FILE
        signature: _Signature | None = None
        try:
            status = os.stat(path)
            signature = (status.st_size, status.st_mtime_ns, status.st_ino)
            if old is not None and old.signature == signature:
                return old
            plan = read_plan(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except ModelDirectoryError as error:
            return _refuse(signature, str(error), old)
        except OSError as error:
            return _refuse(None, f"{path}: {error.strerror}", old)
        return _Known(signature, plan)


def _refuse(signature: _Signature | None, fault: str, old: _Known | None) -> _Known:
    if old is None or old.fault != fault:
        _log.error("rollout refused: %s", fault, extra=UNLIMITED)
    return _Known(signature, old.plan if old is not None else None, fault)
