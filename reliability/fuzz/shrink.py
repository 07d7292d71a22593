"""Shortens a faulty conversation as long as the same fault remains."""

from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace

from reliability.wire.conversation import Conversation

MAX_TRIES = 60
Hold = Callable[[Conversation], Coroutine[object, object, str]]


def kind_of(sentence: str) -> str:
    """The fault's sentence without the parts that differ from case to case."""
    return sentence.partition(":")[0][:40]


async def shrink(conversation: Conversation, sentence: str, hold: Hold) -> Conversation:
    """Remove bytes in halves, quarters and so on; a valid conversation is returned unchanged."""
    if conversation.valid:
        return conversation
    tries = 0
    pieces = 2
    while pieces <= 64 and tries < MAX_TRIES:
        for smaller in _without_a_part(conversation, pieces):
            tries += 1
            if kind_of(await hold(smaller)) == kind_of(sentence):
                conversation = smaller
                break
            if tries >= MAX_TRIES:
                break
        else:
            pieces *= 2
    return conversation


def _without_a_part(conversation: Conversation, pieces: int) -> Iterator[Conversation]:
    """The conversation in one packet, without one of this many pieces."""
    call = conversation.call
    raw = b"".join(conversation.packets if call is None else call.pieces)
    step = -(-len(raw) // pieces)
    if step == 0:
        return
    for start in range(0, len(raw), step):
        rest = [raw[:start] + raw[start + step :]]
        if call is None:
            yield replace(conversation, packets=rest)
        else:
            yield replace(conversation, call=replace(call, pieces=rest))
