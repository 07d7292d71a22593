"""Rollout plans: the choice between two versions, and the file that declares them."""

import subprocess
import sys
from pathlib import Path

import pytest

from core.errors import ModelDirectoryError
from routes.rollouts import FILE, RolloutPlan, find_fraction, read_plan, write_plan

KEYS = [f"caller {number}" for number in range(20_000)]


@pytest.mark.parametrize("share", [0.01, 0.05, 0.5])
def test_the_canary_gets_its_share_within_binomial_bounds(share: float) -> None:
    plan = RolloutPlan("1", "2", share)
    count = sum(plan.choose("tiny", key) == "canary" for key in KEYS)
    deviation = (len(KEYS) * share * (1 - share)) ** 0.5
    assert abs(count - len(KEYS) * share) < 4 * deviation


def test_all_or_none_of_the_callers_get_the_canary_at_the_ends() -> None:
    assert {RolloutPlan("1", "2", 0.0).choose("tiny", key) for key in KEYS[:500]} == {"stable"}
    assert {RolloutPlan("1", "2", 1.0).choose("tiny", key) for key in KEYS[:500]} == {"canary"}
    assert RolloutPlan("1").choose("tiny", "anyone") == "stable"


def test_a_caller_who_got_the_canary_keeps_it_while_the_share_grows() -> None:
    shares = (0.01, 0.05, 0.25, 1.0)
    for key in KEYS[:2000]:
        roles = [RolloutPlan("1", "2", share).choose("tiny", key) for share in shares]
        assert roles == sorted(roles, reverse=True)


def test_another_canary_or_route_mixes_the_callers_anew() -> None:
    early = [key for key in KEYS if find_fraction("tiny", "2", key) < 0.1]
    again = sum(find_fraction("tiny", "3", key) < 0.1 for key in early)
    other = sum(find_fraction("other", "2", key) < 0.1 for key in early)
    assert 0.05 < again / len(early) < 0.15
    assert 0.05 < other / len(early) < 0.15


def test_another_process_with_another_hash_seed_chooses_the_same() -> None:
    program = (
        "from routes.rollouts import RolloutPlan\n"
        "plan = RolloutPlan('1', '2', 0.3)\n"
        "print(''.join(plan.choose('tiny', f'caller {n}')[0] for n in range(500)))"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(__file__).parents[2])},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    plan = RolloutPlan("1", "2", 0.3)
    mine = "".join(plan.choose("tiny", f"caller {number}")[0] for number in range(500))
    assert found == {mine + "\n"}


@pytest.mark.parametrize(
    "plan", [RolloutPlan("1"), RolloutPlan("3", "12", 0.05), RolloutPlan("1", "2", 1e-9)]
)
def test_what_is_written_is_read(tmp_path: Path, plan: RolloutPlan) -> None:
    write_plan(tmp_path / FILE, RolloutPlan("9"))
    write_plan(tmp_path / FILE, plan)
    assert read_plan(tmp_path / FILE) == plan
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("stable =", "Invalid value"),
        ("", "stable: given None"),
        ("stable = 1", "stable: given 1"),
        ('stable = "../1"', "stable"),
        ('stable = "1"\nshare = 0.5', "share: given without canary"),
        ('stable = "1"\ncanary = "1"\nshare = 0.5', "canary"),
        ('stable = "1"\ncanary = "2"', "share: given None"),
        ('stable = "1"\ncanary = "2"\nshare = 5', "from 0 to 1"),
        ('stable = "1"\ncanary = "2"\nshare = nan', "from 0 to 1"),
        ('stable = "1"\ncanary = "2"\nshare = true', "from 0 to 1"),
        ('stable = "1"\nspeed = 3', "speed: unknown"),
        ("#" * 5000, "bytes"),
    ],
)
def test_a_wrong_file_is_refused_with_one_sentence(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / FILE).write_text(text)
    with pytest.raises(ModelDirectoryError) as refused:
        read_plan(tmp_path / FILE)
    assert str(tmp_path / FILE) in str(refused.value)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)
