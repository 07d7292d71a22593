"""Faults in rendered objects: what is made of them, and how many of them the checks find."""

from itertools import islice

import pytest

from k8s.checks.objects import read_quantity
from k8s.mutation_report import TARGET, make_table
from k8s.mutations import Score, classify, make_mutants, measure
from k8s.rendering import render_overlay
from tests.k8s.rendered import needs_kubectl

POD = {"kind": "Pod", "metadata": {"name": "a"}, "spec": {"port": 80, "tty": True, "empty": {}}}


def test_every_scalar_is_changed_left_out_and_misspelt() -> None:
    faults = [str(mutant) for mutant in make_mutants([POD])]
    assert "Pod/a.spec.port: 80 becomes 801" in faults
    assert "Pod/a.spec.port: 80 is left out" in faults
    assert "Pod/a.spec.port: the key is misspelt" in faults
    assert "Pod/a.spec.tty: True becomes False" in faults
    assert "Pod/a.spec.empty: {} becomes {'x': 'x'}" in faults
    assert "Pod/a.metadata.name: 'a' becomes 'ax'" in faults


def test_a_mutant_has_one_fault_and_the_original_none() -> None:
    for mutant in make_mutants([POD, POD]):
        assert sum(thing == POD for thing in mutant.objects) == 1


def test_a_field_belongs_to_the_class_of_its_innermost_key() -> None:
    assert classify("Deployment/a.spec.containers.0.resources.limits.memory") == "quantities"
    assert classify("Deployment/a.spec.containers.0.livenessProbe.httpGet.port") == "ports"
    assert classify("Deployment/a.spec.containers.0.livenessProbe.periodSeconds") == (
        "probes and lifecycle"
    )


def test_a_table_tells_the_share_and_what_was_missed() -> None:
    score = Score()
    for found, mutant in zip([True, True, False], make_mutants([POD]), strict=False):
        score.add(mutant, found)
    table = make_table({"dev": score})
    assert "66.7% of 3 faults" in table and "**missed**" in table
    assert score.missed[0] in table


@needs_kubectl
@pytest.mark.slow
@pytest.mark.parametrize("name", ["prod", "gpu", "kserve"])
def test_the_checks_find_nearly_every_fault(name: str) -> None:
    # A sample: `python -m k8s.check --mutations` takes them all.
    score = measure(islice(make_mutants(render_overlay(name)), 0, None, 11))
    assert score.made.total() > 15
    assert score.share >= TARGET, "\n".join(score.missed)


@pytest.mark.parametrize(
    ("text", "value"), [("500m", 0.5), ("1", 1), ("64Mi", 2**26), ("1Gi", 2**30), ("2k", 2000)]
)
def test_quantities(text: str, value: float) -> None:
    assert read_quantity(text) == value


@pytest.mark.parametrize("text", ["", "1 Gi", "64Mo", "Mi", "-1", None])
def test_no_quantities(text: str | None) -> None:
    with pytest.raises(ValueError, match="is no quantity"):
        read_quantity(text)
