"""A port is had alone, or reserved for those that share it; anybody else is refused."""

import errno
import os
import socket
from collections import Counter
from contextlib import ExitStack

import pytest

from serving.process.ports import BACKLOG, listen_alone, reserve, share

HOST = "127.0.0.1"
IN_USE = os.strerror(errno.EADDRINUSE)


def port_of(limit_connections: socket.socket) -> int:
    port: int = limit_connections.getsockname()[1]
    return port


def connect(port: int) -> socket.socket:
    return socket.create_connection((HOST, port), timeout=5.0)


def test_a_socket_alone_takes_connections_and_its_port_is_taken() -> None:
    with listen_alone(HOST, 0) as alone:
        connect(port_of(alone)).close()
        for take in (listen_alone, share, reserve):
            with pytest.raises(OSError, match=IN_USE):
                take(HOST, port_of(alone))


def test_a_reserved_port_can_only_be_shared() -> None:
    with reserve(HOST, 0) as reserved:
        for take in (listen_alone, reserve):
            with pytest.raises(OSError, match=IN_USE):
                take(HOST, port_of(reserved))
        share(HOST, port_of(reserved)).close()


def test_a_port_that_is_shared_cannot_be_reserved_by_a_second_server() -> None:
    with reserve(HOST, 0) as reserved, share(HOST, port_of(reserved)) as shared:
        shared.listen(BACKLOG)
        with pytest.raises(OSError, match=IN_USE):
            reserve(HOST, port_of(reserved))


def test_a_reserved_port_takes_no_connection_itself() -> None:
    with reserve(HOST, 0) as reserved:
        with pytest.raises(ConnectionRefusedError):
            connect(port_of(reserved))
        limit_connections = share(HOST, port_of(reserved))
        with limit_connections, pytest.raises(ConnectionRefusedError):  # it does not listen yet
            connect(port_of(reserved))


def test_connections_go_to_all_that_listen() -> None:
    with ExitStack() as stack:
        port = port_of(stack.enter_context(reserve(HOST, 0)))
        sharing = [stack.enter_context(share(HOST, port)) for _ in range(2)]
        for one in sharing:
            one.listen(BACKLOG)
        for _ in range(200):
            stack.enter_context(connect(port))
        shares = [accept_all(one, stack) for one in sharing]
    assert sum(shares) == 200
    assert min(shares) > 40


def accept_all(listener: socket.socket, stack: ExitStack) -> int:
    accepted = 0
    while True:
        try:
            stack.enter_context(listener.accept()[0])
        except BlockingIOError:
            return accepted
        accepted += 1


def test_when_one_closes_the_other_gets_all_connections() -> None:
    with reserve(HOST, 0) as reserved:
        first, second = (share(HOST, port_of(reserved)) for _ in range(2))
        with first, second, ExitStack() as stack:
            first.listen(BACKLOG)
            second.listen(BACKLOG)
            first.close()
            for _ in range(20):
                stack.enter_context(connect(port_of(reserved)))
            assert accept_all(second, stack) == 20


def test_a_port_is_free_again_once_nobody_has_it() -> None:
    with reserve(HOST, 0) as reserved:
        port = port_of(reserved)
        with share(HOST, port) as shared:
            shared.listen(BACKLOG)
            client = connect(port)
            shared.setblocking(True)
            shared.accept()[0].close()  # first: what is left of it waits in TIME-WAIT
            client.close()
    listen_alone(HOST, port).close()


def test_addresses_of_both_families_are_bound() -> None:
    families: Counter[int] = Counter()
    for host in (HOST, "::1"):
        try:
            with reserve(host, 0) as reserved, share(host, port_of(reserved)) as shared:
                families[shared.family] += 1
        except OSError as error:
            if error.errno not in {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}:
                raise  # a machine may have no IPv6
    assert families[socket.AF_INET] == 1


def test_a_refused_address_leaves_no_socket_open() -> None:
    with pytest.raises(OSError, match=os.strerror(errno.EADDRNOTAVAIL)):
        listen_alone("192.0.2.1", 0)  # an address of no machine; an open socket would be a warning
