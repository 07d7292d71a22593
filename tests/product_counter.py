"""Counts the multiply-accumulates that torch executes, in-place products too."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

aten = torch.ops.aten
IN_PLACE = {aten.addmm_: aten.addmm, aten.baddbmm_: aten.baddbmm}


class ProductCounter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """A context; `macs` of all products, convolutions and attention inside it."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.macs = 0

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # as torch calls it
        out = func(*args, **(kwargs or {}))
        packet: Any = getattr(func, "overloadpacket", None)
        counted = flop_registry.get(IN_PLACE.get(packet, packet))
        if packet is aten._scaled_dot_product_flash_attention_for_cpu:
            self.macs += 2 * args[0].numel() * args[1].shape[-2]
        elif counted is not None:
            self.macs += math.floor(counted(*args, **(kwargs or {}), out_val=out) / 2)
        return out
