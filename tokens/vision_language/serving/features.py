"""Visual tokens of pictures that were shown before, by the pictures' fingerprints.

Several questions about a picture, and the turns of a chat, show it again. The least recently used
pictures are dropped once a limit in bytes is reached.

Shapes: N pictures, S side, V visual tokens, D width.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from hashlib import blake2b
from threading import Lock

import torch
from torch import Tensor

AT_ONCE = 8  # pictures, which bounds memory
Compute = Callable[[Tensor], Tensor]  # pictures [N, S, S, 3] to features [N, V, D]


class FeatureMemory:
    """Features of pictures, up to a limit in bytes; any number of threads may use it."""

    def __init__(self, limit_bytes: int, compute: Compute) -> None:
        self.limit_bytes = limit_bytes
        self.used_bytes = 0
        self._compute = compute
        self._kept: OrderedDict[bytes, Tensor] = OrderedDict()
        self._lock = Lock()

    def find(self, pictures: Sequence[Tensor]) -> tuple[Tensor, int]:
        """Return the features [N, V, D] of uint8 pictures [S, S, 3], at least one, and how many
        pictures had to be computed for them.
        """
        keys = [_fingerprint(picture) for picture in pictures]
        with self._lock:
            known = {key: self._kept[key] for key in keys if key in self._kept}
            for key in known:
                self._kept.move_to_end(key)
        missing = {key: one for key, one in zip(keys, pictures, strict=True) if key not in known}
        if missing:
            shown = list(missing.values())
            made = torch.cat(
                [
                    self._compute(torch.stack(shown[start : start + AT_ONCE]))
                    for start in range(0, len(shown), AT_ONCE)
                ]
            )
            fresh = {key: one.clone() for key, one in zip(missing, made, strict=True)}
            known |= fresh
            self._keep(fresh)
        return torch.stack([known[key] for key in keys]), len(missing)

    def _keep(self, fresh: dict[bytes, Tensor]) -> None:
        with self._lock:
            for key, one in fresh.items():
                size_bytes = one.numel() * one.element_size()
                if key in self._kept or size_bytes > self.limit_bytes:
                    continue
                while self.used_bytes + size_bytes > self.limit_bytes:
                    _, old = self._kept.popitem(last=False)
                    self.used_bytes -= old.numel() * old.element_size()
                self._kept[key] = one
                self.used_bytes += size_bytes


def _fingerprint(picture: Tensor) -> bytes:
    return blake2b(picture.cpu().contiguous().numpy().data, digest_size=16).digest()
