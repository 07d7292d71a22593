"""A route directory's manifest, `route.toml`, read and verified before any model is loaded.

`models/<route>/<version>/route.toml` names its files with size and SHA-256. The digest is the
SHA-256 of `route.toml` itself, so it covers weights, thresholds and preprocessing; where int8 files
run, it also covers which. Each pipeline validates its own `options`; `routes.loading` builds it.
"""

import hashlib
import os
import tomllib
from collections.abc import Collection
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from core.datatypes import DATATYPES
from core.errors import ModelDirectoryError
from core.files import open_regular, read_regular
from core.parameters import MAX_PARAMETERS, ParameterName, ParameterSpec

FORMAT = 1
MAX_MANIFEST_BYTES = 1 << 20
MAX_FILES = 1000  # in a version's directory
MAX_TTL_S = 10 * 365 * 86400.0  # fits every store's count of milliseconds


def _check_datatype(name: str) -> str:
    if name not in DATATYPES:
        raise PydanticCustomError("datatype", f"given {name!r}, allowed {', '.join(DATATYPES)}")
    return name


Datatype = Annotated[str, AfterValidator(_check_datatype)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TensorSpec(_Frozen):
    """One input or output. `shape` begins with -1 for the rows; any other -1 allows any size."""

    name: Name
    datatype: Datatype
    shape: tuple[int, ...]
    finite: bool = False  # of an input: reject NaN and infinities
    min: int | float | None = None  # of an input of numbers: reject smaller values
    max: int | float | None = None  # and larger ones, as words outside a vocabulary
    on_request: bool = False  # of an output: sent only where a request names it

    @model_validator(mode="after")
    def _only_numbers_have_bounds(self) -> "TensorSpec":
        bounds = [one for one in (self.min, self.max) if one is not None]
        if bounds and self.datatype in {"BYTES", "BOOL"}:
            raise PydanticCustomError(
                "bounds", f"min and max: given for {self.datatype}, allowed for numbers"
            )
        if bounds != sorted(bounds):
            raise PydanticCustomError("bounds", "min is larger than max")
        return self

    @model_validator(mode="after")
    def _only_floats_are_finite(self) -> "TensorSpec":
        if self.finite and not self.datatype.startswith("FP"):
            raise PydanticCustomError(
                "finite", f"finite: given for {self.datatype}, allowed for FP16, FP32 and FP64"
            )
        return self


class PictureSpec(_Frozen):
    """How a decoded picture becomes the route's picture input."""

    input: Name = "image"
    height: int = Field(gt=0, le=4096)
    width: int = Field(gt=0, le=4096)
    channels: Literal[1, 3]
    resize: bool = True  # else reject a picture of another size
    background: int = Field(
        ge=0, le=255, default=0
    )  # grey level behind transparent pixels; 0 is black


class StageSpec(_Frozen):
    """One stage: its file, its MACs per row (counted at export) and its largest batch.

    A stage with an `int8_file` has two files; `file` is the one that runs after `use_int8`.
    """

    name: Name
    file: str
    int8_file: str | None = None  # the int8 twin of `file`
    macs: int = Field(ge=0)
    max_batch: int = Field(gt=0, le=1024, default=32)
    temperature: float = Field(ge=0.001, le=1000, default=1.0)
    threshold: float | None = Field(ge=0, le=1.000001, default=None)  # None: the last stage

    @model_validator(mode="after")
    def _has_two_files(self) -> "StageSpec":
        if self.int8_file == self.file:
            raise PydanticCustomError("int8_file", "int8_file: is the same as file")
        return self

    @property
    def files(self) -> tuple[str, ...]:
        """The float file and, if there is one, its int8 twin."""
        return (self.file,) if self.int8_file is None else (self.file, self.int8_file)

    @property
    def precision(self) -> Literal["float32", "int8"] | None:
        """Which of two files runs; None where there is only one."""
        if self.int8_file is None:
            return None
        return "int8" if self.file == self.int8_file else "float32"


class FileSpec(_Frozen):
    size_bytes: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class CacheSpec(_Frozen):
    enabled: bool = True
    ttl_s: float = Field(gt=0, le=MAX_TTL_S, default=3600.0)


class Manifest(_Frozen):
    """All of `route.toml`."""

    format: Literal[1]
    route: Name
    version: Annotated[str, Field(pattern=r"^[0-9]{1,9}$")]
    task: Name
    pipeline: str
    description: str = ""
    certificate: str = "none"
    expected_macs: float = Field(ge=0, allow_inf_nan=False)  # mean per row on held-out data
    inputs: tuple[TensorSpec, ...] = Field(min_length=1)
    outputs: tuple[TensorSpec, ...] = Field(min_length=1)
    labels: tuple[str, ...] = ()
    picture: PictureSpec | None = None
    cache: CacheSpec = CacheSpec()
    parameters: dict[ParameterName, ParameterSpec] = Field(default={}, max_length=MAX_PARAMETERS)
    stages: tuple[StageSpec, ...] = Field(min_length=1)
    options: dict[str, Any] = {}  # the pipeline kind's own; it validates them
    files: dict[str, FileSpec]
    provenance: dict[str, Any]
    digest: bytes = Field(default=b"", exclude=True)  # filled in by read_manifest

    @model_validator(mode="after")
    def _flags_are_in_place(self) -> "Manifest":
        for spec in self.inputs:
            if spec.on_request:
                raise PydanticCustomError(
                    "on_request", f"inputs.{spec.name}.on_request: given, allowed for outputs only"
                )
        for spec in self.outputs:
            if spec.finite:
                raise PydanticCustomError(
                    "finite", f"outputs.{spec.name}.finite: given, allowed for inputs only"
                )
            if (spec.min, spec.max) != (None, None):
                raise PydanticCustomError(
                    "bounds", f"outputs.{spec.name}: min or max given, allowed for inputs only"
                )
        return self


def read_manifest(directory: Path) -> Manifest:
    """Read `route.toml` and verify every file that it names. Raises ModelDirectoryError."""
    try:
        with os.scandir(directory) as entries:
            files = sum(1 for _ in islice(entries, MAX_FILES + 1))
        raw = read_regular(directory / "route.toml", MAX_MANIFEST_BYTES + 1)
    except OSError as error:
        raise ModelDirectoryError(
            f"{directory}: cannot read route.toml: {error.strerror}"
        ) from error
    if files > MAX_FILES:
        raise ModelDirectoryError(f"{directory}: holds more than {MAX_FILES} files")
    if len(raw) > MAX_MANIFEST_BYTES:
        raise ModelDirectoryError(
            f"{directory}: route.toml is larger than {MAX_MANIFEST_BYTES} bytes"
        )
    try:
        table = tomllib.loads(raw.decode())
        if "digest" in table:
            raise ValueError("digest: the server computes it; remove the key")
        if "memory" in table:
            raise ValueError("[memory] is now [cache]")
        manifest = Manifest.model_validate({**table, "digest": hashlib.sha256(raw).digest()})
    except ValidationError as error:
        first = describe_faults(error)[0]
        raise ModelDirectoryError(f"{directory}/route.toml: {first}") from error
    except ValueError as error:  # TOML or UTF-8
        raise ModelDirectoryError(f"{directory}/route.toml: {error}") from error
    _verify_files(directory, manifest)
    return manifest


def use_int8(manifest: Manifest, stages: Collection[str]) -> Manifest:
    """Return the manifest with the int8 file as the `file` of these stages.

    Its digest covers the choice, so that answers of a float file and of its twin are never shared.
    """
    if not stages:
        return manifest
    hasher = hashlib.sha256(manifest.digest)
    specs = []
    for spec in manifest.stages:
        if spec.name in stages and spec.int8_file is not None:
            hasher.update(f"{spec.name}\0{manifest.files[spec.int8_file].sha256}\0".encode())
            spec = spec.model_copy(update={"file": spec.int8_file})
        specs.append(spec)
    return manifest.model_copy(update={"stages": tuple(specs), "digest": hasher.digest()})


def find_unlisted_files(manifest: Manifest) -> list[tuple[str, str]]:
    """Return the stage and the file of every file that is not in `[files]`."""
    return [
        (stage.name, file)
        for stage in manifest.stages
        for file in stage.files
        if file not in manifest.files
    ]


def describe_faults(error: ValidationError) -> list[str]:
    """Return one clause for each fault of a manifest: the key, if it is of one, and the fault."""
    return [
        ": ".join(filter(None, (".".join(map(str, one["loc"])), one["msg"])))
        for one in error.errors()
    ]


def _verify_files(directory: Path, manifest: Manifest) -> None:
    for name, file in find_unlisted_files(manifest):
        raise ModelDirectoryError(f"{directory}: stage {name}: {file} is not in [files]")
    for name, spec in manifest.files.items():
        if Path(name).name != name or name in {".", ".."}:
            raise ModelDirectoryError(f"{directory}: file name {name!r} is outside the directory")
        verify_file(directory / name, spec)


def verify_file(path: Path, spec: FileSpec) -> None:
    """Compare a file with its size and SHA-256. Raises ModelDirectoryError."""
    try:
        with open_regular(path) as file:
            size_bytes = os.fstat(file.fileno()).st_size
            if size_bytes != spec.size_bytes:
                raise ModelDirectoryError(
                    f"{path}: {size_bytes} bytes, but route.toml declares {spec.size_bytes}"
                )
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelDirectoryError(f"{path}: {error.strerror}") from error
    if found != spec.sha256:
        raise ModelDirectoryError(
            f"{path}: sha256 {found[:12]}…, but route.toml declares {spec.sha256[:12]}…"
        )
