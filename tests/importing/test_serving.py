"""Imported routes on a real server: a picture, a regression, texts of different lengths."""

import json
import shlex
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
import tritonclient.grpc as triton
from onnx import numpy_helper
from PIL import Image

from harness.live_server import LiveServer
from importing.options import ImportOptions, Stage
from importing.route import import_route
from sparing.model_tables import advise
from tests.fakes.own_models import (
    make_finder,
    make_label_net,
    make_label_pictures,
    make_linear,
    make_picture_net,
    make_pictures,
    make_tagger,
    make_text,
    save,
)

ROWS = 300
PICTURES, LABELS = make_pictures(ROWS)
TAGGED, TAGS = make_label_pictures(ROWS)
IDS = np.random.default_rng(0).integers(0, 50, (ROWS, 6))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    root = tmp_path_factory.mktemp("own")
    steps = "mean=0.5:0.4:0.3,std=0.2:0.25:0.3"
    options = ImportOptions(out=root / "models", compress="none", preprocess=steps)
    small = make_picture_net(name="pixels", end="Softmax", noise=0.6, seed=3)
    stages = [
        Stage(save(small, root / "small.onnx")),
        Stage(save(make_picture_net(width=48), root / "large.onnx")),
    ]
    import_route("pets", stages, (PICTURES, LABELS), options)
    rows = np.random.default_rng(0).normal(size=(ROWS, 8)).astype(np.float32)
    value = save(make_linear(classes=1, output="value"), root / "value.onnx")
    import_route("price", [Stage(value)], (rows, rows.sum(axis=1)), options)
    text = make_text()
    np.savez(root / "text.npz", input_ids=IDS, y=_classify(IDS))
    import_route("text", [Stage(save(text, root / "text.onnx"))], str(root / "text.npz"), options)
    tags = [
        Stage(save(make_label_net(noise=0.6, seed=3), root / "few.onnx")),
        Stage(save(make_label_net(width=48), root / "many.onnx")),
    ]
    named = replace(options, labels=("red", "green", "blue"), max_loss=0.1)
    import_route("tags", tags, (TAGGED, TAGS), named)
    signs = np.where(np.arange(8) <= np.arange(ROWS)[:, None] % 9, -1, 1) * np.abs(rows)
    finder = save(make_finder(), root / "finder.onnx")
    import_route("finder", [Stage(finder)], (signs.astype(np.float32), rows.sum(axis=1)), options)
    tagger = save(make_tagger(), root / "tagger.onnx")
    import_route("words", [Stage(tagger)], (IDS, rows.sum(axis=1)), options)
    with LiveServer(options.out) as live:
        yield live


def _classify(ids: np.ndarray) -> np.ndarray:
    table, weight = (numpy_helper.to_array(one) for one in make_text().graph.initializer[:2])
    return np.asarray((table[ids].sum(axis=1) @ weight).argmax(axis=1))


def _post(server: LiveServer, path: str, body: bytes) -> dict[str, Any]:
    request = urllib.request.Request(server.url + path, data=body, method="POST")
    with urllib.request.urlopen(request, timeout=30) as answer:
        found: dict[str, Any] = json.loads(answer.read())
    return found


def _infer(server: LiveServer, route: str, name: str, datatype: str, rows: Any) -> dict[str, Any]:
    array = np.asarray(rows)
    tensor = {
        "name": name,
        "datatype": datatype,
        "shape": list(array.shape),
        "data": array.ravel().tolist(),
    }
    answer = _post(server, f"/v2/models/{route}/infer", json.dumps({"inputs": [tensor]}).encode())
    return {one["name"]: one["data"] for one in answer["outputs"]}


def test_a_picture_is_answered_with_its_class(server: LiveServer) -> None:
    found = []
    for picture in PICTURES[:20]:
        file = BytesIO()
        Image.fromarray(picture).save(file, "PNG")
        (answer,) = _post(server, "/v1/routes/pets/predict", file.getvalue())["answers"]
        found.append(answer["label"])
    assert np.mean(np.array(found) == LABELS[:20]) > 0.7


def test_a_picture_is_answered_with_all_labels_that_hold_and_the_best_others(
    server: LiveServer,
) -> None:
    for picture, truth in zip(TAGGED[:20], TAGS[:20], strict=True):
        file = BytesIO()
        Image.fromarray(picture).save(file, "PNG")
        path = "/v1/routes/tags/predict?min_confidence=1&top_k="
        (answer,) = _post(server, f"{path}1", file.getvalue())["answers"]
        assert {one["label"] for one in answer["labels"]} == set(np.flatnonzero(truth))
        assert all(one["probability"] >= 0.5 for one in answer["labels"])
        others = np.flatnonzero(truth == 0)
        assert len(answer["top"]) == min(1, len(others))
        assert {one["label"] for one in answer["top"]} <= set(others)
        (whole,) = _post(server, f"{path}all", file.getvalue())["answers"]
        assert ("label" in whole, len(whole["probabilities"])) == (False, 3)
        assert {one["label_name"] for one in whole["labels"]} <= {"red", "green", "blue"}


def test_both_endpoints_answer_several_labels_alike(server: LiveServer) -> None:
    given = {one: np.array(values) for one, values in
             _infer(server, "tags", "image", "UINT8", TAGGED[:30]).items()}  # fmt: skip
    tensor = triton.InferInput("image", [30, *TAGGED.shape[1:]], "UINT8")
    tensor.set_data_from_numpy(TAGGED[:30])
    with triton.InferenceServerClient(server.grpc_address) as client:
        names = ["labels", "probabilities", "exit"]
        outputs = [triton.InferRequestedOutput(name) for name in names]
        answer = client.infer("tags", [tensor], outputs=outputs)
    labels, probabilities, exits = (answer.as_numpy(name) for name in names)
    assert labels.dtype == np.bool_
    np.testing.assert_array_equal(given["labels"].reshape(30, 3), labels)
    np.testing.assert_array_equal(labels, probabilities >= 0.5)
    np.testing.assert_allclose(given["probabilities"].reshape(30, 3), probabilities, atol=1e-6)
    assert set(exits.tolist()) == {b"few", b"many"}
    assert (labels == TAGS[:30]).mean() > 0.9


def test_the_request_that_an_import_advises_is_answered(server: LiveServer) -> None:
    models = Path(server.command[server.command.index("--models") + 1])
    for route, outputs in (("price", ["value"]), ("text", ["label", "probabilities"])):
        serve, request = advise(models / route / "1")
        assert serve == f"sparing serve --models {models}"
        curl, option, body, url = shlex.split(request)
        assert (curl, option, urlsplit(url).port) == ("curl", "-d", 3000)
        answer = _post(server, urlsplit(url).path, body.encode())
        assert [one["name"] for one in answer["outputs"]] == outputs
    _, request = advise(models / "pets" / "1")
    assert request.endswith(
        "--data-binary @picture.png http://127.0.0.1:3000/v1/routes/pets/predict"
    )


def test_a_regression_answers_with_its_own_output(server: LiveServer) -> None:
    rows = np.arange(16, dtype=np.float32).reshape(2, 8) / 16
    weight, bias = (numpy_helper.to_array(one) for one in make_linear(classes=1).graph.initializer)
    found = _infer(server, "price", "features", "FP32", rows)
    np.testing.assert_allclose(found["value"], (rows @ weight + bias).ravel(), rtol=1e-4)


def test_texts_of_different_lengths_are_answered_at_once(server: LiveServer) -> None:
    lengths = [3, 5, 3, 1, 7, 6, 2, 5] * 4
    texts = [IDS[place, :length] for place, length in enumerate(np.minimum(lengths, 6))]
    found: list[int] = [-1] * len(texts)

    def ask(place: int) -> None:
        answer = _infer(server, "text", "input_ids", "INT64", texts[place][None])
        found[place] = answer["label"][0]

    _ask_at_once(len(texts), ask)
    assert found == [int(_classify(text[None])[0]) for text in texts]


def _ask_at_once(count: int, ask: Callable[[int], None]) -> None:
    threads = [threading.Thread(target=ask, args=(place,)) for place in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_rows_whose_outputs_differ_in_size_are_answered_at_once(server: LiveServer) -> None:
    rows = np.where(np.arange(8) < np.arange(9)[:, None], 1.0, -1.0)
    found: list[list[int]] = [[-1] for _ in range(27)]

    def ask(place: int) -> None:
        answer = _infer(server, "finder", "features", "FP32", rows[place % 9][None])
        found[place] = answer["found"]

    _ask_at_once(len(found), ask)
    assert found == [list(range(place % 9)) for place in range(27)]
    alike = _infer(server, "finder", "features", "FP32", rows[[3, 3]])
    assert alike["found"] == [0, 1, 2] * 2


def test_only_a_request_whose_own_rows_differ_in_size_is_refused(server: LiveServer) -> None:
    rows = np.where(np.arange(8) < np.arange(9)[:, None], 1.0, -1.0)
    codes: list[int] = [0] * 12
    sentences: set[bytes] = set()

    def ask(place: int) -> None:
        asked = rows[[2, 5]] if place % 3 == 0 else rows[[place % 9]]
        try:
            _infer(server, "finder", "features", "FP32", asked)
            codes[place] = 200
        except urllib.error.HTTPError as error:
            codes[place] = error.code
            sentences.add(error.read())

    _ask_at_once(len(codes), ask)
    assert codes == [400, 200, 200] * 4
    assert all(b"send one row in each request" in sentence for sentence in sentences)


def test_outputs_as_long_as_their_texts_are_answered_at_once(server: LiveServer) -> None:
    table = numpy_helper.to_array(make_tagger().graph.initializer[0])
    found: list[Any] = [None] * 24

    def ask(place: int) -> None:
        text = IDS[place, : 1 + place % 6]
        found[place] = _infer(server, "words", "input_ids", "INT64", text[None])["tags"]

    _ask_at_once(len(found), ask)
    for place, answer in enumerate(found):
        np.testing.assert_allclose(answer, table[IDS[place, : 1 + place % 6]].ravel(), rtol=1e-5)


@pytest.mark.parametrize("word", [-1, 50, 10**12])
def test_a_word_outside_the_vocabulary_is_the_callers_fault(server: LiveServer, word: int) -> None:
    with pytest.raises(urllib.error.HTTPError) as raised:
        _infer(server, "text", "input_ids", "INT64", [[1, 2, word]])
    assert raised.value.code == 400
    sentence = json.loads(raised.value.read())["error"]
    assert f"input_ids: given {word}, allowed 0 to 49" in sentence
