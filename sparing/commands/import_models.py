"""Options of `sparing import`."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

if TYPE_CHECKING:  # its module needs onnx, which serving does not install
    from importing.verdict import Verdict


def import_models(
    name: Annotated[str, typer.Argument(help="The route's name.")],
    stage: Annotated[
        list[str],
        typer.Option(
            help="An ONNX file, the cheapest first; repeat it for a cascade. Parts follow after "
            "commas: name=, preprocess=, activation=, input=, output=."
        ),
    ],
    data: Annotated[
        str,
        typer.Option(
            help="Labelled rows that trained no model: a folder with a folder of pictures for "
            "each class, an .npz with x and y, or x.npy,y.npy."
        ),
    ],
    labels: Annotated[
        str | None, typer.Option(help="Names of the classes: a,b,c or a file with one a line.")
    ] = None,
    preprocess: Annotated[
        str,
        typer.Option(
            help="auto, none, timm:config.json, hf:preprocessor_config.json, or a text as in "
            "resize=256:bicubic,crop=224,mean=0.5,std=0.5,color=RGB."
        ),
    ] = "auto",
    activation: Annotated[
        str,
        typer.Option(help="What the outputs are: auto, logits, softmax, log-softmax or sigmoid."),
    ] = "auto",
    reference: Annotated[
        str, typer.Option(help="The stage to compare with: last, or its name.")
    ] = "last",
    max_loss: Annotated[
        float,
        typer.Option(min=0, max=1, help="Held-out accuracy that may be lost, 0 to 1."),
    ] = 0.01,
    compress: Annotated[
        str,
        typer.Option(
            help="Int8 files as candidates: auto, int8 (the route has only them, or none is made) "
            "or none."
        ),
    ] = "auto",
    minutes: Annotated[
        float | None,
        typer.Option(
            help="After so many minutes, times are measured in fewer rounds and cascades of three "
            "are left out. [dim]Default: no bound.[/]"
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Seed of the split.")] = 0,
    out: Annotated[Path, typer.Option(help="Write the route into this folder.")] = Path("models"),
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the verdict and write nothing.")
    ] = False,
    html: Annotated[
        Path | None, typer.Option(help="Write the verdict into this HTML file too.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the verdict as JSON.")] = False,
) -> None:
    """Make a route of trained models: from their files to a directory that sparing serve loads.

    Puts preprocessing in front and logits behind each model, quantises it,
    chooses a cascade on one half of the data and judges it on the other.

    [bold]sparing import pets --stage small.onnx --stage large.onnx --data held_out/[/]

    [bold]sparing import pets --stage net.onnx --data rows.npz[/]  one model, a route of one stage
    """
    from sparing.model_tables import show_imported
    from sparing.recipes import failing_on_own_models, import_importing

    with failing_on_own_models():
        choices = import_importing("importing.options")
        route = import_importing("importing.route")
        options = choices.ImportOptions(
            labels=_read_labels(labels),
            preprocess=preprocess,
            activation=activation,
            reference=reference,
            max_loss=max_loss,
            compress=compress,
            minutes=minutes,
            seed=seed,
            out=out,
            dry_run=dry_run,
        )
        stages = [choices.read_stage(text) for text in stage]
        report = Console(file=sys.stderr).print if sys.stderr.isatty() else _say_nothing
        imported = route.import_route(name, stages, data, options, report)
        if html is not None:
            _write_page(html, name, imported.verdict)
    if as_json:
        directory = imported.directory
        verdict = imported.verdict.as_json() if imported.verdict else None
        facts = {
            "directory": str(directory) if directory else None,
            "sentence": imported.sentence,
            "notes": list(imported.notes),
            "verdict": verdict,
        }
        print(json.dumps(facts, indent=2))
        return
    show_imported(imported, Console())


def _read_labels(text: str | None) -> tuple[str, ...]:
    if text is None:
        return ()
    path = Path(text)
    lines = path.read_text().splitlines() if path.is_file() else text.split(",")
    return tuple(line.strip() for line in lines if line.strip())


def _write_page(path: Path, name: str, verdict: "Verdict | None") -> None:
    from sparing.recipes import import_importing

    if verdict is None:
        print(f"--html {path}: a model with its own outputs has no verdict", file=sys.stderr)
        return
    path.write_text(import_importing("importing.verdict_page").make_page(name, verdict))


def _say_nothing(clause: str) -> None:
    """Report no progress where it is no terminal."""
