"""`sparing report`: figures follow from the counters, of a server or as a Prometheus tells them."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from typer.testing import CliRunner

from sparing.cli import app
from sparing.failure import Failure
from sparing.report.page import write_page
from sparing.report.reporting import gather, judge, list_rows
from sparing.report.sources import PrometheusSource, ServerSource, read_span, show_span

PAGE = """# HELP sparing_rows_total Rows answered.
# TYPE sparing_rows_total counter
sparing_rows_total{exit="light",route="a",stopped_by="confidence"} 60.0
sparing_rows_total{exit="large",route="a",stopped_by="last_stage"} 20.0
sparing_rows_total{exit="light",route="a",stopped_by="cache"} 20.0
sparing_rows_total{exit="light",route="unused",stopped_by="confidence"} 0.0
sparing_requests_total{result="ok",route="a"} 90.0
sparing_requests_total{result="Overloaded",route="a"} 3.0
sparing_requests_total{result="InvalidInput",route="a"} 7.0
sparing_requests_total{result="StageFailed",route="broken"} 500.0
sparing_device_seconds_total{exit="light",route="a"} 1.5
sparing_device_seconds_total{exit="large",route="a"} 2.5
sparing_macs_total{exit="light",route="a"} 6e+09
sparing_macs_total{exit="large",route="a"} 1.4e+10
sparing_full_macs_total{route="a"} 1e+11
sparing_stage_seconds_sum{route="a",stage="light"} 2.0
sparing_stage_seconds_sum{route="a",stage="large"} 3.0
sparing_batch_rows_sum{route="a",stage="light"} 80.0
sparing_batch_rows_sum{route="a",stage="large"} 20.0
sparing_energy_joules_total{exit="light",route="a",source="rapl"} 12.0
sparing_energy_joules_total{exit="large",route="a",source="rapl"} 28.0
process_start_time_seconds 1.7e+09
"""


@contextmanager
def answering(respond: "dict[str, str]", seen: list[str | None] | None = None) -> Iterator[str]:
    """An HTTP server: by path, or the query's first word, what it says."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if seen is not None:
                seen.append(self.headers["Authorization"])
            parts = urlsplit(self.path)
            query = parse_qs(parts.query).get("query", [""])[0]
            found = [text for key, text in respond.items() if key in (parts.path + " " + query)]
            self.send_response(200 if found else 404)
            self.end_headers()
            self.wfile.write((found or ["nothing here"])[0].encode())

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_servers_counters_become_figures() -> None:
    with answering({"/metrics": PAGE}) as url:
        figures = ServerSource(url)
    one, broken = gather(figures)
    assert (broken.route, broken.rows, broken.failed_requests) == ("broken", 0.0, 500.0)
    assert list_rows([broken])[1][:5] == ["broken", "0", "500", "–", "–"]
    assert (one.route, one.rows, one.remembered, one.failed_requests) == ("a", 100.0, 20.0, 3.0)
    assert one.exits == {"light": 80.0, "large": 20.0}
    assert one.full_macs == 1e11  # the server counts those from the cache, too
    assert one.saved == pytest.approx(0.8)
    assert (one.joules, one.sources) == (40.0, ("rapl",))
    assert one.full_joules == pytest.approx(40 / 5 * 3 / 20 * 100)  # not by MACs: 200
    head, row = list_rows([one])
    assert row[:5] == ["a", "100", "3", "20.0%", "light, 80.0%"]
    assert dict(zip(head, row, strict=True))["energy"] == "40 J (rapl)"
    assert "This saved 80.0% of the compute." in judge([one])
    assert figures.span.startswith("since the server started, 2023-11-1")


def test_a_negative_saving_is_reported_as_more_compute() -> None:
    with answering({"/metrics": PAGE.replace("1e+11", "1.6e+10")}) as url:
        one, _ = gather(ServerSource(url))
    assert judge([one]).endswith("This used 25.0% more compute than the full model.")


def test_a_server_that_speaks_another_protocol_is_one_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"

        def speak() -> None:
            with listener.accept()[0] as connection:
                connection.recv(65536)
                connection.sendall(b"PRI * HTTP/2.0\r\n\r\n")

        thread = threading.Thread(target=speak)
        thread.start()
        with pytest.raises(Failure, match="is `sparing serve` running there"):
            ServerSource(url)
        thread.join()


def test_a_token_is_sent_along(tmp_path: Path) -> None:
    seen: list[str | None] = []
    with answering({"/metrics": PAGE}, seen) as url:
        done = CliRunner().invoke(app, ["report", "--url", url, "--token", "secret"])
    assert done.exit_code == 0
    assert seen == ["Bearer secret"]


def test_what_nobody_measured_is_a_dash() -> None:
    page = "\n".join(line for line in PAGE.splitlines() if "energy" not in line)
    with answering({"/metrics": page}) as url:
        one, _ = gather(ServerSource(url))
    assert one.joules is None and one.full_joules is None
    head, row = list_rows([one])
    assert len(head) == len(row) == 7 and "energy" not in head


def vector(*samples: tuple[dict[str, str], float]) -> str:
    result = [{"metric": labels, "value": [0, str(value)]} for labels, value in samples]
    return json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}})


def test_a_prometheus_is_asked_for_growth_over_the_time() -> None:
    says = {
        "count(": vector(({}, 1)),
        "(sparing_rows_total[3600s])": vector(
            ({"route": "a", "exit": "light", "stopped_by": "confidence"}, 50.0)
        ),
        "/api/v1/query ": vector(),
    }
    with answering(says) as url:
        figures = PrometheusSource(url, 3600)
        (one,) = gather(figures)
    assert (one.rows, one.saved, figures.span) == (50.0, None, "the last 60 minutes")
    with answering({"/api": vector()}) as url, pytest.raises(Failure, match="does it scrape"):
        PrometheusSource(url, 60)
    with answering({"/api": "<html>"}) as url, pytest.raises(Failure, match="is not a Prometheus"):
        PrometheusSource(url, 60)


@pytest.mark.parametrize(("text", "seconds"), [("90m", 5400), ("24h", 86400), ("7d", 604800)])
def test_spans_are_read(text: str, seconds: int) -> None:
    assert read_span(text) == seconds


@pytest.mark.parametrize("text", ["", "h", "0h", "-1h", "24", "1w", "1 h"])
def test_what_is_no_span_is_refused(text: str) -> None:
    with pytest.raises(Failure, match="as in 24h"):
        read_span(text)


def test_spans_are_shown_in_the_largest_unit_that_fits() -> None:
    assert [show_span(s) for s in (604800, 7200, 5400, 90)] == [
        "7 days", "2 hours", "90 minutes", "90 seconds",
    ]  # fmt: skip


def test_the_page_holds_the_table_and_its_plots_and_escapes_names(tmp_path: Path) -> None:
    page = PAGE.replace('route="a"', 'route="<a>"')
    with answering({"/metrics": page}) as url:
        figures = ServerSource(url)
    path = tmp_path / "report.html"
    write_page(path, gather(figures), figures)
    text = path.read_text()
    assert "<td>&lt;a&gt;</td>" in text and "<a>" not in text
    assert text.count("<svg") == 2


def test_the_command_prints_the_table_or_one_sentence(tmp_path: Path) -> None:
    runner = CliRunner(env={"COLUMNS": "200"})
    with answering({"/metrics": PAGE}) as url:
        done = runner.invoke(app, ["report", "--url", url])
    assert done.exit_code == 0 and "light, 80.0%" in done.stdout
    refused = runner.invoke(app, ["report", "--since", "24h"])
    assert isinstance(refused.exception, Failure) and "--prometheus" in str(refused.exception)
