"""Writes answers in OpenAI's shape: a whole completion, or the events of a stream.

Beside OpenAI's fields, `usage` has what the answer cost: visual tokens by layer, the time to the
first token, joules.
"""

import secrets
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import orjson

from core.generation import Generates
from core.messages import Answer, Reply
from serving.oip.tensors import as_bytes

DONE = b"data: [DONE]\n\n"

JsonObject = dict[str, Any]


class ChatWriter:
    """Writes one answer, whose replies come one after the other."""

    def __init__(self, model: str, generation: Generates) -> None:
        self._model = model
        self._generation = generation
        self._id = f"chatcmpl-{secrets.token_hex(12)}"
        self._created = int(time.time())
        self._sent = 0  # characters
        self.first_s: float | None = None  # until the first token, from the arrival
        self._digest = ""
        self._answer: Answer | None = None

    def take(self, reply: Reply) -> None:
        """Take the next reply; the last is the whole answer."""
        (self._answer,) = reply.answers
        self._digest = reply.digest
        if self.first_s is None:
            self.first_s = self._answer.latency_s

    def write(self) -> bytes:
        """Return the whole completion."""
        message = {"role": "assistant", "content": self._text, "refusal": None}
        choice = {
            "index": 0, "message": message, "logprobs": None, "finish_reason": self._finish,
        }  # fmt: skip
        return orjson.dumps(
            {**self._head("chat.completion"), "choices": [choice], "usage": self._usage()}
        )

    def write_begin(self) -> bytes:
        """Return the first event of a stream."""
        return self._write_event({"role": "assistant", "content": ""}, None)

    def write_progress(self) -> bytes:
        """Return the event of the text that was added; empty if there is none."""
        added = self._text[self._sent :]
        self._sent = len(self._text)
        return self._write_event({"content": added}, None) if added else b""

    def write_end(self, *, includes_usage: bool) -> Iterator[bytes]:
        """Yield the events after the last text."""
        yield self._write_event({}, self._finish)
        if includes_usage:
            head = self._head("chat.completion.chunk")
            yield _write_data({**head, "choices": [], "usage": self._usage()})
        yield DONE

    @property
    def _text(self) -> str:
        assert self._answer is not None
        return _read_text(self._answer.outcome.outputs["text"])

    @property
    def _finish(self) -> str:
        """An answer that a deadline or a budget cut short has the reason "length", too."""
        assert self._answer is not None
        return _read_text(self._answer.outcome.outputs["finish"]) or "length"

    def _head(self, kind: str) -> JsonObject:
        return {
            "id": self._id,
            "object": kind,
            "created": self._created,
            "model": self._model,
            "system_fingerprint": self._digest[:16],
        }

    def _write_event(self, delta: JsonObject, finish: str | None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return _write_data({**self._head("chat.completion.chunk"), "choices": [choice]})

    def _usage(self) -> JsonObject:
        answer = self._answer
        assert answer is not None
        counts = self._generation.count_tokens(answer.outcome)
        by_layer = answer.outcome.outputs["visual_tokens"]
        return {
            "prompt_tokens": counts.prompt,
            "completion_tokens": counts.generated,
            "total_tokens": counts.prompt + counts.generated,
            "visual_tokens": counts.visual,
            "visual_tokens_by_layer": by_layer.tolist(),
            "time_to_first_token_ms": round((self.first_s or 0.0) * 1e3, 3),
            "latency_ms": round(answer.latency_s * 1e3, 3),
            "energy_j": None if answer.energy_mj is None else answer.energy_mj / 1e3,
            "stopped_by": answer.stopped_by,
        }


def _read_text(output: Any) -> str:  # of numpy's kinds of texts
    return as_bytes(np.asarray(output).item()).decode(errors="replace")


def write_stream_error(body: bytes) -> bytes:
    """Return the event of an error in the middle of a stream, from the body of its response."""
    return b"data: %s\n\n" % body


def _write_data(facts: JsonObject) -> bytes:
    return b"data: %s\n\n" % orjson.dumps(facts)
