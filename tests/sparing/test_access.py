"""Commands that ask a server send its token and check its certificate, and print no token."""

import re
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from PIL import Image

from harness.live_server import LiveServer
from harness.tiny_routes import make_pictures, write_route
from sparing.access import NO_ACCESS, Access, choose_access
from sparing.cli import run
from sparing.client import fetch, request_json
from sparing.failure import Failure
from tests.fakes.picture_files import write_file
from tests.servers.certificates import Pair, make_certificate

TOKEN = "s3cret-0123456789"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    root = tmp_path_factory.mktemp("models")
    write_route(root)
    with LiveServer(root, f'[server]\nbearer_token = "{TOKEN}"\n') as live:
        yield live


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pictures") / "one.png"
    path.write_bytes(write_file(Image.fromarray(make_pictures(1)[0])))
    return path


@pytest.fixture(params=["predict", "routes", "report", "simulate", "rollout"])
def command(
    request: pytest.FixtureRequest, server: LiveServer, picture: Path, tmp_path: Path
) -> list[str]:
    """A command that asks the server, and needs nothing more than access."""
    trace = tmp_path / "trace.csv"
    trace.write_text("time_s\n0.0\n1.0\n")
    models = tmp_path / "models"
    for version in ("1", "2"):
        write_route(models, version=version)
    rollout = 'stable = "1"\ncanary = "2"\nshare = 0.5\n'
    (models / "tiny" / "rollout.toml").write_text(rollout)
    given = {
        "predict": ["predict", str(picture), "--route", "tiny", "--url", server.url],
        "routes": ["routes", "--url", server.url],
        "report": ["report", "--url", server.url],
        "simulate": ["simulate", "--trace", str(trace), "--url", server.url],
        "rollout": ["rollout", "tiny", "status", "--models", str(models), "--server", server.url],
    }
    return given[request.param]


def _is_refused(words: str) -> bool:
    return re.search(r"(needs a|refuses this) bearer token; set SPARING_TOKEN", words) is not None


def test_a_missing_or_wrong_token_ends_with_what_to_set(
    command: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(command) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("needs a bearer token; set SPARING_TOKEN to it, or give --token-file")
    monkeypatch.setenv("SPARING_TOKEN", "guessed")
    assert run(command) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "refuses this bearer token" in line and "guessed" not in line


@pytest.mark.parametrize("way", ["option", "file", "variable"])
def test_a_token_is_sent_and_not_printed(
    way: str,
    command: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / "token"
    path.write_text(f"\n{TOKEN}\nan older one\n")
    given = {"option": ["--token", TOKEN], "file": ["--token-file", str(path)], "variable": []}
    monkeypatch.setenv("SPARING_TOKEN", TOKEN if way == "variable" else "guessed")
    run([*command, *given[way]])
    printed = "".join(capsys.readouterr())
    assert not _is_refused(printed)
    assert TOKEN not in printed


def test_a_token_is_hidden_wherever_it_is_shown() -> None:
    assert TOKEN not in repr(Access(TOKEN))


@pytest.mark.parametrize(
    ("token", "content", "words"),
    [
        (f"{TOKEN}\n.", None, r"--token: the token is not 1 to 1024 characters"),
        (TOKEN * 100, None, "the token is not"),
        (None, f"{TOKEN}\x01", "--token-file: .*: the token is not"),
        (None, " \n\n", "--token-file: .*: no token in it"),
        (None, "", "no token in it"),
        (TOKEN, TOKEN, "--token, --token-file: both given"),
    ],
)
def test_what_cannot_be_sent_is_refused_without_showing_it(
    token: str | None, content: str | None, words: str, tmp_path: Path
) -> None:
    path = tmp_path / "token"
    if content is not None:
        path.write_text(content)
    with pytest.raises(Failure, match=words) as raised:
        choose_access(token, None if content is None else path, environment={})
    assert raised.value.exit_code == 2
    assert TOKEN not in str(raised.value)


def test_files_that_are_missing_are_named(tmp_path: Path) -> None:
    with pytest.raises(Failure, match=r"absent: No such file"):
        choose_access(token_file=tmp_path / "absent")
    with pytest.raises(Failure, match=r"--ca-file: .*absent: No such file"):
        choose_access(ca_file=tmp_path / "absent").open_tls()
    (tmp_path / "empty.pem").write_text("")
    with pytest.raises(Failure, match=r"--ca-file: .*empty.pem: no PEM certificate"):
        choose_access(ca_file=tmp_path / "empty.pem").open_tls()


def test_without_a_token_there_is_no_header() -> None:
    assert choose_access(environment={"SPARING_TOKEN": " "}) == NO_ACCESS
    assert NO_ACCESS.make_headers() == {}


@contextmanager
def _answering(pair: Pair | None = None, location: str = "") -> Iterator[str]:
    """A server that answers every GET with `{}`, or sends it elsewhere; with TLS if there is a
    pair.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(307 if location else 200)
            self.send_header("Location", location)
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as listener:
        scheme = "http"
        if pair is not None:
            scheme, context = "https", ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(pair.chain, pair.key)
            listener.socket = context.wrap_socket(listener.socket, server_side=True)
        thread = threading.Thread(target=listener.serve_forever)
        thread.start()
        try:
            yield f"{scheme}://127.0.0.1:{listener.server_port}"
        finally:
            listener.shutdown()
            thread.join()


def test_a_certificate_is_checked_with_the_ca_that_is_named(tmp_path: Path) -> None:
    pair, other = (make_certificate(tmp_path, name) for name in ("used", "other"))
    with _answering(pair) as url:
        assert request_json(url, "/", access=Access(ca_file=pair.chain)) == {}
        for access in (NO_ACCESS, Access(ca_file=other.chain)):
            with pytest.raises(Failure, match=r"not trusted: .*; --ca-file names its CA"):
                request_json(url, "/", access=access)


def test_tls_where_there_is_none_and_a_ca_without_tls_are_one_sentence(tmp_path: Path) -> None:
    with _answering() as url:
        with pytest.raises(Failure, match="does the server use TLS"):
            fetch(url.replace("http:", "https:"), "/")
        with pytest.raises(Failure, match="--ca-file: needs an https URL"):
            fetch(url, "/", Access(ca_file=tmp_path))


def test_a_redirect_is_not_followed() -> None:
    with _answering() as other, _answering(location=other) as url:
        with pytest.raises(Failure, match="answered 307"):
            fetch(url, "/metrics", Access(TOKEN))
        with pytest.raises(Failure, match="status 307"):
            request_json(url, "/v1/routes", access=Access(TOKEN))
