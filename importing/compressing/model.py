"""The int8 twin of one model."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import onnx

from importing.compressing.comparing import Compressed, StageRows, make_twin
from importing.onnx_files.faults import ImportFault
from importing.onnx_files.graphs import Array, Feed, Tensor, open_graph
from importing.onnx_files.reading import read_model
from importing.quantising import find_outer_nodes, quantise_stage
from importing.samples import Samples, read_pictures, read_samples, split_rows
from importing.stage_files import StageFile, cast_rows

Say = Callable[[str], object]


@dataclass(frozen=True, slots=True)
class Halves:
    """The route's or model's rows: half calibrates, the other half judges."""

    calibrating: Feed
    judging: Feed
    labels: Array  # of the rows that judge
    are_classes: bool
    are_label_sets: bool

    @property
    def judged(self) -> Array | None:
        """The labels that a classifier's answers can be compared with."""
        return self.labels if self.are_classes or self.are_label_sets else None


def compress_model(path: Path, data: str, out: Path, say: Say = print) -> Compressed:
    """Write the int8 twin of a model to `out`; `say` gets a clause where not all rows are read.

    Raises ImportFault; then nothing is written.
    """
    if out.exists():
        raise ImportFault(f"--out {out}: exists already")
    stage = open_stage(path.stem, read_model(path).proto)
    halves = halve(_read_rows(read_samples(data), stage.inputs), stage.inputs, say)
    twin, found = make_twin(stage, StageRows(halves.calibrating, halves.judging, halves.judged))
    out.write_bytes(twin.raw)
    return found


def quantise_file(path: Path, rows: Feed, *, outer_in_float: bool = False) -> bytes:
    """Return the int8 twin of an ONNX file, calibrated on these rows. Raises ImportFault.

    `outer_in_float`: the first and the last operator stay as they are, if others are left.
    """
    stage = open_stage(path.stem, read_model(path).proto)
    twin = quantise_stage(stage, rows)
    if outer_in_float and (kept := find_outer_nodes(twin)):
        twin = quantise_stage(stage, rows, kept=kept)
    return twin.raw


def open_stage(name: str, model: onnx.ModelProto) -> StageFile:
    """Return a model that is served as it is. Raises ImportFault."""
    graph = open_graph(model)
    raw = model.SerializeToString()
    batches = all(tensor.shape and tensor.shape[0] < 0 for tensor in graph.inputs)
    return StageFile(name, raw, graph.inputs, graph.outputs, 0, 0, batches, "", ())


def halve(samples: Samples, inputs: tuple[Tensor, ...], say: Say) -> Halves:
    """Split the rows, in the form of these inputs. Raises ImportFault."""
    for note in samples.notes:
        say(note)
    rows = cast_rows(inputs, samples.inputs, f"--data {samples.source}")
    calibrate, judge = split_rows(samples, seed=0)
    return Halves(
        {name: array[calibrate] for name, array in rows.items()},
        {name: array[judge] for name, array in rows.items()},
        samples.labels[judge],
        samples.are_classes,
        samples.are_label_sets,
    )


def _read_rows(samples: Samples, inputs: tuple[Tensor, ...]) -> Samples:
    if not samples.files:
        return samples
    shape = inputs[0].shape
    if len(inputs) != 1 or inputs[0].datatype != "UINT8" or len(shape) not in {3, 4}:
        raise ImportFault(
            f"--data {samples.source}: is a folder of pictures, the model takes {inputs[0]}; "
            "import it first"
        )
    channels = 1 if len(shape) == 3 else 3
    return read_pictures(samples, shape[1], shape[2], channels)
