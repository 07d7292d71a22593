"""A real Chromium without a window, driven over the WebDriver protocol, for tests of pages.

`with ChromeDriver() as driver, driver.open() as browser:` gives one browser with a profile of its
own. Debian's packages are `chromium` and `chromium-driver`. The protocol is a W3C standard, of
which the few commands here are enough.
"""

import base64
import http.client
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness.child_process import ChildProcess, find_program
from harness.servers import find_free_port

LIMIT_S = 30.0  # of one command; only a test that hangs comes near it
_FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--disable-extensions", "--hide-scrollbars",
    "--force-device-scale-factor=1", "--lang=en",
)  # fmt: skip
_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # how the protocol marks an element
# Looks again before each frame until the expression holds, so no test guesses how long that takes.
_WAIT = """
const done = arguments[0];
const look = () => {
  let found = null;
  try { found = (EXPRESSION); } catch (error) { found = null; }
  if (found) done(found); else requestAnimationFrame(look);
};
look();
"""
Json = Any  # a value of the protocol


class BrowserError(AssertionError):
    """A command failed; the message is the driver's."""


class ChromeDriver(ChildProcess):
    """The program that starts browsers and passes commands on. Raises FileNotFoundError with a
    sentence where it is not installed.
    """

    def __init__(self) -> None:
        program = find_program("chromedriver", "chromium-driver")
        self.chromium = find_program("chromium", "chromium")
        super().__init__()
        self.port = find_free_port()
        self.command = [program, f"--port={self.port}", "--allowed-ips=127.0.0.1"]

    def has_started(self) -> bool:
        try:
            return bool(self.command_driver("GET", "/status")["ready"])
        except (OSError, BrowserError):  # perhaps of another server that had this port
            return False

    @contextmanager
    def open(self, *flags: str) -> Iterator["Browser"]:
        """Open a browser, and close it in the end."""
        arguments = [*_FLAGS, f"--user-data-dir={self.folder / 'profile'}", *flags]
        wanted = {
            "browserName": "chrome",
            "goog:chromeOptions": {"binary": self.chromium, "args": arguments},
            "goog:loggingPrefs": {"browser": "ALL"},
            "timeouts": {"script": int(LIMIT_S * 1e3), "pageLoad": int(LIMIT_S * 1e3)},
        }
        found = self.command_driver(
            "POST", "/session", {"capabilities": {"alwaysMatch": wanted}}, 2 * LIMIT_S
        )
        browser = Browser(self, f"/session/{found['sessionId']}")
        try:
            yield browser
        finally:
            self.command_driver("DELETE", browser.place)

    def command_driver(
        self, method: str, path: str, body: Mapping[str, Json] | None = None, limit_s: float = 0.0
    ) -> Json:
        """Send one command and return its value. Raises BrowserError."""
        connection = http.client.HTTPConnection(
            "127.0.0.1", self.port, timeout=limit_s or LIMIT_S + 5.0
        )
        try:
            connection.request(method, path, None if body is None else json.dumps(body))
            answer = connection.getresponse()
            reply = json.loads(answer.read())
        finally:
            connection.close()
        if "value" not in reply:
            raise BrowserError(f"port {self.port} answered {reply}, which is no driver's reply")
        value = reply["value"]
        if answer.status != 200:
            raise BrowserError(f"{value['error']}: {value['message']}")
        return value


class Browser:
    """One browser with one page."""

    def __init__(self, driver: ChromeDriver, place: str) -> None:
        self._driver = driver
        self.place = place

    def visit(self, url: str) -> None:
        """Load a page."""
        self._post("/url", url=url)

    def run(self, script: str, *arguments: Json) -> Json:
        """Run the body of a function in the page; it may return a promise."""
        return self._post("/execute/sync", script=script, args=list(arguments))

    def run_async(self, script: str, *arguments: Json, limit_s: float = 300.0) -> Json:
        """Run a script whose last argument is a function that it calls with its result."""
        self._post("/timeouts", script=int(limit_s * 1e3))
        try:
            return self._post(
                "/execute/async", limit_s=limit_s, script=script, args=list(arguments)
            )
        finally:
            self._post("/timeouts", script=int(LIMIT_S * 1e3))

    def wait(self, expression: str) -> Json:
        """Wait until an expression in the page is true, and return its value."""
        try:
            return self._post(
                "/execute/async", script=_WAIT.replace("EXPRESSION", expression), args=[]
            )
        except BrowserError as error:
            text = self.run("return document.body.innerText")
            raise BrowserError(f"waited for {expression}: {error}\n{text}") from error

    def wait_text(self, text: str, within: str = "body") -> None:
        """Wait until an element shows this text, in which all spaces are the same."""
        shown = f"document.querySelector({json.dumps(within)}).innerText"
        self.wait(f"{shown}.replaceAll('\\u00a0', ' ').includes({json.dumps(text)})")

    def find(self, selector: str) -> str:
        """Return the first element of a CSS selector."""
        found = self._post("/element", using="css selector", value=selector)
        return str(found[_ELEMENT])

    def find_button(self, text: str) -> str:
        """Return the first button or tab that shows this text and can be seen."""
        path = f"//button[contains(normalize-space(.), {json.dumps(text)})]"
        for found in self._post("/elements", using="xpath", value=path):
            if self._get(f"/element/{found[_ELEMENT]}/displayed"):
                return str(found[_ELEMENT])
        raise BrowserError(f"no button shows {text!r}")

    def click(self, element: str) -> None:
        """Click in the middle of an element."""
        self._post(f"/element/{element}/click")

    def press(self, element: str, keys: str) -> None:
        """Type keys, or give a file's path to an input of files."""
        self._post(f"/element/{element}/value", text=keys)

    def text(self, selector: str) -> str:
        """Return what an element shows."""
        return str(self._get(f"/element/{self.find(selector)}/text"))

    def resize(self, width_px: int, height_px: int, *, dark: bool = False) -> None:
        """Show the page in this size, light or dark."""
        self._cdp(
            "Emulation.setDeviceMetricsOverride",
            width=width_px, height=height_px, deviceScaleFactor=1, mobile=False,
        )  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        still = {"name": "prefers-reduced-motion", "value": "reduce"}
        self._cdp("Emulation.setEmulatedMedia", features=[scheme, still])

    def shoot(self, path: Path) -> None:
        """Write a picture of what is shown, as PNG."""
        path.write_bytes(base64.b64decode(self._get("/screenshot")))

    def read_log(self) -> list[str]:
        """Return the errors that the page has logged since the last call."""
        entries = self._post("/se/log", type="browser")
        return [str(one["message"]) for one in entries if one["level"] == "SEVERE"]

    def _cdp(self, command: str, **parameters: Json) -> Json:
        return self._post("/goog/cdp/execute", cmd=command, params=parameters)

    def _get(self, path: str) -> Json:
        return self._driver.command_driver("GET", self.place + path)

    def _post(self, path: str, limit_s: float = 0.0, **body: Json) -> Json:
        return self._driver.command_driver("POST", self.place + path, body, limit_s)
