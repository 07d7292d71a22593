"""Clocks of a device's work: the sum over batches is the total, which also counts a running one."""

import threading

import pytest

from core.devices.clocks import CpuClock, ElapsedClock


@pytest.mark.parametrize("make", [CpuClock, ElapsedClock])
def test_the_total_is_the_sum_of_the_batches(make: type[CpuClock | ElapsedClock]) -> None:
    clock = make()
    assert clock.total_s() == 0.0
    spent = []
    for _ in range(3):
        clock.begin()
        sum(range(10_000))
        spent.append(clock.end())
    assert min(spent) > 0.0
    assert clock.total_s() == pytest.approx(sum(spent), rel=1e-12)


@pytest.mark.parametrize("make", [CpuClock, ElapsedClock])
def test_another_thread_sees_a_running_batch_grow(make: type[CpuClock | ElapsedClock]) -> None:
    clock = make()
    begun, over = threading.Event(), threading.Event()

    def work() -> None:
        clock.begin()
        begun.set()
        while not over.is_set():
            sum(range(1000))
        clock.end()

    thread = threading.Thread(target=work)
    thread.start()
    assert begun.wait(10.0)
    try:
        before = clock.total_s()
        while clock.total_s() <= before:
            pass
    finally:
        over.set()
        thread.join()
    assert clock.total_s() > before
