"""Opens TCP ports for one process, or reserves them for the workers of a supervisor.

A reserved port is bound without sharing, so that a second server is refused, even one that would
share. Only then is sharing switched on for processes of the same user that use `SO_REUSEPORT`. The
kernel gives each new connection to one of the listening sockets. Linux.
"""

import resource
import socket

_OTHER_FILES = 256  # for routes, gRPC and libraries
BACKLOG = 2048


def listen_alone(host: str, port: int) -> socket.socket:
    """Return a listening socket. Raises OSError if the address is in use or not available."""
    return _bind(host, port, listens=True)


def reserve(host: str, port: int) -> socket.socket:
    """Reserve a port for `share` while the returned socket is open. Raises OSError like
    `listen_alone`.
    """
    parent = _bind(host, port)
    parent.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)  # from now on not even a bind
    parent.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    return parent


def share(host: str, port: int) -> socket.socket:
    """Return a socket on a reserved port; it gets connections once it listens."""
    return _bind(host, port, shares=True)


def allow_connections(wanted: int) -> int:
    """Raise the limit of open files as far as allowed; return how many connections it leaves room
    for.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return wanted
    needed = wanted + _OTHER_FILES
    allowed = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    if allowed > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    return max(1, min(wanted, max(soft, allowed) - _OTHER_FILES))


def _bind(host: str, port: int, *, shares: bool = False, listens: bool = False) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    limit_connections = socket.socket(family, socket.SOCK_STREAM)
    try:
        limit_connections.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        limit_connections.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, int(shares))
        limit_connections.bind((host, port))
        if listens:
            limit_connections.listen(BACKLOG)
        limit_connections.setblocking(False)
    except OSError:
        limit_connections.close()
        raise
    return limit_connections
