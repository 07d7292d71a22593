"""Reads addresses of sentinels: `redis+sentinel://user:password@host:port,host:port/master/db`.

User and password are those of the Redis; those of the sentinels are the options `sentinel_username`
and `sentinel_password`. With `rediss+sentinel://`, both use TLS.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import parse_qsl, quote, unquote, urlencode

SCHEMES = ("redis+sentinel://", "rediss+sentinel://")
_OWN_OPTIONS = ("sentinel_username", "sentinel_password")
_PORT = 26379
_HOST = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?")
_MASTER = re.compile(r"[A-Za-z0-9._-]+")
_MALFORMED = (
    "a URL of sentinels must be redis+sentinel://host:port,host:port/master or end in /master/db"
)


class SentinelUrl(NamedTuple):
    """A URL without sentinels for the master, whose place is filled in, and those of sentinels."""

    master: str  # the name that the sentinels know
    redis: str
    sentinels: Sequence[str]


def is_sentinel_url(url: str) -> bool:
    return url.startswith(SCHEMES)


def split_url(url: str) -> SentinelUrl:
    """Read a URL of sentinels. Raises ValueError with a sentence that does not repeat it."""
    scheme, _, rest = url.partition("+sentinel://")
    rest, _, query = rest.partition("?")
    place, _, path = rest.partition("/")
    login, at, hosts = place.rpartition("@")
    master, _, db = path.partition("/")
    addresses = [_HOST.fullmatch(host) for host in hosts.split(",")]
    if not _MASTER.fullmatch(unquote(master)) or not all(addresses) or not re.fullmatch(r"\d*", db):
        raise ValueError(_MALFORMED)
    options = parse_qsl(query, keep_blank_values=True)
    own = {name: value for name, value in options if name in _OWN_OPTIONS}
    others = urlencode([(name, value) for name, value in options if name not in _OWN_OPTIONS])
    tail = f"?{others}" if others else ""
    user, password = (quote(own.get(name, ""), safe="") for name in _OWN_OPTIONS)
    sentinel_login = f"{user}:{password}@" if user or password else ""
    return SentinelUrl(
        unquote(master),
        f"{scheme}://{login}{at}master.invalid:6379/{db or 0}{tail}",
        [
            f"{scheme}://{sentinel_login}{one[1]}:{one[2] or _PORT}{tail}"
            for one in addresses
            if one is not None
        ],
    )
