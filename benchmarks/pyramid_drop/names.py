"""The cases by name, as measurement and report both use them. Needs no torch."""

FULL, BLIND, COMMONEST = "full", "text only", "commonest answer"
PLAIN, BUDGETS = "trained without drops", "trained for every budget"
FAMILIES = ("garment", "object", "colour", "digits", "count", "same", "where", "row", "list")
FRAGILE = "digits"  # reported apart, as a task that needs every detail
COUNTS_POINTS = 20  # a family counts if the full model is as far above its text-only twin
SHARES = (0.47, 0.25)  # of visual tokens that a layer reads, on average
PYRAMID = "pyramid, last"
BASELINES = {  # the comparators of PyramidDrop that read as many tokens
    "FastV": ("fastv",),
    "random choice": ("pyramid, random", "once, random"),
    "a regular grid": ("pyramid, uniform", "once, uniform"),
}
RATIOS = (0.5, 0.3)  # λ: of the tokens from one quarter of the layers to the next
BATCHES, THREADS = (1, 8), (1, 2)
WIDE = {"d 1024, 8 layers": (1024, 8), "d 2048, 4 layers": (2048, 4)}
WIDE_AVERAGES = (288, 192, 128, 80)  # of 576, where the layers reach them
BIG_PICTURES, BIG_AVERAGES = (1, 5), (192, 128, 64)  # of 576 tokens each, on an accelerator
TRAINED, TRAINED_DROPPING = "vlm-short", "vlm-short-drop0.5"
STEP, STEP_DROPPING = "a training step", "a training step with λ = 0.5"
TRACES = {"code": "AzureLLMInferenceTrace_code.csv", "chat": "AzureLLMInferenceTrace_conv.csv"}
ALONE = "one at a time"


def setting(share: float, name: str) -> str:
    """How a model is asked."""
    return f"{share:.0%}, {name}"


def asked_as(model: str, how: str) -> str:
    """A case of quality: one of the two models, `FULL` or a setting."""
    return f"{model}: {how}"


def trained(what: str) -> str:
    """A metric of both models of the short curriculum, each asked under its own schedule."""
    return f"trained_{what}"


def prefill(rows: int, ratio: float, threads: int, *, seen: bool) -> str:
    """A case of time of the small model; `seen`: its vision part has run before."""
    words = "decoder alone" if seen else "vision part too"
    return f"{_count(rows, 'row')}, λ {ratio:g}, {words}, {_count(threads, 'thread')}"


def wide(shape: str, schedule: str, threads: int) -> str:
    """A case of time of wide layers."""
    return f"{shape}, {schedule}, {_count(threads, 'thread')}"


def big(pictures: int, schedule: str) -> str:
    """A case of time of a decoder of 7 billion parameters' shape."""
    return f"accelerator, {_count(pictures, 'picture')}, {schedule}"


def served(trace: str, how: str) -> str:
    """A case of load; `how` is a share of visual tokens, `FULL`, or `ALONE`."""
    return f"{trace} trace, {how}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
