"""Opens the remote cache where the settings name one, and gathers what it counts.

Its client library is imported only then: a server without a remote cache starts without it.
"""

from pathlib import Path
from typing import NamedTuple

from cache.remote_counts import REASONS
from cache.secret import derive_key
from monitoring.metrics.cache_counts import CacheCounts
from serving.configuration.watched_files import (
    FileWatch,
    WatchedFile,
    read_secret,
)
from serving.engine.caches.remote_lookup import RemoteAnswers, RemoteLookup
from serving.settings import CacheSettings, RemoteSettings

_SECTION = "cache.remote"


class OpenedRemote(NamedTuple):
    """What the engine is given; nothing where there is no remote cache."""

    tier: RemoteAnswers | None
    secret: bytes | None  # of fingerprints, shared by all processes with this cache


class RemoteAddress(NamedTuple):
    """Where a Redis is, and the password if the URL has none."""

    url: str
    password: str

    def __repr__(self) -> str:
        return "RemoteAddress(...)"


def open_remote_cache(settings: CacheSettings, files: FileWatch | None = None) -> OpenedRemote:
    """Open the remote cache inside the running loop. With `files`, a URL or password whose file
    changes is used at once. Raises ValueError, with one sentence, if the URL, the password or the
    secret cannot be used.
    """
    remote = settings.remote
    if not settings.enabled or not (remote.url.get_secret_value() or remote.url_file):
        return OpenedRemote(None, None)
    from cache.remote_cache import RemoteCache

    named = {"url_file": remote.url_file, "password_file": remote.password_file}
    paths = {f"{_SECTION}.{name}": Path(file) for name, file in named.items() if file}
    address = WatchedFile([*paths.values()], lambda: _read_address(remote))
    try:
        secret = remote.read_secret()
        tier = RemoteCache(
            address.value.url,
            derive_key(secret, "sparing values"),
            password=address.value.password,
            timeout_s=remote.timeout_ms / 1e3,
            prefix=remote.prefix,
            max_connections=remote.max_connections,
        )
    except ValueError as error:
        raise ValueError(f"{_SECTION}: {error}") from None
    if paths and files is not None:
        files.add(address, lambda changed: tier.change_address(*changed))
        for setting, path in paths.items():
            files.warn_if_public(setting, path)
    tier.connect()
    return OpenedRemote(tier, derive_key(secret, "sparing keys"))


def _read_address(remote: RemoteSettings) -> RemoteAddress:
    """Read the address, from the settings or their files. Raises ValueError, with one sentence."""
    from cache.remote_cache import make_connection

    url, password = remote.url.get_secret_value(), ""
    if remote.url_file:
        url = read_secret(f"{_SECTION}.url_file", Path(remote.url_file))
    if remote.password_file:
        password = read_secret(f"{_SECTION}.password_file", Path(remote.password_file))
    try:
        make_connection(url, password)
    except ValueError as error:
        raise ValueError(f"{_SECTION}: {error}") from None
    return RemoteAddress(url, password)


def count_remote_cache(lookup: RemoteLookup | None) -> CacheCounts:
    """Return the counts under the names that `metrics` uses, empty without a remote cache. The time
    for a key is NaN until one is measured.
    """
    if lookup is None:
        return {}
    counts, key_s = lookup.tier.counts(), lookup.key_s()
    return {
        "remote_hits": counts.hits,
        "remote_misses": counts.misses,
        "remote_stores": counts.stores,
        "remote_errors": {reason: counts.errors.get(reason, 0) for reason in REASONS},
        "remote_lookups": counts.lookups,
        "remote_lookup_seconds": counts.lookup_s,
        "remote_key_seconds": float("nan") if key_s is None else key_s,
        "remote_breaker_open": {
            "recall": counts.lookup_state != "closed",
            "store": counts.store_state != "closed",
        },
        "remote_pending_bytes": counts.pending_bytes,
    }
