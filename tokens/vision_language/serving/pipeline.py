"""The pipeline: opens a model's files, says what rows need, fits budgets, draws what was read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from core.devices.interface import Device
from core.devices.torch import TorchDevice
from core.errors import InvalidInput, ModelDirectoryError
from core.explaining import RowPath
from core.generation import TokenCounts
from core.manifest import Manifest, TensorSpec, describe_faults, read_manifest
from core.messages import Array, Outcome
from core.parameters import find_defaults
from tokens.vision_language.files import read_model
from tokens.vision_language.model import Dropping
from tokens.vision_language.serving.backbone import Backbone, Sizes, Template
from tokens.vision_language.serving.declarations import (
    VlmOptions,
    list_inputs,
    list_outputs,
    list_parameters,
)
from tokens.vision_language.serving.drawing import draw_reads
from tokens.vision_language.serving.features import FeatureMemory
from tokens.vision_language.serving.generation import MAX_TOKENS
from tokens.vision_language.serving.prompts import SmallTemplate
from tokens.vision_language.serving.row_cache import count_bytes
from tokens.vision_language.serving.schedules import (
    DROP_LAYERS,
    DROP_SHARES,
    EXITS,
    VISUAL_TOKENS,
    Schedules,
)
from tokens.vision_language.serving.small_backbone import SmallBackbone
from tokens.vision_language.serving.stages import (
    DECODE,
    IMAGE,
    PREFILL,
    PROMPT,
    READS,
    Decode,
    Parts,
    Prefill,
)

MAX_CHARS_A_TOKEN = 16  # of a prompt's text


@dataclass(frozen=True, slots=True)
class VlmPipeline:
    """Prefill, then decode until each row's answer ends."""

    digest: bytes
    parts: Parts
    context: int  # tokens of a prompt and its answer
    max_pictures: int  # of a prompt
    stages: Mapping[str, Prefill | Decode]
    first: str = PREFILL
    exits: Sequence[str] = EXITS
    draws: bool = True
    budget: str = VISUAL_TOKENS

    def state_bytes(
        self, inputs: Mapping[str, Array], controls: Mapping[str, Any]
    ) -> npt.NDArray[np.int64]:
        prompts, images = inputs[PROMPT], inputs[IMAGE]
        given = {**self.parts.defaults, **controls}
        needs = [
            self._need(str(prompt), len(image), given)
            for prompt, image in zip(prompts, images, strict=True)
        ]
        return np.array(needs, np.int64)

    def _need(self, prompt: str, pictures: int, controls: Mapping[str, Any]) -> int:
        """The bytes of a row's keys and values. Raises InvalidInput for a row that cannot run."""
        if pictures > self.max_pictures:
            raise InvalidInput(
                f"image: given {pictures} pictures, allowed {self.max_pictures} in a prompt"
            )
        most = MAX_CHARS_A_TOKEN * self.context
        if len(prompt) > most:  # reading it would take the event loop's time
            raise InvalidInput(f"prompt: given {len(prompt)} characters, allowed {most}")
        asked = self.parts.read(prompt, pictures, controls)
        size = len(asked.prompt.ids)
        if size + asked.max_tokens > self.context:
            raise InvalidInput(
                f"prompt: given {size} tokens, and an answer of up to {asked.max_tokens}, allowed"
                f" {self.context} together"
            )
        backbone = self.parts.backbone
        lengths = self.parts.count_lengths(asked)
        key_width = backbone.sizes.decoder.key_width
        return count_bytes(key_width, lengths, asked.room, backbone.item_bytes)

    def has_budget(self, inputs: Mapping[str, Array], controls: Mapping[str, Any]) -> bool:
        """Not a schedule of its own, nor a prompt without pictures."""
        given = {**self.parts.defaults, **controls}
        named = given[DROP_LAYERS] or given[DROP_SHARES]
        return not named and any(len(pictures) for pictures in inputs[IMAGE])

    def fit_budget(self, share: float, rows: int) -> float:
        return self.parts.schedules.fit(share, float(self.parts.defaults[VISUAL_TOKENS]))

    def count_further(self, controls: Mapping[str, Any]) -> int:
        """One for each token after the first."""
        return int({**self.parts.defaults, **controls}[MAX_TOKENS]) - 1

    def predict_share(self, value: float, rows: int) -> float:
        return self.parts.schedules.predict_share(value, float(self.parts.defaults[VISUAL_TOKENS]))

    def count_tokens(self, outcome: Outcome) -> TokenCounts:
        kept_L = outcome.outputs["visual_tokens"]
        return TokenCounts(
            int(outcome.outputs["prompt_tokens"]),
            int(kept_L[0]),
            float(kept_L.mean()),
            len(outcome.outputs["tokens"]),
        )

    def explain_picture(self, inputs: Mapping[str, Array], path: RowPath) -> np.ndarray | None:
        found = [run.notes[READS] for run in path.runs if READS in run.notes]
        if not found:
            return None
        return draw_reads(
            np.asarray(inputs[IMAGE]),
            np.asarray(found[-1]),
            self.parts.backbone.sizes.visual_tokens,
        )


def build(directory: Path, device: Device) -> VlmPipeline:
    """Open the model. Raises ModelDirectoryError, which names the directory and the fault."""
    manifest = read_manifest(directory)
    if not isinstance(device, TorchDevice):
        raise ModelDirectoryError(
            f"{directory}: pipeline {manifest.pipeline} runs on a device with the runtime torch, "
            f"{device.name} has another; the settings assign one (routes.devices)"
        )
    try:
        options = VlmOptions.model_validate(manifest.options)
        if options.library == "transformers":
            backbone, template = _open_transformers(directory, manifest, device, options)
        else:
            backbone, template = _open_small(directory, manifest, device)
        _check_declarations(manifest, backbone.sizes, options)
    except ValidationError as error:
        fault = describe_faults(error)[0]
        raise ModelDirectoryError(f"{directory}: options.{fault}") from error
    except (ValueError, OSError) as error:
        raise ModelDirectoryError(f"{directory}: {error}") from error
    sizes = backbone.sizes
    parts = Parts(
        backbone,
        template,
        Schedules(sizes.decoder, sizes.visual_tokens, options.choices, sizes.picture_macs),
        Dropping(scorer=options.scorer, ranking=options.ranking, positions=options.positions),
        FeatureMemory(options.features_limit_bytes, backbone.see),
        find_defaults(manifest.parameters),
    )
    stages: dict[str, Prefill | Decode] = {PREFILL: Prefill(parts), DECODE: Decode(parts)}
    return VlmPipeline(manifest.digest, parts, options.context, options.max_pictures, stages)


def _open_small(
    directory: Path, manifest: Manifest, device: TorchDevice
) -> tuple[Backbone, Template]:
    model, vocabulary = read_model(directory, _find_name(manifest))
    template = SmallTemplate(vocabulary, model.spec.visual_tokens)
    return SmallBackbone(model.to(device.place), device.place), template


def _open_transformers(
    directory: Path, manifest: Manifest, device: TorchDevice, options: VlmOptions
) -> tuple[Backbone, Template]:
    if find_spec("transformers") is None:
        raise ValueError(
            "a model of transformers needs the extra vlm (transformers is not installed); "
            "make serve EXTRAS=vlm, or pip install '.[vlm]', installs it"
        )
    from tokens.vision_language.hugging_face.opening import open_model

    if manifest.picture is None or manifest.picture.height != manifest.picture.width:
        raise ValueError("picture: needed is a square")
    return open_model(directory, manifest.picture.height, device.place, options.positions)


def _find_name(manifest: Manifest) -> str:
    """The common name of the model's two files. Raises ValueError."""
    name = manifest.stages[0].file.removesuffix(".safetensors")
    if f"{name}.json" not in manifest.files:
        raise ValueError(f"{name}.json is not in [files]")
    return name


def _check_declarations(manifest: Manifest, sizes: Sizes, options: VlmOptions) -> None:
    """Raise ValueError, with one sentence, where the manifest does not fit the model."""
    layers = sizes.decoder.layers
    names = [stage.name for stage in manifest.stages]
    files = {stage.file for stage in manifest.stages}
    if names != [PREFILL, DECODE] or len(files) > 1 or not min(files).endswith(".safetensors"):
        raise ValueError(
            f"stages: needed are {PREFILL} and {DECODE}, both with the same .safetensors file"
        )
    for kind, given, needed in (
        ("inputs", manifest.inputs, list_inputs(sizes)),
        ("outputs", manifest.outputs, list_outputs(sizes)),
    ):
        wanted = {one["name"]: _describe(TensorSpec.model_validate(one)) for one in needed}
        found = {one.name: _describe(one) for one in given}
        if found != wanted:
            raise ValueError(f"{kind}: given {found}, this model needs {wanted}")
    if manifest.picture is None or manifest.picture.channels != 3:
        raise ValueError("picture: needed is one with 3 channels")
    _check_drops("drops", options.drops, layers)
    _check_drops("early_drops", options.early_drops, layers)
    for name, wanted_parameter in list_parameters(sizes, options.choices, 1, 1).items():
        spec_given = manifest.parameters.get(name)
        if spec_given is None or spec_given.type != wanted_parameter["type"]:
            raise ValueError(f"parameters.{name}: needed is one of type {wanted_parameter['type']}")


def _check_drops(name: str, drops: Sequence[int], layers: int) -> None:
    if drops != sorted(set(drops)) or not all(0 < layer < layers for layer in drops):
        raise ValueError(
            f"options.{name}: given {drops}, allowed are increasing layers from 1 to {layers - 1}"
        )


def _describe(spec: TensorSpec) -> str:
    return f"{spec.datatype} {list(spec.shape)}"
