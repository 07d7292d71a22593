"""NVIDIA's energy counter of a GPU since its driver was loaded; available from Volta on.

Uses nvidia-ml-py, an optional package; the library `libnvidia-ml` comes with the driver. The
counter moves every 20 to 100 ms, so shorter intervals have no meaning.
https://docs.nvidia.com/deploy/nvml-api/group__nvmlDeviceQueries.html
"""

import importlib
from collections.abc import Mapping
from typing import Any

from monitoring.energy.meters.meter import MeterFailed, Source

INSTALL = "install it by `pip install nvidia-ml-py` where there is an NVIDIA GPU"


class NvmlMeter:
    """`library` is pynvml, which has no types. Raises MeterFailed without a GPU with a counter."""

    source: Source = "nvml"

    def __init__(self, library: Any = None) -> None:
        self._nvml = library or _import_library()
        try:
            self._nvml.nvmlInit()
            count = self._nvml.nvmlDeviceGetCount()
            devices = [self._nvml.nvmlDeviceGetHandleByIndex(index) for index in range(count)]
            self._devices = {f"gpu-{index}": device for index, device in enumerate(devices)}
            self._begin_mj = {name: self._read_mj(name) for name in self._devices}
        except self._nvml.NVMLError as error:
            raise MeterFailed(f"NVML: {error}") from None
        if not self._devices:
            raise MeterFailed("NVML: no GPU is visible to this process")

    def read_joules(self) -> Mapping[str, float]:
        try:
            return {
                name: (self._read_mj(name) - begin) / 1e3 for name, begin in self._begin_mj.items()
            }
        except self._nvml.NVMLError as error:
            raise MeterFailed(f"NVML: {error}") from None

    def _read_mj(self, name: str) -> int:
        joules: int = self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._devices[name])
        return joules


def _import_library() -> Any:
    try:
        return importlib.import_module("pynvml")
    except ImportError:
        raise MeterFailed(f"pynvml is not installed; {INSTALL}") from None
