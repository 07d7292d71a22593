"""From the models and the data of an import to stages that answer the same rows alike.

Decides whether rows are pictures, which preprocessing each stage has, and what each output is.
"""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from importing.label_sets import check_label_sets, give_labels
from importing.onnx_files.faults import ImportFault
from importing.onnx_files.graphs import FREE, Array, Feed, Tensor, open_graph
from importing.onnx_files.heads import put_logits_behind
from importing.onnx_files.outputs import (
    CLASSIFIES,
    OutputGuess,
    OutputKind,
    choose_output,
    judge_values,
)
from importing.onnx_files.reading import SourceModel, read_model
from importing.options import ImportOptions, Stage, find_kind
from importing.pictures.auto_preprocessing import find_preprocessing
from importing.pictures.picture_nodes import Canvas, put_pictures_in_front
from importing.pictures.preprocessing import Preprocessing
from importing.pictures.reading import read_preprocessing
from importing.samples import Samples, check_classes, find_sizes, read_pictures
from importing.stage_files import (
    IMAGE,
    PreparedModel,
    StageFile,
    cast_rows,
    finish_classifier,
    finish_outputs,
    make_picture_stage,
    match_inputs,
    prepare_model,
    rename_inputs,
    run_rows,
)

MAX_KEPT_SIDE_PX = 512  # pictures of one size keep it up to this
CHECK_ROWS = 256


@dataclass(frozen=True, slots=True)
class Task:
    """What the stages have in common."""

    canvas: Canvas | None  # None: rows are no pictures
    inputs: tuple[Tensor, ...]  # of the route
    rows: Feed  # of all data, under the route's names
    vocabulary: Mapping[str, int]  # of inputs that are words: how many there are
    classes: int  # or labels, where several hold at once; 0: no classifier
    several: bool = False


def prepare_stages(stages: Sequence[Stage], names: Sequence[str]) -> list[PreparedModel]:
    """Read all models, and name the first fault. Raises ImportFault."""
    return [
        prepare_model(name, _read_stage(stage, name), input_name=stage.input)
        for stage, name in zip(stages, names, strict=True)
    ]


def _read_stage(stage: Stage, name: str) -> SourceModel:
    if stage.path is not None:
        return read_model(stage.path)
    from importing.torch_modules import export_module

    with tempfile.TemporaryDirectory() as folder:
        return read_model(export_module(stage.model, stage.example, Path(folder) / f"{name}.onnx"))


def place_rows(
    models: Sequence[PreparedModel],
    stages: Sequence[Stage],
    samples: Samples,
    options: ImportOptions,
) -> tuple[Task, Samples]:
    """Give the data the route's form: pictures on a canvas, or tensors. Raises ImportFault."""
    answers = [_choose_answer(model, stage) for model, stage in zip(models, stages, strict=True)]
    canvas = _find_canvas(models, stages, samples, options)
    if canvas is not None:
        samples = read_pictures(samples, canvas.height, canvas.width, canvas.channels, options.seed)
        rows = {IMAGE: _to_canvas(next(iter(samples.inputs.values())), canvas)}
        inputs: tuple[Tensor, ...] = (Tensor(IMAGE, "UINT8", (FREE, *canvas.shape)),)
    else:
        if samples.files:
            raise ImportFault(
                f"{models[0].source.path}: takes {models[0].inputs[0]}, which is no picture, but "
                f"--data {samples.source} is a folder of pictures"
            )
        inputs = _merge_inputs(models)
        for model in models:
            match_inputs(model, inputs)
        rows = cast_rows(inputs, samples.inputs, f"--data {samples.source}")
        _check_ids(_merge_vocabularies(models, inputs), rows, samples)
    classes, several = 0, samples.are_label_sets and give_labels(answers, stages, options)
    if several:
        classes = samples.labels.shape[1]
        paths = [str(model.source.path) for model in models]
        check_label_sets(samples, paths, [answer.classes for answer in answers])
    elif samples.are_classes and answers[0].kind is not OutputKind.regression:
        classes = _count_classes(models, answers, samples)
        check_classes(samples, classes)
    vocabulary = _merge_vocabularies(models, inputs) if canvas is None else {}
    task = Task(canvas, inputs, rows, vocabulary, classes, several)
    return task, replace(samples, inputs=rows)


def _choose_answer(model: PreparedModel, stage: Stage) -> OutputGuess:
    try:
        return choose_output(model.outputs, stage.output)
    except ValueError as error:
        raise ImportFault(f"{model.source.path}: {error}") from error


def _find_canvas(
    models: Sequence[PreparedModel],
    stages: Sequence[Stage],
    samples: Samples,
    options: ImportOptions,
) -> Canvas | None:
    """Return the route's picture input, or None where rows are no pictures."""
    if any(model.picture is None for model in models):
        return None
    texts = [stage.preprocess or options.preprocess for stage in stages]
    if not samples.files:
        rows = next(iter(samples.inputs.values()))
        if rows.dtype != np.uint8:
            given = [text for text in texts if text not in {"auto", "none"}]
            if given:
                raise ImportFault(
                    f"--preprocess: given {given[0]!r}, but the rows of --data {samples.source} "
                    f"are {rows.dtype}; pictures are uint8, and tensors take --preprocess none"
                )
            return None
        return _measure_canvas(rows, samples)
    sizes = find_sizes(samples)
    channels = max(model.picture.channels for model in models if model.picture)
    if len(sizes) == 1 and max(size := next(iter(sizes))) <= MAX_KEPT_SIDE_PX:
        return Canvas(*size, channels)
    side = max(_find_side(model, text) for model, text in zip(models, texts, strict=True))
    return Canvas(side, side, channels)


def _find_side(model: PreparedModel, text: str) -> int:
    assert model.picture is not None, "the caller checked"
    size = max(model.picture.size or (224, 224))
    if text in {"auto", "none"}:
        return round(size / 0.875)
    steps = read_preprocessing(text)
    resize = (steps.resize,) if isinstance(steps.resize, int) else steps.resize or (size,)
    return max(*resize, *(steps.crop or (0, 0)))


def _measure_canvas(rows: Array, samples: Samples) -> Canvas:
    shape = rows.shape[1:]
    if len(shape) == 3 and shape[0] in {1, 3} and shape[2] not in {1, 3}:
        shape = (*shape[1:], shape[0])
    if len(shape) == 2:
        return Canvas(*shape, 1)
    if len(shape) == 3 and shape[2] in {1, 3}:
        return Canvas(*shape)
    raise ImportFault(
        f"--data {samples.source}: rows are uint8 {list(rows.shape)}; pictures are [N, H, W] or "
        "[N, H, W, 3]"
    )


def _to_canvas(rows: Array, canvas: Canvas) -> Array:
    """Return pictures as [N, H, W, 3] or [N, H, W]."""
    if rows.ndim == 4 and rows.shape[1] == canvas.channels != rows.shape[3]:
        rows = rows.transpose(0, 2, 3, 1)
    if canvas.channels == 1 and rows.ndim == 4:
        rows = rows[..., 0]
    return np.ascontiguousarray(rows)


def _merge_inputs(models: Sequence[PreparedModel]) -> tuple[Tensor, ...]:
    """Return the first model's inputs, with the sizes that another one fixes."""
    merged = list(models[0].inputs)
    for model in models[1:]:
        if len(model.inputs) != len(merged):
            continue  # `rename_inputs` names the difference
        for place, (own, other) in enumerate(zip(merged, model.inputs, strict=True)):
            if len(own.shape) == len(other.shape):
                sizes = zip(own.shape, other.shape, strict=True)
                shape = tuple(b if a == FREE else a for a, b in sizes)
                merged[place] = replace(own, shape=(FREE, *shape[1:]))
    return tuple(replace(one, shape=(FREE, *one.shape[1:])) for one in merged)


def _merge_vocabularies(
    models: Sequence[PreparedModel], inputs: Sequence[Tensor]
) -> dict[str, int]:
    """Return how many words every stage knows, by the route's names of inputs."""
    known: dict[str, int] = {}
    for model in models:
        for own, given in match_inputs(model, inputs):
            size = model.vocabulary.get(own.name)
            if size is not None:
                known[given.name] = min(size, known.get(given.name, size))
    return known


def _check_ids(vocabulary: Mapping[str, int], rows: Feed, samples: Samples) -> None:
    for name, size in vocabulary.items():
        values = rows[name]
        if values.min() < 0 or values.max() >= size:
            raise ImportFault(
                f"--data {samples.source}: {name} holds {values.min()} to {values.max()}, the "
                f"models take 0 to {size - 1}"
            )


def _count_classes(
    models: Sequence[PreparedModel], answers: Sequence[OutputGuess], samples: Samples
) -> int:
    counts = []
    for model, answer in zip(models, answers, strict=True):
        if answer.kind in {OutputKind.label, OutputKind.detection}:
            raise ImportFault(
                f"{model.source.path}: output {answer.tensor.name} is a {answer.kind}, which has "
                "no score for each class; export the model with its logits or probabilities"
            )
        counts.append(2 if answer.classes == 1 else answer.classes)
    for model, count in zip(models, counts, strict=True):
        if count != counts[0]:
            raise ImportFault(
                f"{model.source.path}: has {count} classes, {models[0].source.path} has {counts[0]}"
            )
    return counts[0]


def build_classifier(
    model: PreparedModel,
    stage: Stage,
    task: Task,
    choosing: tuple[Feed, Array],
    options: ImportOptions,
) -> tuple[StageFile, tuple[str, ...]]:
    """Return the stage's file and what was found for it. Raises ImportFault."""
    rows, labels = choosing
    answer = _choose_answer(model, stage)
    kind = find_kind(stage, options, answer.kind)
    if kind not in CLASSIFIES and kind is not OutputKind.sigmoid:
        kind = OutputKind.margin if answer.classes == 1 else OutputKind.logits
    notes = [] if kind is OutputKind.logits else [f"{model.name}: its output is {kind}"]
    if task.canvas is None:
        changed = rename_inputs(model, task.inputs)
    else:
        steps = _find_steps(model, stage, task, (rows, labels), options, answer, kind, notes)
        changed = make_picture_stage(model, task.canvas, steps)
    made = finish_classifier(model, changed, answer, kind, task.classes, rows)
    _check_kind(model, answer, kind, made, rows, several=task.several)
    return made, tuple(notes)


def _find_steps(
    model: PreparedModel,
    stage: Stage,
    task: Task,
    choosing: tuple[Feed, Array],
    options: ImportOptions,
    answer: OutputGuess,
    kind: OutputKind,
    notes: list[str],
) -> Preprocessing | None:
    text = stage.preprocess or options.preprocess
    if text not in {"auto", "none"}:
        return read_preprocessing(text)
    if model.inputs[0].datatype == "UINT8":
        return None  # it takes bytes, and so has its preprocessing inside
    if text == "none":
        return Preprocessing(scale=1.0)
    if task.several:
        raise ImportFault(
            f"{model.source.path}: --preprocess auto needs one class a row; give its preprocessing"
        )
    rows, labels = choosing
    canvas, taken = task.canvas, model.picture
    assert canvas is not None and taken is not None, "the caller checked"
    head = put_logits_behind(model.model, answer, kind, task.classes)

    def run(steps: Preprocessing, start: int, stop: int) -> Array:
        tried = put_pictures_in_front(head, taken, canvas, steps, IMAGE)
        pictures = {IMAGE: rows[IMAGE][start:stop]}
        return run_rows(open_graph(tried), pictures, batches=model.batching.batches)[0]

    order = np.random.default_rng(options.seed).permutation(len(labels))
    rows, labels = {IMAGE: rows[IMAGE][order]}, labels[order]
    found = find_preprocessing(run, labels, canvas, taken, str(model.source.path))
    notes.append(f"{model.name}: preprocessing {found.describe()}")
    return found.steps


def _check_kind(
    model: PreparedModel,
    answer: OutputGuess,
    kind: OutputKind,
    made: StageFile,
    rows: Feed,
    *,
    several: bool,
) -> None:
    """Refuse probabilities that pass for logits: a cascade of them hardly ever stops early."""
    some = {name: values[:CHECK_ROWS] for name, values in rows.items()}
    (logits,) = run_rows(made.open(), some, batches=made.batches)
    if not np.isfinite(logits).all():
        raise ImportFault(
            f"{model.source.path}: output {answer.tensor.name} is not finite on some rows of the "
            "data"
        )
    if several:
        passes, activation = logits.min() >= 0 and logits.max() <= 1, "sigmoid"
    else:
        passes, activation = judge_values(logits) is OutputKind.softmax, "softmax"
    if kind is OutputKind.logits and passes:
        raise ImportFault(
            f"{model.source.path}: output {answer.tensor.name} holds probabilities, not logits; "
            f"use --activation {activation}"
        )


def build_outputs(
    model: PreparedModel, stage: Stage, task: Task, options: ImportOptions, sample: Feed
) -> StageFile:
    """Return the file of a model that keeps its own outputs. Raises ImportFault."""
    if task.canvas is None:
        return finish_outputs(model, rename_inputs(model, task.inputs), sample)
    text = stage.preprocess or options.preprocess
    if text == "auto" and model.inputs[0].datatype != "UINT8":
        raise ImportFault(
            f"{model.source.path}: --preprocess auto needs classes as labels; give its "
            "preprocessing"
        )
    steps = None if text in {"auto", "none"} else read_preprocessing(text)
    if steps is None and model.inputs[0].datatype != "UINT8":
        steps = Preprocessing(scale=1.0)
    return finish_outputs(model, make_picture_stage(model, task.canvas, steps), sample)
