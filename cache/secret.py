"""Keys made from the one secret that processes share, a different one for each purpose."""

import hashlib

MIN_SECRET_BYTES = 32
KEY_BYTES = 32


def derive_key(secret: bytes, purpose: str) -> bytes:
    """32 bytes that tell nothing of the secret, nor of another purpose's key."""
    if len(secret) < MIN_SECRET_BYTES:
        raise ValueError(
            f"secret: {len(secret)} bytes given, {MIN_SECRET_BYTES} or more are allowed"
        )
    return hashlib.blake2b(secret, digest_size=KEY_BYTES, person=purpose.encode()).digest()
