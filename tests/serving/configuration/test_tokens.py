"""Bearer tokens from settings and files."""

from pathlib import Path
from typing import Any

import pytest

from serving.configuration.tokens import list_token_files, open_tokens, read_tokens
from serving.settings import ServerSettings


def write(folder: Path, **files: str) -> ServerSettings:
    for name, text in files.items():
        (folder / name).write_text(text)
    return ServerSettings.model_validate({f"{name}_file": str(folder / name) for name in files})


def test_tokens_of_the_settings(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"bearer_token": "all", "tenants": {"shop": "s"}}
    assert read_tokens(ServerSettings(**settings)) == {"all": "", "s": "shop"}
    assert read_tokens(ServerSettings()) == {}
    assert list_token_files(ServerSettings()) == {}


def test_each_line_of_a_file_is_a_token(tmp_path: Path) -> None:
    assert read_tokens(write(tmp_path, bearer_token="old\n\n new \r\n")) == {"old": "", "new": ""}


def test_a_file_of_tenants_is_toml(tmp_path: Path) -> None:
    settings = write(tmp_path, bearer_token="all", tenants='shop = "s"\n"a.b@c" = "t"\n')
    assert read_tokens(settings) == {"all": "", "s": "shop", "t": "a.b@c"}
    assert [*list_token_files(settings)] == ["server.bearer_token_file", "server.tenants_file"]


def test_a_changed_file_gives_other_tokens(tmp_path: Path) -> None:
    tokens = open_tokens(write(tmp_path, bearer_token="old"))
    (tmp_path / "bearer_token").write_text("old\nnew\n")
    assert tokens.refresh()
    assert tokens.value == {"old": "", "new": ""}


@pytest.mark.parametrize(
    ("name", "text", "fault"),
    [
        ("bearer_token", "s3 cret", "visible ASCII"),
        ("bearer_token", "s3crét", "visible ASCII"),
        ("bearer_token", "\n", "empty"),
        ("bearer_token", "\x1c\n", "no token"),
        ("tenants", "# s3cret comes later\n", "no tenant in it"),
        ("tenants", "s3cret = " + "[" * 10_000, "no TOML"),
        ("tenants", "s3cret", "no TOML"),
        ("tenants", 'shop = "s3cret" "', "no TOML"),
        ("tenants", "shop = 3", "visible ASCII"),
        ("tenants", '"s3 cret" = "t"', "no tenant's name"),
        ("tenants", 'a = "s3cret"\nb = "s3cret"', "the same token"),
        ("tenants", "\n".join(f't{n} = "s3cret{n}"' for n in range(257)), "more than 256"),
    ],
)
def test_a_wrong_file_is_one_sentence_without_its_text(
    tmp_path: Path, name: str, text: str, fault: str
) -> None:
    with pytest.raises(ValueError, match=fault) as caught:
        read_tokens(write(tmp_path, **{name: text}))
    assert "s3" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "given",
    [
        {"bearer_token": "t", "bearer_token_file": "f"},
        {"tenants": {"shop": "t"}, "tenants_file": "f"},
    ],
)
def test_a_secret_is_given_once(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="allowed one"):
        ServerSettings(**given)
