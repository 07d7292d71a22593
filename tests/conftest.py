"""Settings of hypothesis, and the order of the files: those that hold a slow test come first.

Two processes take whole files in this order, so that neither is left alone with a long one at the
end: docs/decisions/0037-tests-on-two-cores.md.
"""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Without an accelerator Triton's kernels run in its interpreter. Triton looks when it is imported.
if not any(Path(device).exists() for device in ("/dev/nvidiactl", "/dev/kfd")):
    os.environ.setdefault("TRITON_INTERPRET", "1")

# Hypothesis fails examples that take long on the clock: a busy machine is no failure.
settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)
