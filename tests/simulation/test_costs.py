"""Costs: both forms of JSON, what a server counted, and faults of one sentence."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from simulation.costs import (
    Costs,
    RouteCosts,
    StageCosts,
    add_counts,
    choose_routes,
    parse_costs,
    read_costs,
    require_complete,
    set_escalation,
    write_costs,
)

SMALL = StageCosts("small", 1.0, 4.0, 4, 0.25)
LARGE = StageCosts("large", 10.0, 10.0, 1)
COSTS = Costs((RouteCosts("a", (SMALL, LARGE), 2.0, 0.5), RouteCosts("b", (LARGE,))), 0.1, (0.2,))


def serve(version: str, **figures: object) -> dict[str, Any]:
    """Make an entry of `GET /v1/routes`."""
    profile = {
        "one_row_ms": 1.0,
        "full_batch_ms": 2.0,
        "max_batch": 8,
        "waiting_rows": 0,
        **figures,
    }
    stage = {"name": "only", "macs": 5, "max_batch": 8, "temperature": 1.0, "threshold": None}
    return {"route": "a", "version": version, "stages": [stage], "profile": {"only": profile}}


def test_a_batch_takes_a_fixed_time_and_a_time_for_each_row() -> None:
    assert SMALL.list_batch_times_s() == pytest.approx([0.0, 0.001, 0.002, 0.003, 0.004])
    assert LARGE.list_batch_times_s() == [0.0, 0.01]
    slower_alone = StageCosts("noisy", 3.0, 2.0, 2)
    assert slower_alone.list_batch_times_s() == [0.0, 0.003, 0.003]


def test_the_device_time_of_a_request_follows_its_escalations() -> None:
    route = COSTS.routes[0]
    assert route.list_reached() == [1.0, 0.25]
    assert route.device_ms() == pytest.approx(0.5 * (1.0 + 0.25 * 10))
    assert route.device_ms(factor=2.0) == pytest.approx(0.5 * (1.0 + 0.5 * 10))
    assert route.list_reached(factor=100.0) == [1.0, 1.0]


@pytest.mark.parametrize("network_ms", [(0.2,), (0.2, 1.5, 0.1)])
def test_costs_survive_a_file(tmp_path: Path, network_ms: tuple[float, ...]) -> None:
    path = tmp_path / "costs.json"
    costs = replace(COSTS, network_ms=network_ms)
    write_costs(path, costs)
    assert read_costs(path) == costs


def test_the_newest_version_of_a_served_route_counts() -> None:
    table = {"routes": [serve("10", one_row_ms=7.0), serve("9")]}
    (route,) = parse_costs(table, "here").routes
    assert route.stages == (StageCosts("only", 7.0, 2.0, 8, None),)


def test_counters_of_a_server_tell_escalation_and_hits() -> None:
    gone_on = {("a", "small"): 10.0}
    rows = {("a", "small"): 40.0, ("a", "large"): 10.0}
    answered = {("a", "cache"): 60.0, ("a", "confidence"): 30.0, ("a", "last_stage"): 10.0}
    first, second = add_counts(COSTS, gone_on, rows, answered).routes
    assert first.stages[0].escalation == 0.25
    assert first.stages[1].escalation is None
    assert first.hit_rate == 0.6
    assert second == COSTS.routes[1]


def test_routes_are_chosen_with_their_shares() -> None:
    assert choose_routes(COSTS, {}) == COSTS
    (route,) = choose_routes(COSTS, {"a": 3.0}).routes
    assert route.share == 3.0
    with pytest.raises(ValueError, match="--route: given 'c', allowed a, b"):
        choose_routes(COSTS, {"c": None})


def test_escalation_is_set_by_the_name_of_a_stage() -> None:
    assert set_escalation(COSTS, {"small": 0.5}).routes[0].stages[0].escalation == 0.5
    assert set_escalation(COSTS, {"a/small": 0.75}).routes[0].stages[0].escalation == 0.75
    with pytest.raises(ValueError, match="--escalation: no stage 'large' before a last one: small"):
        set_escalation(COSTS, {"large": 0.5})


def test_an_unknown_escalation_is_refused_before_a_run() -> None:
    stages = (StageCosts("small", 1.0, 2.0, 4), LARGE)
    with pytest.raises(ValueError, match="give --escalation small=RATE"):
        require_complete(Costs((RouteCosts("a", stages),)))
    with pytest.raises(ValueError, match="all shares"):
        require_complete(Costs((RouteCosts("a", (LARGE,), share=0.0),)))
    require_complete(COSTS)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ([], ["list of routes"]),
        ({"routes": []}, ["list of routes"]),
        ({"routes": [7]}, ["no name in the key route"]),
        ({"routes": [{"route": "a"}]}, ["route a", "list of stages"]),
        ({"routes": [{"route": "a", "stages": [{}]}]}, ["route a", "stage has no name"]),
        ({"routes": [serve("1", one_row_ms=0)]}, ["stage only", "one_row_ms", "given 0"]),
        ({"routes": [serve("1", full_batch_ms="2")]}, ["full_batch_ms", "given '2'"]),
        ({"routes": [serve("1", max_batch=2.5)]}, ["max_batch", "whole number"]),
        ({"routes": [serve("1", max_batch=True)]}, ["max_batch", "given True"]),
        ({"routes": [serve("1", escalation=1.5)]}, ["escalation", "0 to 1"]),
        ({"routes": [serve("1")], "overhead_ms": -1}, ["overhead_ms", "given -1"]),
        ({"routes": [serve("1")], "network_ms": []}, ["network_ms", "given 0 values"]),
        ({"routes": [serve("1")], "network_ms": [1.0, "2"]}, ["network_ms", "given '2'"]),
        ({"routes": [serve("1") | {"hit_rate": 2}]}, ["hit_rate", "given 2"]),
    ],
)
def test_wrong_costs_are_one_sentence(tmp_path: Path, table: object, words: list[str]) -> None:
    path = tmp_path / "costs.json"
    path.write_text(json.dumps(table))
    with pytest.raises(ValueError, match=r"costs\.json") as raised:
        read_costs(path)
    assert all(word in str(raised.value) for word in words)


def test_a_file_that_is_missing_or_not_json_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="No such file"):
        read_costs(tmp_path / "absent.json")
    path = tmp_path / "costs.json"
    path.write_text("{")
    with pytest.raises(ValueError, match="not JSON"):
        read_costs(path)
