"""The recipe of a dense vision transformer: the route `<data>-vit`, and the teacher of nets that
choose the work per token.

A compact net with a convolutional stem, which a route's net may teach. An interrupted training
resumes in the same `runs` folder.
"""

from pathlib import Path

import torch
from rich.console import Console

from tokens.vision_transformer import VisionTransformer
from training.data.sets import load_data
from training.export.cost import measure_us_per_picture
from training.export.members import Measure
from training.export.route_writer import describe_making, write_route
from training.export.transformers import make_route
from training.fitting.in_process import learn
from training.fitting.route_teacher import RouteTeacher
from training.fitting.vit import NAME, make_job, spec_for

EPOCHS = 6


def train(
    data: str,
    out: Path,
    runs: Path,
    *,
    taught_by: Path | None = None,
    seed: int = 1,
    epochs: int = EPOCHS,
    threads: int = 1,
    measure: Measure = measure_us_per_picture,
    console: Console | None = None,
) -> Path:
    """Train the net, or read it from `runs`, and write the route `<data>-vit` into `out`; its
    directory. The weights are `<runs>/vit.safetensors`.

    `taught_by`: the directory `<route>/<version>` of a single-net route. Raises ValueError in one
    sentence for unusable data, a route that cannot teach, or a folder of another recipe.
    """
    torch.set_num_threads(threads)
    console = console or Console()
    data_set = load_data(data)
    teacher = None if taught_by is None else RouteTeacher(taught_by, data_set)
    job = make_job(spec_for(data_set), data_set, teacher, seed=seed, epochs=epochs)
    learn(job, runs, console)
    assert isinstance(job.net, VisionTransformer)
    making = {**describe_making(), "recipe": "training.vit"}
    if teacher is not None:
        making["taught_by"] = teacher.name
    with console.status("exporting, measuring"):
        draft = make_route(job.net, data_set, runs, NAME, making, measure)
    return write_route(out, draft)
