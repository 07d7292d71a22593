"""`sparing simulate`: tables, JSON, a picture, costs of a server, and faults of one sentence."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from simulation.costs import read_costs
from sparing.cli import run

ROUTES = {
    "routes": [
        {
            "route": "cascade",
            "version": "1",
            "stages": [{"name": "small", "max_batch": 16}, {"name": "large", "max_batch": 8}],
            "profile": {
                "small": {"one_row_ms": 1.0, "full_batch_ms": 4.0, "max_batch": 16},
                "large": {"one_row_ms": 10.0, "full_batch_ms": 40.0, "max_batch": 8},
            },
        }
    ]
}
METRICS = """# TYPE sparing_escalations_total counter
sparing_escalations_total{route="cascade",stage="small"} 10
sparing_batch_rows_sum{route="cascade",stage="small"} 40
sparing_batch_rows_sum{route="cascade",stage="large"} 10
sparing_rows_total{route="cascade",exit="small",stopped_by="cache"} 60
sparing_rows_total{route="cascade",exit="small",stopped_by="confidence"} 30
sparing_rows_total{route="cascade",exit="large",stopped_by="last_stage"} 10
"""


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    path = tmp_path / "trace.csv"
    path.write_text("time_s\n" + "".join(f"{number / 20}\n" for number in range(2400)))
    return path


@pytest.fixture
def costs(tmp_path: Path) -> Path:
    path = tmp_path / "costs.json"
    path.write_text(json.dumps(ROUTES))
    return path


@pytest.fixture
def url() -> Iterator[str]:
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            allowed = self.headers["Authorization"] == "Bearer s3cret"
            text = METRICS if self.path == "/metrics" else json.dumps(ROUTES)
            self.send_response(200 if allowed else 401)
            self.end_headers()
            self.wfile.write(text.encode() if allowed else b'{"error": "no token"}')

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_tables_show_buckets_and_totals(
    trace: Path, costs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--trace", str(trace), "--costs", str(costs), "--escalation", "small=0.2"]
    money = ["--price-per-pod-hour", "0.1", "--watts-per-pod", "5", "--busy-watts", "4"]
    assert run(["simulate", *given, *money, "--buckets", "4"]) == 0
    printed = capsys.readouterr().out
    lines = [line.split() for line in printed.splitlines()]
    assert [line[0] for line in lines[1:5]] == ["0:00:00", "0:00:29", "0:00:59", "0:01:29"]
    for word in ("2,400", "p99", "pod-hours", "per million requests", "J per request", "estimate"):
        assert word in printed


def test_json_holds_the_run_and_is_the_same_again(
    trace: Path, costs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--trace", str(trace), "--costs", str(costs), "--escalation", "small=0.2", "--json"]
    more = ["--requests-per-row", "20", "--speed", "2", "--drift", "30", "--plot"]
    printed = []
    for _ in range(2):
        assert run(["simulate", *given, *more, str(tmp_path / "run.png")]) == 0
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1]
    found = json.loads(printed[0])
    assert found["totals"]["requests"] == 48_000
    assert found["decisions"]
    assert found["totals"]["most_replicas"] > 2
    assert (tmp_path / "run.png").exists()


def test_costs_of_a_server_hold_what_it_counted(
    url: str, trace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "kept.json"
    given = ["--trace", str(trace), "--url", url, "--save-costs", str(kept)]
    assert run(["simulate", *given, "--token", "s3cret"]) == 0
    (route,) = read_costs(kept).routes
    assert route.hit_rate == 0.6
    assert [stage.escalation for stage in route.stages] == [0.25, None]
    capsys.readouterr()
    assert run(["simulate", *given]) == 1
    refused = capsys.readouterr().err
    assert "needs a bearer token; set SPARING_TOKEN to it, or give --token-file" in refused


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([], ["--escalation small=RATE"]),
        (["--url", "http://127.0.0.1:1"], ["--url", "--costs"]),
        (["--escalation", "small"], ["--escalation", "'small'", "NAME=NUMBER"]),
        (["--escalation", "small=2"], ["--escalation", "0 to 1"]),
        (["--escalation", "huge=0.5"], ["no stage 'huge'", "small"]),
        (["--route", "other"], ["--route", "'other'", "cascade"]),
        (["--route", "cascade=x"], ["--route", "'cascade=x'"]),
        (["--escalation", "small=0.1", "--up-policy", "fast"], ["--up-policy", "'fast'", "2/30"]),
        (["--escalation", "small=0.1", "--busy-watts", "4"], ["--busy-watts", "--watts-per-pod"]),
        (["--escalation", "small=0.1", "--min-replicas", "11"], ["--min-replicas", "10"]),
        (["--escalation", "small=0.1", "--trace", "absent.csv"], ["absent.csv", "No such file"]),
        (["--escalation", "small=0.1", "--costs", "absent.json"], ["absent.json", "No such file"]),
        (["--speed", "0"], ["--speed"]),
        (["--scaler", "magic"], ["--scaler", "magic"]),
        (["--replicas", "many"], ["--replicas"]),
        (["--speed", "nan"], ["--speed"]),
        (["--start-s", "inf"], ["--start-s", "inf"]),
    ],
)
def test_wrong_input_is_one_sentence(
    trace: Path,
    costs: Path,
    given: list[str],
    words: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["simulate", "--trace", str(trace), "--costs", str(costs), *given]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("sparing: ")
    assert all(word in line for word in words), line
