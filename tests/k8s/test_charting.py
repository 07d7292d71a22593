"""The chart renders the objects of the overlays, and takes no values that it does not know."""

import subprocess

import pytest

from k8s.charting import compare, normalise
from k8s.checks.everything import find_faults
from k8s.make_values_schema import TARGET, make_text
from k8s.rendering import CHARTED, FOLDER, render_chart
from k8s.tools import need_tool
from tests.k8s.rendered import needs_helm


@needs_helm
@pytest.mark.parametrize("name", CHARTED)
def test_the_chart_renders_the_same_objects_as_the_overlay(name: str) -> None:
    assert list(compare(name)) == []
    assert list(find_faults(render_chart(name))) == []


def test_the_schema_of_values_is_what_the_generator_writes() -> None:
    assert TARGET.read_text() == make_text()


@needs_helm
@pytest.mark.parametrize(
    "wrong",
    [
        "replica=3",
        "settings.SPARING_SERVER__PORT=3000",
        "autoscaling.scaler=both",
        "image.digest=sha256:1234",
    ],
)
def test_the_chart_refuses_values_that_mean_nothing(wrong: str) -> None:
    command = [str(need_tool("helm")), "template", "sparing", str(FOLDER / "chart")]
    done = subprocess.run([*command, "--set", wrong], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert wrong.partition("=")[0].split(".")[-1] in done.stderr


def test_what_only_one_tool_writes_is_left_out() -> None:
    ours = {"name": "sparing-settings-abcdef0123", "env": [{"name": "b"}, {"name": "a"}]}
    chart = {
        "name": "sparing-settings",
        "env": [{"name": "a"}, {"name": "b"}],
        "annotations": {"checksum/settings": "1"},
    }
    assert normalise(ours) == normalise(chart)
    assert normalise({"args": ["b", "a"]}) != normalise({"args": ["a", "b"]})
