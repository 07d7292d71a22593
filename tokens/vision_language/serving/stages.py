"""The two stages: `prefill` runs whole prompts, `decode` adds a token to each of its rows.

Rows join and leave batches of `decode` between tokens. Every run answers all of its rows with
their text so far, so that streams get each token and a deadline leaves a beginning. Prompts of a
batch that have the same schedule and about the same length run together; a row's answer does not
depend on its companions, within rounding errors of its logits.

Shapes: B rows, T tokens, L layers, P pictures of a row, S side of a picture, W words.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from core.classifiers.classifier import find_below_requested
from core.columns import NO_NOTES, Onward, Steps
from core.errors import InvalidInput
from core.explaining import EXPLAIN
from core.messages import Array, Batch, Outcomes, StateHandle
from tokens.pyramid_drop.flops import decoder_macs
from tokens.vision_language.model import Dropping, Prompts
from tokens.vision_language.serving.backbone import Backbone, Begun, Template
from tokens.vision_language.serving.features import FeatureMemory
from tokens.vision_language.serving.generation import (
    MAX_TOKENS,
    STOP,
    Asked,
    Generation,
    read_sampling,
)
from tokens.vision_language.serving.schedules import EXITS, Schedules

PREFILL, DECODE = "prefill", "decode"
PROMPT, IMAGE = "prompt", "image"  # the route's inputs
TOKENS = "tokens"  # an output, and what decode gets
READS = "reads"  # the note for a picture
MAX_TOGETHER = 16_384  # tokens of prompts that run together, which bounds memory
MAX_WASTE = 1.125  # of the longest prompt that runs together with the shortest


@dataclass(frozen=True, slots=True)
class Parts:
    """What both stages use."""

    backbone: Backbone
    template: Template
    schedules: Schedules
    how: Dropping  # but for the schedule
    features: FeatureMemory
    defaults: Mapping[str, Any]  # of parameters

    def read(self, prompt: str, pictures: int, controls: Mapping[str, Any]) -> Asked:
        """Return what a row asks for. Raises InvalidInput."""
        read = self.template.read(prompt, pictures)
        schedule = self.schedules.choose(controls)
        if "" in controls[STOP]:
            raise InvalidInput(f"parameters.{STOP}: given an empty text, allowed longer ones")
        return Asked(
            read,
            schedule,
            self.schedules.find_exit(schedule, pictures),
            int(controls[MAX_TOKENS]),
            read_sampling(controls),
            controls[STOP],
        )

    def read_rows(self, rows: Batch) -> list[Asked]:
        prompts, images = rows.inputs[PROMPT], rows.inputs[IMAGE]
        given = {name: rows.controls.get(name) for name in self.defaults}
        return [
            self.read(
                str(prompts[row]),
                len(images[row]),
                {
                    name: self.defaults[name] if column is None else column[row]
                    for name, column in given.items()
                },
            )
            for row in range(len(rows.states))
        ]

    def count_lengths(self, asked: Asked) -> list[int]:
        """The tokens of a row's prompt in each layer."""
        sizes = self.backbone.sizes
        visual = sizes.visual_tokens * asked.prompt.pictures
        text = len(asked.prompt.ids) - visual
        counts = asked.schedule.counts(visual, sizes.decoder.layers)
        return [text + count for count in counts]

    def take(self, generations: Sequence[Generation], logits_BW: Tensor) -> None:
        for one, logits_W in zip(generations, logits_BW.float().cpu().numpy(), strict=True):
            one.take(logits_W, self.template.vocabulary)


@dataclass(frozen=True, slots=True)
class Prefill:
    parts: Parts
    name: str = PREFILL

    def run(self, rows: Batch) -> Steps:
        asked = self.parts.read_rows(rows)
        generations: dict[int, Generation] = {}
        macs, reads = np.zeros(len(asked), np.int64), {}
        with torch.inference_mode():
            for group in group_alike(asked):
                pictures = [one for row in group for one in rows.inputs[IMAGE][row]]
                begun, done, seen = self._begin([asked[row] for row in group], pictures)
                generations.update(zip(group, begun, strict=True))
                seen_macs = seen * self.parts.backbone.sizes.picture_macs // len(group)
                for place, row in enumerate(group):
                    macs[row] = self._count_macs(asked[row]) + seen_macs
                    if EXPLAIN in rows.controls:
                        reads[row] = list_reads(done, place)
        ordered = [generations[row] for row in range(len(asked))]
        confidence = np.array([one.confidence for one in ordered])
        unsure = find_below_requested(rows, confidence)
        handles = [StateHandle(one, one.cache.size_bytes) for one in ordered]
        notes = {READS: [reads[row] for row in range(len(asked))]} if reads else NO_NOTES
        return make_steps(self.name, ordered, handles, macs, unsure, notes)

    def _begin(
        self, group: Sequence[Asked], pictures: Sequence[Tensor]
    ) -> tuple[list[Generation], Begun, int]:
        """Run prompts of one schedule; return the rows, and how many pictures were computed."""
        parts, backbone = self.parts, self.parts.backbone
        features, seen = parts.features.find(pictures) if pictures else (None, 0)
        how = replace(parts.how, schedule=group[0].schedule)
        done = backbone.prefill(self._pad(group), features, how, [one.room for one in group])
        kept_BL = torch.stack(list(done.counts), dim=1).cpu().numpy().astype(np.int64)
        begun = [Generation(*row) for row in zip(group, done.caches, kept_BL, strict=True)]
        parts.take(begun, done.logits_BW)
        return begun, done, seen

    def _pad(self, group: Sequence[Asked]) -> Prompts:
        parts = self.parts
        longest = max(len(one.prompt.ids) for one in group)
        padding = next(iter(parts.template.vocabulary.ends))
        place = parts.backbone.place
        ids = [[*one.prompt.ids, *[padding] * (longest - len(one.prompt.ids))] for one in group]
        size_B1 = torch.tensor([[len(one.prompt.ids)] for one in group], device=place)
        return Prompts(
            id_BT=torch.tensor(ids, device=place),
            valid_BT=torch.arange(longest, device=place) < size_B1,
            seeds=tuple(one.sampling.seed % 2**63 for one in group),
        )

    def _count_macs(self, asked: Asked) -> int:
        sizes = self.parts.backbone.sizes
        visual = sizes.visual_tokens * asked.prompt.pictures
        text = len(asked.prompt.ids) - visual
        reading = decoder_macs(sizes.decoder, visual, text, asked.schedule)
        return reading + sizes.words * sizes.decoder.width


@dataclass(frozen=True, slots=True)
class Decode:
    parts: Parts
    name: str = DECODE
    repeatable = False  # it extends its rows' states in place

    def run(self, rows: Batch) -> Steps:
        handles = [handle for handle in rows.states if handle is not None]
        generations: list[Generation] = [
            handle.value for handle in handles if handle.value is not None
        ]
        macs = np.array([self._count_macs(one) for one in generations], np.int64)
        going = [one for one in generations if not one.finish]
        if going:
            with torch.inference_mode():
                backbone = self.parts.backbone
                last_B = torch.tensor([one.ids[-1] for one in going], device=backbone.place)
                caches = [one.cache for one in going]
                logits_BW = backbone.decode(last_B, caches, self.parts.how.positions)
            self.parts.take(going, logits_BW)
        return make_steps(self.name, generations, handles, macs)

    def _count_macs(self, one: Generation) -> int:
        """MACs of the row's next token; 0 if it has ended."""
        sizes = self.parts.backbone.sizes
        if one.finish:
            return 0
        shape = sizes.decoder
        each = 2 * shape.width**2 + 2 * shape.width * shape.key_width
        each += 3 * shape.width * shape.hidden
        read = sum(length + 1 for length in one.cache.lengths)
        return shape.layers * each + 2 * shape.width * read + sizes.words * shape.width


def group_alike(asked: Sequence[Asked]) -> Iterator[list[int]]:
    """Yield the places of rows that run together: of one schedule, about equally long, and not
    too many tokens.
    """
    by_schedule: dict[object, list[int]] = {}
    for place, one in enumerate(asked):
        by_schedule.setdefault(one.schedule, []).append(place)
    for places in by_schedule.values():
        ordered = sorted(places, key=lambda place: len(asked[place].prompt.ids))
        group: list[int] = []
        for place in ordered:
            size = len(asked[place].prompt.ids)
            wide = size * (len(group) + 1) > MAX_TOGETHER
            if group and (wide or size > MAX_WASTE * len(asked[group[0]].prompt.ids)):
                yield group
                group = []
            group.append(place)
        yield group


def list_reads(done: Begun, row: int) -> npt.NDArray[np.int64]:
    """Which visual tokens of a row's prompt its layers read: their places in the prompt, by layer
    [L, T], with -1 for all other places.
    """
    found = []
    longest = done.reads[0][1].shape[1]
    for picture_BT, kept_BT in done.reads:
        places = torch.where(picture_BT[row] > 0, kept_BT[row], -1).cpu().numpy()
        found.append(np.pad(places, (0, longest - len(places)), constant_values=-1))
    return np.stack(found)


def make_steps(
    stage: str,
    rows: Sequence[Generation],
    handles: Sequence[StateHandle],
    macs: npt.NDArray[np.int64],
    unsure: npt.NDArray[np.bool_] | None = None,  # rows that go to the next stage in any case
    notes: Mapping[str, Array] = NO_NOTES,
) -> Steps:
    """Answer each row with its text so far, and send on those that have not ended."""
    sound = np.array([not one.failed for one in rows])
    goes_on = np.array([not one.finish for one in rows])
    if unsure is not None:
        goes_on = goes_on | unsure
    going = np.flatnonzero(goes_on & sound)
    onward: Sequence[Onward] = ()
    if going.size:
        last = np.array([rows[row].ids[-1] if rows[row].ids else -1 for row in going.tolist()])
        onward = (Onward(DECODE, going, {TOKENS: last}, [handles[row] for row in going.tolist()]),)
    answers = Outcomes(
        {
            "text": _texts(one.text for one in rows),
            TOKENS: [np.array(one.ids, np.int64) for one in rows],
            "finish": _texts(one.finish for one in rows),
            "prompt_tokens": np.array([len(one.asked.prompt.ids) for one in rows], np.int64),
            "visual_tokens": np.stack([one.kept_L for one in rows]),
        },
        np.array([one.confidence for one in rows]),
        np.array([one.asked.exit for one in rows]),
        EXITS,
    )
    return Steps(len(rows), macs, answers, sound, onward, notes)


def _texts(texts: Iterable[str]) -> list[npt.NDArray[np.object_]]:
    return [np.array(text, dtype=object) for text in texts]
