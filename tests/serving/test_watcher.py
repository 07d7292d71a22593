"""The thread that looks for changed routes: it goes on after a failure, and delays no exit."""

import threading

import pytest

from serving.watcher import Watcher, return_free_memory


def test_looks_go_on_after_one_that_failed(caplog: pytest.LogCaptureFixture) -> None:
    looks: list[int] = []
    third = threading.Event()

    def refresh() -> bool:
        looks.append(len(looks))
        if len(looks) == 3:
            third.set()
            return True
        raise OSError("no space left on device")

    watcher = Watcher(refresh, 0.001)
    watcher.start()
    assert third.wait(30.0)
    watcher.stop()
    assert "looking for changed routes failed" in caplog.text


def test_a_look_that_never_returns_neither_delays_the_stop_nor_the_end_of_the_process() -> None:
    began, end = threading.Event(), threading.Event()

    def refresh() -> bool:
        began.set()
        return not end.wait(60.0)

    watcher = Watcher(refresh, 0.001)
    watcher.start()
    assert began.wait(30.0)
    watcher.stop()
    assert watcher.thread.daemon
    end.set()
    watcher.thread.join(30.0)
    assert not watcher.thread.is_alive()


def test_free_memory_is_returned_where_the_c_library_can() -> None:
    return_free_memory()
