"""Options of `sparing simulate`."""

import json
import math
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from sparing.access import CaFileOption, TokenFileOption, TokenOption, choose_access


class Scaler(StrEnum):
    keda = "keda"
    hpa = "hpa"
    none = "none"


class Balancer(StrEnum):
    least_outstanding = "least-outstanding"
    round_robin = "round-robin"


def _require_finite(value: float | None) -> float | None:
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"given {value}, allowed a finite number")
    return value


_TRAFFIC, _COSTS, _FLEET = "Traffic", "Costs", "Fleet"
_SCALING, _MONEY, _OUTPUT = "Scaling", "Money and energy", "Output"


def simulate(
    trace: Annotated[
        Path,
        typer.Option(
            help="CSV file with one request a row: seconds, or date and time, in a column such as "
            "time_s or TIMESTAMP, else in the first.",
            rich_help_panel=_TRAFFIC,
        ),
    ],
    requests_per_row: Annotated[
        int,
        typer.Option(
            min=1,
            help="Let each row of the trace stand for so many requests, spread at random up to the "
            "next row's time.",
            rich_help_panel=_TRAFFIC,
        ),
    ] = 1,
    spread_s: Annotated[
        float | None,
        typer.Option(
            callback=_require_finite,
            min=0.0,
            help="Spread a row's requests over so many seconds instead, as those of independent "
            "callers: smoother than the trace.",
            rich_help_panel=_TRAFFIC,
        ),
    ] = None,
    speed: Annotated[
        float,
        typer.Option(
            callback=_require_finite,
            min=0.001,
            help="Replay the trace so many times faster.",
            rich_help_panel=_TRAFFIC,
        ),
    ] = 1.0,
    drift: Annotated[
        float | None,
        typer.Option(
            callback=_require_finite,
            min=0.0,
            help="From this second on, --drift-factor times as many rows go on from every stage.",
            rich_help_panel=_TRAFFIC,
        ),
    ] = None,
    drift_factor: Annotated[
        float,
        typer.Option(
            callback=_require_finite,
            min=0.0,
            max=1000.0,
            help="How many times as many.",
            rich_help_panel=_TRAFFIC,
        ),
    ] = 2.0,
    seed: Annotated[
        int, typer.Option(min=0, help="The same seed, the same run.", rich_help_panel=_TRAFFIC)
    ] = 1,
    url: Annotated[
        str | None,
        typer.Option(
            help="Read costs from the server at this URL: times from /v1/routes, escalation and "
            "cache hits from /metrics.",
            rich_help_panel=_COSTS,
        ),
    ] = None,
    token: TokenOption = None,
    token_file: TokenFileOption = None,
    ca_file: CaFileOption = None,
    costs: Annotated[
        Path | None,
        typer.Option(
            help="Read costs from this JSON file: one that --save-costs wrote, or a saved "
            "GET /v1/routes.",
            rich_help_panel=_COSTS,
        ),
    ] = None,
    save_costs: Annotated[
        Path | None,
        typer.Option(help="Write the costs used to this JSON file.", rich_help_panel=_COSTS),
    ] = None,
    route: Annotated[
        list[str] | None,
        typer.Option(
            help="Only this route, or ROUTE=SHARE of the requests; may be repeated. "
            "[dim]Default: all, in equal shares.[/]",
            rich_help_panel=_COSTS,
        ),
    ] = None,
    escalation: Annotated[
        list[str] | None,
        typer.Option(
            help="STAGE=RATE: the share of the stage's rows that go on; may be repeated.",
            rich_help_panel=_COSTS,
        ),
    ] = None,
    hit_rate: Annotated[
        float | None,
        typer.Option(
            callback=_require_finite,
            min=0.0,
            max=1.0,
            help="Share of requests answered from the cache, of every route.",
            rich_help_panel=_COSTS,
        ),
    ] = None,
    overhead_ms: Annotated[
        float | None,
        typer.Option(
            callback=_require_finite,
            min=0.0,
            help="A request's time on the event loop, outside stages.",
            rich_help_panel=_COSTS,
        ),
    ] = None,
    balancer: Annotated[
        Balancer, typer.Option(help="How a ready pod is chosen.", rich_help_panel=_FLEET)
    ] = Balancer.least_outstanding,
    replicas: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=10_000,
            help="Pods at the start. [dim]Default: --min-replicas.[/]",
            rich_help_panel=_FLEET,
        ),
    ] = None,
    start_s: Annotated[
        float,
        typer.Option(
            callback=_require_finite,
            min=0.0,
            help="From a pod's creation until ready.",
            rich_help_panel=_FLEET,
        ),
    ] = 10.0,
    drain_s: Annotated[
        float,
        typer.Option(
            callback=_require_finite,
            min=0.0,
            help="Shortest life of a pod that is removed.",
            rich_help_panel=_FLEET,
        ),
    ] = 5.0,
    scaler: Annotated[
        Scaler,
        typer.Option(help="none keeps --replicas pods.", rich_help_panel=_SCALING),
    ] = Scaler.keda,
    min_replicas: Annotated[
        int, typer.Option(min=1, max=10_000, help="Fewest pods.", rich_help_panel=_SCALING)
    ] = 2,
    max_replicas: Annotated[
        int, typer.Option(min=1, max=10_000, help="Most pods.", rich_help_panel=_SCALING)
    ] = 10,
    target_busy: Annotated[
        float,
        typer.Option(
            callback=_require_finite,
            min=0.01,
            max=1.0,
            help="Device seconds a second and pod.",
            rich_help_panel=_SCALING,
        ),
    ] = 0.7,
    target_delay_ms: Annotated[
        float,
        typer.Option(
            callback=_require_finite,
            min=0.001,
            help="Mean wait in queues, per pod.",
            rich_help_panel=_SCALING,
        ),
    ] = 20.0,
    tolerance: Annotated[
        float,
        typer.Option(
            callback=_require_finite,
            min=0.0,
            max=1.0,
            help="No change within it of a target.",
            rich_help_panel=_SCALING,
        ),
    ] = 0.1,
    polling_s: Annotated[
        float,
        typer.Option(
            callback=_require_finite,
            min=0.1,
            help="Between two decisions.",
            rich_help_panel=_SCALING,
        ),
    ] = 15.0,
    metric_window_s: Annotated[
        float,
        typer.Option(
            callback=_require_finite,
            min=0.1,
            help="Of the metrics' rates.",
            rich_help_panel=_SCALING,
        ),
    ] = 60.0,
    up_window_s: Annotated[
        float,
        typer.Option(
            callback=_require_finite,
            min=0.0,
            help="Stabilisation before growing.",
            rich_help_panel=_SCALING,
        ),
    ] = 0.0,
    down_window_s: Annotated[
        float,
        typer.Option(
            callback=_require_finite,
            min=0.0,
            help="Stabilisation before shrinking.",
            rich_help_panel=_SCALING,
        ),
    ] = 300.0,
    up_policy: Annotated[
        list[str] | None,
        typer.Option(
            help="Most growth: pods or per cent in seconds, as in 2/30 or 100%/30; may be "
            "repeated, the largest counts. [dim]Default: both.[/]",
            rich_help_panel=_SCALING,
        ),
    ] = None,
    down_policy: Annotated[
        list[str] | None,
        typer.Option(
            help="Most shrinking, likewise. [dim]Default: 25%/60.[/]", rich_help_panel=_SCALING
        ),
    ] = None,
    price_per_pod_hour: Annotated[
        float | None,
        typer.Option(
            callback=_require_finite, min=0.0, help="In any currency.", rich_help_panel=_MONEY
        ),
    ] = None,
    watts_per_pod: Annotated[
        float | None,
        typer.Option(
            callback=_require_finite, min=0.0, help="Whatever the pod does.", rich_help_panel=_MONEY
        ),
    ] = None,
    busy_watts: Annotated[
        float,
        typer.Option(
            callback=_require_finite,
            min=0.0,
            help="More while its device runs, as energy.model.busy_core_w of a server; needs "
            "--watts-per-pod.",
            rich_help_panel=_MONEY,
        ),
    ] = 0.0,
    buckets: Annotated[
        int, typer.Option(min=1, max=10_000, help="Rows of the table.", rich_help_panel=_OUTPUT)
    ] = 20,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON instead.", rich_help_panel=_OUTPUT)
    ] = False,
    plot_file: Annotated[
        Path | None,
        typer.Option(
            "--plot", help="Also write a picture; needs matplotlib.", rich_help_panel=_OUTPUT
        ),
    ] = None,
) -> None:
    """Simulate a fleet under a trace: replicas over time, p99, cost, joules.

    Runs requests, batches, pods and the autoscaler on a simulated clock, with the
    costs of a real server. Defaults are those of the manifests in k8s/.

    [bold]sparing simulate --trace day.csv --url http://127.0.0.1:3000 --route fashion-mnist
    --save-costs costs.json[/]  with the costs of a running server, kept for later

    [bold]sparing simulate --trace day.csv --costs costs.json --requests-per-row 100
    --spread-s 10 --price-per-pod-hour 0.08 --plot day.png[/]  100 times the callers, with a price

    [bold]sparing simulate --trace day.csv --costs costs.json --drift 1800[/]  what if
    inputs become harder after half an hour

    [bold]sparing simulate --trace day.csv --costs costs.json --scaler none --replicas 4[/]
    four pods, always
    """
    from simulation.autoscaling import ScalingRules
    from simulation.costs import write_costs
    from simulation.plotting import plot, require_matplotlib
    from simulation.results import Prices, summarise
    from simulation.simulator import FleetPlan
    from simulation.simulator import simulate as run_fleet
    from simulation.trace import expand, read_trace
    from simulation.workload import Drift, make_workload
    from sparing.simulating import (
        failing_with_sentence,
        gather_costs,
        make_tables,
        read_policies,
        read_rates,
        read_shares,
    )

    with failing_with_sentence():
        if plot_file is not None:
            require_matplotlib()
        known = gather_costs(
            url=url,
            access=choose_access(token, token_file, ca_file),
            file=costs,
            shares=read_shares(route or ()),
            rates=read_rates(escalation or ()),
            hit_rate=hit_rate,
            overhead_ms=overhead_ms,
        )
        if busy_watts and watts_per_pod is None:
            raise ValueError("--busy-watts: needs --watts-per-pod")
        if min_replicas > max_replicas:
            raise ValueError(
                f"--min-replicas: given {min_replicas}, allowed up to --max-replicas {max_replicas}"
            )
        usual = ScalingRules()
        rules = ScalingRules(
            kind=scaler.value,
            min_replicas=min_replicas,
            max_replicas=max_replicas,
            tolerance=tolerance,
            polling_s=polling_s,
            up_window_s=up_window_s,
            down_window_s=down_window_s,
            up_policies=read_policies("--up-policy", up_policy) or usual.up_policies,
            down_policies=read_policies("--down-policy", down_policy) or usual.down_policies,
        )
        plan = FleetPlan(
            rules=rules,
            replicas=replicas or min_replicas,
            balancer=balancer.value,
            start_s=start_s,
            drain_s=drain_s,
            target_busy=target_busy,
            target_delay_s=target_delay_ms / 1e3,
            metric_window_s=metric_window_s,
            overhead_s=known.overhead_ms / 1e3,
        )
        arrivals_s = expand(read_trace(trace), requests_per_row, speed, seed, spread_s)
        drifting = None if drift is None else Drift(drift, drift_factor)
        run = run_fleet(make_workload(known, arrivals_s, seed, drifting), plan)
        summary = summarise(run, Prices(price_per_pod_hour, watts_per_pod, busy_watts), buckets)
        if save_costs is not None:
            write_costs(save_costs, known)
        if plot_file is not None:
            plot(summary, plot_file, f"{trace.name}, {summary.totals.requests:,} requests")
    if as_json:
        print(json.dumps({**summary.as_json(), "decisions": run.decisions}, indent=2))
    else:
        Console().print(*make_tables(summary), sep="\n\n")
