"""A server that is sent bad input, one for each module."""

from collections.abc import Iterator

import pytest

from tests.bad_input import Victim, serve_victim


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victim]:
    with serve_victim(tmp_path_factory.mktemp("models")) as found:
        yield found
