"""Everything that takes long, one after the other: `make bench-long`.

The fuzzer, the soak, the fairness between callers, a Redis that fails, 500 restarts of a process
and 20 of a container under load, and where `$SPARING_CASES` names a folder, every case in it: a
Python script that ends with 0 where the server does what is right.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CASES = "SPARING_CASES"
CASE_LIMIT_S = 300.0


def find_cases(folder: Path) -> list[Path]:
    """`NN_name.py` in the folder and those in it; what does not begin with a digit is a helper."""
    return sorted(folder.rglob("[0-9]*.py"))


def run_cases(folder: Path, limit_s: float = CASE_LIMIT_S) -> bool:
    """Whether every case ends with 0 within its time; each runs in the project's root."""
    cases = find_cases(folder)
    wrong = 0
    for place, path in enumerate(cases):
        began = time.monotonic()
        sentence = run_case(path, limit_s)
        wrong += sentence != ""
        seconds = time.monotonic() - began
        verdict = f"WRONG: {sentence}" if sentence else "right"
        name = path.relative_to(folder)
        print(f"{place + 1} of {len(cases)}, {name}, {seconds:.0f} s: {verdict}", flush=True)
    print(f"{'WRONG' if wrong else 'right'}: {len(cases) - wrong} of {len(cases)} cases")
    return wrong == 0


def run_case(path: Path, limit_s: float) -> str:
    """An empty string, or how it ended instead."""
    try:
        ended = subprocess.run(
            [sys.executable, str(path)],
            cwd=ROOT,
            capture_output=True,
            timeout=limit_s,
            check=False,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
    except subprocess.TimeoutExpired:
        return f"not over after {limit_s:.0f} s"
    if ended.returncode == 0:
        return ""
    said = (ended.stdout + ended.stderr).decode(errors="replace").strip().splitlines()
    return f"exit code {ended.returncode}: {said[-1][:200] if said else ''}"


def _run(module: str, *arguments: str) -> bool:
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.run(command, cwd=ROOT, check=False).returncode == 0


def _cases() -> bool:
    folder = os.environ.get(CASES)
    if not folder:
        print(f"${CASES} names no folder of cases: skipped")
        return True
    return run_cases(Path(folder).resolve())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--conversations", type=int, default=1_000_000, help="number of the fuzzer's"
    )
    parser.add_argument("--minutes", type=float, default=60.0, help="duration of the mixed load")
    parser.add_argument("--seed", type=int, default=1, help="seed of the fuzzer")
    parser.add_argument("--resume", action="store_true", help="resume an earlier fuzzer run")
    parser.add_argument(
        "--only",
        default="fuzz,soak,fairness,redis,restarts,image,cases",
        help="comma-separated names",
    )
    options = parser.parse_args()
    fuzz = ["--conversations", str(options.conversations), "--seed", str(options.seed), "--write"]
    fuzz += ["--resume"] if options.resume else []
    runs: Mapping[str, Sequence[str]] = {
        "fuzz": ("reliability.fuzz", *fuzz),
        "soak": ("reliability.soak", "--minutes", str(options.minutes), "--write"),
        "fairness": ("reliability.fairness",),
        "redis": ("reliability.redis_faults", "--write"),
        "restarts": ("reliability.restarts",),
        "image": ("k8s.image.trial", "--restarts", "20"),
    }
    names = options.only.split(",")
    if unknown := set(names) - {*runs, "cases"}:
        parser.error(
            f"--only: given {', '.join(sorted(unknown))}, allowed {', '.join(runs)}, cases"
        )
    wrong: list[str] = []
    for name in names:
        print(f"== {name}", flush=True)
        if not (_cases() if name == "cases" else _run(*runs[name])):
            wrong.append(name)
    print(f"== WRONG: {', '.join(wrong)}" if wrong else f"== right: {', '.join(names)}")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
