"""The command `sparing report`: options, and nothing else."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from sparing.failure import Failure


def report(
    since: Annotated[
        str | None, typer.Option(help="How far back, as in 24h; needs --prometheus.")
    ] = None,
    prometheus: Annotated[
        str | None, typer.Option(help="A Prometheus that scrapes the server.")
    ] = None,
    url: Annotated[
        str, typer.Option(help="The server itself, without a Prometheus: since it began.")
    ] = "http://127.0.0.1:3000",
    token: Annotated[
        str,
        typer.Option(envvar="SPARING_TOKEN", help="The server's bearer token, if it asks for one."),
    ] = "",
    html: Annotated[Path | None, typer.Option(help="Write a page with plots there, too.")] = None,
) -> None:
    """What each route served, saved and cost, against everything on the full model.

    [bold]sparing report[/]  since the server at --url began

    [bold]sparing report --since 7d --prometheus http://127.0.0.1:9090 --html week.html[/]
    """
    from sparing.report_page import write_page
    from sparing.report_sources import PrometheusSource, ReportSource, ServerSource, read_span
    from sparing.reporting import gather, judge, make_tables

    figures: ReportSource
    if prometheus is not None:
        figures = PrometheusSource(prometheus.rstrip("/"), read_span(since or "24h"))
    elif since is not None:
        raise Failure("--since: needs --prometheus, a server knows only its whole life", 2)
    else:
        figures = ServerSource(url.rstrip("/"), token)
    routes = gather(figures)
    if not routes:
        raise Failure(f"nothing was answered ({figures.span})")
    console = Console()
    console.print(*make_tables(routes, figures.span), judge(routes), sep="\n\n")
    if html is not None:
        write_page(html, routes, figures)
        console.print(f"Written: {html}")
