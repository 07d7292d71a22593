"""The rest of the console in a real browser: its other tabs, tokens, a server that goes and comes
back, the documentation of the API, and whether everyone can use them.
"""

from collections.abc import Mapping
from pathlib import Path

import pytest

from harness.live_server import ROOT, LiveServer
from harness.services.browser import Browser
from harness.tiny_routes import write_route
from tests.servers.accessibility import find_faults

TABS: Mapping[str, str] = {
    "try": "#panel-try .result",
    "compare": "#panel-compare .pair .result",
    "routes": "#panel-routes .stages",
    "fleet": "#panel-fleet .chart .big",
}


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("tab", TABS)
def test_everyone_can_use_a_tab(browser: Browser, server: LiveServer, tab: str, dark: bool) -> None:
    browser.resize(1280, 900, dark=dark)
    browser.visit(f"{server.url}/#{tab}")
    if tab in {"try", "compare"}:
        browser.wait(f"document.querySelector('#panel-{tab} .samples')")
        browser.click(browser.find_button("Coat"))
    browser.wait(f"document.querySelector({TABS[tab]!r})")
    assert find_faults(browser, colours_only=dark) == []
    browser.resize(390, 800, dark=dark)
    assert browser.run("return document.documentElement.scrollWidth") == 390
    assert browser.read_log() == []


def test_tabs_work_by_keyboard(browser: Browser, server: LiveServer) -> None:
    browser.visit(server.url)
    browser.wait("document.querySelector('#panel-try .samples')")
    browser.press(browser.find("#tab-try"), "\ue014")  # the right arrow
    assert browser.run("return document.activeElement.id") == "tab-compare"
    assert browser.run("return location.hash") == "#compare"
    assert browser.run("return document.querySelector('#panel-try').hidden")
    browser.press(browser.find("#tab-compare"), "\ue010")  # End
    assert browser.run("return location.hash") == "#fleet"


def test_two_routes_answer_the_same_input_side_by_side(
    browser: Browser, server: LiveServer
) -> None:
    browser.visit(f"{server.url}/#compare")
    browser.wait("document.querySelector('#panel-compare .samples')")
    browser.click(browser.find_button("Coat"))
    browser.wait_text("Both give the same answer.", "#panel-compare .verdict")
    text = browser.text("#panel-compare .verdict")
    assert "fashion-mnist took 45.3 MMACs" in text
    assert "fashion-mnist-large took 36.4 MMACs" in text


def test_live_figures_come_from_the_metrics(browser: Browser, server: LiveServer) -> None:
    browser.visit(f"{server.url}/#try")
    browser.wait("document.querySelector('#panel-try .samples')")
    browser.click(browser.find_button("Shirt"))
    browser.wait_text("Shirt", "#panel-try .output")
    asked = "return performance.getEntriesByName(location.origin + '/metrics').length"
    assert browser.run(asked) == 0  # no tab shows a figure yet
    browser.click(browser.find_button("Routes"))
    browser.wait("document.querySelector('#panel-routes .mix')")
    text = browser.text("#panel-routes .cards")
    assert "at least 82.9 % sure" in text
    assert "Compute saved" in text
    assert browser.run(asked) > 0
    browser.click(browser.find_button("Fleet"))
    browser.wait("document.querySelectorAll('#panel-fleet path.line').length >= 3")
    assert "Energy source" in browser.text("#panel-fleet .facts-line")


QUANTILE = """
return import("/console/basics/metrics.js").then(({ parse, grow, quantile }) => {
  const text = (count) => [["0.0025", 0], ["0.005", count], ["+Inf", count]]
    .map(([le, value]) => `sparing_latency_seconds_bucket{le="${le}"} ${value}`).join("\\n");
  return quantile(grow(parse(text(30)), parse(text(10))), "sparing_latency_seconds", 0.5);
});
"""


def test_a_median_is_that_of_prometheus(browser: Browser, server: LiveServer) -> None:
    """All answers took 2.5 to 5 ms: an empty bucket has a limit, too."""
    browser.visit(f"{server.url}/#try")
    assert browser.run(QUANTILE) == pytest.approx(0.00375)


def test_the_page_asks_for_the_token(browser: Browser, tmp_path: Path) -> None:
    write_route(tmp_path / "models")
    settings = '[server]\nbearer_token = "s3cret"\n'
    with LiveServer(tmp_path / "models", settings) as server:
        browser.visit(server.url)
        browser.wait("document.querySelector('#token-dialog').open")
        browser.press(browser.find("#token"), "wrong")
        browser.click(browser.find_button("Use the token"))
        browser.wait_text("The server does not know this token", "#token-title")
        browser.wait("document.querySelector('#token-dialog').open")
        browser.press(browser.find("#token"), "s3cret")
        browser.click(browser.find_button("Use the token"))
        browser.wait_text("Ready, 1 route", "#server")
        browser.wait("document.querySelector('#panel-try .drop')")
        browser.press(
            browser.find("#panel-try input[type=file]"), str(ROOT / "docs/pictures/coat.png")
        )
        browser.wait("document.querySelector('.snippets pre')")
        said = browser.run("return document.documentElement.textContent + location.href")
        assert "$TOKEN" in said
        assert "s3cret" not in said


def test_the_page_says_when_the_server_is_gone_and_when_it_is_back(
    browser: Browser, tmp_path: Path
) -> None:
    write_route(tmp_path / "models")
    with LiveServer(tmp_path / "models") as server:
        browser.visit(server.url)
        browser.wait_text("Ready, 1 route", "#server")
        place = server.command.index("--http-port") + 1
        server.command[place] = str(server.http_port)
        server.kill()
        browser.press(
            browser.find("#panel-try input[type=file]"), str(ROOT / "docs/pictures/coat.png")
        )
        browser.wait_text("The server does not answer.", "#notice")
        assert browser.text("#server") == "Not connected"
        server.start()
        browser.wait_text("Ready, 1 route", "#server")
        assert browser.run("return document.querySelector('#notice').hidden")
        browser.click(browser.find_button("Try again"))
        browser.wait("document.querySelector('#panel-try .result')")


def test_the_documentation_of_the_api_is_shown(browser: Browser, server: LiveServer) -> None:
    browser.visit(server.url + "/docs")
    browser.wait("document.querySelectorAll('.opblock').length > 10")
    browser.wait_text("/v1/routes/{route}/predict", "#viewer")
    assert browser.read_log() == []
