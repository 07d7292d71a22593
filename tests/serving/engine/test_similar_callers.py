"""What one caller sends proves nothing about another's hits, and steers none of their audits."""

from typing import Any

import numpy as np

from cache.caller_audits import MAX_CALLERS
from core.messages import Outcome, Request
from serving.engine.caches.perceptual_cache import PerceptualRoute
from tests.serving.alike import CornerStage, alter, make_picture, serve_alike

A = make_picture(1)


def make_similar(**settings: Any) -> PerceptualRoute:
    return serve_alike(CornerStage(), **settings)[1]


def say(label: int) -> Outcome:
    return Outcome({"label": np.asarray(label)}, 1.0, "only")


def ask(similar: PerceptualRoute, caller: str, *, right: bool = True, new: int = 0) -> str:
    """One hit of the caller's on an entry that says 7; "hit", "audit" or "computed"."""
    picture = make_picture(new) if new else alter(A)
    known, probes = similar.look_up(Request("small", {"image": picture[None]}, caller=caller), [0])
    if known:
        return "hit"
    if not probes:
        return "computed"
    probe = probes[0]
    similar.record_answer(probe, say(7 if right else 8), 3600.0)
    return "audit" if probe.audited is not None else "computed"


def fill(similar: PerceptualRoute, caller: str) -> None:
    _, probes = similar.look_up(Request("small", {"image": A[None]}, caller=caller), [0])
    if probes:
        similar.record_answer(probes[0], say(7), 3600.0)


def test_many_right_hits_of_one_caller_hide_no_wrong_ones_of_another() -> None:
    similar = make_similar(audit_burn_in=100, audit_rate=0.05)
    fill(similar, "attacker")
    thinned = [ask(similar, "attacker") for _ in range(2000)]
    assert thinned[-500:].count("audit") < 75
    answers = []
    for _ in range(200):
        fill(similar, "attacker")
        answers.append(ask(similar, "victim", right=False))
    assert "hit" not in answers  # the burn-in is all audited, and it ends in the tier being off
    assert answers[-1] == "computed"
    assert answers.count("audit") < 20


def test_a_caller_switches_the_tier_off_for_itself_alone() -> None:
    similar = make_similar(audit_burn_in=1, audit_rate=0.01)
    for _ in range(200):
        fill(similar, "victim")
        ask(similar, "attacker", right=False)
        if not similar.on:
            break
    assert similar.describe()["callers_off"] == 1
    fill(similar, "victim")
    answers = [ask(similar, "victim") for _ in range(50)]
    assert answers.count("hit") > 40
    assert ask(similar, "attacker") == "computed"


def test_a_caller_that_was_forgotten_is_audited_in_full() -> None:
    similar = make_similar(audit_burn_in=20, audit_rate=0.001)
    fill(similar, "victim")
    for _ in range(2000):
        ask(similar, "victim")
    assert [ask(similar, "victim") for _ in range(10)].count("audit") < 3
    for index in range(MAX_CALLERS):
        ask(similar, f"other {index}")
    assert len(similar._audits._audits) == MAX_CALLERS
    assert [ask(similar, "victim") for _ in range(10)] == ["audit"] * 10
