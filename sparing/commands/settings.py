"""`sparing settings`: every setting in force, and where it comes from."""

import json
from pathlib import Path
from typing import Annotated

import typer


def settings(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    http_port: Annotated[int | None, typer.Option(min=0, max=65535, help="As in serve.")] = None,
    grpc_port: Annotated[int | None, typer.Option(min=0, max=65535, help="As in serve.")] = None,
    host: Annotated[str | None, typer.Option(help="As in serve.")] = None,
    models: Annotated[list[Path] | None, typer.Option("--models", help="As in serve.")] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            "--settings",
            help="Read settings from this TOML file. [dim]Default: SPARING_SETTINGS, else "
            "settings.toml.[/]",
        ),
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, max=256, help="As in serve.")] = None,
    log_level: Annotated[str | None, typer.Option(help="As in serve.")] = None,
    log_format: Annotated[str | None, typer.Option(help="As in serve.")] = None,
) -> None:
    """Print every setting in force, and where it comes from.

    Options override environment variables, which override the settings file.
    The lines are TOML; secrets are shown as asterisks.

    [bold]sparing settings[/]  what sparing serve would use

    [bold]SPARING_SERVER__HTTP_PORT=8080 sparing settings --json[/]  with a variable, as JSON
    """
    from serving.configuration.listing import list_settings, write_toml
    from sparing.options import find_settings

    found = find_settings(
        file,
        http_port=http_port,
        grpc_port=grpc_port,
        host=host,
        models=models,
        workers=workers,
        log_level=log_level,
        log_format=log_format,
    )
    listed = list_settings(found)
    print(json.dumps(listed, indent=2) if as_json else write_toml(listed))
