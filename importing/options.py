"""What a user says of an import: the stages, and how to choose among them."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from importing.onnx_files.faults import ImportFault
from importing.onnx_files.outputs import OutputKind
from importing.quantising import SUFFIX

ACTIVATIONS = ("auto", "logits", "softmax", "log-softmax", "sigmoid")
COMPRESSIONS = ("auto", "int8", "none")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_STAGE_PARTS = ("name", "preprocess", "input", "output", "activation")


@dataclass(frozen=True, slots=True)
class Stage:
    """One trained model: an ONNX file, or a torch module with an example of its input."""

    model: Any  # a path, or a torch module, whose package need not be installed
    name: str | None = None  # None: the file's
    preprocess: str | None = None  # None: that of the import
    activation: str | None = None
    input: str | None = None  # a check: the model must have this input
    output: str | None = None  # the output that answers; None: the one that classifies
    example: Any = None  # of a module: a tensor [N, ...], or a tuple of them

    @property
    def path(self) -> Path | None:
        """The file, or None for a module."""
        return Path(self.model) if isinstance(self.model, str | Path) else None


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """Options of an import; those of a stage come first."""

    labels: tuple[str, ...] = ()
    preprocess: str = "auto"
    activation: str = "auto"
    reference: str = "last"
    max_loss: float = 0.01  # accuracy, 0 to 1
    compress: str = "auto"
    minutes: float | None = None  # after which it measures and tries less; None: no bound
    seed: int = 0
    out: Path = field(default_factory=lambda: Path("models"))
    dry_run: bool = False


def read_stage(text: str) -> Stage:
    """Read `FILE[,key=value]...`; within a value of preprocess, parts are separated by ;."""
    file, *parts = text.split(",")
    facts: dict[str, str] = {}
    for part in parts:
        key, sign, value = part.partition("=")
        if not sign or key not in _STAGE_PARTS:
            raise ImportFault(
                f"--stage {text}: given {part!r}, allowed are {', '.join(_STAGE_PARTS)}, as in "
                "small.onnx,preprocess=mean=0.5;std=0.5"
            )
        facts[key] = value
    return Stage(Path(file), **facts)


def name_stages(stages: list[Stage]) -> list[str]:
    """Return a distinct name for each stage. Raises ImportFault."""
    names = [
        stage.name or (stage.path.stem if stage.path else type(stage.model).__name__.lower())
        for stage in stages
    ]
    names = [re.sub(r"[^A-Za-z0-9._-]", "-", name).lstrip("._-") or "stage" for name in names]
    for name in names:
        if names.count(name) > 1:
            raise ImportFault(
                f"--stage: two stages are called {name!r}; name them, as in small.onnx,name=small"
            )
        if f"{name}{SUFFIX}" in names:
            raise ImportFault(
                f"--stage: a stage is called '{name}{SUFFIX}', as the int8 file of {name!r} is; "
                "name it otherwise, as in small.onnx,name=small"
            )
    return names


def check_options(name: str, stages: list[Stage], options: ImportOptions) -> None:
    """Check what can be checked before a file is read. Raises ImportFault."""
    if not _NAME.fullmatch(name):
        raise ImportFault(
            f"NAME: given {name!r}, allowed are letters, digits and . _ -, at most 128, as in pets"
        )
    if not 1 <= len(stages) <= 3:
        raise ImportFault(f"--stage: {len(stages)} given, 1 to 3 are allowed")
    if options.compress not in COMPRESSIONS:
        raise ImportFault(
            f"--compress: given {options.compress!r}, allowed are {', '.join(COMPRESSIONS)}"
        )
    if not 0 <= options.max_loss <= 1:
        raise ImportFault(f"--max-loss: given {options.max_loss}, 0 to 1 are allowed")
    if options.minutes is not None and not options.minutes > 0:
        raise ImportFault(f"--minutes: given {options.minutes}, more than 0 is needed")
    for activation in (options.activation, *(stage.activation for stage in stages)):
        if activation is not None and activation not in ACTIVATIONS:
            raise ImportFault(
                f"--activation: given {activation!r}, allowed are {', '.join(ACTIVATIONS)}"
            )


def find_reference(options: ImportOptions, names: list[str]) -> str:
    """Return the stage that the others are compared with. Raises ImportFault."""
    if options.reference == "last":
        return names[-1]
    if options.reference not in names:
        raise ImportFault(
            f"--reference: given {options.reference!r}, allowed are last, {', '.join(names)}"
        )
    return options.reference


def find_kind(stage: Stage, options: ImportOptions, guessed: OutputKind) -> OutputKind:
    """Return what an output is: what the user says, else the guess."""
    said = stage.activation or options.activation
    if said == "auto" or guessed is OutputKind.margin:
        return guessed
    return OutputKind(said)
