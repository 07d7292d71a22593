"""The Mooncake traces (arXiv 2407.00079): which blocks the requests of a real service asked for.

Published at https://github.com/kvcache-ai/Mooncake (Apache-2.0), a JSON line a request with its
`hash_ids`. Read from `$SPARING_DATA/traces/`: the published `<name>_trace.jsonl`, or
`mooncake_<name>.npz` with all ids in `hash_ids` and where each request's begin in `hash_offsets`.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

TRACES = ("conversation", "synthetic")
Blocks = npt.NDArray[np.int64]


def read_trace(name: str) -> Sequence[Blocks]:
    """Each request's block ids, in the order asked. Raises FileNotFoundError with a sentence."""
    folder = Path(os.environ.get("SPARING_DATA", "SPARING_DATA")) / "traces"
    published, packed = folder / f"{name}_trace.jsonl", folder / f"mooncake_{name}.npz"
    if published.exists():
        with published.open() as lines:
            return [np.array(json.loads(line)["hash_ids"], dtype=np.int64) for line in lines]
    if not packed.exists():
        raise FileNotFoundError(
            f"{published} does not exist; put the traces there from "
            "https://github.com/kvcache-ai/Mooncake/tree/main/FAST25-release/traces"
        )
    with np.load(packed, allow_pickle=False) as data:
        return np.split(data["hash_ids"].astype(np.int64), data["hash_offsets"][1:-1])
