"""Options win over the environment, the environment over the file, the file over the default."""

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest

from serving.configuration.effective import Origin, compose_settings
from serving.configuration.environment import GivenValue, name_variable
from serving.configuration.keys import MASK, find_value, setting_keys
from serving.configuration.listing import list_settings, write_toml
from serving.settings import Settings, write_settings

FILE = """
[server]
http_port = 1
grpc_port = 2
head_timeout_s = 3
[cache.remote]
url = "rediss://user:p4ss@cache:6379/0"
"""
OPTIONS = {"server.http_port": GivenValue("--http-port", 100)}
VARIABLES = {
    "SPARING_SERVER__HTTP_PORT": "10",
    "SPARING_SERVER__GRPC_PORT": "20",
    "SPARING_CACHE__REMOTE__SECRET": "s3cret",
}
# A valid value of each setting that differs from its default, as text.
SPECIAL = {
    "server.host": "::",
    "server.tenants": '{a = "b"}',
    "server.tenant_header": "x-tenant",
    "server.max_decode_bytes": "9999999",
    "cache.remote.url": "redis://a",
    "cache.remote.secret": "x" * 64,
    "cache.perceptual.routes": "{a = {max_distance = 2}}",
    "routes.directories": '["x"]',
    "routes.devices": '{a = "cpu"}',
    "routes.precisions": '{a = "int8"}',
    "devices": "{other = {}}",
    "tracing.endpoint": "https://host/path",
    "energy.source": "replay",
    "energy.sysfs": "/other",
}

IN_FILES = [
    "server.bearer_token_file",
    "server.tenants_file",
    "cache.remote.url_file",
    "cache.remote.secret_file",
]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "settings.toml"
    path.write_text(FILE)
    return path


def refuse(environment: Mapping[str, str], file: Path | None = None) -> str:
    with pytest.raises(ValueError, match=": ") as caught:
        compose_settings(file, environment)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def find_type(key: str) -> Any:  # of any form
    *sections, last = key.split(".")
    section: Any = Settings
    for name in sections:
        section = section.model_fields[name].annotation
    return section.model_fields[last].annotation


def choose_text(key: str) -> str:
    default = find_value(Settings(), setting_keys()[key])
    if key in SPECIAL:
        return SPECIAL[key]
    if get_origin(find_type(key)) is Literal:
        return str(get_args(find_type(key))[-1])
    if isinstance(default, bool):
        return str(not default).lower()
    if isinstance(default, int):
        return str(default + 1)
    return str(default / 2 or 0.5) if isinstance(default, float) else "other"


def test_each_source_wins_over_those_below_it(file: Path) -> None:
    settings, origins = compose_settings(file, VARIABLES, OPTIONS)
    server = settings.server
    assert (server.http_port, server.grpc_port, server.head_timeout_s) == (100, 20, 3.0)
    assert server.host == "127.0.0.1"
    assert settings.cache.remote.secret.get_secret_value() == "s3cret"
    assert origins["server.http_port"] == Origin("option", "--http-port")
    assert origins["server.grpc_port"] == Origin("environment", "SPARING_SERVER__GRPC_PORT")
    assert origins["server.head_timeout_s"] == Origin("file", str(file))
    assert origins["server.host"] == Origin("default")
    assert origins.keys() == setting_keys().keys()


@pytest.mark.parametrize("without", [IN_FILES, [key.removesuffix("_file") for key in IN_FILES]])
def test_every_setting_can_be_set_by_its_variable(without: list[str]) -> None:
    keys = setting_keys().keys() - {*without}
    given = {name_variable(key): choose_text(key) for key in keys}
    given["SPARING_CACHE__ENABLED"] = "true"  # the perceptual cache needs it
    settings, origins = compose_settings(None, given)
    for key in keys:
        assert origins[key].source == "environment"
        changed = find_value(settings, setting_keys()[key]) != setting_keys()[key].default
        assert changed or key == "cache.enabled", key
    assert Settings.model_validate_json(write_settings(settings)) == settings


def test_a_fault_of_several_settings_names_the_variables_that_it_is_about(file: Path) -> None:
    given = {"SPARING_SERVER__BEARER_TOKEN_FILE": "f", "SPARING_SERVER__HOST": "::"}
    sentence = refuse({**given, "SPARING_SERVER__BEARER_TOKEN": "s3cret"})
    assert "SPARING_SERVER__BEARER_TOKEN_FILE" in sentence
    assert "SPARING_SERVER__BEARER_TOKEN " in sentence
    assert "HOST" not in sentence
    assert refuse({"SPARING_SERVER__HOST": "::"}, file).startswith(f"{file}: cache.remote: url")


def test_a_wrong_value_names_the_variable_and_the_value() -> None:
    sentence = refuse({"SPARING_SERVER__HTTP_PORT": "70000"})
    assert sentence.startswith("SPARING_SERVER__HTTP_PORT: ")
    assert sentence.endswith("given '70000'")


def test_a_wrong_value_of_the_file_names_the_file_although_variables_are_given(file: Path) -> None:
    file.write_text('[server]\nhttp_port = "soon"\n')
    assert refuse({"SPARING_SERVER__GRPC_PORT": "1"}, file).startswith(f"{file}: server.http_port")
    file.write_text("server = 3\n")
    assert refuse({"SPARING_SERVER__GRPC_PORT": "1"}, file).startswith(f"{file}")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("SPARING_SERVER__TENANTS", '{"shop" = "s3 cret"}'),
        ("SPARING_SERVER__TENANTS", '{"s3 cret" = "shop"}'),
        ("SPARING_CACHE__REMOTE__URL", "redis://user:s3cret@host"),
        ("SPARING_TRACING__ENDPOINT", "ftp://user:s3cret@host"),
    ],
)
def test_a_secret_is_in_no_sentence(name: str, text: str) -> None:
    sentence = refuse({name: text})
    assert name in sentence
    assert "s3" not in sentence


def test_a_secret_where_a_name_should_be_is_not_in_the_sentence_about_a_file(file: Path) -> None:
    file.write_text('[server.tenants]\n"s3 cret" = "shop"\n')
    sentence = refuse({}, file)
    assert "server.tenants" in sentence
    assert "s3" not in sentence


def test_a_fault_inside_a_table_names_the_variable_and_the_place() -> None:
    sentence = refuse({"SPARING_CACHE__PERCEPTUAL__ROUTES": "{tiny = {audit_rate = 0}}"})
    assert sentence.startswith("SPARING_CACHE__PERCEPTUAL__ROUTES: tiny.audit_rate: ")


def test_the_list_shows_every_setting_with_its_origin_and_no_secret(file: Path) -> None:
    tenants = {"SPARING_SERVER__TENANTS": '{shop = "t0ken"}'}
    listed = list_settings(compose_settings(file, {**VARIABLES, **tenants}, OPTIONS))
    assert listed.keys() == setting_keys().keys()
    text = write_toml(listed)
    assert "server.http_port = 100  # option --http-port\n" in text
    assert 'server.host = "127.0.0.1"  # default\n' in text
    table = tomllib.loads(text)
    assert table["server"]["tenants"] == {"shop": MASK}
    assert table["cache"]["remote"]["url"] == table["cache"]["remote"]["secret"] == MASK
    for secret in ("p4ss", "s3cret", "t0ken"):
        assert secret not in text + json.dumps(listed)
    shown = {"value": 20, "source": "environment", "name": "SPARING_SERVER__GRPC_PORT"}
    assert shown.items() <= {**listed["server.grpc_port"]}.items()


def test_a_password_in_the_url_of_a_collector_is_masked() -> None:
    given = {"SPARING_TRACING__ENDPOINT": "https://user:p4ss@host/v1/traces"}
    listed = list_settings(compose_settings(None, given))
    assert listed["tracing.endpoint"]["value"] == f"https://{MASK}@host/v1/traces"
