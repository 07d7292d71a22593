"""Options of `sparing check`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from sparing.failure import Failure


def check(
    directories: Annotated[
        list[Path],
        typer.Argument(help="Folders with routes as <route>/<version>/, or one such version."),
    ],
    settings: Annotated[
        Path | None, typer.Option("--settings", help="Settings with the devices of routes.")
    ] = None,
) -> None:
    """Check routes with the server's own loader, and print their faults.

    Exits with 1 if a server would refuse one of them. Where onnx is installed, it
    also counts the MACs of each stage and warns where route.toml says otherwise.

    [bold]sparing check models[/]  every route in a folder

    [bold]sparing check models/pets/2[/]  one version
    """
    from core.one_line import one_line
    from routes.checking import check_route
    from sparing.counted_macs import find_wrong_macs
    from sparing.options import choose_settings, open_chosen_devices

    chosen = choose_settings(settings)
    roots = tuple(_find_root(directory) for directory in directories)
    routes = chosen.routes.model_copy(update={"directories": (*chosen.routes.directories, *roots)})
    devices = open_chosen_devices(chosen.model_copy(update={"routes": routes}))
    faults: list[str] = []
    for directory in directories:
        found, said = _list_routes(directory)
        faults += said
        for route in found:
            checked = check_route(route, devices.of(route.resolve().parent.name))
            faults += checked.faults
            if checked.manifest is not None:
                print(f"{route}: {checked.manifest.pipeline}, loads")
                for warning in find_wrong_macs(route, checked.manifest):
                    print(f"{route}: warning: {warning}", file=sys.stderr)
    for fault in faults:
        print(f"sparing: {one_line(fault)}", file=sys.stderr)
    if faults:
        raise typer.Exit(1)


def _find_root(directory: Path) -> Path:
    """Return the folder of routes that an argument means."""
    if (directory / "route.toml").is_file():
        return directory.resolve().parent.parent
    return directory


def _list_routes(directory: Path) -> tuple[list[Path], list[str]]:
    """Return the versions in a folder, or the folder where it is one, and faults of the folder."""
    from core.errors import ModelDirectoryError
    from routes.scanning import scan_routes

    if (directory / "route.toml").is_file():
        return [directory], []
    try:
        scan = scan_routes(directory)
    except ModelDirectoryError as error:
        raise Failure(str(error)) from error
    faults = list(scan.faults.values())
    if not scan.directories and not faults:
        faults.append(f"{directory}: holds no routes as <route>/<version>/")
    return scan.directories, faults
