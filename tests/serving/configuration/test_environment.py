"""Settings by environment variables: every one, checked as in the file, named when wrong."""

import re

import pytest

from serving.configuration.environment import environment_names, name_variable, read_variables
from serving.configuration.keys import setting_keys

KUBERNETES = {  # what it adds for Services named sparing and sparing-grpc
    "SPARING_SERVICE_HOST": "10.0.0.1",
    "SPARING_SERVICE_PORT": "3000",
    "SPARING_SERVICE_PORT_HTTP": "3000",
    "SPARING_PORT": "tcp://10.0.0.1:3000",
    "SPARING_PORT_3000_TCP": "tcp://10.0.0.1:3000",
    "SPARING_PORT_3000_TCP_PROTO": "tcp",
    "SPARING_PORT_3000_TCP_PORT": "3000",
    "SPARING_PORT_3000_TCP_ADDR": "10.0.0.1",
    "SPARING_GRPC_SERVICE_HOST": "10.0.0.2",
    "SPARING_GRPC_PORT": "tcp://10.0.0.2:3001",
    "SPARING_GRPC_PORT_3001_TCP_ADDR": "10.0.0.2",
}


def read(environment: dict[str, str]) -> dict[str, object]:
    return {key: given.value for key, given in read_variables(environment).items()}


def test_every_setting_has_a_variable_of_its_own() -> None:
    names = [name_variable(key) for key in setting_keys()]
    assert len(set(names)) == len(names) > 50
    assert {*names} <= environment_names()
    assert "SPARING_CACHE__REMOTE__URL" in environment_names()
    assert all(re.fullmatch(r"SPARING(_[A-Z0-9]+)+", name.replace("__", "_")) for name in names)


def test_text_stays_text_which_the_settings_check() -> None:
    assert read({"SPARING_SERVER__HTTP_PORT": "8080"}) == {"server.http_port": "8080"}
    assert read({"SPARING_CACHE__REMOTE__URL": "redis://[::1]"}) == {
        "cache.remote.url": "redis://[::1]"
    }


@pytest.mark.parametrize("text", ['{a = "x", "b.c" = "y"}', '{"a": "x", "b.c": "y"}'])
def test_a_table_is_toml_or_json(text: str) -> None:
    assert read({"SPARING_SERVER__TENANTS": text}) == {"server.tenants": {"a": "x", "b.c": "y"}}


@pytest.mark.parametrize("text", ['["a", "b"]', "['a', 'b']", '["a",\n"b"]'])
def test_a_list_is_toml_or_json(text: str) -> None:
    assert read({"SPARING_ROUTES__DIRECTORIES": text}) == {"routes.directories": ["a", "b"]}


@pytest.mark.parametrize("text", ["[", "a", '["a"]\nother = 1', '{"a": "x"} {}'])
def test_another_text_for_a_table_is_one_sentence_without_it(text: str) -> None:
    with pytest.raises(ValueError, match="SPARING_SERVER__TENANTS: neither a TOML nor") as caught:
        read_variables({"SPARING_SERVER__TENANTS": text})
    assert "\n" not in str(caught.value)
    assert "other" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("SPARING_SERVER_HTTP_PORT", "SPARING_SERVER__HTTP_PORT"),
        ("SPARING_HTTP_PORT", "SPARING_SERVER__HTTP_PORT"),
        ("SPARING_CACHE__REMOTE__URI", "SPARING_CACHE__REMOTE__URL"),
        ("SPARING_MODEL", "SPARING_MODELS"),
    ],
)
def test_an_unknown_variable_is_one_sentence_with_the_nearest_name(name: str, nearest: str) -> None:
    with pytest.raises(ValueError, match=f"^{name}: no such setting; the nearest name is") as one:
        read_variables({name: "8080"})
    assert str(one.value).endswith(nearest)


def test_variables_of_others_and_of_other_commands_are_left_alone() -> None:
    others = {"SPARING_DATA": "/data", "SPARING_TOKEN": "t", "SPARINGLY": "1", "HOME": "/"}
    assert read_variables(others) == {}


def test_what_kubernetes_adds_for_a_service_is_left_alone() -> None:
    assert read_variables(KUBERNETES) == {}


def test_a_full_name_wins_over_a_short_one_and_an_empty_one_is_not_given() -> None:
    given = {"SPARING_HOST": "::", "SPARING_SERVER__HOST": "0.0.0.0"}
    assert read(given) == {"server.host": "0.0.0.0"}
    assert read({**given, "SPARING_SERVER__HOST": ""}) == {"server.host": "::"}
    assert read({"SPARING_MODELS": "a:/b"}) == {"routes.directories": ["a", "/b"]}
