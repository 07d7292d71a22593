"""The recipe of a dense vision transformer, the teacher of token-adaptive nets.

A compact net with a convolutional stem, which a route's net may teach. An interrupted training
resumes in the same `runs` folder.
"""

from pathlib import Path

import torch
from rich.console import Console

from tokens.vision_transformer import VisionTransformer
from training.data.sets import load_data
from training.fitting.in_process import learn
from training.fitting.route_teacher import RouteTeacher
from training.fitting.vit import make_job, spec_for

EPOCHS = 12


def train(
    data: str,
    runs: Path,
    *,
    taught_by: Path | None = None,
    seed: int = 1,
    epochs: int = EPOCHS,
    threads: int = 1,
    console: Console | None = None,
) -> VisionTransformer:
    """Train the dense net, or read it from `runs` where it is finished.

    `taught_by`: the directory `<route>/<version>` of a single-net route. Raises ValueError in one
    sentence for unusable data, a route that cannot teach, or a folder of another recipe.
    """
    torch.set_num_threads(threads)
    data_set = load_data(data)
    teacher = None if taught_by is None else RouteTeacher(taught_by, data_set)
    job = make_job(spec_for(data_set), data_set, teacher, seed=seed, epochs=epochs)
    learn(job, runs, console or Console())
    assert isinstance(job.net, VisionTransformer)
    return job.net
