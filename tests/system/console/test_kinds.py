"""Routes that draw and routes that chat, in a real browser."""

from pathlib import Path

import pytest

from harness.live_server import ROOT, LiveServer
from harness.services.browser import Browser
from tests.fakes.tiny_acm import write_acm
from tests.fakes.tiny_vlm import ROUTE, write_vlm
from tests.servers.accessibility import find_faults

PICTURE = str(ROOT / "docs" / "pictures" / "coat.png")
CHOOSE = """
const select = document.querySelector("#panel-try select");
select.value = arguments[0];
select.dispatchEvent(new Event("change"));
"""
ASK_AND_STOP = """
const [ask, stop] = document.querySelectorAll("#panel-try .output form .buttons button");
ask.click();
stop.click();
"""
BUDGET = """
const slider = document.querySelector("#panel-try input[name=compute]");
slider.value = "0.2";
slider.dispatchEvent(new Event("change"));
"""


@pytest.mark.slow
def test_a_route_draws_where_it_spent_its_work_and_another_one_chats(
    browser: Browser, tmp_path: Path
) -> None:
    write_acm(tmp_path / "models")
    write_vlm(tmp_path / "models")
    with LiveServer(tmp_path / "models") as server:
        browser.visit(server.url)
        browser.wait("document.querySelector('#panel-try select').value")
        browser.run(CHOOSE, "tiny")
        browser.press(browser.find("#panel-try input[type=file]"), PICTURE)
        browser.wait("document.querySelector('#panel-try figure img').naturalWidth")
        assert "where the model spent its work" in browser.text("#panel-try figcaption")
        browser.run(BUDGET)
        browser.run("document.querySelector('#panel-try .snippets').open = true")
        browser.wait_text("compute=0.2", "#panel-try .snippets pre")

        browser.run(CHOOSE, ROUTE)
        browser.wait("document.querySelector('#panel-try .chat')")
        browser.press(browser.find("#panel-try .output textarea"), "a b c")
        browser.click(browser.find_button("Ask"))
        browser.wait_text("first token after", "#panel-try .chat")
        assert "visual tokens in the first layer" in browser.text("#panel-try .chat .cost")
        browser.click(browser.find_button("Show what it read"))
        browser.wait("document.querySelector('#panel-try .chat figure img').naturalWidth")
        browser.press(browser.find("#panel-try .output textarea"), "a b c")
        browser.run(ASK_AND_STOP)
        browser.wait_text("Stopped.", "#panel-try .chat")
        assert find_faults(browser) == []


@pytest.mark.slow
def test_a_converted_picture_is_drawn_and_another_one_is_no_fault(
    browser: Browser, tmp_path: Path
) -> None:
    (tmp_path / "models").mkdir()
    shipped = ROOT / "models" / "fashion-mnist-cbnet"
    (tmp_path / "models" / shipped.name).symlink_to(shipped)
    with LiveServer(tmp_path / "models") as server:
        browser.visit(server.url)
        browser.wait("document.querySelector('#panel-try .samples')")
        browser.click(browser.find_button("Coat"))
        browser.wait("document.querySelector('#panel-try figure img')?.naturalWidth")
        assert "what the converter made of it" in browser.text("#panel-try figcaption")
        browser.click(browser.find_button("Ankle boot"))
        browser.wait_text("Ankle boot", "#panel-try .result")
        assert browser.run("return document.querySelectorAll('#panel-try figure').length") == 0
        assert browser.read_log() == []
