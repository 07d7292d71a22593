"""Opens the devices that the settings name, and says which runs which route.

torch is imported only if one of them needs it.
"""

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from importlib.util import find_spec
from types import MappingProxyType

from core.devices.interface import Device, DeviceError, Precision
from core.devices.onnx import OnnxDevice
from routes.kinds import find_kinds
from routes.table import ON_TORCH
from serving.settings import DEFAULT_DEVICE, DeviceSettings, Settings

OWN_TORCH = "torch"  # the device of routes that need torch, where the settings name none

_log = logging.getLogger("sparing.devices")


class RouteDevices:
    """The devices, and which of them runs which route: by default the first.

    `precisions` are rules for stages with two files, by route, in place of the devices' own.
    """

    def __init__(
        self,
        devices: Sequence[Device],
        routes: Mapping[str, str] = MappingProxyType({}),
        precisions: Mapping[str, Precision] = MappingProxyType({}),
        unnamed: Collection[str] = (),  # of the routes, those that the settings do not name
    ) -> None:
        self.devices = devices
        self._unnamed = frozenset(unnamed)
        by_name = {device.name: device for device in devices}
        self._by_route = {route: by_name[name] for route, name in routes.items()}
        for route, precision in precisions.items():
            self._by_route[route] = self.of(route).with_precision(precision)
        self._named = {f"routes.devices.{route}": route for route in routes}
        self._named |= {f"routes.precisions.{route}": route for route in precisions}
        self._unserved: set[str] = set()

    def of(self, route: str) -> Device:
        """Return the device of a route."""
        return self._by_route.get(route, self.devices[0])

    def report_unserved(self, routes: Iterable[str]) -> None:
        """Log once which settings name routes that are not served."""
        served = set(routes)
        missed = {
            setting
            for setting, route in self._named.items()
            if route not in served and route not in self._unnamed
        }
        for setting in sorted(missed - self._unserved):
            _log.warning("%s: no route of this name is served", setting)
        self._unserved = missed


def open_devices(settings: Settings) -> RouteDevices:
    """Open the default device and all others that the settings name.

    Raises DeviceError, with one sentence that names the setting, if one cannot be used here or a
    route is to run on one that is not there.
    """
    wanted = {DEFAULT_DEVICE: DeviceSettings(), **settings.devices}
    for route, name in settings.routes.devices.items():
        if name not in wanted:
            raise DeviceError(
                f"routes.devices.{route}: {name!r} given, the devices are {', '.join(wanted)}"
            )
    devices: list[Device] = []
    for name, one in wanted.items():
        limit_bytes = one.state_limit_bytes or settings.engine.state_limit_bytes
        try:
            device = _open(name, one, limit_bytes)
            devices.append(device.with_precision(settings.routes.precision))
        except DeviceError as error:
            raise DeviceError(f"devices.{name}: {error}") from error
    assigned = dict(settings.routes.devices)
    own = sorted(_find_needing_torch(settings) - assigned.keys())
    if own and OWN_TORCH not in wanted and find_spec("torch") is not None:
        one = DeviceSettings(runtime="torch")
        devices.append(_open(OWN_TORCH, one, settings.engine.state_limit_bytes))
        assigned |= dict.fromkeys(own, OWN_TORCH)
    return RouteDevices(devices, assigned, settings.routes.precisions, own)


def _find_needing_torch(settings: Settings) -> set[str]:
    """Return the names of routes whose kind needs torch; of those that cannot be read, none."""
    return {
        route
        for root in settings.routes.directories
        for route, kind in find_kinds(root)
        if kind in ON_TORCH
    }


def _open(name: str, settings: DeviceSettings, limit_bytes: int) -> Device:
    if settings.runtime == "onnx":
        return OnnxDevice(
            limit_bytes,
            name=name,
            providers=settings.providers,
            threads=settings.threads,
            gpu=settings.gpu,
        )
    try:
        from core.devices.torch import TorchDevice
    except ImportError as error:
        raise DeviceError(
            f"the runtime torch needs a package that is not installed ({error}); "
            "pip install '.[torch]' installs it"
        ) from error
    return TorchDevice(
        limit_bytes,
        name=name,
        backend=settings.backend,
        threads=settings.threads,
        gpu=settings.gpu,
    )
