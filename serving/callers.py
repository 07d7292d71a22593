"""Identifies a request's tenant, whose answers it may share, and its caller, whose share it uses.

A client proves its tenant with a bearer token that the settings name; otherwise a header names it,
which only a trusted proxy may set. A request without a tenant belongs to the caller of the peer's
address, so that a client gains no larger share by opening more connections. Both endpoints use this
module; it knows neither of them.
"""

import ipaddress
import re
import secrets
from collections.abc import Sequence
from hashlib import blake2b
from typing import NamedTuple

from core.errors import InvalidInput, Unauthorized
from serving.configuration.tokens import Tokens, read_tokens
from serving.settings import TENANT_PATTERN, ServerSettings

_MAX_ADDRESSES = 1024
_MAX_ADDRESS = 64
_MAX_TOKEN_BYTES = 4096
_IPV6_BLOCK = 64  # leading bits of an address, which a client can usually not change
Headers = Sequence[tuple[bytes, bytes]]  # names in lower case

ROLLOUT_KEY = b"x-rollout-key"  # an HTTP header, or metadata of a gRPC call

_TENANT = re.compile(TENANT_PATTERN)


class Caller(NamedTuple):
    """The tenant and the caller of a request."""

    tenant: str  # whose cached answers it may get; "": those of requests without a tenant
    name: str  # whose share of time, queue and cache it uses
    rollout_key: str = ""  # from the request's header; empty: the name decides its version


UNKNOWN = Caller("", "")


class Callers:
    """Identifies callers by the request's headers and the peer's address."""

    def __init__(self, settings: ServerSettings, tokens: Tokens | None = None) -> None:
        """`tokens` are those of the settings and their files by default; a file that cannot be read
        raises ValueError.
        """
        # Look tokens up by a keyed hash: the time of a lookup then reveals nothing about them.
        self._key = secrets.token_bytes(32)
        self._tenants: dict[bytes, str] = {}
        self.use_tokens(read_tokens(settings) if tokens is None else tokens)
        self._tenant_header = settings.tenant_header.lower().encode()
        self._addresses: dict[str, Caller] = {}
        self.needs_token = bool(self._tenants)
        self.reads_headers = self.needs_token or bool(self._tenant_header)

    def use_tokens(self, tokens: Tokens) -> None:
        """Accept these tokens from now on, and no others."""
        self._tenants = {self._hash(token.encode()): tenant for token, tenant in tokens.items()}

    def find(self, headers: Headers, address: str) -> Caller:
        """Return the request's caller. Raises Unauthorized or InvalidInput."""
        if not self.reads_headers:
            return self.of_address(address)
        tenant = self.authorize(headers) if self.needs_token else ""
        if not tenant and self._tenant_header:
            tenant = self._by_header(headers)
        return Caller(tenant, tenant) if tenant else self.of_address(address)

    def of_address(self, address: str) -> Caller:
        """Return the caller of a connection, as long as no header names a tenant."""
        caller = self._addresses.get(address)
        if caller is None:
            if len(self._addresses) >= _MAX_ADDRESSES:
                self._addresses.clear()
            caller = self._addresses[address] = Caller("", name_address(address))
        return caller

    def authorize(self, headers: Headers) -> str:
        """Return the tenant of the bearer token, "" if it has none. Raises Unauthorized."""
        given = [value for name, value in headers if name == b"authorization"]
        if len(given) == 1 and len(given[0]) <= _MAX_TOKEN_BYTES:
            scheme, _, token = given[0].partition(b" ")
            tenant = self._tenants.get(self._hash(token.strip()))
            if tenant is not None and scheme.lower() == b"bearer":
                return tenant
        raise Unauthorized(
            "authorization: missing, repeated or wrong, allowed 'Bearer' and a token of this server"
        )

    def _by_header(self, headers: Headers) -> str:
        given = [value for name, value in headers if name == self._tenant_header]
        if not given:
            return ""
        tenant = given[0].decode("latin-1")
        if len(given) > 1 or not _TENANT.fullmatch(tenant):
            raise InvalidInput(
                f"{self._tenant_header.decode()}: given {len(given)} times or not a tenant's name,"
                " allowed once, with 1 to 64 letters, digits or any of . _ - @ :"
            )
        return tenant

    def _hash(self, token: bytes) -> bytes:
        return blake2b(token, key=self._key, digest_size=32).digest()


def use_rollout_key(caller: Caller, given: bytes | None) -> Caller:
    """Return the caller of a request whose header ROLLOUT_KEY has this value; None: has none."""
    return caller._replace(rollout_key=given.decode("latin-1")) if given else caller


def name_address(address: str) -> str:
    """Return a caller's name by its address; an IPv6 block of 64 bits is one caller.

    A tenant cannot have such a name.
    """
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return f"address {address[:_MAX_ADDRESS]}"
    if isinstance(parsed, ipaddress.IPv4Address):
        return f"address {parsed}"
    if parsed.ipv4_mapped is not None:
        return f"address {parsed.ipv4_mapped}"
    block = ipaddress.IPv6Network((int(parsed), _IPV6_BLOCK), strict=False)
    return f"address {block}"
