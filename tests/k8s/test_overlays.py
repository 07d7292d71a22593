"""Overlays render to objects that fit each other, and a fault in one is found."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from dashboards.prometheus.make_rules import make_object
from dashboards.prometheus.options import Options
from k8s.checks.everything import find_faults
from k8s.checks.objects import Rendered
from k8s.checks.settings import read_settings
from k8s.rendering import FOLDER, OVERLAYS, Object, render_overlay
from tests.k8s.rendered import find_faults_after, needs_kubectl

RUNBOOKS = "https://git.example/sparing/blob/main"
Named = dict[str, Object]


@needs_kubectl
@pytest.mark.parametrize("name", OVERLAYS)
def test_an_overlay_has_no_faults(name: str) -> None:
    assert list(find_faults(render_overlay(name))) == []


def test_every_component_is_part_of_an_overlay() -> None:
    used: set[str] = set()
    for path in FOLDER.rglob("kustomization.yaml"):
        for component in yaml.safe_load(path.read_text()).get("components", []):
            assert (path.parent / component / "kustomization.yaml").exists()
            used.add(Path(component).name)
    assert used - {"grafana"} == {path.name for path in (FOLDER / "components").iterdir()}


def test_the_rules_for_the_operator_are_what_the_generator_writes() -> None:
    committed = FOLDER / "components" / "monitoring" / "prometheus-rule.yaml"
    assert committed.read_text() == make_object(Options(runbooks=RUNBOOKS))


def test_every_runbook_that_an_alert_names_is_there() -> None:
    rule = yaml.safe_load((FOLDER / "components/monitoring/prometheus-rule.yaml").read_text())
    alerts = [one for group in rule["spec"]["groups"] for one in group["rules"] if "alert" in one]
    assert len(alerts) > 10
    for alert in alerts:
        path = alert["annotations"]["runbook_url"].removeprefix(f"{RUNBOOKS}/")
        assert (FOLDER.parent / path).exists()


def test_variables_become_settings() -> None:
    settings = read_settings(
        {"SPARING_SERVER__HTTP_PORT": "8080", "SPARING_CACHE__LIMIT_BYTES": "1"}
    )
    assert (settings.server.http_port, settings.cache.limit_bytes) == (8080, 1)


def container(named: Named) -> Any:
    return named["Deployment/sparing"]["spec"]["template"]["spec"]["containers"][0]


def misspell_a_probe(named: Named) -> None:
    container(named)["readynessProbe"] = container(named).pop("readinessProbe")


def add_a_second_scaler(named: Named) -> None:
    [scaler] = Rendered(render_overlay("gpu")).of("HorizontalPodAutoscaler")
    named["HorizontalPodAutoscaler/sparing"] = scaler


def shorten_the_grace_period(named: Named) -> None:
    named["Deployment/sparing"]["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = 40


def ask_for_another_metric(named: Named) -> None:
    trigger = named["ScaledObject/sparing"]["spec"]["triggers"][0]["metadata"]
    trigger["query"] = trigger["query"].replace("stage_seconds", "device_wait")


def set_what_is_no_setting(named: Named) -> None:
    named["ConfigMap/sparing-settings"]["data"]["SPARING_SERVER__PORT"] = "3000"


def move_a_port(named: Named) -> None:
    named["ConfigMap/sparing-settings"]["data"]["SPARING_SERVER__HTTP_PORT"] = "8080"


def open_another_port(named: Named) -> None:
    named["NetworkPolicy/sparing"]["spec"]["ingress"][0]["ports"][0]["port"] = "https"


def take_the_newest_image(named: Named) -> None:
    container(named)["image"] = "registry.example.com/sparing:latest"


def budget_that_blocks(named: Named) -> None:
    budget = named["PodDisruptionBudget/sparing"]["spec"]
    del budget["maxUnavailable"]
    budget["minAvailable"] = 2


def scrape_other_pods(named: Named) -> None:
    labels = named["ServiceMonitor/sparing"]["spec"]["selector"]["matchLabels"]
    labels["app.kubernetes.io/component"] = "web"


def cache_more_than_the_limit(named: Named) -> None:
    named["ConfigMap/sparing-settings"]["data"]["SPARING_CACHE__LIMIT_BYTES"] = str(2**30)


def lose_a_secret(named: Named) -> None:
    for volume in named["Deployment/sparing"]["spec"]["template"]["spec"]["volumes"]:
        if "secret" in volume:
            volume["secret"]["secretName"] = "sparing-secret"


@needs_kubectl
@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (misspell_a_probe, "readynessProbe"),
        (add_a_second_scaler, "two scalers"),
        (shorten_the_grace_period, "grace period"),
        (ask_for_another_metric, "no server exports sparing_device_wait_sum"),
        (set_what_is_no_setting, "SPARING_SERVER__PORT: no such setting"),
        (move_a_port, "listens on"),
        (open_another_port, "have no port 'https'"),
        (take_the_newest_image, "is not pinned"),
        (budget_that_blocks, "could not be drained"),
        (scrape_other_pods, "does not select the server's services"),
        (cache_more_than_the_limit, "above its limit"),
        (lose_a_secret, "no secret 'sparing-secret'"),
    ],
)
def test_a_fault_is_found(change: Any, sentence: str) -> None:
    assert sentence in find_faults_after(_with_settings_by_their_name(change))


def _with_settings_by_their_name(change: Any) -> Any:
    """Keep the reference to the settings whole, whose name has a hash."""

    def changed(named: Named) -> None:
        name = container(named)["envFrom"][0]["configMapRef"]["name"]
        named["ConfigMap/sparing-settings"]["metadata"]["name"] = name
        change(named)

    return changed
