"""Derives a different key for each purpose from the secret that processes share."""

import hashlib

MIN_SECRET_BYTES = 32
KEY_BYTES = 32


def derive_key(secret: bytes, purpose: str) -> bytes:
    """Return 32 bytes that reveal neither the secret nor the key of another purpose.

    Raises ValueError if the secret is too short.
    """
    if len(secret) < MIN_SECRET_BYTES:
        raise ValueError(
            f"secret: {len(secret)} bytes given, {MIN_SECRET_BYTES} or more are allowed"
        )
    return hashlib.blake2b(secret, digest_size=KEY_BYTES, person=purpose.encode()).digest()
