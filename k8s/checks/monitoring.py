"""Monitoring: what is scraped, and that every query asks for metrics that the server exports."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

from k8s.checks.objects import SERVER, Rendered, demand, matches, name_of, place_of
from k8s.checks.scaling import read_adapter_rules
from k8s.rendering import Object

METRICS = Path(__file__).parents[2] / "docs" / "metrics.md"
RUNBOOK = re.compile(r"https://\S+/docs/runbooks/(\w+)\.md")
DASHBOARDS = {"fleet.json", "route.json", "energy.json", "slo.json"}
_TOKEN = "SPARING_SERVER__BEARER_TOKEN_FILE"
_EXPORTED = re.compile(r"^\| `(\w+)` \| (?:counter|gauge|histogram) \|", re.MULTILINE)
_ASKED = re.compile(r"(?<![\w:])(sparing_\w+)")
_RECORDED = re.compile(r"\w+:sparing_\w+:\w+")


def exported_metrics() -> frozenset[str]:
    """Return the names that the server exports, as its documentation lists them: a test holds the
    two to each other.
    """
    names = _EXPORTED.findall(METRICS.read_text())
    return frozenset(
        {*names, *(f"{name}_{part}" for name in names for part in ("bucket", "sum", "count"))}
    )


def check_monitoring(rendered: Rendered) -> Iterator[str]:
    monitors, rules = list(rendered.of("ServiceMonitor")), list(rendered.of("PrometheusRule"))
    if len(monitors) != len(rules) or len(rules) > 1:
        yield "rules without a scrape, or a scrape without rules"
    for monitor in monitors:
        yield from (f"{place_of(monitor)}: {fault}" for fault in _check_monitor(monitor, rendered))
    for rule in rules:
        yield from (f"{place_of(rule)}: {fault}" for fault in _check_rule(rule))
    yield from _check_queries(rendered)
    for config in rendered.of("ConfigMap"):
        if name_of(config) == "sparing-dashboards":
            yield from _check_dashboards(config)
    for runtime in rendered.of("ServingRuntime"):
        wanted = {"prometheus.kserve.io/port": "3000", "prometheus.kserve.io/path": "/metrics"}
        if runtime["spec"].get("annotations") != wanted:
            yield f"{place_of(runtime)}: KServe's Prometheus looks elsewhere"


def _check_queries(rendered: Rendered) -> Iterator[str]:
    known = exported_metrics()
    for where, query in find_queries(rendered):
        unknown = [metric for metric in _ASKED.findall(query) if metric not in known]
        yield from (f"{where}: no server exports {metric}" for metric in unknown)


def find_queries(rendered: Rendered) -> Iterator[tuple[str, str]]:
    """Yield every PromQL query of scalers, with what asks it."""
    for scaler in rendered.of("ScaledObject"):
        for trigger in scaler["spec"].get("triggers", []):
            yield place_of(scaler), trigger.get("metadata", {}).get("query", "")
    for scaler in rendered.of("HorizontalPodAutoscaler"):
        for rule in read_adapter_rules():
            query = rule["metricsQuery"].replace("<<.GroupBy>>", "pod")
            yield place_of(scaler), query.replace("<<.LabelMatchers>>", 'namespace="sparing"')


def _check_monitor(monitor: Object, rendered: Rendered) -> Iterator[str]:
    spec = monitor["spec"]
    services = [
        service
        for service in rendered.of("Service")
        if matches(spec.get("selector"), service["metadata"].get("labels", {}))
    ]
    ports = [port["name"] for one in services for port in one["spec"]["ports"]]
    credentials = {"name": "sparing-secrets", "key": "bearer-token"}
    token = {"type": "Bearer", "credentials": credentials} if _needs_token(rendered) else None
    times = {"interval": "15s", "scrapeTimeout": "10s", "honorLabels": False}
    yield from demand(
        (
            spec.get("jobLabel") == "app.kubernetes.io/name",
            "the job would not be called as the rules ask for it",
        ),
        (
            spec.get("selector", {}).get("matchLabels") == SERVER,
            "it does not select the server's services",
        ),
        (len(spec.get("endpoints", [])) == 1, "not one endpoint"),
    )
    for endpoint in spec.get("endpoints", []):
        port = endpoint.get("port")
        yield from demand(
            (port == "http" and ports.count(port) == 1, f"not one service has the port {port!r}"),
            (
                (endpoint.get("scheme"), endpoint.get("path")) == ("http", "/metrics"),
                "it scrapes something else than /metrics",
            ),
            (
                {key: endpoint.get(key) for key in times} == times,
                "it scrapes at other times than the rules expect, or takes the pod's labels",
            ),
            (
                endpoint.get("authorization") == token,
                "it scrapes without the token that the server wants, or with one for nothing",
            ),
        )


def _needs_token(rendered: Rendered) -> bool:
    return any(_TOKEN in str(pod.spec) for pod in rendered.servers())


def _check_rule(rule: Object) -> Iterator[str]:
    known = exported_metrics()
    rules = [one for group in rule["spec"].get("groups", []) for one in group.get("rules", [])]
    recorded = {one.get("record") for one in rules}
    for one in rules:
        query = one.get("expr", "")
        for metric in _ASKED.findall(query):
            if metric not in known:
                yield f"no server exports {metric}"
        for name in _RECORDED.findall(query):
            if name not in recorded:
                yield f"no rule records {name}"
        if "alert" in one:
            link = RUNBOOK.fullmatch(one.get("annotations", {}).get("runbook_url", ""))
            if link is None or link[1] != one["alert"]:
                yield f"{one['alert']}: its runbook is at {one.get('annotations')}"


def _check_dashboards(config: Object) -> Iterator[str]:
    if config["metadata"].get("labels", {}).get("grafana_dashboard") != "1":
        yield "ConfigMap/sparing-dashboards: Grafana's sidecar does not look for it"
    if config["metadata"].get("annotations", {}).get("grafana_folder") != "Sparing":
        yield "ConfigMap/sparing-dashboards: the folder is another one"
    if config.get("data", {}).keys() != DASHBOARDS:
        yield "ConfigMap/sparing-dashboards: not all dashboards"
    for name, text in config.get("data", {}).items():
        try:
            json.loads(text)
        except ValueError as error:
            yield f"ConfigMap/sparing-dashboards: {name}: {error}"
