"""Options of `sparing rollout`."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from sparing.access import (
    Access,
    CaFileOption,
    TokenFileOption,
    TokenOption,
    choose_access,
)
from sparing.failure import Failure
from sparing.rollout.comparing import Check, Limits, compare, judge
from sparing.rollout.folders import RouteFolder
from sparing.rollout.samples import Look, read_samples
from sparing.rollout.watching import Pace, Watch

UNDECIDED, WORSE = 3, 4  # exit codes
_LIMITS, _PACE = Limits(), Pace()

rollout = typer.Typer(no_args_is_help=True)

Models = Annotated[
    list[Path] | None,
    typer.Option(
        "--models",
        help="A model directory; may be repeated. [dim]Default: from the settings, else models.[/]",
    ),
]
SettingsFile = Annotated[
    Path | None, typer.Option("--settings", help="Read settings from this TOML file.")
]

Server = Annotated[
    list[str] | None,
    typer.Option(help="Compare by the counters of the server at this URL; may be repeated."),
]
Prometheus = Annotated[
    str | None, typer.Option(help="Compare by what the Prometheus at this URL has recorded.")
]
Since = Annotated[str, typer.Option(help="The period that Prometheus is asked for, as in 30m.")]
MinRequests = Annotated[
    int, typer.Option(min=1, help="Decide nothing with fewer requests of each version.")
]
MaxMoreFailures = Annotated[
    float, typer.Option(min=0, max=1, help="Allow at most this larger share of failures.")
]
MaxMoreJoules = Annotated[
    float, typer.Option(min=0, help="Allow at most this part more joules a row; 0.1 is 10 %.")
]


@rollout.callback()
def _options(
    context: typer.Context,
    route: Annotated[str, typer.Argument(help="The route, as its folder is named.")],
) -> None:
    """Give a new version of a route to a share of the callers, and compare.

    The route's folder declares it, in rollout.toml; servers follow it without a
    restart. A caller keeps its version.

    [bold]sparing rollout tiny start --share 0.05[/]  for 5 % of the callers

    [bold]sparing rollout tiny status --server http://127.0.0.1:3000[/]  compared

    [bold]sparing rollout tiny start --watch --server http://127.0.0.1:3000[/]
    1, 5, 25 and 100 %, while the comparison holds
    """
    context.obj = route


@rollout.command()
def start(
    context: typer.Context,
    share: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Share of callers for the canary. [dim]Default: as before or 0.01.[/]",
        ),
    ] = None,
    canary: Annotated[
        str | None, typer.Option(help="The new version. [dim]Default: the newest.[/]")
    ] = None,
    stable: Annotated[
        str | None,
        typer.Option(
            help="The present version. [dim]Default: as before, else the second newest.[/]"
        ),
    ] = None,
    models: Models = None,
    settings: SettingsFile = None,
    watch: Annotated[
        bool,
        typer.Option("--watch", help="Raise the share while the comparison holds; else roll back."),
    ] = False,
    server: Server = None,
    prometheus: Prometheus = None,
    token: TokenOption = None,
    token_file: TokenFileOption = None,
    ca_file: CaFileOption = None,
    step_s: Annotated[
        float, typer.Option(min=0, help="With --watch: seconds of each step, at least.")
    ] = _PACE.step_s,
    max_step_s: Annotated[
        float, typer.Option(min=0, help="With --watch: then what is undecided is rolled back.")
    ] = _PACE.max_step_s,
    interval_s: Annotated[
        float, typer.Option(min=0.01, help="With --watch: seconds between two looks.")
    ] = _PACE.interval_s,
    min_requests: MinRequests = _LIMITS.min_requests,
    max_more_failures: MaxMoreFailures = _LIMITS.more_failures,
    max_more_joules: MaxMoreJoules = _LIMITS.more_joules,
) -> None:
    """Begin a rollout, or change its share.

    Begin before the new version is copied into the folder: without a rollout, the
    newest version answers every caller at once.
    """
    folder = _open_folder(context, models, settings)
    access = choose_access(token, token_file, ca_file)
    look = _find_look(folder.route, server, prometheus, "1h", access) if watch else None
    plan = folder.begin(stable, canary, share)
    print(f"{folder.file}: {plan.share:.4g} of the callers get version {plan.canary}")
    if plan.canary not in folder.versions():
        print(f"version {plan.canary} is not there yet; until then version {plan.stable} answers")
    if look is None:
        return
    pace = Pace(step_s, max_step_s, interval_s, min(_PACE.settle_s, interval_s))
    limits = Limits(
        min_requests=min_requests, more_failures=max_more_failures, more_joules=max_more_joules
    )
    watching = Watch(folder, look, limits, pace, clock=time.monotonic, sleep=time.sleep, say=_say)
    try:
        ended = watching.run(plan)
    except KeyboardInterrupt:
        raise Failure(f"interrupted; {folder.file} stays as it is", 130) from None
    if ended == "rolled back":
        raise typer.Exit(WORSE)


@rollout.command()
def status(
    context: typer.Context,
    models: Models = None,
    settings: SettingsFile = None,
    server: Server = None,
    prometheus: Prometheus = None,
    since: Since = "30m",
    token: TokenOption = None,
    token_file: TokenFileOption = None,
    ca_file: CaFileOption = None,
    min_requests: MinRequests = _LIMITS.min_requests,
    max_more_failures: MaxMoreFailures = _LIMITS.more_failures,
    max_more_joules: MaxMoreJoules = _LIMITS.more_joules,
) -> None:
    """Show the rollout and, with --server or --prometheus, the comparison.

    Exit codes: 0 the comparison holds, 3 it is undecided, 4 the canary is worse.
    """
    folder = _open_folder(context, models, settings)
    plan = folder.read()
    if plan is None:
        print(f"{folder.route}: no rollout; the newest of {folder.versions()} answers")
        return
    print(f"{folder.route}: version {plan.stable} is stable, versions {folder.versions()}")
    if not plan.canary:
        return
    print(f"{folder.route}: {plan.share:.4g} of the callers get version {plan.canary}")
    if server or prometheus:
        limits = Limits(
            min_requests=min_requests, more_failures=max_more_failures, more_joules=max_more_joules
        )
        access = choose_access(token, token_file, ca_file)
        look = _find_look(folder.route, server, prometheus, since, access)
        verdict = _show(look, limits)
        raise typer.Exit({"holds": 0, "undecided": UNDECIDED, "worse": WORSE}[verdict])


@rollout.command()
def promote(
    context: typer.Context,
    models: Models = None,
    settings: SettingsFile = None,
    server: Server = None,
    prometheus: Prometheus = None,
    since: Since = "30m",
    token: TokenOption = None,
    token_file: TokenFileOption = None,
    ca_file: CaFileOption = None,
    force: Annotated[
        bool, typer.Option("--force", help="Promote whatever the comparison says.")
    ] = False,
    min_requests: MinRequests = _LIMITS.min_requests,
    max_more_failures: MaxMoreFailures = _LIMITS.more_failures,
    max_more_joules: MaxMoreJoules = _LIMITS.more_joules,
) -> None:
    """Give the canary to every caller, if the comparison holds.

    Later versions then need a rollout too; delete rollout.toml to follow the
    newest version again.
    """
    from routes.rollouts import RolloutPlan

    folder = _open_folder(context, models, settings)
    plan = folder.running()
    if plan.canary not in folder.versions():
        raise Failure(f"{folder.path} has no version {plan.canary}")
    if not force:
        limits = Limits(
            min_requests=min_requests, more_failures=max_more_failures, more_joules=max_more_joules
        )
        access = choose_access(token, token_file, ca_file)
        verdict = _show(_find_look(folder.route, server, prometheus, since, access), limits)
        if verdict != "holds":
            code = WORSE if verdict == "worse" else UNDECIDED
            raise Failure(f"not promoted: the comparison is {verdict}; --force promotes", code)
    folder.write(RolloutPlan(plan.canary))
    print(f"{folder.file}: version {plan.canary} answers every caller")


@rollout.command()
def rollback(context: typer.Context, models: Models = None, settings: SettingsFile = None) -> None:
    """Give the stable version to every caller again, and keep it there."""
    from routes.rollouts import RolloutPlan

    folder = _open_folder(context, models, settings)
    plan = folder.running()
    folder.write(RolloutPlan(plan.stable))
    print(f"{folder.file}: version {plan.stable} answers every caller")


def _open_folder(
    context: typer.Context, models: list[Path] | None, settings: Path | None
) -> RouteFolder:
    from sparing.options import choose_settings

    route: str = context.obj
    return RouteFolder(choose_settings(settings, models=models).routes.directories, route)


def _find_look(
    route: str,
    servers: Sequence[str] | None,
    prometheus: str | None,
    since: str,
    access: Access,
) -> Look:
    from sparing.report.sources import PrometheusSource, ReportSource, ServerSource, read_span

    if bool(servers) == bool(prometheus):
        raise Failure("give --server or --prometheus, and not both", 2)
    span_s = read_span(since)

    def open_sources() -> list[ReportSource]:
        if prometheus:
            return [PrometheusSource(prometheus.rstrip("/"), span_s)]
        return [ServerSource(url.rstrip("/"), access) for url in servers or ()]

    return lambda: read_samples(open_sources(), route)


def _show(look: Look, limits: Limits) -> str:
    checks = compare(look(), limits)
    verdict = judge(checks)
    _say(f"verdict: {verdict}", checks)
    return verdict


def _say(sentence: str, checks: Sequence[Check]) -> None:
    for one in checks:
        why = f" ({one.why})" if one.why else ""
        print(f"  {one.name}: {one.verdict}{why}; p of worse {one.p:.2g}")
        print(f"    stable {one.stable}; canary {one.canary}")
    print(sentence, flush=True)
