"""Routes whose stages have two files: the other is that of another seed, so that answers differ."""

from pathlib import Path
from typing import Any

from harness.tiny_routes import describe_file, write_route

OTHER_SEED = 77


def write_two_files(root: Path, **arguments: Any) -> Path:
    """Write a route like `write_route`, whose stages have other nets as `int8_file`."""
    others = write_route(root / ".others", **{**arguments, "seed": OTHER_SEED})

    def add(table: dict[str, Any]) -> None:
        folder = root / table["route"] / table["version"]
        for stage in table["stages"]:
            twin = folder / f"{stage['name']}-int8.onnx"
            twin.write_bytes((others / stage["file"]).read_bytes())
            stage["int8_file"] = twin.name
            table["files"][twin.name] = describe_file(twin)

    return write_route(root, change=add, **arguments)
