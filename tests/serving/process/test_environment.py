"""Settings out of the environment: what wins over what, and one line for what is wrong."""

from pathlib import Path

import pytest

from serving.process.environment import ROOT, read_environment
from serving.settings import Settings

FILE = """
[server]
grpc_port = 4001
bearer_token = "t0ken"
[routes]
directories = ["own", "/elsewhere"]
reload_interval_s = 7.0
"""


def test_nothing_said_gives_the_project_its_own_settings_and_routes() -> None:
    settings = read_environment({})
    assert settings.routes.directories == (ROOT / "models",)
    assert settings.server == Settings().server
    assert (ROOT / "pyproject.toml").is_file()


def test_a_folder_without_a_settings_file_has_the_defaults(tmp_path: Path) -> None:
    settings = read_environment({}, tmp_path)
    assert settings.routes.directories == (tmp_path / "models",)
    assert settings.engine == Settings().engine


def test_the_file_that_is_named_wins_and_relative_paths_lie_in_the_project(tmp_path: Path) -> None:
    (tmp_path / "settings.toml").write_text("[server]\ngrpc_port = 5001\n")
    (tmp_path / "other.toml").write_text(FILE)
    assert read_environment({}, tmp_path).server.grpc_port == 5001
    for name in ("other.toml", str(tmp_path / "other.toml")):
        settings = read_environment({"SPARING_SETTINGS": name}, tmp_path)
        assert settings.server.grpc_port == 4001
        assert settings.routes.directories == (tmp_path / "own", Path("/elsewhere"))


def test_variables_win_over_the_file_and_leave_the_rest_of_it(tmp_path: Path) -> None:
    (tmp_path / "settings.toml").write_text(FILE)
    given = {
        "SPARING_HOST": "0.0.0.0",
        "SPARING_GRPC_PORT": "0",
        "SPARING_MODELS": "models:/srv/routes",
    }
    settings = read_environment(given, tmp_path)
    assert (settings.server.host, settings.server.grpc_port) == ("0.0.0.0", 0)
    assert settings.server.bearer_token.get_secret_value() == "t0ken"
    assert settings.routes.directories == (tmp_path / "models", Path("/srv/routes"))
    assert settings.routes.reload_interval_s == 7.0


def test_every_setting_can_come_from_the_environment(tmp_path: Path) -> None:
    (tmp_path / "settings.toml").write_text(FILE)
    given = {"SPARING_SERVER__GRPC_PORT": "5", "SPARING_ROUTES__DIRECTORIES": '["a"]'}
    settings = read_environment(given, tmp_path)
    assert settings.server.grpc_port == 5
    assert settings.routes.directories == (tmp_path / "a",)
    with pytest.raises(ValueError, match="SPARING_GRPC__PORT: no such setting"):
        read_environment({"SPARING_GRPC__PORT": "5"}, tmp_path)


def test_an_empty_variable_is_one_that_is_not_given(tmp_path: Path) -> None:
    (tmp_path / "settings.toml").write_text(FILE)
    empty = dict.fromkeys(
        ("SPARING_HOST", "SPARING_GRPC_PORT", "SPARING_MODELS", "SPARING_SETTINGS"), ""
    )
    assert read_environment(empty, tmp_path) == read_environment({}, tmp_path)


@pytest.mark.parametrize("given", ["soon", "65536", "-1", "1.5"])
def test_a_wrong_port_is_one_line_that_names_the_variable(given: str) -> None:
    with pytest.raises(ValueError, match="SPARING_GRPC_PORT") as caught:
        read_environment({"SPARING_GRPC_PORT": given})
    sentence = str(caught.value)
    assert sentence.startswith("SPARING_GRPC_PORT: ")
    assert sentence.endswith(f", given '{given}'")
    assert "\n" not in sentence


def test_a_settings_file_that_is_wrong_or_absent_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text("[server]\ngrpc_prot = 1\n")
    with pytest.raises(ValueError, match=r"bad\.toml: server\.grpc_prot: "):
        read_environment({"SPARING_SETTINGS": "bad.toml"}, tmp_path)
    with pytest.raises(ValueError, match=r"absent\.toml: No such file"):
        read_environment({"SPARING_SETTINGS": "absent.toml"}, tmp_path)
