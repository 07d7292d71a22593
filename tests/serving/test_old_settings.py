"""Settings that were removed or renamed: refused, each with its own sentence."""

from pathlib import Path

import pytest

from serving.old_settings import OLD_SETTINGS, find_old_settings
from serving.settings import Settings, read_settings


def make_table(key: str) -> dict[str, object]:
    table: object = 1
    for part in reversed(key.split(".")):
        table = {part: table}
    assert isinstance(table, dict)
    return table


def has_setting(key: str) -> bool:
    table: object = Settings().model_dump()
    for part in key.split("."):
        if not isinstance(table, dict) or part not in table:
            return False
        table = table[part]
    return True


@pytest.mark.parametrize("key", OLD_SETTINGS)
def test_an_old_setting_is_no_current_one(key: str) -> None:
    assert not has_setting(key)
    assert "\n" not in OLD_SETTINGS[key]


@pytest.mark.parametrize("key", OLD_SETTINGS)
def test_an_old_setting_is_found_and_its_sentence_given(key: str) -> None:
    assert OLD_SETTINGS[key] in find_old_settings(make_table(key))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[engine]\ngather_s = 0.0\n", OLD_SETTINGS["engine.gather_s"]),
        ("[server]\nidle_timeout_s = 1\n", OLD_SETTINGS["server.idle_timeout_s"]),
        ("[doors]\nhttp_port = 1\n", "[doors] is now [server]"),
        ("[memory]\nenabled = false\n", "[memory] is now [cache]"),
        ("doors.http_port = 1\n", "[doors] is now [server]"),
        (
            '[doors]\n[memory.remote]\nurl = ""\n[memory.similar.routes.a]\n',
            "[doors] is now [server]; [memory] is now [cache]; "
            "[memory.remote] is now [cache.remote]; [memory.similar] is now "
            "[cache.perceptual]",
        ),
    ],
)
def test_a_file_with_old_settings_is_refused(text: str, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"was removed|is now") as caught:
        read_settings(path)
    assert str(caught.value) == f"{path}: {expected}"


@pytest.mark.parametrize(
    "given", [{}, {"engine": 3}, {"engine": {}}, {"gather_s": 1}, {"cache": {"remote": {}}}]
)
def test_other_tables_hold_no_old_setting(given: dict[str, object]) -> None:
    assert find_old_settings(given) == ""


def test_the_sections_are_these() -> None:
    sections = list(Settings.model_fields)
    assert sections == [
        "server",
        "engine",
        "cache",
        "routes",
        "devices",
        "metrics",
        "tracing",
        "log",
        "workers",
        "energy",
    ]
