"""What `sparing inspect`, `import`, `compress` and `check` print on the terminal."""

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Column, Table

from core.manifest import Manifest, TensorSpec, read_manifest
from sparing.tables import show_macs

if TYPE_CHECKING:  # its modules need onnx, which serving does not install
    from importing.onnx_files.inspection import Inspection
    from importing.route import Imported

URL = "http://127.0.0.1:3000"
MAX_VALUES = 64  # of all inputs; more are no command to type


def show_inspection(found: "Inspection", console: Console) -> None:
    """Print an inspection as a table of facts and a list of needs."""
    table = Table(
        Column("", no_wrap=True), Column("", overflow="fold"), box=None, show_header=False
    )
    table.add_row("file", f"{found.path}, {found.size_bytes:,} bytes")
    table.add_row("made by", f"{found.producer}, opset {found.opset}")
    for tensor in found.inputs:
        table.add_row("input", _show(tensor))
    for guess in found.outputs:
        table.add_row("output", f"{_show(guess.tensor)}: seems {guess.kind}, {guess.reason}")
    answer = "yes" if found.batching.batches else "no"
    table.add_row("batches", f"{answer}: {found.batching.reason}")
    counted = f"unknown: {found.macs_reason}" if found.macs is None else show_macs(found.macs)
    table.add_row("MACs", counted)
    table.add_row("parameters", f"{found.parameters:,}")
    for name, size in found.vocabulary.items():
        table.add_row("vocabulary", f"{name}: 0 to {size - 1}")
    for need in found.needs:
        table.add_row("needs", need)
    console.print(table)


def show_imported(imported: "Imported", console: Console) -> None:
    """Print the verdict: what each way costs, the sentence, and where the route is."""
    for note in imported.notes:
        console.print(note, highlight=False)
    if imported.verdict is not None:
        joules = ["mJ/row"] if imported.verdict.has_meter else []  # else they tell what µs tell
        measure = imported.verdict.measure.value
        columns = ["", measure, "µs/row", *joules, "MACs", "kB", "difference, 95 %"]
        table = Table(*(Column(name, overflow="fold") for name in columns), box=None)
        for row in imported.verdict.rows:
            spent = "unknown" if row.mj_per_row is None else f"{row.mj_per_row:.3g}"
            difference = (
                "reference"
                if row.name == imported.verdict.reference
                else f"{row.difference * 100:+.1f} ({row.low * 100:+.1f} to {row.high * 100:+.1f})"
            )
            named = " → ".join(row.members) if len(row.members) > 1 else row.name
            table.add_row(
                f"{'*' if row.chosen else ' '} {named}",
                f"{row.accuracy:.2%}",
                f"{row.us_per_row:,.0f}",
                *([spent] if joules else []),
                show_macs(row.macs),
                f"{row.size_bytes / 1000:,.0f}",
                difference,
            )
        console.print(table)
        console.print(f"Energy: {imported.verdict.energy}.", highlight=False)
    console.print(imported.sentence, highlight=False)
    if imported.directory is not None:
        console.print(str(imported.directory), highlight=False, soft_wrap=True)
        for command in advise(imported.directory):
            console.print(f"  {command}", highlight=False, soft_wrap=True, markup=False)


def advise(directory: Path) -> list[str]:
    """Return what to type next: how to serve the route, and a request that it answers.

    Raises ModelDirectoryError.
    """
    manifest = read_manifest(directory)
    models = directory.parent.parent
    serve = "sparing serve" if models == Path("models") else f"sparing serve --models {models}"
    request = _make_request(manifest)
    return [serve, request] if request else [serve]


def _make_request(manifest: Manifest) -> str:
    """Return a request for curl; empty if one would be too long."""
    if manifest.picture is not None:
        return f"curl --data-binary @picture.png {URL}/v1/routes/{manifest.route}/predict"
    shapes = {spec.name: _fix(spec) for spec in manifest.inputs}
    if sum(math.prod(shape) for shape in shapes.values()) > MAX_VALUES:
        return ""
    inputs = [
        {
            "name": spec.name,
            "datatype": spec.datatype,
            "shape": shapes[spec.name],
            "data": [_make_value(spec)] * math.prod(shapes[spec.name]),
        }
        for spec in manifest.inputs
    ]
    body = json.dumps({"inputs": inputs}, separators=(",", ":"))
    return f"curl -d '{body}' {URL}/v2/models/{manifest.route}/infer"


def _fix(spec: TensorSpec) -> list[int]:
    return [1, *(4 if size < 0 else size for size in spec.shape[1:])]


def _make_value(spec: TensorSpec) -> object:
    if spec.datatype == "BYTES":
        return "a text"
    if spec.datatype == "BOOL":
        return True
    return 1 if spec.min is None else spec.min


def _show(tensor: Any) -> str:
    sizes = ["?" if size < 0 else str(size) for size in tensor.shape[1:]]
    return f"{tensor.name} {tensor.datatype} ({' × '.join(['N', *sizes])})"
