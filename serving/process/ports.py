"""TCP ports, had alone or shared: one process listens, or a supervisor reserves for its workers.

A reserved port is bound without sharing, so that a second server is refused, also one that would
share; only then sharing is switched on, for processes of the same user that ask for it by
`SO_REUSEPORT`. The kernel gives each new connection to one of those that listen. Linux.
"""

import resource
import socket

_OTHER_FILES = 256  # of routes, gRPC and libraries
BACKLOG = 2048


def listen_alone(host: str, port: int) -> socket.socket:
    """A listening socket. Raises OSError when somebody else has the address."""
    return _bind(host, port, listens=True)


def reserve(host: str, port: int) -> socket.socket:
    """Keeps the port for those that `share` it, as long as it is open. Raises OSError as above."""
    parent = _bind(host, port)
    parent.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)  # from now on not even a bind
    parent.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    return parent


def share(host: str, port: int) -> socket.socket:
    """One of the sockets of a reserved port; it gets its share from `listen` on."""
    return _bind(host, port, shares=True)


def allow_connections(wanted: int) -> int:
    """Raise the limit of open files as far as may be; how many connections there can be now."""
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
