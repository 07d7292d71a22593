"""Settings that were removed or renamed: refused, each with its own sentence."""

from pathlib import Path

import pytest

from serving.old_settings import OLD_SETTINGS, find_old_setting
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
def test_an_old_setting_is_none_that_there_is(key: str) -> None:
    assert not has_setting(key)
    assert "\n" not in OLD_SETTINGS[key]


@pytest.mark.parametrize("key", OLD_SETTINGS)
def test_an_old_setting_is_found_and_its_sentence_told(key: str) -> None:
    assert find_old_setting(make_table(key)) == f"{key}: {OLD_SETTINGS[key]}"


def test_a_file_with_an_old_setting_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_text("[engine]\ngather_s = 0.0\n")
    with pytest.raises(ValueError, match="removed") as caught:
        read_settings(path)
    assert str(caught.value) == f"{path}: engine.gather_s: {OLD_SETTINGS['engine.gather_s']}"


@pytest.mark.parametrize("given", [{}, {"engine": 3}, {"engine": {}}, {"gather_s": 1}])
def test_other_tables_hold_no_old_setting(given: dict[str, object]) -> None:
    assert find_old_setting(given) is None
