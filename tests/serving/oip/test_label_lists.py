"""Which labels of an answer are listed, in which order, and with how many probabilities."""

from typing import Any

import numpy as np
import pytest

from serving.oip.label_lists import (
    DEFAULT_VIEW,
    WHOLE_VIEW,
    LabelView,
    describe_labels,
    read_label_view,
)
from tests.serving.small_engine import make_manifest

NAMES = ("ant", "bee", "cat")


def _list(facts: dict[str, Any], name: str = "top") -> list[tuple[int, float]]:
    return [(one["label"], round(float(one["probability"]), 3)) for one in facts[name]]


def _answer(*probabilities: float) -> dict[str, Any]:
    values = np.array(probabilities, np.float32)
    return {"label": values.argmax(), "probabilities": values}


def test_the_best_labels_come_first_and_equal_ones_in_their_order() -> None:
    outputs = _answer(0.1, 0.2, 0.1, 0.3, 0.1, 0.1, 0.1)
    facts = describe_labels(outputs, NAMES, LabelView(4, 0))
    assert _list(facts) == [(3, 0.3), (1, 0.2), (0, 0.1), (2, 0.1)]
    assert [one.get("label_name") for one in facts["top"]] == [None, "bee", "ant", "cat"]
    assert set(facts) == {"top"}


@pytest.mark.parametrize("classes", [7, 33, 200])
def test_many_labels_are_ranked_as_a_few(classes: int) -> None:
    values = np.random.default_rng(classes).integers(0, 6, classes).astype(np.float32)
    facts = describe_labels(_answer(*values), NAMES, LabelView(6, 0))
    order = sorted(range(classes), key=lambda label: (-values[label], label))
    assert [one["label"] for one in facts["top"]] == order[:6]


@pytest.mark.parametrize("classes", [2, 5, 6, 20, 21, 1000])
def test_a_few_labels_are_listed_and_a_few_probabilities_sent(classes: int) -> None:
    values = np.random.default_rng(classes).random(classes).astype(np.float32)
    facts = describe_labels(_answer(*values), (), DEFAULT_VIEW)
    order = np.argsort(-values)[:5].tolist()
    assert [one["label"] for one in facts["top"]] == order
    assert ("probabilities" in facts) == (classes <= 20)
    whole = describe_labels(_answer(*values), (), WHOLE_VIEW)
    assert set(whole) == {"probabilities"}
    assert whole["probabilities"].tobytes() == values.tobytes()


def test_of_several_labels_all_that_hold_are_listed_and_the_best_others() -> None:
    values = np.array([0.9, 0.2, 0.6, 0.4, 0.95], np.float32)
    outputs = {"probabilities": values, "labels": np.array([True, False, False, False, True])}
    facts = describe_labels(outputs, NAMES, LabelView(2, 0))
    assert _list(facts, "labels") == [(4, 0.95), (0, 0.9)]
    assert _list(facts) == [(2, 0.6), (3, 0.4)]
    nothing = describe_labels({**outputs, "labels": values > 1}, NAMES, DEFAULT_VIEW)
    assert nothing["labels"] == []
    everything = describe_labels({**outputs, "labels": values > 0}, NAMES, DEFAULT_VIEW)
    assert (len(everything["labels"]), everything["top"]) == (5, [])


@pytest.mark.parametrize(
    "outputs",
    [
        {"logits": np.zeros(3, np.float32)},
        {"probabilities": np.zeros(3, np.float32)},
        {"label": np.int64(1)},
        {"label": np.int64(1), "probabilities": np.zeros((2, 3), np.float32)},
        {"labels": np.zeros(2, np.bool_), "probabilities": np.zeros(3, np.float32)},
        {"labels": np.zeros(3, np.int64), "probabilities": np.zeros(3, np.float32)},
    ],
)
def test_other_outputs_have_no_labels_to_list(outputs: dict[str, Any]) -> None:
    assert describe_labels(outputs, NAMES, DEFAULT_VIEW) == {}


def test_a_route_may_declare_the_parameter_for_itself() -> None:
    own = make_manifest(parameters={"top_k": {"type": "integer", "default": 40}})
    assert read_label_view({"top_k": "400"}, own) == DEFAULT_VIEW
    assert read_label_view({"top_k": "7"}, make_manifest()) == LabelView(7, 0)
    assert read_label_view({}, make_manifest()) == DEFAULT_VIEW
