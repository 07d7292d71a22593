"""Snapshots as the text that Prometheus reads, written by Prometheus' own client library.

Importing this module loads the library.
"""

import sys
from functools import lru_cache
from threading import Lock

from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, choose_encoder, generate_latest

from monitoring.metrics.filled_text import FilledText
from monitoring.metrics.snapshot import Snapshot

# How long the writer keeps the interpreter's lock while the event loop's thread waits for it.
# Python's own 5 ms would be paid at each of the handful of turns that a request takes.
_SWITCH_INTERVAL_S = 0.0001
_writing = Lock()  # the interval is the whole process's, and so is what the formats remember


def write_scrape(snapshot: Snapshot, accept: str = "") -> tuple[bytes, str]:
    """The body of a scrape in the format that an Accept header asks for, and its content type."""
    with _writing:
        usual_s = sys.getswitchinterval()
        sys.setswitchinterval(_SWITCH_INTERVAL_S)
        try:
            text, content_type = _find_format(accept)
            return text.write(snapshot), content_type
        finally:
            sys.setswitchinterval(usual_s)


@lru_cache(maxsize=4)  # scrapers send the same header each time; another one costs memory only
def _find_format(accept: str) -> tuple[FilledText, str]:
    try:
        encode, content_type = choose_encoder(accept)
    except TypeError:  # the library compares a version that is no number with one that is
        encode, content_type = generate_latest, CONTENT_TYPE_PLAIN_0_0_4
    return FilledText(encode), content_type
