"""Made-up samples of the comparison, and what is judged of them."""

from benchmarks.compare_frozen import (
    AS_IT_IS,
    CLEANED,
    CONVERTED,
    GUIDED,
    GUIDED_CLEANED,
    RETRAINED,
)
from benchmarks.compare_judge import judge_compare
from benchmarks.compare_trunk import TIMED
from benchmarks.corruptions import CORRUPTIONS
from benchmarks.results import Results, Sample
from benchmarks.verdicts import Row

SEEDS = (1, 2, 3)
# accuracy, CPU µs a picture, device µs a picture
NUMBERS = {
    "lenet": (0.992, 200.0, 140.0),
    "branchynet": (0.9922, 70.0, 45.0),
    "truncated": (0.986, 50.0, 30.0),
    "mlp": (0.985, 55.0, 34.0),
    "light": (0.991, 26.0, 14.0),
    "light-distilled": (0.9921, 26.0, 14.0),
    "small": (0.9935, 34.0, 18.0),
    "cbnet": (0.9905, 48.0, 26.0),
    "cbnet-dense": (0.987, 60.0, 45.0),
    "cbnet-gated": (0.9934, 38.0, 20.0),
    "encoder-only": (0.9915, 25.0, 13.0),
    "plain-encoder": (0.9914, 25.0, 13.1),
    "light-full": (0.9932, 39.0, 21.0),
    "dual": (0.9934, 30.0, 16.0),
}
FROZEN = {
    AS_IT_IS: 0.5, CONVERTED: 0.55, GUIDED: 0.7, CLEANED: 0.6, GUIDED_CLEANED: 0.65, RETRAINED: 0.8,
}  # fmt: skip


def corrupted(share: float) -> dict[str, float]:
    return {f"corrupt_{kind}_{strength}": share for kind in CORRUPTIONS for strength in (1, 2, 3)}


def make_samples(
    changes: dict[str, tuple[float, float, float]] | None = None,
    frozen: dict[str, float] | None = None,
    *,
    seeds: tuple[int, ...] = SEEDS,
) -> list[Sample]:
    samples: list[Sample] = []
    for name, (accuracy, cpu_us, device_us) in (NUMBERS | (changes or {})).items():
        for seed in seeds:
            facts = describe(name, accuracy + 0.0002 * (seed - 2))
            samples += [Sample(name, seed, metric, value) for metric, value in facts.items()]
        for run in range(2):  # the machine drifts, for all contestants the same
            times = time(name, cpu_us * (1 + run), device_us * (1 + run))
            samples += [Sample(name, run, metric, value) for metric, value in times.items()]
    for variant, share in (FROZEN if frozen is None else frozen).items():
        for seed in seeds:
            facts = {"accuracy": 0.9, "macs": 1e5, **corrupted(share + 0.001 * seed)}
            samples += [Sample(variant, seed, metric, value) for metric, value in facts.items()]
    return samples


def describe(name: str, accuracy: float) -> dict[str, float]:
    facts = {
        "accuracy": accuracy,
        "held_out_accuracy": accuracy - 0.001,
        "macs": 1e5,
        "rows": 10_000,
        "trial_rows": 1000,
        "epochs": 12,
        **corrupted(accuracy - 0.3),
        "strange_noise": 0.1,
        "strange_fashion-mnist": 0.4,
    }
    if name in ("branchynet", "cbnet-gated"):
        facts |= {"ended_0": 0.95, "ended_1": 0.03, "ended_2": 0.02, "right_0": 0.995}
    if name == "cbnet-gated":
        for stranger in ("noise", "fashion-mnist"):
            facts |= {f"converted_{stranger}": 0.02, f"converted_confident_{stranger}": 0.01}
    return facts


def time(name: str, cpu_us: float, device_us: float) -> dict[str, float]:
    times = {
        "bulk_cpu_us": cpu_us,
        "bulk_device_us": device_us,
        "many_cpu_us": cpu_us + 80,
        "lone_cpu_us": 400.0,
        "lone_device_us": 100.0,
        "bulk_mj": 0.1,
        "bulk_source": 5,
        "bulk_wrong": 0,
        "many_errors": 0,
    }
    times["bare_us"] = device_us
    return times | ({"trunk_us": device_us / 2} if name in TIMED else {})


def make_results(samples: list[Sample], data: str = "mnist") -> Results:
    return Results({"bench": f"compare_{data}"}, samples)


def judge(samples: list[Sample], data: str = "mnist") -> dict[str, Row]:
    return {row.what: row for row in judge_compare(make_results(samples, data))}


def find(rows: dict[str, Row], words: str) -> Row:
    (row,) = [row for what, row in rows.items() if words in what]
    return row
