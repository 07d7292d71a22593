"""The commands `sparing meter` and `sparing meter calibrate`: options, and nothing else."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

meter = typer.Typer(rich_markup_mode="rich")
SysfsOption = Annotated[Path, typer.Option("--sysfs", help="What stands for /sys.")]


@meter.callback(invoke_without_command=True)
def show_meters(context: typer.Context, sysfs: SysfsOption = Path("/sys")) -> None:
    """Show which meters can be read here, what a reading costs, and why the others cannot.

    [bold]sparing meter[/]  a table

    [bold]sparing meter calibrate[/]  watts for the model, by a meter, a wall plug or a table
    """
    from sparing import metering

    if context.invoked_subcommand is None:
        metering.show_meters(sysfs, Console())


@meter.command("calibrate")
def calibrate_model(
    by: Annotated[
        str,
        typer.Option(
            help="auto, table, plug, rapl, ina3221, pmic or nvml. auto: a meter that can be read; "
            "else, at a terminal, a wall plug; else the table."
        ),
    ] = "auto",
    seconds: Annotated[float, typer.Option(min=1.0, help="How long each load runs.")] = 20.0,
    idle_watts: Annotated[
        float | None, typer.Option(min=0.0, help="What a wall plug showed when nothing ran.")
    ] = None,
    busy_watts: Annotated[
        float | None, typer.Option(min=0.0, help="What it showed with all cores busy.")
    ] = None,
    sysfs: SysfsOption = Path("/sys"),
) -> None:
    """Fit the model's watts to this machine: keep cores busy and read the power.

    Copy what it prints into settings.toml. Where no meter can be read, the server then
    estimates with these watts, and labels the estimates as such. Without a terminal:

    [bold]sparing meter calibrate --idle-watts 21.5 --busy-watts 48[/]  a wall plug; no load is run

    [bold]sparing meter calibrate --by table[/]  published figures of the processor, not measured
    """
    from sparing import calibrating

    console = Console(stderr=True)
    fit = calibrating.calibrate(
        calibrating.CalibrateOptions(by, seconds, idle_watts, busy_watts, sysfs), console
    )
    console.print(fit.note, soft_wrap=True, highlight=False)
    print(fit.as_toml(), end="")
