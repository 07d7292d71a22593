"""Options of `sparing meter` and `sparing meter calibrate`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

meter = typer.Typer(rich_markup_mode="rich")
SysfsOption = Annotated[Path, typer.Option("--sysfs", help="Read meters below this folder.")]


@meter.callback(invoke_without_command=True)
def show_meters(context: typer.Context, sysfs: SysfsOption = Path("/sys")) -> None:
    """List this machine's energy meters, what a reading costs, and why the others are missing.

    Without a meter the server estimates joules from the time that cores are
    busy. sparing meter calibrate fits the watts of that estimate.

    [bold]sparing meter[/]  show the table

    [bold]sparing meter calibrate[/]  fit the watts with a meter, a wall plug or a table
    """
    from sparing.meter import metering

    if context.invoked_subcommand is None:
        metering.show_meters(sysfs, Console())


@meter.command("calibrate")
def calibrate_model(
    by: Annotated[
        str,
        typer.Option(
            help="auto, table, plug, rapl, ina3221, pmic or nvml. auto uses a meter that can be "
            "read; else a wall plug, if there is a terminal; else the table."
        ),
    ] = "auto",
    seconds: Annotated[
        float, typer.Option(min=1.0, help="Run each load this long, in seconds.")
    ] = 20.0,
    idle_watts: Annotated[
        float | None,
        typer.Option(min=0.0, help="Watts that a wall plug showed on the idle machine."),
    ] = None,
    busy_watts: Annotated[
        float | None, typer.Option(min=0.0, help="Watts that the plug showed, all cores busy.")
    ] = None,
    sysfs: SysfsOption = Path("/sys"),
) -> None:
    """Fit the watts of the energy estimate to this machine.

    Keeps 0, 1, half and all cores busy in turn and reads the power each time.
    Prints a section for settings.toml. Where no meter can be read, the server
    estimates joules with these watts and labels them as estimates.

    [bold]sparing meter calibrate[/]  with a meter, or prompt for wall-plug readings

    [bold]sparing meter calibrate --idle-watts 21.5 --busy-watts 48[/]  from a wall plug,
    without a terminal; runs no load

    [bold]sparing meter calibrate --by table[/]  from published figures of the processor;
    not measured
    """
    from sparing.meter import calibrating

    console = Console(stderr=True)
    fit = calibrating.calibrate(
        calibrating.CalibrateOptions(by, seconds, idle_watts, busy_watts, sysfs), console
    )
    console.print(fit.note, soft_wrap=True, highlight=False)
    print(fit.as_toml(), end="")
