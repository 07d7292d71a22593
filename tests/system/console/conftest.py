"""A real browser, and a real server with a few of the shipped routes."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.live_server import ROOT, LiveServer
from harness.services.browser import Browser, ChromeDriver

ROUTES = ("fashion-mnist", "fashion-mnist-large")


@pytest.fixture(scope="session")
def driver() -> Iterator[ChromeDriver]:
    try:
        found = ChromeDriver()
    except FileNotFoundError as error:
        pytest.skip(str(error))
    with found as driver:
        yield driver


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    models = tmp_path_factory.mktemp("models")
    for route in ROUTES:
        (models / route).symlink_to(ROOT / "models" / route)
    precision = '[routes]\nprecision = "float32"\n'  # the same answers on every machine
    with LiveServer(models, precision) as server:
        yield server


@pytest.fixture(scope="session")
def shared_browser(driver: ChromeDriver) -> Iterator[Browser]:
    with driver.open() as browser:
        yield browser


@pytest.fixture
def browser(shared_browser: Browser) -> Browser:
    """On an empty page, with nothing in its log and the size of a desktop."""
    shared_browser.resize(1280, 900)
    shared_browser.visit("about:blank")
    shared_browser.read_log()
    return shared_browser


@pytest.fixture(scope="session")
def pictures() -> Path:
    return ROOT / "docs" / "pictures"
