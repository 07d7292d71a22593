"""The queries of the scalers on synthetic series, by promtool: what asks for more pods."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from k8s.checks.scaling import BUSY, DELAY_S, read_adapter_rules
from k8s.rendering import FOLDER

pytestmark = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is missing: apt-get install prometheus"
)
POD = 'namespace="sparing",job="sparing",route="r",pod='
# Each step is 15 s. The large stage takes twice the time from 5 min on: inputs became harder, while
# the rows that are answered stay as many. Pod c serves nothing; pod d is another namespace's.
SERIES = {
    f'sparing_stage_seconds_sum{{{POD}"a",stage="light"}}': "0+3.75x40",
    f'sparing_stage_seconds_sum{{{POD}"a",stage="large"}}': "0+3.75x20 82.5+7.5x20",
    f'sparing_stage_seconds_sum{{{POD}"b",stage="large"}}': "0+7.5x20 165+15x20",
    f'sparing_rows_total{{{POD}"a",exit="light"}}': "0+1500x40",
    f'sparing_rows_total{{{POD}"b",exit="light"}}': "0+1500x40",
    f'sparing_rows_total{{{POD}"c",exit="light"}}': "0x40",
    f'sparing_queue_seconds_sum{{{POD}"a",stage="light"}}': "0+15x40",
    f'sparing_queue_seconds_sum{{{POD}"b",stage="large"}}': "0+30x40",
    f'sparing_queue_seconds_sum{{{POD}"c",stage="light"}}': "0x40",
    'sparing_stage_seconds_sum{namespace="x",job="sparing",pod="d"}': "0+15x40",
}


def read_triggers() -> dict[str, str]:
    path = FOLDER / "components" / "keda" / "scaled-object.yaml"
    triggers = yaml.safe_load(path.read_text())["spec"]["triggers"]
    return {trigger["name"]: trigger["metadata"]["query"] for trigger in triggers}


def read_pod_metrics() -> dict[str, str]:
    matchers = 'namespace="sparing"'
    return {
        rule["name"]["as"]: rule["metricsQuery"]
        .replace("<<.GroupBy>>", "pod")
        .replace("<<.LabelMatchers>>", matchers)
        for rule in read_adapter_rules()
    }


def evaluate(folder: Path, series: dict[str, str], expected: list[dict[str, Any]]) -> str:
    """Return what promtool says of expressions that differ; empty if none does."""
    test = {
        "interval": "15s",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": expected,
    }
    path = folder / "test.yml"
    path.write_text(yaml.safe_dump({"rule_files": [], "tests": [test]}))
    done = subprocess.run(
        ["promtool", "test", "rules", str(path)], capture_output=True, text=True, check=False
    )
    return "" if done.returncode == 0 else done.stdout + done.stderr


def expect(query: str, eval_time: str, values: dict[str, float]) -> dict[str, Any]:
    samples = [{"labels": labels, "value": value} for labels, value in values.items()]
    return {"expr": f"round({query}, 0.001)", "eval_time": eval_time, "exp_samples": samples}


def test_keda_counts_what_devices_do_and_how_long_rows_wait(tmp_path: Path) -> None:
    queries = read_triggers()
    expected = [
        expect(queries["device-busy"], "4m", {"{}": 1.0}),
        expect(queries["device-busy"], "9m", {"{}": 1.75}),  # harder rows, not more
        expect(queries["queue-delay"], "4m", {"{}": 0.03}),  # 10 and 20 ms
    ]
    assert evaluate(tmp_path, SERIES, expected) == ""
    assert 1.0 / BUSY < 2 < 1.75 / BUSY < 3  # two pods are enough, then three are asked for


def test_keda_falls_back_without_samples_but_not_without_requests(tmp_path: Path) -> None:
    queries = read_triggers()
    nothing = [
        expect(queries["device-busy"], "4m", {}),
        expect(queries["queue-delay"], "4m", {"{}": 0}),
    ]
    assert evaluate(tmp_path, {'up{job="x"}': "1x40"}, nothing) == ""
    idle = {f'sparing_stage_seconds_sum{{{POD}"a",stage="light"}}': "0x40"}
    assert evaluate(tmp_path, idle, [expect(queries["device-busy"], "4m", {"{}": 0})]) == ""


def test_the_autoscaler_gets_the_same_signals_for_each_pod(tmp_path: Path) -> None:
    busy, delay = read_pod_metrics().values()
    expected = [
        expect(busy, "9m", {'{pod="a"}': 0.75, '{pod="b"}': 1.0}),
        expect(delay, "4m", {'{pod="a"}': 0.01, '{pod="b"}': 0.02, '{pod="c"}': 0}),
    ]
    assert evaluate(tmp_path, SERIES, expected) == ""
    assert DELAY_S == 0.02
