"""The command `sparing`: serve routes, look at them, ask them, train them, measure them.

Commands only read options; what they need is imported when they run, so `--help` does not wait for
a runtime. A failure is one sentence on stderr: exit code 1, or 2 where it was asked wrongly.
"""

import os
import sys
from collections.abc import Sequence
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from typer.exceptions import TyperException

from sparing.benching import BENCHMARKS, bench
from sparing.compare_command import compare
from sparing.failure import Failure
from sparing.meter_command import meter
from sparing.report_command import report
from sparing.train_cbnet_command import train_cbnet
from sparing.train_exits_command import train_exits
from sparing.train_options import Epochs, Out, Seed, Workers

SETTINGS = Path("settings.toml")

app = typer.Typer(
    name="sparing",
    help="An inference server that spends compute only where an input needs it.",
    epilog="Begin with [bold]sparing serve[/], then [bold]sparing predict PICTURE "
    "--route fashion-mnist --url http://127.0.0.1:3000[/].",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.command("report")(report)
app.command("compare")(compare)
app.add_typer(
    meter,
    name="meter",
    help="Show which energy meters can be read here; calibrate the model.",
)


class LogLevel(StrEnum):
    debug = "debug"
    info = "info"
    warning = "warning"
    error = "error"


ModelsOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--models",
        help="A directory of routes, <route>/<version>/; may be repeated. "
        "[dim]Default: what the settings say, else models.[/]",
    ),
]
SettingsOption = Annotated[
    Path | None,
    typer.Option("--settings", help="A TOML file. [dim]Default: settings.toml if there is one.[/]"),
]
UrlOption = Annotated[
    str | None,
    typer.Option("--url", help="Ask the server at this address, as in http://127.0.0.1:3000."),
]
Port = Annotated[int | None, typer.Option(min=0, max=65535, help="0: any free port.")]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Run the command line; the exit code."""
    from core.errors import SparingError

    try:
        code = app(args=list(arguments), prog_name="sparing", standalone_mode=False)
    except TyperException as error:
        sentence = error.format_message().rstrip(".")  # empty where the help was shown instead
        return _print_error(f"{sentence}; try sparing --help", 2) if sentence else 2
    except Failure as failure:
        return _print_error(str(failure), failure.exit_code)
    except SparingError as error:
        return _print_error(str(error), 1)
    except typer.Abort:
        return 130
    return code or 0


@app.callback(invoke_without_command=True)
def _options(
    context: typer.Context,
    show_version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if show_version:
        print(f"sparing {version('sparing')}")
        raise typer.Exit


@app.command()
def serve(
    http_port: Port = None,
    grpc_port: Port = None,
    host: Annotated[str | None, typer.Option(help="The address to listen on.")] = None,
    models: ModelsOption = None,
    settings: SettingsOption = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, max=256, help="Processes on the same two ports. [dim]Default: 1.[/]"),
    ] = None,
    log_level: Annotated[LogLevel, typer.Option(help="What to log.")] = LogLevel.info,
) -> None:
    """Serve routes over HTTP and gRPC until interrupted.

    Options win over the settings file. Routes reload when their directory changes.

    [bold]sparing serve[/]  what settings.toml says, on 127.0.0.1

    [bold]sparing serve --host 0.0.0.0 --models /srv/routes[/]  other routes, every interface

    [bold]sparing serve --http-port 0 --grpc-port 0[/]  any free ports; the log tells which

    [bold]sparing serve --workers 2[/]  two processes; one that dies is replaced
    """
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # its errors come as ours, said once
    from monitoring.log_limit import configure_logging
    from sparing.options import choose_settings

    chosen = choose_settings(
        settings,
        SETTINGS,
        http_port=http_port,
        grpc_port=grpc_port,
        host=host,
        models=models,
        workers=workers,
    )
    configure_logging(log_level.upper())
    if chosen.workers.count > 1:
        from serving.process.supervisor import supervise as host_routes
    else:
        from serving.process.host import run as host_routes
    raise typer.Exit(host_routes(chosen))


@app.command()
def routes(
    models: ModelsOption = None, settings: SettingsOption = None, url: UrlOption = None
) -> None:
    """Show the routes that directories hold, or that a server serves.

    [bold]sparing routes[/]  in the directories of settings.toml, files verified

    [bold]sparing routes --url http://127.0.0.1:3000[/]  of a running server
    """
    from sparing.listing import read_directories
    from sparing.options import choose_settings
    from sparing.tables import table_of_routes, table_of_served

    if url is not None:
        from sparing.client import request_json

        Console().print(table_of_served(request_json(url, "/v1/routes")["routes"]))
        return
    roots = choose_settings(settings, SETTINGS, models=models).routes.directories
    manifests, faults = read_directories(roots)
    Console().print(table_of_routes(manifests))
    for fault in faults:
        _print_error(fault, 1)
    if faults:
        raise typer.Exit(1)


@app.command()
def predict(
    pictures: Annotated[list[Path], typer.Argument(help="PNG or JPEG files.")],
    route: Annotated[str, typer.Option(help="The route to ask; with --url also auto:<task>.")],
    url: UrlOption = None,
    timeout_ms: Annotated[
        float | None, typer.Option(min=0.001, help="Answer within this; needs --url.")
    ] = None,
    models: ModelsOption = None,
    settings: SettingsOption = None,
) -> None:
    """Classify pictures, with a running server or, without --url, in this process.

    [bold]sparing predict shoe.png --route fashion-mnist[/]

    [bold]sparing predict *.jpg --route fashion-mnist --url http://127.0.0.1:3000 --timeout-ms 20[/]
    """
    from sparing.options import choose_settings
    from sparing.predicting import predict_here, predict_with_server
    from sparing.tables import table_of_predictions

    if url is not None:
        answers = predict_with_server(url, route, pictures, timeout_ms)
    elif timeout_ms is not None:
        raise Failure("--timeout-ms: needs --url, only a server keeps deadlines", exit_code=2)
    else:
        chosen = choose_settings(settings, SETTINGS, models=models)
        max_pixels = chosen.server.max_picture_pixels
        answers = predict_here(chosen.routes.directories, route, pictures, max_pixels)
    Console().print(table_of_predictions(answers))


train = typer.Typer(no_args_is_help=True)
train.command("cbnet")(train_cbnet)
train.command("exits")(train_exits)
app.add_typer(train, name="train")


@train.callback()
def _train_options() -> None:
    """Train a route and write its directory.

    [bold]sparing train dual-cnn --data fashion-mnist --out models[/]

    Needs the train extra: [bold]make setup[/], or [bold]pip install '.\\[train]'[/]
    """


@train.command("dual-cnn")
def train_dual_cnn(
    data: Annotated[
        str, typer.Option(help="The data set: fashion-mnist, mnist or cifar10.")
    ] = "fashion-mnist",
    out: Out = Path("models"),
    runs: Annotated[Path, typer.Option(help="What is kept to resume from.")] = Path("runs"),
    workers: Workers = 2,
    seed: Seed = 1,
    epochs: Epochs = None,
) -> None:
    """Train a pool of CNNs, choose the best cascade of it, write two routes.

    The routes are <data>, the cascade, and <data>-large, the strongest net alone.

    Interrupted, it goes on where it was. Data is read from $SPARING_DATA/<data>/,
    else downloaded; both are verified.

    [bold]sparing train dual-cnn[/]  the shipped routes anew; 45 minutes on
    two cores with AMX, hours without

    [bold]sparing train dual-cnn --data cifar10[/]  colour; two hours on two cores

    [bold]sparing train dual-cnn --epochs 1 --out /tmp/models --runs /tmp/runs[/]  a trial
    """
    from sparing.recipes import failing_with_message, import_recipe

    with failing_with_message():
        recipe = import_recipe("training.dual_cnn")
        written = recipe.train(data, out, runs, workers=workers, seed=seed, epochs=epochs)
    for directory in written:
        print(directory)


@app.command("bench", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def run_benchmarks(
    context: typer.Context,
    name: Annotated[
        str | None, typer.Argument(help=f"One of {', '.join(BENCHMARKS)}; none: all.")
    ] = None,
) -> None:
    """Measure, and write benchmarks/results/ and docs/reports/.

    [bold]sparing bench[/]  everything

    [bold]sparing bench serving[/]  the doors and the engine under load

    [bold]sparing bench serving --quick[/]  what follows the name goes to the benchmark
    """
    if name is not None and name not in BENCHMARKS:
        raise Failure(f"NAME: given {name!r}, allowed {', '.join(BENCHMARKS)}", exit_code=2)
    raise typer.Exit(bench([name] if name else [], context.args))


def _print_error(sentence: str, exit_code: int) -> int:
    from core.one_line import one_line

    print(f"sparing: {one_line(sentence)}", file=sys.stderr)
    return exit_code


if __name__ == "__main__":
    main()
