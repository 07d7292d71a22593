"""Unfinished messages are counted in bytes, and too many of them end their calls."""

import socket

from serving.grpc.open_calls import INFER, EndReason, OpenCall, OpenCalls
from serving.grpc.peers import PeerAddress, read_peer
from serving.grpc.stalled_calls import INTERVAL_S, StalledCallSweeper
from serving.grpc.unfinished_messages import UnfinishedMessages, received_bytes

LIMIT = 1000  # a connection may hold 250, a caller 500


class Desk:
    """A sweeper whose connections have received what the test says."""

    def __init__(self, max_message_bytes: int = 100) -> None:
        self.now = 0.0
        self.received: dict[PeerAddress, int] = {}
        self.ended: list[OpenCall] = []
        self.calls = OpenCalls(self._end, message_timeout_s=30, idle_s=600, clock=lambda: self.now)
        self.unread = UnfinishedMessages(lambda: self.received)
        self.sweeper = StalledCallSweeper(
            self.calls, self.unread, limit_bytes=LIMIT, max_message_bytes=max_message_bytes
        )

    def begin(self, caller: str, port: int) -> OpenCall:
        self.received.setdefault((caller, port), 0)
        return self.calls.begin(INFER, caller, f"ipv4:{caller}:{port}")

    def sweep(self, **received: int) -> None:
        """`a1=300`: the connection from a's port 1 has received 300 more bytes."""
        for name, size in received.items():
            self.received[name[0], int(name[1:])] += size
        self.now += INTERVAL_S
        self.sweeper.sweep()

    def _end(self, call: OpenCall, why: EndReason) -> None:
        assert why is EndReason.UNFINISHED
        self.ended.append(call)


def test_a_connection_that_holds_too_many_bytes_loses_the_calls_that_wait() -> None:
    desk = Desk()
    bad, other, good = desk.begin("a", 1), desk.begin("a", 1), desk.begin("b", 2)
    works = desk.begin("a", 1)
    works.since = None
    desk.sweep(a1=5000)  # before it was watched
    desk.sweep(a1=250, b2=250)
    assert desk.ended == []
    desk.sweep(a1=1)
    assert desk.ended == [bad, other]
    assert good.open
    assert works.open


def test_a_caller_s_connections_count_together() -> None:
    desk = Desk()
    calls = [desk.begin("a", port) for port in (1, 2, 3)]
    desk.begin("b", 4)
    desk.sweep()
    desk.sweep(a1=160, a2=180, a3=170, b4=190)
    assert desk.ended == [calls[1]]


def test_all_together_are_bounded() -> None:
    desk = Desk()
    calls = [desk.begin(caller, 1) for caller in "abcde"]
    desk.sweep()
    desk.sweep(a1=200, b1=201, c1=202, d1=203, e1=204)
    assert desk.ended == [calls[4]]


def test_one_whole_message_is_always_allowed() -> None:
    desk = Desk(max_message_bytes=900)
    desk.begin("a", 1)
    desk.sweep()
    desk.sweep(a1=900)
    assert desk.ended == []


def test_whole_messages_are_no_unfinished_ones_and_give_no_credit() -> None:
    desk = Desk()
    idle = desk.begin("a", 1)
    desk.sweep()
    assert desk.unread.watches
    for _ in range(10):
        desk.unread.count_message(("a", 1), 300)
        desk.sweep(a1=400)
    assert idle.open
    desk.sweep(a1=251)
    assert desk.ended == [idle]
    desk.sweep()
    assert not desk.unread.watches


def test_no_client_is_blamed_for_a_loop_that_stalled() -> None:
    desk = Desk()
    call = desk.begin("a", 1)
    desk.sweep()
    desk.sweep(a1=100)
    desk.received["a", 1] += 5000  # not read yet
    desk.now += 40.0
    desk.sweeper.sweep(late_s=40.0)
    assert desk.ended == []
    desk.unread.count_message(("a", 1), 5000)
    call.since = desk.now
    for _ in range(58):
        desk.sweep()
    assert desk.ended == []


def test_clients_wait_no_longer_for_a_loop_that_is_always_late() -> None:
    ended: list[EndReason] = []
    now = 0.0
    calls = OpenCalls(
        lambda _call, why: ended.append(why), message_timeout_s=30, idle_s=600, clock=lambda: now
    )
    calls.begin(INFER, "a", "ipv4:a:1")
    unread = UnfinishedMessages(lambda: {})
    sweeper = StalledCallSweeper(calls, unread, limit_bytes=LIMIT, max_message_bytes=100)
    for _ in range(30):
        now += 2.0
        sweeper.sweep(late_s=2.0 - INTERVAL_S)
    assert ended == [EndReason.LATE_MESSAGE]


def test_the_kernel_tells_what_a_connection_has_received() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client:
            accepted, peer = listener.accept()
            with accepted:
                client.sendall(bytes(12_345))
                accepted.recv(10)
                assert received_bytes(port) == {peer: 12_345}
                assert received_bytes(port + 1).get(peer) is None
        assert received_bytes(port) == {}


def test_peers_are_read_as_places() -> None:
    assert read_peer("ipv4:127.0.0.1:50051") == ("127.0.0.1", 50051)
    assert read_peer("ipv6:%5B::1%5D:50051") == ("::1", 50051)
    assert read_peer("unix:") is None
