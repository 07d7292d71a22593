"""The certificate of both endpoints, read again when its files change.

A new certificate is used by every connection that begins from then on; open ones keep theirs. A
certificate and a key that do not fit together are never used: at the start they are an error, later
those before them stay in use.
"""

import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from serving.configuration.watched_files import FileWatch, WatchedFile, read_file
from serving.settings import ServerSettings

_CERTIFICATE_FILE, _KEY_FILE = "server.tls_certificate_file", "server.tls_key_file"

Configuration = TypeVar("Configuration")


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate with its chain and its key, in PEM, and both as a context for connections."""

    chain: bytes
    key: bytes = field(repr=False)
    context: ssl.SSLContext = field(compare=False, repr=False)


class ServerTls:
    """The certificate in use. Connections of HTTP and gRPC ask for it when they begin."""

    def __init__(self, certificate: Certificate) -> None:
        self.certificate = certificate
        self.context = _make_context()  # for listening sockets
        self.context.sni_callback = self._choose

    def use(self, certificate: Certificate) -> None:
        """Use another certificate for every connection from now on."""
        self.certificate = certificate

    def follow(
        self, make: Callable[[list[tuple[bytes, bytes]]], Configuration]
    ) -> tuple[Configuration, Callable[[], Configuration | None]]:
        """Return what `make` makes of the key and the chain, and a function that returns it again
        only when they have changed since.
        """
        used = self.certificate

        def fetch() -> Configuration | None:
            nonlocal used
            if self.certificate is used:
                return None
            used = self.certificate
            return make([(used.key, used.chain)])

        return make([(used.key, used.chain)]), fetch

    def _choose(self, connection: Any, _name: str | None, _context: ssl.SSLContext) -> None:
        """Called in the handshake, also if the client names no host. Any: ssl.SSLObject, whose
        context can be set, which its type hides.
        """
        connection.context = self.certificate.context


def open_tls(settings: ServerSettings, files: FileWatch) -> ServerTls | None:
    """Return the certificate of the settings, which follows its files; None without one. Raises
    ValueError, with one sentence, if the files cannot be used.
    """
    if not settings.tls_certificate_file:
        return None
    chain, key = Path(settings.tls_certificate_file), Path(settings.tls_key_file)
    file = WatchedFile([chain, key], lambda: read_certificate(chain, key))
    tls = ServerTls(file.value)
    files.add(file, tls.use)
    files.warn_if_public(_KEY_FILE, key)
    return tls


def read_certificate(chain: Path, key: Path) -> Certificate:
    """Read a certificate with its chain and its key. Raises ValueError, with one sentence."""
    found = read_file(_CERTIFICATE_FILE, chain), read_file(_KEY_FILE, key)
    context = _make_context()
    try:
        context.load_cert_chain(chain, key, password=_refuse_password)
    except (ssl.SSLError, OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error.__class__.__name__
        raise ValueError(
            f"{_CERTIFICATE_FILE}, {_KEY_FILE}: {chain} and {key} cannot be used ({reason}); both "
            "must be PEM, the key without a password, and belong together"
        ) from None
    if (read_file(_CERTIFICATE_FILE, chain), read_file(_KEY_FILE, key)) != found:
        raise ValueError(f"{_CERTIFICATE_FILE}: {chain} or the key changed while it was read")
    return Certificate(*found, context)


def _make_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context


def _refuse_password() -> str:
    """Called for a key with a password, which would otherwise be asked for at the terminal."""
    raise ValueError("it has a password")
