"""What a reload replaces is freed with its last request, by reference counts alone."""

import asyncio
import contextlib
import gc
import shutil
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from core.devices.onnx import OnnxDevice
from core.errors import DeadlineExceeded
from core.messages import Request
from harness.tiny_routes import make_pictures, write_route
from harness.waiting import until
from monitoring.metrics.collector import Metrics
from monitoring.metrics.switched_off import NoMetrics
from serving.devices import RouteDevices
from serving.engine.caches.perceptual_cache import PerceptualRoutes
from serving.engine.catalog import Catalog
from serving.engine.engine import Engine
from serving.reload import Reloader
from serving.scheduling.fair_shares import Share, Shares
from serving.settings import PerceptualRouteSettings
from tests.fakes.toys import with_engine

PICTURES = make_pictures(8)


@pytest.fixture(autouse=True)
def _no_collections() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


def open_reloader(root: Path, catalog: Catalog, *, similar: bool = False) -> Reloader:
    settings = {"tiny": PerceptualRouteSettings(audit_rate=1.0)} if similar else {}
    return Reloader(
        [root],
        catalog,
        RouteDevices([OnnxDevice()]),
        NoMetrics(),
        is_cached=True,
        similar=PerceptualRoutes(settings),
    )


def watch(catalog: Catalog) -> Callable[[], list[object]]:
    """What is still there of the only route that is served now: its lanes and its sessions."""
    (served,) = catalog.routes()
    stages: list[Any] = [lane.stage for lane in served.lanes.values()]
    references: list[weakref.ref[Any]] = [weakref.ref(served.lanes)]
    references += [weakref.ref(stage.session) for stage in stages]
    return lambda: [one for one in (reference() for reference in references) if one is not None]


def touch(root: Path, number: int) -> None:
    with (root / "tiny" / "1" / "route.toml").open("a") as file:
        file.write(f"# {number}\n")


def change_version(root: Path, number: int) -> None:
    write_route(root, version=str(number + 2), seed=number)
    shutil.rmtree(root / "tiny" / str(number + 1))


@pytest.mark.parametrize("change", [touch, change_version])
def test_a_replaced_route_is_freed_at_once(
    tmp_path: Path, change: Callable[[Path, int], None]
) -> None:
    write_route(tmp_path)
    catalog = Catalog()
    loading = open_reloader(tmp_path, catalog)
    loading.refresh()
    for number in range(3):
        left = watch(catalog)
        assert len(left()) == 3
        change(tmp_path, number)
        assert loading.refresh()
        assert left() == []


def test_a_route_whose_directory_is_removed_is_freed(tmp_path: Path) -> None:
    write_route(tmp_path)
    catalog = Catalog()
    loading = open_reloader(tmp_path, catalog)
    loading.refresh()
    left = watch(catalog)
    shutil.rmtree(tmp_path / "tiny")
    loading.refresh()
    assert left() == []


def test_a_damaged_directory_keeps_nothing_of_the_attempts_to_load_it(tmp_path: Path) -> None:
    directory = write_route(tmp_path)
    catalog = Catalog()
    loading = open_reloader(tmp_path, catalog)
    loading.refresh()
    left = watch(catalog)
    (served,) = catalog.routes()
    text = (directory / "route.toml").read_text()
    for damage in ("format = ", text + "x", text.replace("dual-cnn", "absent")):
        (directory / "route.toml").write_text(damage)
        loading.refresh()
        assert catalog.routes() == [served]
    del served
    (directory / "route.toml").write_text(text + "# whole again")
    loading.refresh()
    assert left() == []


@pytest.mark.parametrize("similar", [False, True])
def test_requests_under_way_end_on_the_old_route_which_is_then_freed(
    tmp_path: Path, similar: bool
) -> None:
    write_route(tmp_path)
    catalog = Catalog()
    loading = open_reloader(tmp_path, catalog, similar=similar)
    loading.refresh()

    async def use(engine: Engine) -> None:
        engine.catalog = catalog
        for _ in range(2):  # the second time memory, or audits, take part
            await engine.answer(Request("tiny", {"image": PICTURES}))
        left = watch(catalog)
        asking = [
            asyncio.create_task(
                engine.answer(Request("tiny", {"image": PICTURES}, controls=controls))
            )
            for controls in ({}, {"min_confidence": 1.0}, {"min_confidence": 0.9})
        ]
        given_up = asyncio.create_task(engine.answer(Request("tiny", {"image": PICTURES[::-1]})))
        await asyncio.sleep(0)
        touch(tmp_path, 0)
        loading.refresh()
        given_up.cancel()
        digest = catalog.resolve("tiny", None).digest
        assert {reply.digest for reply in await asyncio.gather(*asking)} != {digest}
        await asyncio.gather(given_up, return_exceptions=True)
        asking.clear()
        del given_up
        reply = await engine.answer(Request("tiny", {"image": PICTURES}, no_cache=True))
        assert reply.digest == digest
        assert left() == []

    with_engine(use)


def test_series_of_a_route_do_not_grow_with_its_versions(tmp_path: Path) -> None:
    write_route(tmp_path)
    metrics = Metrics()
    loading = Reloader([tmp_path], Catalog(), RouteDevices([OnnxDevice()]), metrics, is_cached=True)
    loading.refresh()
    lines = metrics.render()[0].count(b"\n")
    for number in range(5):
        touch(tmp_path, number)
        loading.refresh()
    assert metrics.render()[0].count(b"\n") == lines


def test_a_request_that_failed_keeps_nothing_of_its_route(tmp_path: Path) -> None:
    write_route(tmp_path)
    catalog = Catalog()
    loading = open_reloader(tmp_path, catalog)
    loading.refresh()

    async def fail(engine: Engine) -> None:
        engine.catalog = catalog
        left = watch(catalog)
        request = Request("tiny", {"image": PICTURES})
        call = engine.submit(request, engine.admit(request), lambda: None)
        call.fail(DeadlineExceeded("too late"))
        engine.release_call(call)
        with contextlib.suppress(DeadlineExceeded):
            engine.result(call)
        del call
        touch(tmp_path, 0)
        loading.refresh()
        await engine.drain(5.0)
        await until(lambda: left() == [])

    with_engine(fail)


def test_a_caller_without_requests_leaves_no_shares() -> None:
    shares = Shares()
    stays = shares.claim("one who stays", "tiny")
    for number in range(3):
        shares.release(shares.claim(f"one who leaves {number}", "tiny"))
    shares.release(stays)
    del stays
    # Not isinstance: it would ask objects of other libraries for their class, and some warn.
    found = [one for one in gc.get_objects() if type(one) is Share]
    assert [one.name for one in found if one.name.startswith("one who ")] == []
