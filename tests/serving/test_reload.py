"""Hot reload with real route directories: new versions, pinning, damage, removal, changes under
load.
"""

import asyncio
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from core.devices.onnx import OnnxDevice
from core.errors import UnknownRoute
from core.manifest import MAX_FILES
from core.messages import Reply, Request
from harness.tiny_routes import make_pictures, write_route
from monitoring.metrics.collector import Metrics
from monitoring.metrics.switched_off import NoMetrics
from routes import scanning
from serving.devices import RouteDevices
from serving.engine.catalog import Catalog
from serving.engine.engine import Engine
from serving.reload import Reloader
from tests.fakes.toys import with_engine

PICTURES = make_pictures(4)


def reloader(root: Path, catalog: Catalog) -> Reloader:
    return Reloader([root], catalog, RouteDevices([OnnxDevice()]), NoMetrics(), is_cached=True)


def versions(catalog: Catalog) -> list[str]:
    return [served.version for served in catalog.routes()]


def test_the_newest_version_answers_for_the_bare_name_and_an_old_one_can_be_pinned(
    tmp_path: Path,
) -> None:
    for version in ("2", "10", "9"):
        write_route(tmp_path, version=version, seed=int(version))
    catalog = Catalog()
    reloader(tmp_path, catalog).refresh()
    assert versions(catalog) == ["10", "9", "2"]
    assert catalog.resolve("tiny", None).version == "10"
    assert catalog.resolve("tiny", "2").version == "2"


def test_nothing_is_loaded_twice_when_nothing_changed(tmp_path: Path) -> None:
    write_route(tmp_path)
    catalog = Catalog()
    loading = reloader(tmp_path, catalog)
    assert loading.refresh() is True
    served = catalog.resolve("tiny", None)
    assert loading.refresh() is False
    assert catalog.resolve("tiny", None) is served


def test_a_version_that_appears_is_served_and_one_that_goes_is_not(tmp_path: Path) -> None:
    write_route(tmp_path, version="1")
    catalog = Catalog()
    loading = reloader(tmp_path, catalog)
    loading.refresh()
    write_route(tmp_path, version="2", seed=2)
    loading.refresh()
    assert versions(catalog) == ["2", "1"]
    shutil.rmtree(tmp_path / "tiny" / "2")
    loading.refresh()
    assert versions(catalog) == ["1"]
    with pytest.raises(UnknownRoute):
        catalog.resolve("tiny", "2")


def test_a_damaged_directory_is_named_and_the_others_serve(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_route(tmp_path, route="good")
    bad = write_route(tmp_path, route="bad")
    (bad / "route.toml").write_text("format = ")
    catalog = Catalog()
    loading = reloader(tmp_path, catalog)
    with caplog.at_level(logging.ERROR):
        loading.refresh()
    assert [served.name for served in catalog.routes()] == ["good"]
    assert str(bad) in caplog.text
    assert list(loading.refused) == [bad]


def test_a_version_damaged_in_place_goes_on_as_it_was(tmp_path: Path) -> None:
    directory = write_route(tmp_path)
    catalog = Catalog()
    loading = reloader(tmp_path, catalog)
    loading.refresh()
    digest = catalog.resolve("tiny", None).digest
    (directory / "route.toml").write_text("format = ")
    loading.refresh()
    assert catalog.resolve("tiny", None).digest == digest
    assert list(loading.refused) == [directory]


def test_reloads_under_load_fail_no_request_and_mix_no_versions(tmp_path: Path) -> None:
    write_route(tmp_path, version="1", seed=1)
    catalog = Catalog()
    loading = reloader(tmp_path, catalog)
    loading.refresh()

    async def use(engine: Engine) -> None:
        engine.catalog = catalog
        stop = asyncio.Event()
        seen: dict[str, set[bytes]] = {}

        async def client() -> None:
            while not stop.is_set():
                reply = await engine.answer(Request("tiny", {"image": PICTURES}, no_cache=True))
                seen.setdefault(reply.digest, set()).add(_bytes(reply))
                await asyncio.sleep(0)

        clients = [asyncio.create_task(client()) for _ in range(4)]
        for version in range(2, 8):
            write_route(tmp_path, version=str(version), seed=version)
            await asyncio.to_thread(loading.refresh)
            shutil.rmtree(tmp_path / "tiny" / str(version - 1))
            await asyncio.to_thread(loading.refresh)
        stop.set()
        await asyncio.gather(*clients)
        assert len(seen) > 2
        assert all(len(answers) == 1 for answers in seen.values())  # one digest, one answer
        assert versions(catalog) == ["7"]

    with_engine(use)


def _bytes(reply: Reply) -> bytes:
    rows = [answer.outcome.outputs["probabilities"] for answer in reply.answers]
    return np.stack(rows).tobytes()


def test_a_directory_that_breaks_its_parser_is_refused_and_the_others_serve(tmp_path: Path) -> None:
    write_route(tmp_path, route="good")
    bad = write_route(tmp_path, route="bad")
    (bad / "route.toml").write_text("format = " + "[" * 2000)
    catalog = Catalog()
    loading = reloader(tmp_path, catalog)
    loading.refresh()
    assert [served.name for served in catalog.routes()] == ["good"]
    assert "could not be loaded" in loading.refused[bad]


def test_a_route_that_is_no_longer_served_has_no_series(tmp_path: Path) -> None:
    for route in ("kept", "gone"):
        write_route(tmp_path, route=route)
    metrics = Metrics()
    loading = Reloader([tmp_path], Catalog(), RouteDevices([OnnxDevice()]), metrics, is_cached=True)
    loading.refresh()
    assert b'route="gone"' in metrics.render()[0]
    shutil.rmtree(tmp_path / "gone")
    loading.refresh()
    text = metrics.render()[0]
    assert b'route="gone"' not in text
    assert b'route="kept"' in text


def _make_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _link_to_itself(path: Path) -> None:
    path.unlink()
    path.symlink_to(path)


def _link_to_zeros(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def _fill(path: Path) -> None:
    for number in range(MAX_FILES):
        (path.parent / f"{number}").touch()


@pytest.mark.parametrize("damage", [_make_fifo, _link_to_itself, _link_to_zeros, _fill])
@pytest.mark.parametrize("file", ["route.toml", "stage1.onnx"])
def test_what_cannot_be_read_is_refused_and_another_route_loads(
    tmp_path: Path, damage: Callable[[Path], None], file: str
) -> None:
    bad = write_route(tmp_path, route="bad")
    catalog = Catalog()
    loading = reloader(tmp_path, catalog)
    loading.refresh()
    damage(bad / file)
    write_route(tmp_path, route="good")
    assert loading.refresh()
    assert [served.name for served in catalog.routes()] == ["bad", "good"]  # as it was
    assert str(bad) in loading.refused[bad]
    assert not loading.refresh()
    shutil.rmtree(bad)
    write_route(tmp_path, route="bad", seed=1)
    loading.refresh()
    assert loading.refused == {}


def test_a_route_whose_folder_cannot_be_listed_goes_on_and_is_named_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_route(tmp_path, route="kept")
    catalog = Catalog()
    loading = reloader(tmp_path, catalog)
    loading.refresh()
    monkeypatch.setattr(scanning, "MAX_ENTRIES", 2)
    for number in range(3):
        (tmp_path / "kept" / f"{number}.txt").touch()
    write_route(tmp_path, route="new")
    for _ in range(3):
        loading.refresh()
    assert [served.name for served in catalog.routes()] == ["kept", "new"]
    assert caplog.text.count("holds more than 2 entries") == 1
    for path in (tmp_path / "kept").glob("*.txt"):
        path.unlink()
    loading.refresh()
    assert loading.refused == {}
