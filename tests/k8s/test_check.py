"""The command that checks manifests: verdicts, and schemas of custom resources."""

from collections.abc import Iterator

import pytest

from k8s.check import Missing, run_check
from k8s.custom_resources import find_installed, find_npm, judge


def test_a_check_is_right_wrong_or_not_run(capsys: pytest.CaptureFixture[str]) -> None:
    def lacks() -> Iterator[str]:
        raise Missing("a program is missing")

    assert run_check("one", lambda: iter(()))
    assert not run_check("two", lambda: iter(["a fault"]))
    assert run_check("three", lacks)
    assert capsys.readouterr().out.splitlines() == [
        "right: one",
        "WRONG: two",
        "    a fault",
        "not run: three: a program is missing",
    ]


@pytest.mark.skipif(
    find_npm() is None or find_installed() is None,
    reason="the schemas of custom resources are not installed: make k8s-check",
)
def test_a_scaler_without_triggers_is_refused_by_its_own_schema() -> None:
    folder = find_installed()
    assert folder is not None
    head = {"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": {"name": "a"}}
    good = {"scaleTargetRef": {"name": "a"}, "triggers": [{"type": "cpu", "metadata": {}}]}
    verdicts = judge([{**head, "spec": good}, {**head, "spec": {**good, "triggers": 1}}], folder)
    assert verdicts[0] == "" and "triggers must be array" in verdicts[1]
