"""Requests at the picture endpoint: damaged files, lists of them, and queries."""

import base64
from collections.abc import Sequence
from random import Random
from urllib.parse import quote

from reliability.fuzz.damage import damage, junk, write_json
from reliability.fuzz.http_bodies import PARAMETERS, TIMED
from reliability.fuzz.picture_files import make_file
from reliability.fuzz.valid_http import post
from reliability.samples import Sample
from reliability.wire.conversation import Conversation


def mutate_picture(rng: Random, samples: Sequence[Sample]) -> Conversation:
    return _ask(rng, samples, make_file(rng), "http picture")


def mutate_list(rng: Random, samples: Sequence[Sample]) -> Conversation:
    """A JSON list of files in base64, of which one is something else."""
    items: list[object] = [
        base64.b64encode(make_file(rng)).decode() for _ in range(rng.choice((1, 1, 2)))
    ]
    deed = rng.randrange(12)
    if deed == 0:
        items[rng.randrange(len(items))] = junk(rng)
    elif deed == 1:
        items = [str(items[0])[:-1] + rng.choice(("", "=", "é", "-", " "))]
    elif deed == 2:
        items = items * rng.choice((2, 10, 257))
    elif deed == 3:
        items = []
    elif deed == 5:
        headers = (
            "data:image/png;base64,",
            "data:,",
            "DATA:;base64,",
            "data:",
            "file:",
            "http://a/",
        )
        items[0] = rng.choice(headers) + str(items[0])
    elif deed == 6:
        text, end = str(items[0]), rng.choice(("\n", "\r\n", "\r", "\t"))
        items[0] = end.join(text[at : at + 76] for at in range(0, len(text), 76))
    body = write_json(items)
    if deed == 4:
        body = damage(rng, body)
    return _ask(rng, samples, body, "http picture list")


def _ask(rng: Random, samples: Sequence[Sample], body: bytes, kind: str) -> Conversation:
    route = rng.choice(samples).route
    query = ""
    if rng.random() < 0.2:
        pairs = [
            f"{rng.choice((*PARAMETERS, 'version'))}={quote(str(junk(rng)))[:300]}"
            for _ in range(rng.randint(1, 3))
        ]
        query = "?" + "&".join(pairs)
    path = f"/v1/routes/{route}/predict{query}"
    content_type = rng.choice((b"image/png", b"image/jpeg", b"application/json", b"a"))
    timed = any(name in query for name in TIMED)
    return Conversation(kind, [post(path, body, [(b"content-type", content_type)])], timed=timed)
