"""The recipe of a gated converting autoencoder: its nets and the route `<data>-cbnet`.

After CBNet (arXiv 2403.07036) and its authors' own successor (arXiv 2404.13770). An interrupted
training resumes in the same `runs` folder. The study of converters, `studies.converters`, trains
the same nets and more, and keeps them in the same folders.
"""

from pathlib import Path

from rich.console import Console

from training.export.cost import measure_us_per_picture
from training.export.route_writer import write_route
from training.gated.experiment import open_experiment, train_nets
from training.gated.figure import draw_conversions, load_converter
from training.gated.nets import NETS
from training.gated.own_converter import ConverterOptions, make_own_stage, train_converter
from training.gated.route import CONVERTER, draft_gated, prepare_parts
from training.gated.stages import Measure

STANDARD = ConverterOptions()


def train(
    data: str,
    out: Path,
    runs: Path,
    *,
    workers: int = 2,
    seed: int = 1,
    epochs: int | None = None,
    options: ConverterOptions = STANDARD,
    measure: Measure = measure_us_per_picture,
) -> Path:
    """Train the nets of one seed and write the route `<data>-cbnet` into `out`; its directory.

    `epochs` overrides every net's number, for trying the recipe out. With `options` other than the
    standard ones, one more converter is trained and takes the standard one's place in the route.
    Raises ValueError in one sentence for unusable data or folders of another recipe.
    """
    console = Console()
    experiment = open_experiment(data, runs, NETS, seed=seed, epochs=epochs)
    train_nets(experiment, "training.gated.nets", workers, console)
    if options == STANDARD:
        converter, replaced = load_converter(experiment, CONVERTER), {}
        figure = experiment.folder / f"{data}-converted.png"
    else:
        converter = train_converter(experiment, options, console)
        replaced = {CONVERTER: make_own_stage(experiment, options, converter)}
        figure = experiment.folder / f"{data}-{options.name}.png"
    making = {"recipe": "training.cbnet"}
    parts = prepare_parts(experiment, console, making, measure=measure, replaced=replaced)
    draft = draft_gated(parts, "cbnet")
    console.print(f"{draft.provenance['test_accuracy']:.2%} on test", highlight=False)
    draw_conversions(experiment, figure, {"converted": converter})
    console.print(f"wrote {figure}", soft_wrap=True)
    return write_route(out, draft)
