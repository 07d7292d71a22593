"""Opens the remote cache where the settings name one, and gathers what it counts.

Its client library is imported only then: a server without a remote cache starts without it.
"""

from typing import NamedTuple

from cache.remote_counts import REASONS
from cache.secret import derive_key
from monitoring.metrics.cache_counts import CacheCounts
from serving.engine.remote_lookup import RemoteAnswers, RemoteLookup
from serving.settings import CacheSettings


class OpenedRemote(NamedTuple):
    """What the engine is given; nothing where there is no remote cache."""

    tier: RemoteAnswers | None
    secret: bytes | None  # of fingerprints, shared by all processes with this cache


def open_remote_cache(settings: CacheSettings) -> OpenedRemote:
    """Open the remote cache inside the running loop. Raises ValueError, with one sentence, if the
    URL or the secret cannot be used.
    """
    remote = settings.remote
    url = remote.url.get_secret_value()
    if not settings.enabled or not url:
        return OpenedRemote(None, None)
    from cache.remote_cache import RemoteCache

    try:
        secret = remote.read_secret()
        tier = RemoteCache(
            url,
            derive_key(secret, "sparing values"),
            timeout_s=remote.timeout_ms / 1e3,
            prefix=remote.prefix,
            max_connections=remote.max_connections,
        )
    except ValueError as error:
        raise ValueError(f"cache.remote: {error}") from None
    tier.connect()
    return OpenedRemote(tier, derive_key(secret, "sparing keys"))


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
