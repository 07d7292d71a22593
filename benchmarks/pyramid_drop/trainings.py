"""What dropping saves in training: the time of a step, and what both trained models answer.

Steps are those of the short curriculum's last stage, of both models in turns. Each trained model is
asked under the schedule that it was trained with.
"""

import itertools
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn

from benchmarks.pyramid_drop.names import (
    FAMILIES,
    FRAGILE,
    STEP,
    STEP_DROPPING,
    TRAINED,
    TRAINED_DROPPING,
    trained,
)
from benchmarks.pyramid_drop.prefills import Say
from benchmarks.pyramid_drop.quality import compare
from harness.results import Sample
from tokens.pyramid_drop.schedule import pyramid
from tokens.vision_language.model import Dropping
from training.data.grids.scenes import Sources
from training.fitting.loop import Job
from training.vision_language.curriculum import SHORT
from training.vision_language.learning import (
    CLIP_NORM,
    Setting,
    build_model,
    make_job,
    standard_spec,
)
from training.vision_language.operating_points import Asked, measure

RATIO = 0.5
WARM_UP_STEPS = 2


def time_steps(sources: Sources, runs: int, steps: int, say: Say) -> Iterator[Sample]:
    """CPU time of a step, run by run, with one thread."""
    torch.set_num_threads(1)
    jobs = {STEP: _make_job(sources, Dropping()), STEP_DROPPING: _make_job(sources, _dropping())}
    for run in range(runs):
        for case, job in jobs.items():
            say(f"run {run + 1}: {case}")
            yield Sample(case, run, "step_ms", 1e3 * _time(job, steps, run))


def judge_trained(folder: Path, asked: Asked, say: Say) -> Iterator[Sample]:
    """Right answers of both models that are trained in this folder; nothing without them."""
    answers = {}
    for name, how in ((TRAINED, Dropping()), (TRAINED_DROPPING, _dropping())):
        path = folder / f"{name}.safetensors"
        if not path.exists():
            say(f"{path}: not there, the comparison of trainings is left out")
            return
        model = build_model(standard_spec(), 1)
        model.load_state_dict(load_file(path))
        say(f"asking {name}")
        *_, point = measure(model.eval(), asked, {name: how} if how.schedule.drops else {})
        answers[name] = point.right_Q
    families = np.array([one.family for one in asked.questions])
    for name, hits in answers.items():
        for family in FAMILIES:
            yield Sample(name, 0, trained(family), 100 * float(hits[families == family].mean()))
    chosen = families != FRAGILE
    below, margin = compare(answers[TRAINED_DROPPING][chosen], answers[TRAINED][chosen])
    yield Sample(TRAINED_DROPPING, 0, trained("below"), below)
    yield Sample(TRAINED_DROPPING, 0, trained("margin"), margin)


def _dropping() -> Dropping:
    return Dropping(pyramid(standard_spec().layers, ratio=RATIO))


def _make_job(sources: Sources, how: Dropping) -> Job:
    setting = Setting(build_model(standard_spec(), 1), sources, sources, SHORT, how)
    return make_job(setting, "timed", SHORT.stages[-1], lambda _: None)


def _time(job: Job, steps: int, seed: int) -> float:
    """Seconds of a step. Batches are drawn beforehand: they cost both the same."""
    rng = np.random.default_rng(seed)
    batches = list(itertools.islice(job.batches(rng), WARM_UP_STEPS + steps))
    job.net.train()
    started = 0.0
    for number, batch in enumerate(batches):
        if number == WARM_UP_STEPS:
            started = time.process_time()
        loss = job.loss(*batch)
        job.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(job.net.parameters(), CLIP_NORM)
        job.optimizer.step()
    return (time.process_time() - started) / steps
