"""The image: what its Dockerfile promises, where its base comes from, and what counts as lost."""

import re
import threading
import tomllib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from harness.load.callers import HttpSender
from harness.servers import find_free_port
from k8s.image.make import TARGETS, read_mirror
from k8s.image.pip_settings import find_folders, parse_settings
from k8s.image.podman import ROOT
from serving.settings import read_settings

DOCKERFILE = (ROOT / "Dockerfile").read_text()


def test_the_dockerfile_makes_every_target_without_root_and_without_a_shell() -> None:
    stages = re.split(r"^FROM ", DOCKERFILE, flags=re.MULTILINE)[1:]
    by_name = {stage.split("\n")[0].split(" AS ")[1]: stage for stage in stages}
    for target in TARGETS:
        lines = [line for line in by_name[target].splitlines() if line and line[0] != "#"]
        assert lines[-1] == "USER 10001:10001"
    assert 'ENTRYPOINT ["sparing"]' in by_name["runtime"]
    assert 'CMD ["serve"]' in by_name["runtime"]


def test_the_dockerfile_installs_only_what_the_lock_files_name() -> None:
    installs = re.findall(r"pip install [^\n&]*", DOCKERFILE)
    assert len(installs) > 5
    for install in installs:
        assert "--require-hashes -r requirements/" in install or "/wheels/*.whl" in install
    for name in re.findall(r"requirements/[\w-]+\.txt", DOCKERFILE):
        assert (ROOT / name).exists()


def test_the_dockerfile_copies_what_the_context_has() -> None:
    kept = [
        line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"
    ]
    for copied in re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE):
        for name in copied.split():
            assert (ROOT / name).exists()
            assert any(Path(name).match(pattern) for pattern in kept), name


def test_the_dockerfile_copies_every_package_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = {name.partition(".")[0] for name in project["tool"]["setuptools"]["packages"]}
    assert packages <= set(re.findall(r"^COPY (\w+)/ \1/$", DOCKERFILE, re.MULTILINE))


def test_the_settings_of_the_image_are_settings() -> None:
    settings = read_settings(ROOT / "k8s" / "image" / "settings.toml")
    assert settings.server.host == "0.0.0.0"
    assert settings.routes.directories == (Path("/models"),)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("sources.list.d/debian.sources", "Types: deb\nURIs: http://mirror.example/debian\n"),
        ("sources.list", "# main\ndeb [arch=amd64] http://mirror.example/debian stable main\n"),
    ],
)
def test_the_base_comes_from_the_package_source_of_the_machine(
    tmp_path: Path, name: str, text: str
) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(text)
    assert read_mirror(tmp_path) == "http://mirror.example/debian"


def test_a_machine_without_package_sources_is_told_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="give --base"):
        read_mirror(tmp_path)


class Answering(BaseHTTPRequestHandler):
    """Answers the first request and closes the connection of the second without a word."""

    protocol_version = "HTTP/1.1"
    asked = 0

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        type(self).asked += 1
        if type(self).asked > 1:
            self.close_connection = True
            return
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        pass


def test_a_request_without_a_reply_is_lost_and_a_refused_connection_is_not() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        sender = HttpSender([server.server_port], 0, "/", b"{}")
        assert sender.send() is None
        lost = sender.send()
        assert lost is not None and not lost.refused
    finally:
        server.shutdown()
        server.server_close()
    refused = HttpSender([find_free_port()], 0, "/", b"{}").send()
    assert refused is not None and refused.refused


def test_a_build_takes_packages_from_where_pip_does(tmp_path: Path) -> None:
    settings = parse_settings(
        f"global.cert='/etc/ssl/ca.crt'\nglobal.find-links='{tmp_path}'\n"
        f"global.extra-index-url='https://index.example/simple\\nfile://{tmp_path}/simple'\n"
    )
    assert settings == {
        "find-links": str(tmp_path),
        "extra-index-url": f"https://index.example/simple file://{tmp_path}/simple",
    }
    (tmp_path / "simple").mkdir()
    assert find_folders(settings.values()) == [tmp_path]
    assert find_folders(["https://index.example/etc"]) == []
