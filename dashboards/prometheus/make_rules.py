"""Write the rules: `python -m dashboards.prometheus.make_rules > dashboards/prometheus/rules.yml`.

Options change the time scale, the objectives, the job's name and the address of the runbooks. The
committed file is written without options. With `--kubernetes` the same rules are written as an
object for the Prometheus operator, `k8s/components/monitoring/prometheus-rule.yaml`.
"""

import argparse
import sys
from collections.abc import Sequence

from dashboards.prometheus.cause_alerts import make_cause_group
from dashboards.prometheus.objective_rules import make_objective_groups
from dashboards.prometheus.objectives import Objectives
from dashboards.prometheus.options import Options
from dashboards.prometheus.rules import Group, write_rules
from dashboards.prometheus.traffic_rules import make_traffic_groups
from dashboards.prometheus.windows import Windows

HEADING = (
    "Recording rules and alerts of Sparing, written by dashboards/prometheus/make_rules.py:",
    "change that and run `python -m dashboards.prometheus.make_rules --help`.",
)


def make_groups(options: Options) -> list[Group]:
    """Make all groups, recordings before the alerts that use them."""
    traffic = make_traffic_groups(options)
    return [*traffic, *make_objective_groups(options), make_cause_group(options)]


def make_text(options: Options) -> str:
    return write_rules(make_groups(options), HEADING)


def make_object(options: Options) -> str:
    """Return the rules as a PrometheusRule, the object of the Prometheus operator."""
    labels = {"app.kubernetes.io/name": "sparing", "app.kubernetes.io/component": "server"}
    heading, rules = make_text(options).split("groups:\n", 1)
    lines = [
        heading.rstrip(),
        "apiVersion: monitoring.coreos.com/v1",
        "kind: PrometheusRule",
        "metadata:",
        "  name: sparing",
        "  labels:",
        *(f"    {name}: {value}" for name, value in labels.items()),
        "spec:",
        "  groups:",
        *(f"  {line}".rstrip() for line in rules.splitlines()),
    ]
    return "\n".join(lines) + "\n"


def read_options(arguments: Sequence[str]) -> tuple[Options, bool]:
    """Parse the options; the second value says whether to write an object for Kubernetes. Ends the
    program with one sentence if they are wrong.
    """
    parser = argparse.ArgumentParser(
        prog="python -m dashboards.prometheus.make_rules",
        description="Write Prometheus rules to standard output.",
    )
    wanted = Objectives()
    parser.add_argument(
        "--scale", type=float, default=1.0, help="divide all durations by this; 60 for trials"
    )
    parser.add_argument(
        "--availability", type=float, default=wanted.availability,
        help="share of requests that must be answered (default %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--latency", type=float, default=wanted.latency,
        help="share of rows that must be within --latency-s (default %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--latency-s", type=float, default=wanted.latency_s,
        help="latency bound in seconds, a bucket of the histogram (default %(default)s)",
    )  # fmt: skip
    parser.add_argument("--job", default="sparing", help="the scrape job (default %(default)s)")
    parser.add_argument(
        "--runbooks", default="", metavar="URL", help="prefix of docs/runbooks/ in links"
    )
    parser.add_argument(
        "--kubernetes", action="store_true", help="write an object for the Prometheus operator"
    )
    given = parser.parse_args(arguments)
    try:
        objectives = Objectives(given.availability, given.latency, given.latency_s)
        options = Options(Windows(given.scale), objectives, given.job, given.runbooks)
        return options, given.kubernetes
    except ValueError as error:
        parser.error(str(error))


def main() -> None:
    options, as_object = read_options(sys.argv[1:])
    sys.stdout.write(make_object(options) if as_object else make_text(options))


if __name__ == "__main__":
    main()
