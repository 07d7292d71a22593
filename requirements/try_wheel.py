"""`python -m requirements.try_wheel`: the built wheel in a fresh environment, without the checkout.

Builds the wheel, installs the locked packages of serving and the wheel into a new virtual
environment, and runs `sparing serve`, `predict`, `report` and `meter` from an empty folder. The
checkout gives only the models and a picture. Exit code 1 and the failed command's output, if a
package or a data file is missing from the wheel.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "docs" / "pictures" / "ankle-boot.png"
START_LIMIT_S = 120.0
_ADDRESS = re.compile(r"HTTP +(http://[\d.]+:\d+)")


def run(*command: str | Path, cwd: Path) -> str:
    """Output of a command. Raises CalledProcessError, with all it has written."""
    # Nothing of this process' environment may lend the checkout's packages.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        command, cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, check=True,
    )  # fmt: skip
    return done.stdout


def build_wheel(folder: Path) -> Path:
    """From a copy, so that what an earlier build has left in the checkout does not count."""
    source = folder / "source"
    listed = run("git", "ls-files", "-z", cwd=ROOT).split("\0")
    for name in filter(None, listed):
        if (
            name.endswith((".py", ".toml", ".proto", ".binpb", "LICENSE"))
            and (ROOT / name).is_file()
        ):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, source / name)
    pip: list[str | Path] = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
    ]
    run(*pip, "-w", folder, source, cwd=folder)
    (wheel,) = folder.glob("*.whl")
    return wheel


def install(wheel: Path, folder: Path) -> Path:
    """The folder of the new environment's commands."""
    run(sys.executable, "-m", "venv", folder, cwd=folder.parent)
    pip: list[str | Path] = [folder / "bin" / "python", "-m", "pip", "install", "-q", "--no-deps"]
    run(*pip, "--require-hashes", "-r", ROOT / "requirements" / "serve.txt", cwd=folder)
    run(*pip, wheel, cwd=folder)
    return folder / "bin"


@contextmanager
def serve(commands: Path, empty: Path) -> Iterator[str]:
    """A running server; its address. Raises RuntimeError if it does not start."""
    ports = ["--http-port", "0", "--grpc-port", "0"]
    log = empty.parent / "serve.log"
    with log.open("w") as out:
        server = subprocess.Popen(
            [commands / "sparing", "serve", "--models", ROOT / "models", *ports],
            cwd=empty, stdout=out, stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            until = time.monotonic() + START_LIMIT_S
            while (found := _ADDRESS.search(log.read_text())) is None:
                if server.poll() is not None or time.monotonic() > until:
                    raise RuntimeError(f"sparing serve did not start:\n{log.read_text()}")
                time.sleep(0.1)
            yield found[1]
        finally:
            server.send_signal(signal.SIGTERM)
            code = server.wait(60)
    if code != 0:
        raise RuntimeError(f"sparing serve ended with {code}:\n{log.read_text()}")


def try_wheel() -> None:
    with tempfile.TemporaryDirectory(prefix="sparing-wheel-") as name:
        work = Path(name)
        (empty := work / "empty").mkdir()
        wheel = build_wheel(work)
        print(f"built {wheel.name}", flush=True)
        commands = install(wheel, work / "environment")
        print("installed it and what serving needs into a fresh environment", flush=True)
        sparing = commands / "sparing"
        classify: list[str | Path] = [sparing, "predict", PICTURE, "--route", "fashion-mnist"]
        run(*classify, "--models", ROOT / "models", cwd=empty)
        run(sparing, "meter", cwd=empty)
        with serve(commands, empty) as url:
            said = run(*classify, "--url", url, cwd=empty)
            run(sparing, "report", "--url", url, cwd=empty)
        if "Ankle boot" not in said:
            raise RuntimeError(f"the server's answer is wrong:\n{said}")
        print("serve, predict, report and meter work from an empty folder")


def main() -> None:
    try:
        try_wheel()
    except subprocess.CalledProcessError as failed:
        command = " ".join(map(str, failed.cmd))
        sys.exit(f"{command}\nended with {failed.returncode}:\n{failed.stdout}")
    except RuntimeError as failed:
        sys.exit(str(failed))


if __name__ == "__main__":
    main()
