"""The command `sparing` and its sub-commands.

A command only reads options. It imports what it needs when it runs, so `--help` never waits for a
runtime. A failure is one sentence on stderr. Exit codes: 1 for a failure, 2 for wrong usage.
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

import core.devices.no_telemetry  # noqa: F401
from sparing.access import CaFileOption, TokenFileOption, TokenOption, choose_access
from sparing.benching import BENCHMARKS, bench
from sparing.commands.check import check
from sparing.commands.compare import compare
from sparing.commands.compress import compress
from sparing.commands.import_models import import_models
from sparing.commands.import_vlm import import_vlm
from sparing.commands.inspect_model import inspect_model
from sparing.commands.meter import meter
from sparing.commands.report import report
from sparing.commands.rollout import rollout
from sparing.commands.settings import settings as print_settings
from sparing.commands.simulate import simulate
from sparing.commands.training.acm import train_acm
from sparing.commands.training.cbnet import train_cbnet
from sparing.commands.training.exits import train_exits
from sparing.commands.training.options import Epochs, Out, Seed, Workers
from sparing.commands.training.vit import train_vit
from sparing.commands.training.vlm import train_vlm
from sparing.failure import Failure

app = typer.Typer(
    name="sparing",
    help="An inference server that spends compute only where an input needs it.",
    epilog="To start, run [bold]sparing serve[/], then [bold]sparing predict PICTURE "
    "--route fashion-mnist --url http://127.0.0.1:3000[/].",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.command("report")(report)
app.command("check")(check)
app.command("inspect")(inspect_model)
app.command("import")(import_models)
app.command("import-vlm")(import_vlm)
app.command("compress")(compress)
app.command("compare")(compare)
app.command("settings")(print_settings)
app.command("simulate")(simulate)
app.add_typer(
    meter,
    name="meter",
    help="List this machine's energy meters; calibrate the energy estimate.",
)


app.add_typer(rollout, name="rollout")


class LogLevel(StrEnum):
    debug = "debug"
    info = "info"
    warning = "warning"
    error = "error"


class LogFormat(StrEnum):
    text = "text"
    json = "json"


ModelsOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--models",
        help="A directory with routes as <route>/<version>/; may be repeated. "
        "[dim]Default: from the settings, else models.[/]",
    ),
]
SettingsOption = Annotated[
    Path | None,
    typer.Option(
        "--settings",
        help="Read settings from this TOML file. [dim]Default: SPARING_SETTINGS, else "
        "settings.toml.[/]",
    ),
]
UrlOption = Annotated[
    str | None,
    typer.Option("--url", help="Use the server at this URL, as in http://127.0.0.1:3000."),
]
Port = Annotated[
    int | None, typer.Option(min=0, max=65535, help="Listen on this port. 0: any free port.")
]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Run the command line and return its exit code."""
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
    host: Annotated[str | None, typer.Option(help="Listen on this address.")] = None,
    models: ModelsOption = None,
    settings: SettingsOption = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1, max=256, help="Worker processes that share both ports. [dim]Default: 1.[/]"
        ),
    ] = None,
    log_level: Annotated[
        LogLevel | None,
        typer.Option(help="Log this level and above. [dim]Default: info.[/]"),
    ] = None,
    log_format: Annotated[
        LogFormat | None,
        typer.Option(help="The log as text or as JSON, one object a line. [dim]Default: text.[/]"),
    ] = None,
) -> None:
    """Serve routes over HTTP and gRPC until interrupted.

    Options override environment variables (SPARING_SERVER__HTTP_PORT=8080), which
    override the settings file; sparing settings shows the result. The server
    reloads a route when its directory changes.

    [bold]sparing serve[/]  with settings.toml, on 127.0.0.1

    [bold]sparing serve --host 0.0.0.0 --models /srv/routes[/]  other routes, on every
    network interface

    [bold]sparing serve --http-port 0 --grpc-port 0[/]  on free ports; the log shows which

    [bold]sparing serve --workers 2[/]  two processes; a worker that dies is replaced
    """
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # the server logs these errors itself, once
    from monitoring.log_limit import configure_logging
    from serving.process.parent_process import print_failure
    from sparing.options import choose_settings, find_log_format

    try:
        chosen = choose_settings(
            settings,
            http_port=http_port,
            grpc_port=grpc_port,
            host=host,
            models=models,
            workers=workers,
            log_level=log_level,
            log_format=log_format,
        )
    except Failure as failure:
        if find_log_format(log_format) != "json":
            raise
        configure_logging("INFO", log_format="json")
        print_failure(str(failure), "json")
        raise typer.Exit(failure.exit_code) from failure
    configure_logging(chosen.log.level.upper(), log_format=chosen.log.format)
    if chosen.workers.count > 1:
        from serving.process.supervisor import supervise as host_routes
    else:
        from serving.process.host import run as host_routes
    raise typer.Exit(host_routes(chosen))


@app.command()
def routes(
    models: ModelsOption = None,
    settings: SettingsOption = None,
    url: UrlOption = None,
    token: TokenOption = None,
    token_file: TokenFileOption = None,
    ca_file: CaFileOption = None,
) -> None:
    """List the routes in directories, or the routes that a server serves.

    In directories it loads every route as a server does, and prints the faults
    of those that a server refuses.

    [bold]sparing routes[/]  in the directories of settings.toml

    [bold]sparing routes --url http://127.0.0.1:3000[/]  of a running server
    """
    from sparing.listing import read_directories
    from sparing.options import choose_settings, open_chosen_devices
    from sparing.tables import table_of_routes, table_of_served

    if url is not None:
        from sparing.client import request_json

        access = choose_access(token, token_file, ca_file)
        Console().print(table_of_served(request_json(url, "/v1/routes", access=access)["routes"]))
        return
    chosen = choose_settings(settings, models=models)
    manifests, faults = read_directories(chosen.routes.directories, open_chosen_devices(chosen))
    Console().print(table_of_routes(manifests))
    for fault in faults:
        _print_error(fault, 1)
    if faults:
        raise typer.Exit(1)


@app.command()
def predict(
    pictures: Annotated[list[Path], typer.Argument(help="PNG or JPEG files, or folders of them.")],
    route: Annotated[str, typer.Option(help="Route to use; with --url also auto:<task>.")],
    url: UrlOption = None,
    timeout_ms: Annotated[
        float | None,
        typer.Option(min=0.001, help="Deadline for the reply, in milliseconds; needs --url."),
    ] = None,
    token: TokenOption = None,
    token_file: TokenFileOption = None,
    ca_file: CaFileOption = None,
    models: ModelsOption = None,
    settings: SettingsOption = None,
) -> None:
    """Classify pictures with a running server or, without --url, in this process.

    Shows for each picture its label, the confidence, which stage answered and
    why, the MACs that this took and the milliseconds.

    [bold]sparing predict shoe.png --route fashion-mnist[/]

    [bold]sparing predict pictures/ --route fashion-mnist[/]  all PNG and JPEG files below

    [bold]sparing predict *.jpg --route fashion-mnist --url http://127.0.0.1:3000 --timeout-ms 20[/]
    """
    from sparing.options import choose_settings
    from sparing.predicting import find_pictures, predict_here, predict_with_server
    from sparing.tables import show_progress, table_of_predictions

    if url is not None:
        access = choose_access(token, token_file, ca_file)
        files = find_pictures(pictures)
        with show_progress(len(files)) as report:
            answers = predict_with_server(url, route, files, timeout_ms, access, report)
    elif timeout_ms is not None:
        raise Failure("--timeout-ms: needs --url; only a server has deadlines", exit_code=2)
    else:
        chosen = choose_settings(settings, models=models)
        max_pixels = chosen.server.max_picture_pixels
        files = find_pictures(pictures)
        precision = chosen.routes.precisions.get(route, chosen.routes.precision)
        with show_progress(len(files)) as report:
            answers = predict_here(
                chosen.routes.directories, route, files, max_pixels, precision, report
            )
    Console().print(table_of_predictions(answers))


train = typer.Typer(no_args_is_help=True)
train.command("cbnet")(train_cbnet)
train.command("exits")(train_exits)
train.command("vit")(train_vit)
train.command("acm")(train_acm)
train.command("vlm")(train_vlm)
app.add_typer(train, name="train")


@train.callback()
def _train_options() -> None:
    """Train a route and write its directory, which sparing serve can load.

    Needs the train extra: run [bold]make setup[/], or [bold]pip install '.\\[train]'[/].

    [bold]sparing train dual-cnn --data fashion-mnist --out models[/]  a cascade of CNNs

    [bold]sparing train exits[/]  one net with early exits

    [bold]sparing train cbnet[/]  a converter in front of a light net

    [bold]sparing train vit[/]  a vision transformer

    sparing train acm writes weights, and with --out a route too.
    """


@train.command("dual-cnn")
def train_dual_cnn(
    data: Annotated[
        str, typer.Option(help="Data set: fashion-mnist, mnist or cifar10.")
    ] = "fashion-mnist",
    out: Out = Path("models"),
    runs: Annotated[
        Path, typer.Option(help="Folder for trained nets and checkpoints, to resume from.")
    ] = Path("runs"),
    workers: Workers = 2,
    seed: Seed = 1,
    epochs: Epochs = None,
) -> None:
    """Train a pool of CNNs, select the best cascade from it and write two routes.

    Every net that is as accurate in int8 gets an int8 file. The cascade is
    selected among the files that are faster on this CPU; routes have both.

    The route <data> is the cascade. The route <data>-large is the most accurate
    net alone.

    To resume after an interruption, run the same command again. Data is read
    from $SPARING_DATA/<data>/, else downloaded; it is verified either way.

    [bold]sparing train dual-cnn[/]  retrains the shipped routes; 45 minutes on
    two cores with AMX, hours without

    [bold]sparing train dual-cnn --data cifar10[/]  colour pictures; two hours on two cores

    [bold]sparing train dual-cnn --epochs 1 --out /tmp/models --runs /tmp/runs[/]  a trial
    """
    from sparing.recipes import failing_with_message, import_importing, import_recipe

    with failing_with_message():
        recipe = import_recipe("training.dual_cnn")
        compressing = import_importing("importing.compressing.model")
        written = recipe.train(
            data,
            out,
            runs,
            workers=workers,
            seed=seed,
            epochs=epochs,
            quantise=compressing.quantise_file,
        )
    for directory in written:
        print(directory)


@app.command("bench", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def run_benchmarks(
    context: typer.Context,
    name: Annotated[
        str | None,
        typer.Argument(help=f"One of {', '.join(BENCHMARKS)}. [dim]Default: all.[/]"),
    ] = None,
) -> None:
    """Run benchmarks and write benchmarks/results/ and docs/reports/.

    Needs a clone of the repository and an idle machine.

    [bold]sparing bench[/]  all benchmarks

    [bold]sparing bench serving[/]  the HTTP and gRPC endpoints and the engine under load

    [bold]sparing bench serving --quick[/]  options after the name go to the benchmark
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
