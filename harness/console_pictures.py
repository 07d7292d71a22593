"""`python -m harness.console_pictures`: the screenshots of the console in docs/pictures/console/.

Starts a server with the shipped routes and a Chromium, sends some requests, and takes pictures of
the tabs. The pictures have 256 colours, which these pages show as they are.
"""

import argparse
import sys
import tempfile
from io import BytesIO
from pathlib import Path

from PIL import Image

from harness.live_server import ROOT, LiveServer
from harness.servers import post
from harness.services.browser import Browser, ChromeDriver

SAMPLES = ("coat", "shirt", "ankle-boot")
ROUTES = ("fashion-mnist", "fashion-mnist-exits", "fashion-mnist-large", "fashion-mnist-cbnet")
WIDTH, HEIGHT, PHONE = 1280, 860, 390
_ASK = """
const [count, done] = arguments;
const send = async () => {
  const routes = %s, samples = %s;
  for (let round = 0; round < count; round += 1) {
    const sample = await (await fetch(`/console/samples/${samples[round %% 3]}.png`)).blob();
    for (const route of routes) {
      const query = round %% 3 ? "?no_cache=true" : "";
      await fetch(`/v1/routes/${route}/predict${query}`, { method: "POST", body: sample });
    }
    await new Promise((resolve) => setTimeout(resolve, 40 + 120 * Math.random()));
  }
};
send().then(done);
""" % (list(ROUTES), list(SAMPLES))  # noqa: UP031  # the script has braces


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "pictures" / "console")
    out: Path = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    try:
        driver = ChromeDriver()
    except FileNotFoundError as error:
        sys.exit(str(error))
    with tempfile.TemporaryDirectory() as folder:
        for route in ROUTES:
            (Path(folder) / route).symlink_to(ROOT / "models" / route)
        with LiveServer(Path(folder)) as server, driver, driver.open() as browser:
            for name in SAMPLES:  # the first answers of a server are slower than the later ones
                body = (ROOT / "docs" / "pictures" / f"{name}.png").read_bytes()
                for route in ROUTES:
                    path = f"/v1/routes/{route}/predict?no_cache=true"
                    for _ in range(20):
                        post(server.http_port, path, body)
            take_pictures(browser, server.url, out)


def take_pictures(browser: Browser, url: str, out: Path) -> None:
    """Write all pictures."""
    for name, sample, dark, width in (
        ("try", "Ankle boot", False, WIDTH),
        ("try-hard", "Coat", False, WIDTH),
        ("try-dark", "Shirt", True, WIDTH),
        ("phone", "Ankle boot", False, PHONE),
    ):
        browser.resize(width, HEIGHT, dark=dark)
        browser.visit("about:blank")
        browser.visit(f"{url}/#try")
        browser.wait("document.querySelector('#panel-try .samples')")
        browser.run("document.querySelector('#panel-try input[name=no_cache]').click()")
        browser.click(browser.find_button(sample))
        browser.wait("document.querySelector('#panel-try .result')")
        shoot(browser, out / f"{name}.png")
    browser.resize(WIDTH, HEIGHT)
    browser.visit("about:blank")
    browser.visit(f"{url}/#compare")
    browser.wait("document.querySelector('#panel-compare .samples')")
    browser.click(browser.find_button("Ankle boot"))
    browser.wait("document.querySelector('#panel-compare .verdict').innerText")
    shoot(browser, out / "compare.png")
    browser.click(browser.find_button("Fleet"))
    browser.run_async(_ASK, 250)
    shoot(browser, out / "fleet.png")
    browser.click(browser.find_button("Routes"))
    browser.wait("document.querySelector('#panel-routes .mix')")
    shoot(browser, out / "routes.png")
    browser.visit(f"{url}/docs")
    browser.wait("document.querySelectorAll('.opblock').length > 10")
    shoot(browser, out / "docs.png")


def shoot(browser: Browser, path: Path) -> None:
    """Write one picture, with few colours."""
    browser.shoot(path)
    with Image.open(path) as picture:
        small = picture.convert("RGB").quantize(256)
    buffer = BytesIO()
    small.save(buffer, "PNG", optimize=True)
    path.write_bytes(buffer.getvalue())


if __name__ == "__main__":
    main()
