"""A Bento built by `bentoml build`, and `bentoml serve` of it, under the eyes of an audit hook.

Every Python process of both is told, by a `sitecustomize`, to note what it wants of the network and
which of our files it reads, and to refuse whatever would leave this machine.
"""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from harness.live_server import ROOT
from harness.process_tree import find_tree
from harness.servers import find_free_port
from harness.waiting import wait_until

_HOOK = """
import os, sys

NOTES = {notes!r}
HERE = ("127.0.0.1", "::1", "localhost", "0.0.0.0", "::", "", None)


def note(line):
    file = os.open(NOTES, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, (line + "\\n").encode())
    os.close(file)


def hear(event, arguments):
    if event == "open":
        if os.path.basename(str(arguments[0])).startswith("embedded_server."):
            note(f"read {{arguments[0]}}")
        return
    if event == "socket.getaddrinfo":
        host = arguments[0]
    elif event in ("socket.connect", "socket.sendto") and isinstance(arguments[1], tuple):
        host = arguments[1][0]
    else:
        return
    host = host.decode() if isinstance(host, bytes) else host
    note(f"{{'here' if host in HERE else 'away'}} {{event}} {{host}}")
    if host not in HERE:
        raise OSError(f"{{host}}: this test stays on its machine")


sys.addaudithook(hear)
"""


class Watch:
    """What processes started with its `environment` read and wanted of the network."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._notes = folder / "notes"
        (folder / "sitecustomize.py").write_text(_HOOK.format(notes=str(self._notes)))
        unset = {"BENTOML_DO_NOT_TRACK"}  # that nothing is told is for the service to see to
        self.environment = {name: text for name, text in os.environ.items() if name not in unset}
        self.environment |= {"PYTHONPATH": str(folder)}

    def read(self, word: str) -> set[str]:
        """The notes that begin with this word, without it."""
        lines = self._notes.read_text().splitlines()
        return {line.partition(" ")[2] for line in lines if line.startswith(word + " ")}


def build_bento(home: Path, watch: Watch) -> Path:
    """The folder of a Bento of this repository."""
    command = [_script("bentoml"), "build", "--output", "tag"]
    environment = watch.environment | {"BENTOML_HOME": str(home)}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    found = re.search(r"sparing:(\w+)", done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert found, done.stdout
    return home / "bentos" / "sparing" / found[1]


def refuse_to_serve(
    bento: Path, home: Path, watch: Watch, given: Mapping[str, str]
) -> tuple[int, str]:
    """The exit code of `bentoml serve` that is not to start, and what it said."""
    command = [_script("bentoml"), "serve", f"sparing:{bento.name}"]
    command += ["--port", str(find_free_port())]
    environment = watch.environment | {"BENTOML_HOME": str(home), **given}
    done = subprocess.run(
        command,
        cwd=home,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout


class BentoServer:
    """`with BentoServer(bento, home, watch) as server:`; served from a folder of its own."""

    def __init__(self, bento: Path, home: Path, watch: Watch, given: Mapping[str, str]) -> None:
        self.http_port, self.grpc_port = find_free_port(), find_free_port()
        self.log = home / "log"
        self._command = [_script("bentoml"), "serve", f"sparing:{bento.name}"]
        self._command += ["--port", str(self.http_port)]
        self._environment = watch.environment | dict(given)
        self._environment |= {"BENTOML_HOME": str(home), "SPARING_GRPC_PORT": str(self.grpc_port)}
        self._folder = home / "elsewhere"
        self.process: subprocess.Popen[bytes]

    def __enter__(self) -> "BentoServer":
        self._folder.mkdir()
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                self._command,
                cwd=self._folder,
                env=self._environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            wait_until(self._has_started, "the Bento does not start", 180.0)
        except AssertionError:
            self.__exit__(None, None, None)
            raise
        return self

    def _has_started(self) -> bool:
        ended = self.process.poll() is not None
        text = self.log.read_text()
        started = f"gRPC {self.grpc_address}" in text
        assert started or not ended, f"the Bento did not start:\n{text}"
        return started

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for pid in find_tree(self.process.pid) if self.process.poll() is None else []:
            os.kill(pid, signal.SIGKILL)
        self.process.wait(10)

    @property
    def grpc_address(self) -> str:
        return f"127.0.0.1:{self.grpc_port}"

    def pids(self) -> list[int]:
        return find_tree(self.process.pid)

    def stop(self, timeout_s: float = 60.0) -> int:
        """SIGTERM, and the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout_s)


def _script(name: str) -> str:
    return str(Path(sys.executable).with_name(name))
