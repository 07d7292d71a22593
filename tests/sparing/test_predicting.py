"""`sparing predict` with many pictures, folders of them, and several labels at once."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from harness.live_server import LiveServer
from harness.tiny_routes import make_pictures, write_route
from sparing import predicting
from sparing.failure import Failure
from sparing.predicting import find_pictures, predict_here, predict_with_server
from tests.fakes.tiny_kinds import write_multi_label

MAX_PIXELS = 10**6


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    write_route(root)
    write_multi_label(root, route="tags")
    return root


@pytest.fixture(scope="module")
def server(models: Path) -> Iterator[LiveServer]:
    with LiveServer(models) as live:
        yield live


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pictures")
    for place, picture in enumerate(make_pictures(10)):
        below = root / f"day-{place % 2}"
        below.mkdir(exist_ok=True)
        Image.fromarray(picture).save(below / f"{place}.png")
    (root / "notes.txt").write_text("no picture")
    return root


def test_a_folder_stands_for_the_pictures_below_it(folder: Path) -> None:
    one = folder / "notes.txt"
    found = find_pictures([one, folder])
    assert found[0] == one  # what is named is taken, whatever it is
    assert [str(path.relative_to(folder)) for path in found[1:]] == [
        *(f"day-0/{place}.png" for place in (0, 2, 4, 6, 8)),
        *(f"day-1/{place}.png" for place in (1, 3, 5, 7, 9)),
    ]


def test_a_folder_without_pictures_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="holds no PNG or JPEG files"):
        find_pictures([tmp_path])


@pytest.mark.parametrize("route", ["tiny", "tags"])
@pytest.mark.parametrize(("pictures", "size_bytes"), [(3, 10**9), (100, 3000)])
def test_many_pictures_go_in_several_requests_and_are_answered_alike(
    route: str,
    pictures: int,
    size_bytes: int,
    folder: Path,
    models: Path,
    server: LiveServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(predicting, "REQUEST_PICTURES", pictures)
    monkeypatch.setattr(predicting, "REQUEST_BYTES", size_bytes)
    paths = find_pictures([folder])
    done: list[int] = []
    here = predict_here([models], route, paths, MAX_PIXELS)
    there = predict_with_server(server.url, route, paths, None, report=done.append)
    assert [(one.picture, one.label, one.exit) for one in here] == [
        (one.picture, one.label, one.exit) for one in there
    ]
    assert (len(done) > 2, done[-1]) == (True, 10)
    assert done == sorted(set(done))
    if route == "tags":
        assert any(", " in one.label for one in here)
