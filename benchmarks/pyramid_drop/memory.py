"""Peak memory of a prefill, in a process of its own: `python -m benchmarks.pyramid_drop.memory`.

Prints the bytes by which the process grew at most, as a server prefills, and those of the keys and
values that its rows keep.
"""

import argparse
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import torch

from benchmarks.pyramid_drop.names import FULL, RATIOS
from benchmarks.pyramid_drop.prefills import TEXT, Say, make_prompts
from harness.results import Sample
from tokens.pyramid_drop.schedule import Schedule, pyramid
from tokens.vision_language.files import read_model
from tokens.vision_language.model import Dropping
from tokens.vision_language.serving.small_backbone import SmallBackbone

ROWS, ROOM = 64, 16
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def measure_memory(folder: Path, name: str, runs: int, say: Say) -> Iterator[Sample]:
    """Samples of the model without drops and with each λ."""
    say(f"measuring the memory of {ROWS} rows")
    for run in range(runs):
        for ratio in (1.0, *RATIOS):
            case = f"memory, {FULL if ratio == 1 else f'λ {ratio:g}'}"
            command = [sys.executable, "-m", "benchmarks.pyramid_drop.memory"]
            command += [str(folder), name, "--ratio", str(ratio)]
            done = subprocess.run(command, check=False, capture_output=True, text=True)
            if done.returncode:
                raise RuntimeError(f"{case}: {done.stderr.strip()[-500:]}")
            grown, kept = (int(one) for one in done.stdout.split())
            yield Sample(case, run, "peak_mb", grown / 1e6)
            yield Sample(case, run, "keys_values_mb", kept / 1e6)


@torch.inference_mode()
def measure_here(folder: Path, name: str, ratio: float) -> tuple[int, int]:
    """By how many bytes this process grows at most; the bytes of keys and values that stay."""
    torch.set_num_threads(1)
    model, _ = read_model(folder, name)
    backbone = SmallBackbone(model, torch.device("cpu"))
    schedule = Schedule() if ratio == 1 else pyramid(model.spec.layers, ratio=ratio)
    prompts = make_prompts(model.spec, ROWS, TEXT)
    features = torch.randn(ROWS, model.spec.visual_tokens, model.spec.width)
    few = make_prompts(model.spec, 1, TEXT)
    backbone.prefill(few, features[:1], Dropping(schedule), [ROOM])  # loads libraries
    before = _read_status("VmRSS")
    CLEAR.write_text("5")  # the peak begins anew
    begun = backbone.prefill(prompts, features, Dropping(schedule), [ROOM] * ROWS)
    return _read_status("VmHWM") - before, sum(one.size_bytes for one in begun.caches)


def _read_status(name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB$", STATUS.read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("name")
    parser.add_argument("--ratio", type=float, default=1.0)
    options = parser.parse_args()
    print(*measure_here(options.folder, options.name, options.ratio))
