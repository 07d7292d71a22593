"""Reading a process tree's CPU time and memory."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from harness.process_tree import find_tree, read_cpu_s, read_resident_bytes

# a parent whose child burns 0.1 s of CPU, says so, and waits
BURN = """
import time
while time.process_time() < 0.1: pass
print("burned", flush=True)
input()
"""
PARENT = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {BURN!r}]); input()"


@contextmanager
def run(code: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:  # closes its pipes, at which it ends, and waits
        yield process


def test_a_childs_cpu_time_counts_while_it_lives_and_after_it_was_awaited() -> None:
    with run(PARENT) as parent:
        assert parent.stdin is not None and parent.stdout is not None
        parent.stdout.readline()
        alive = read_cpu_s(parent.pid)
        assert len(find_tree(parent.pid)) == 2
        assert alive >= 0.09
        parent.stdin.write("\n")
        parent.stdin.flush()
        while len(find_tree(parent.pid)) == 2:
            pass
        assert read_cpu_s(parent.pid) >= alive
        parent.stdin.write("\n")
        parent.stdin.flush()


def test_resident_memory_of_a_tree_is_more_than_its_roots() -> None:
    with run(PARENT) as parent:
        assert parent.stdin is not None and parent.stdout is not None
        parent.stdout.readline()
        (child,) = (pid for pid in find_tree(parent.pid) if pid != parent.pid)
        assert read_resident_bytes(parent.pid) > read_resident_bytes(child) > 1e6
        parent.stdin.write("\n\n")


def test_a_process_that_is_gone_costs_nothing() -> None:
    with run("pass") as process:
        process.wait()
    assert find_tree(process.pid) == []
    assert read_cpu_s(process.pid) == 0.0
    assert read_resident_bytes(process.pid) == 0


def test_our_own_tree_begins_with_ourselves() -> None:
    assert find_tree(os.getpid())[0] == os.getpid()
