"""Where the kernels run: on an accelerator, or in Triton's interpreter (tests/conftest.py)."""

import pytest
import torch


@pytest.fixture(scope="session")
def device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"
