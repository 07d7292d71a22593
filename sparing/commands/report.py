"""Options of `sparing report`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from sparing.access import CaFileOption, TokenFileOption, TokenOption, choose_access
from sparing.failure import Failure


def report(
    since: Annotated[
        str | None,
        typer.Option(
            help="Report the period up to now: a number with s, m, h or d, as in 24h; "
            "needs --prometheus. [dim]Default with --prometheus: 24h.[/]"
        ),
    ] = None,
    prometheus: Annotated[
        str | None,
        typer.Option(help="Read from the Prometheus at this URL; it must scrape the server."),
    ] = None,
    url: Annotated[
        str,
        typer.Option(
            help="Without --prometheus: read the counters of the server at this URL, since its "
            "start."
        ),
    ] = "http://127.0.0.1:3000",
    token: TokenOption = None,
    token_file: TokenFileOption = None,
    ca_file: CaFileOption = None,
    html: Annotated[Path | None, typer.Option(help="Also write a page with plots.")] = None,
) -> None:
    """Report what each route served, and the compute that it saved and used.

    Compares with the full model: as if every answer had come from the route's
    full model. Shows joules and grams of CO₂e if the server measures energy.

    [bold]sparing report[/]  since the start of the server at --url

    [bold]sparing report --since 7d --prometheus http://127.0.0.1:9090 --html week.html[/]
    the last week, also as a page with plots
    """
    from sparing.report.page import write_page
    from sparing.report.reporting import gather, judge, make_tables
    from sparing.report.sources import PrometheusSource, ReportSource, ServerSource, read_span

    figures: ReportSource
    if prometheus is not None:
        figures = PrometheusSource(prometheus.rstrip("/"), read_span(since or "24h"))
    elif since is not None:
        raise Failure("--since: needs --prometheus; a server only counts since its start", 2)
    else:
        figures = ServerSource(url.rstrip("/"), choose_access(token, token_file, ca_file))
    routes = gather(figures)
    if not routes:
        raise Failure(f"no route answered a request ({figures.span})")
    console = Console()
    console.print(*make_tables(routes, figures.span), judge(routes), sep="\n\n")
    if html is not None:
        write_page(html, routes, figures)
        console.print(f"Written: {html}")
