"""Settings that are wrong stop the server with one line naming the file and the key."""

import tomllib
from pathlib import Path

import pytest

from serving.settings import Settings, read_settings, write_settings

SHIPPED = Path(__file__).parents[2] / "settings.toml"


def write(directory: Path, text: str) -> Path:
    path = directory / "settings.toml"
    path.write_text(text)
    return path


def test_an_empty_file_gives_the_defaults(tmp_path: Path) -> None:
    assert read_settings(write(tmp_path, "")) == Settings()


def test_what_the_file_says_wins(tmp_path: Path) -> None:
    text = '[server]\nhttp_port = 8080\n[routes]\ndirectories = ["a", "b"]\n'
    settings = read_settings(write(tmp_path, text))
    assert settings.server.http_port == 8080
    assert settings.server.grpc_port == Settings().server.grpc_port
    assert settings.routes.directories == (Path("a"), Path("b"))


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("[server]\nhttp_prot = 1\n", "server.http_prot"),
        ("[door]\nhttp_port = 1\n", "door"),
        ('[server]\nhttp_port = "soon"\n', "server.http_port"),
        ("[server]\nhttp_port = 70000\n", "server.http_port"),
        ("[engine]\npatience_s = 0\n", "engine.patience_s"),
        ("[cache]\nlimit_bytes = 1.5\n", "cache.limit_bytes"),
        ("server = 3\n", "server"),
        (
            "[cache.perceptual.routes.a]\nmax_diference = 1\n",
            "cache.perceptual.routes.a.max_diference",
        ),
        ("[cache.perceptual.routes.a]\naudit_rate = 0\n", "cache.perceptual.routes.a.audit_rate"),
        ("[cache.perceptual.routes.a]\nmax_wrong = 1\n", "cache.perceptual.routes.a.max_wrong"),
        ("[cache]\nenabled = false\n[cache.perceptual.routes.a]\n", "cache"),
        ('[devices.gpu]\nbackend = "cuda"\n', "devices.gpu"),
        ('[devices.gpu]\nruntime = "torch"\nproviders = ["A"]\n', "devices.gpu"),
    ],
)
def test_a_wrong_key_or_value_is_named_in_one_line(tmp_path: Path, text: str, key: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ValueError, match=r"settings\.toml") as caught:
        read_settings(path)
    sentence = str(caught.value)
    assert sentence.startswith(f"{path}: {key}: ")
    assert "\n" not in sentence


@pytest.mark.parametrize("text", ["[server\n", "http_port = \n", "a = 1\na = 2\n"])
def test_bad_toml_is_one_line_that_names_the_file(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ValueError, match="line") as caught:
        read_settings(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_bytes_that_are_no_text_are_one_line_that_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"settings\.toml: .*decode"):
        read_settings(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"absent.toml: No such file"):
        read_settings(tmp_path / "absent.toml")


def test_the_shipped_file_lists_every_key_with_its_default() -> None:
    lines = SHIPPED.read_text().splitlines()
    keys = [line.removeprefix("# ") for line in lines if line.startswith("[") or " = " in line]
    uncommented = Settings.model_validate(tomllib.loads("\n".join(keys)))
    assert uncommented == Settings()
    listed = tomllib.loads("\n".join(keys))
    assert {name: set(table) for name, table in listed.items()} == {
        name: set(table) for name, table in Settings().model_dump().items()
    }
    assert read_settings(SHIPPED) == Settings()


FULL = """
[server]
bearer_token = "t0ken"
[cache.remote]
url = "rediss://user:p4ss@cache:6379/0"
secret = "0123456789abcdef"
[cache.perceptual.routes.tiny]
max_distance = 2
[routes]
directories = ["a", "/b c"]
[workers]
count = 3
"""


def test_settings_for_another_process_come_over_whole(tmp_path: Path) -> None:
    settings = read_settings(write(tmp_path, FULL))
    assert Settings.model_validate_json(write_settings(settings)) == settings


def test_secrets_are_told_only_by_what_is_made_for_it(tmp_path: Path) -> None:
    settings = read_settings(write(tmp_path, FULL))
    for secret in ("t0ken", "p4ss", "0123456789abcdef"):
        assert secret in write_settings(settings)
        assert secret not in f"{settings!r} {settings} {settings.model_dump_json()}"
