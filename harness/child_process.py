"""A program in a process and a folder of its own, for trials and tests."""

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Self

from harness.waiting import wait_until

ROOT = Path(__file__).parents[1]


def find_program(name: str, package: str) -> str:
    """Its path. Raises FileNotFoundError with a sentence where it is not installed."""
    program = shutil.which(name)
    if program is None:
        raise FileNotFoundError(f"{name} is missing: run apt-get install {package} as root")
    return program


class ChildProcess:
    """`with` starts the program and kills it in the end. A subclass says how, and when it is up."""

    command: list[str]
    process: subprocess.Popen[bytes]

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self.folder = Path(self._folder.name)
        self.log = self.folder / "log"

    def has_started(self) -> bool:
        raise NotImplementedError

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._folder.cleanup()

    def start(self) -> None:
        """Also once more after it was killed."""
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                self.command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT
            )
        try:
            wait_until(
                lambda: self.process.poll() is not None or self.has_started(),
                f"{self.command[0]} does not start",
            )
            assert self.process.poll() is None, f"it did not start:\n{self.log.read_text()}"
        except AssertionError:
            self.kill()
            raise

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)
