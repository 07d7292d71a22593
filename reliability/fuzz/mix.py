"""Which conversation has which number: always the same for a seed.

Weights follow what a kind costs: most conversations are cheap, and of the dear ones there are
enough.
"""

from collections.abc import Callable, Sequence
from random import Random

from reliability.fuzz import (
    http_bodies,
    http_heads,
    http_pictures,
    rpc_calls,
    rpc_frames,
    valid_http,
)
from reliability.samples import Sample
from reliability.wire.conversation import Conversation

Make = Callable[[Random, Sequence[Sample]], Conversation]

MIX: Sequence[tuple[float, Make]] = (
    (8, valid_http.make_valid),
    (8, http_heads.make_benign),
    (12, http_bodies.mutate_json),
    (8, http_bodies.mutate_json_bytes),
    (5, http_bodies.mutate_binary),
    (5, http_bodies.mutate_controls),
    (0.5, http_bodies.mutate_deep),
    (8, http_pictures.mutate_picture),
    (1, http_pictures.mutate_list),
    (5, http_heads.mutate_fields),
    (4, http_heads.mutate_line),
    (3, http_heads.mutate_chunks),
    (4, http_heads.mutate_bytes),
    (1, http_heads.mutate_pipeline),
    (1, http_heads.abandon),
    (4, rpc_calls.make_valid),
    (9, rpc_calls.mutate_message),
    (3, rpc_calls.mutate_bytes),
    (2, rpc_calls.mutate_other),
    (2, rpc_calls.mutate_headers),
    (2, rpc_calls.mutate_envelope),
    (1, rpc_calls.mutate_stream),
    (1, rpc_calls.cancel),
    (4, rpc_frames.mutate_frames),
)
_MAKERS = [make for _, make in MIX]
_SUMS = [sum(weight for weight, _ in MIX[: place + 1]) for place in range(len(MIX))]


HEAVY: Sequence[Make] = (
    http_bodies.mutate_deep,
    http_pictures.mutate_list,
    http_pictures.mutate_picture,
    http_heads.mutate_pipeline,
    rpc_calls.mutate_stream,
    rpc_calls.mutate_message,
)


def make_heavy(seed: int, number: int, samples: Sequence[Sample]) -> Conversation:
    """Only the conversations that take most memory, for the warm-up: later growth is a leak."""
    return HEAVY[number % len(HEAVY)](Random(seed << 40 | number), samples)


def make_conversation(seed: int, number: int, samples: Sequence[Sample]) -> Conversation:
    rng = Random(seed << 40 | number)
    (make,) = rng.choices(_MAKERS, cum_weights=_SUMS)
    return make(rng, samples)
