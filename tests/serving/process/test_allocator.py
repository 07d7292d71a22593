"""Memory that large inputs took goes back to the system."""

import os
import subprocess
import sys

import pytest

from harness.live_server import ROOT

# Blocks of all sizes up to 24 MB, freed while a small one behind each lives on.
SCRIPT = """
import sys, threading
from serving.process.allocator import tune_allocator
if sys.argv[1] == "yes" and not tune_allocator():
    sys.exit("cannot be said here")

def resident_kb():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))

kept = []
def work():
    for size_mb in (24, 8, 16, 24, 2, 12, 20):
        blocks = [bytearray(size_mb * 2**20) for _ in range(2)]
        kept.append(bytes(100_000))
        del blocks

before = resident_kb()
threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(resident_kb() - before)
"""


def run_script(said: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", SCRIPT, said],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's settings")
def test_large_blocks_leave_nothing_behind() -> None:
    ended = run_script("yes")
    if "cannot be said" in ended.stderr:
        pytest.skip("this C library has no mallopt")
    assert ended.returncode == 0, ended.stderr
    assert int(ended.stdout) < 12_000


def test_what_the_environment_says_of_the_allocator_is_kept() -> None:
    assert "cannot be said" in run_script("yes", MALLOC_MMAP_THRESHOLD_="65536").stderr


HOLES = """
import asyncio
from serving.process.allocator import return_free_pages
from harness.waiting import until

def resident_kb():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))

blocks = [bytearray(3000) for _ in range(40_000)]
del blocks[::2], blocks[::2], blocks[::2]
before = resident_kb()

async def until_returned():
    returning = asyncio.create_task(return_free_pages(0.01))
    await until(lambda: resident_kb() <= before - 40_000 or returning.done())

asyncio.run(until_returned())
print(before - resident_kb())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's way")
def test_free_pages_between_blocks_in_use_go_back() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", HOLES], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert int(ended.stdout) > 40_000
