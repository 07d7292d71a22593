"""The tab Try in a real browser: from a picture to the reason why the server stopped."""

import base64
import json
import subprocess
import sys
from pathlib import Path

from harness.live_server import LiveServer
from harness.services.browser import Browser

RESULT = "#panel-try .result"
DROP = """
const [base64, name, type] = arguments;
const bytes = Uint8Array.from(atob(base64), (one) => one.charCodeAt(0));
const transfer = new DataTransfer();
transfer.items.add(new File([bytes], name, { type }));
const zone = document.querySelector("#panel-try .drop");
for (const kind of ["dragenter", "dragover", "drop"]) {
  zone.dispatchEvent(new DragEvent(kind, { dataTransfer: transfer, bubbles: true, cancelable: true }));
}
"""  # noqa: E501
SLIDE = """
const [name, value] = arguments;
const slider = document.querySelector(`#panel-try input[name=${name}]`);
slider.value = value;
slider.dispatchEvent(new Event("input", { bubbles: true }));
slider.dispatchEvent(new Event("change", { bubbles: true }));
"""


def open_console(browser: Browser, server: LiveServer, *, uses_cache: bool = False) -> None:
    browser.visit(server.url + "/")
    browser.wait("document.querySelector('#panel-try .samples')")
    if not uses_cache:
        browser.click(browser.find("#panel-try input[name=no_cache]"))


def drop(browser: Browser, file: Path, kind: str = "image/png") -> None:
    browser.run(DROP, base64.b64encode(file.read_bytes()).decode(), file.name, kind)


def read_stages(browser: Browser) -> list[tuple[str, str]]:
    """Each box of the path: its stage, and what became of it."""
    found = browser.run(
        "return [...document.querySelectorAll('#panel-try .stage')].map((one) =>"
        " [one.querySelector('strong').innerText, one.querySelector('.tag').innerText])"
    )
    return [(stage, end) for stage, end in found]


def test_a_dropped_picture_shows_its_path(
    browser: Browser, server: LiveServer, pictures: Path
) -> None:
    open_console(browser, server)
    drop(browser, pictures / "coat.png")
    browser.wait_text("Went on to cnn-36m, the last stage", RESULT)
    assert read_stages(browser) == [
        ("cnn-0.7m", "Went on"),
        ("cnn-8m", "Went on"),
        ("cnn-36m", "Answered"),
    ]
    text = browser.text(RESULT)
    assert text.startswith("Coat")
    for words in ("needs 82.9 %", "721 kMACs", "8.22 MMACs", "45.3 MMACs", "than the full model"):
        assert words in text
    assert "Shirt" in browser.text("#panel-try .classes")
    assert browser.read_log() == []


def test_a_sample_is_one_click(browser: Browser, server: LiveServer) -> None:
    open_console(browser, server)
    browser.click(browser.find_button("Ankle boot"))
    browser.wait_text("Stopped at cnn-0.7m", RESULT)
    text = browser.text(RESULT)
    assert "The 2 stages after it did not run." in text
    assert [end for _, end in read_stages(browser)] == ["Answered", "Not run", "Not run"]
    assert "98.0 % less than the full model" in text


def test_the_second_answer_to_an_input_comes_from_the_cache(
    browser: Browser, server: LiveServer
) -> None:
    open_console(browser, server, uses_cache=True)
    browser.click(browser.find_button("Ankle boot"))
    browser.wait_text("Ankle boot", RESULT)
    browser.click(browser.find_button("Ankle boot"))
    browser.wait_text("The local cache held this answer", RESULT)
    assert read_stages(browser)[0] == ("Local cache", "Answered")


def test_a_slider_changes_the_exit(browser: Browser, server: LiveServer) -> None:
    open_console(browser, server)
    browser.click(browser.find_button("Ankle boot"))
    browser.wait_text("Ankle boot", RESULT)
    browser.run(SLIDE, "min_confidence", "1")
    browser.wait_text("Went straight to cnn-36m, the last stage", RESULT)
    assert [end for _, end in read_stages(browser)] == ["Skipped", "Skipped", "Answered"]
    browser.run("document.querySelector('#panel-try .snippets').open = true")
    assert "min_confidence=1" in browser.text("#panel-try .snippets pre")


def test_the_code_to_copy_runs(browser: Browser, server: LiveServer, pictures: Path) -> None:
    open_console(browser, server, uses_cache=True)
    browser.click(browser.find_button("Coat"))
    browser.wait_text("Coat", RESULT)
    browser.run(SLIDE, "min_confidence", "0.5")
    browser.wait("document.querySelector('#panel-try .snippets pre').textContent.includes('=0.5')")
    browser.run("document.querySelector('#panel-try .snippets').open = true")
    for kind in ("curl", "Python (requests)", "Python (tritonclient)", "gRPC"):
        browser.click(browser.find_button(kind))
        code = browser.run("return document.querySelector('#panel-try .snippets pre').textContent")
        done = subprocess.run(
            [*(["bash"] if kind == "curl" else [sys.executable]), "-c",
             code.replace(":3001", f":{server.grpc_port}")],
            cwd=pictures, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert "cnn-36m" in done.stdout


def test_a_wrong_file_is_told_in_a_sentence(
    browser: Browser, server: LiveServer, pictures: Path, tmp_path: Path
) -> None:
    open_console(browser, server)
    drop(browser, pictures.parent / "console.md", "text/markdown")
    browser.wait_text("console.md is not a PNG or JPEG picture", "#panel-try .output")
    broken = tmp_path / "broken.png"
    broken.write_bytes((pictures / "coat.png").read_bytes()[:60])
    browser.press(browser.find("#panel-try input[type=file]"), str(broken))
    browser.wait_text("The server cannot use this input", "#panel-try .output")
    browser.click(browser.find_button("Coat"))
    browser.wait_text("Coat", RESULT)


def test_the_page_is_small_and_asks_no_other_server(browser: Browser, server: LiveServer) -> None:
    open_console(browser, server)
    loaded = json.loads(
        browser.run(
            "return JSON.stringify(performance.getEntries().filter((one) => one.encodedBodySize)"
            ".map((one) => [one.name, one.encodedBodySize]))"
        )
    )
    assert {name.split("/")[2] for name, _ in loaded} == {server.url.removeprefix("http://")}
    files = [size for name, size in loaded if "/v1/" not in name and "/v2" not in name]
    assert 10 < len(files) < 30
    assert sum(files) < 100_000
