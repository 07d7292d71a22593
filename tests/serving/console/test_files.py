"""The console's files: small, complete, and safe to show."""

import re
from pathlib import Path

import pytest

from serving.console.files import list_paths, read_file
from tests.serving.endpoint_client import ask

STATIC = Path(__file__).parents[3] / "serving" / "console" / "static"
PATHS = list_paths()
OUTSIDE = re.compile(r"""(?:src|href|from|import|url)\s*[=(]?\s*["'(]\s*(?:https?:)?//""")


def own_files() -> list[Path]:
    """Those that are written here."""
    return [
        path
        for path in sorted(STATIC.rglob("*"))
        if path.suffix in {".html", ".css", ".js"} and path.parent.name != "docs"
    ]


def test_the_page_loads_less_than_100_kb() -> None:
    assert sum(path.stat().st_size for path in own_files()) < 100_000


@pytest.mark.parametrize("path", own_files(), ids=lambda path: path.name)
def test_a_file_names_only_files_that_are_served_and_no_other_server(path: Path) -> None:
    text = path.read_text()
    assert not OUTSIDE.search(text)
    for named in re.findall(r'"(/console/[^"$]+)"', text):
        assert named in PATHS
    assert not re.search(r"\bstyle=|\bon\w+=\"|<script>|innerHTML|\beval\(", text)


@pytest.mark.parametrize("path", own_files(), ids=lambda path: path.name)
def test_a_file_is_no_longer_than_sources_are(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert len(lines) <= 400


@pytest.mark.parametrize("path", PATHS)
def test_every_file_is_served_with_its_type_and_its_policy_and_without_a_token(path: str) -> None:
    answer = ask("GET", path, limits={"bearer_token": "s3cret"})
    assert answer.status_code == 200
    assert answer.content == read_file(PATHS[path]).body
    kinds = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
    suffix = Path(PATHS[path]).suffix
    assert answer.headers["content-type"].startswith(kinds.get(suffix, "image/"))
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; ")
    assert "frame-ancestors 'none'" in policy
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_file_that_the_browser_has_is_not_sent_again() -> None:
    first = ask("GET", "/")
    headers = {"If-None-Match": first.headers["etag"]}
    again = ask("GET", "/", headers=headers)
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]
    other = ask("GET", "/", headers={"If-None-Match": '"other"'})
    assert other.content == first.content
    assert ask("HEAD", "/").status_code == 200
    assert ask("POST", "/").status_code == 405


def test_the_console_can_be_switched_off() -> None:
    for path in PATHS:
        answer = ask("GET", path, limits={"console": False})
        assert answer.status_code == 404
        assert "no such path" in answer.json()["error"]


@pytest.mark.parametrize("path", ["/console/../files.py", "/console/__init__.py", "/console/x.js"])
def test_nothing_else_is_served(path: str) -> None:
    assert ask("GET", path).status_code == 404
