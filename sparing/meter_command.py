"""The commands `sparing meter` and `sparing meter calibrate`: options, and nothing else."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from sparing.failure import Failure

meter = typer.Typer(rich_markup_mode="rich")
SysfsOption = Annotated[Path, typer.Option("--sysfs", help="What stands for /sys.")]


@meter.callback(invoke_without_command=True)
def show_meters(context: typer.Context, sysfs: SysfsOption = Path("/sys")) -> None:
    """What can tell joules here, what each costs to read, and why the others cannot.

    [bold]sparing meter[/]  a table

    [bold]sparing meter calibrate[/]  watts for the model, by a meter or a wall plug
    """
    from sparing import metering

    if context.invoked_subcommand is None:
        metering.show_meters(sysfs, Console())


@meter.command("calibrate")
def calibrate_model(
    by: Annotated[
        str, typer.Option(help="rapl, ina3221, pmic, nvml; or plug: you type watts.")
    ] = "plug",
    seconds: Annotated[float, typer.Option(min=1.0, help="Of each load.")] = 20.0,
    sysfs: SysfsOption = Path("/sys"),
) -> None:
    """Fit the model's watts to this machine: cores are kept busy, power is read.

    What it prints goes into settings.toml; where no meter can be read, the model then
    stands in, and what it says is labelled as a model's.
    """
    from monitoring.meters.finding import find_meters
    from sparing import metering

    console = Console(stderr=True)
    if by == "plug":
        ask = metering.ask_person(console)
    else:
        found = {str(one.source): one for one in find_meters(sysfs)}.get(by)
        if found is None:
            raise Failure(f"--by {by}: given, allowed are rapl, ina3221, pmic, nvml and plug", 2)
        if found.meter is None:
            raise Failure(f"{by}: {found.why_not}")
        ask = metering.ask_meter(found.meter)
    fit = metering.calibrate(ask, seconds, console)
    console.print(f"at most {fit.residual_w:.2f} W beside the line")
    print(fit.as_toml(), end="")
