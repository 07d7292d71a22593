"""Lists the routes in directories as a server would load them, with the faults of the others."""

from collections.abc import Iterable
from pathlib import Path

from core.manifest import Manifest
from routes.checking import check_route
from routes.scanning import scan_routes
from serving.devices import RouteDevices


def read_directories(
    roots: Iterable[Path], devices: RouteDevices
) -> tuple[list[Manifest], list[str]]:
    """Return the manifests of all routes that a server loads, and every fault of the others."""
    manifests: list[Manifest] = []
    faults: list[str] = []
    for root in roots:
        found = scan_routes(root)
        faults.extend(found.faults.values())
        for directory in found.directories:
            checked = check_route(directory, devices.of(directory.parent.name))
            faults.extend(checked.faults)
            if checked.manifest is not None:
                manifests.append(checked.manifest)
    return manifests, faults
