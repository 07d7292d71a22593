"""Certificates: read as a pair, refused in one sentence, and changed without a restart."""

import ssl
import subprocess
from pathlib import Path

import pytest

from serving.configuration.certificates import ServerTls, read_certificate
from serving.configuration.watched_files import WatchedFile
from serving.settings import ServerSettings
from tests.servers.certificates import Pair, make_certificate


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> list[Pair]:
    folder = tmp_path_factory.mktemp("certificates")
    return [make_certificate(folder, name) for name in ("first", "second")]


def test_a_pair_is_read_and_its_key_is_not_printed(pairs: list[Pair]) -> None:
    certificate = pairs[0].read()
    assert certificate == pairs[0].read() != pairs[1].read()
    assert certificate.context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert "KEY" not in repr(certificate)


def test_files_that_do_not_belong_together_are_one_sentence(
    pairs: list[Pair], tmp_path: Path
) -> None:
    text, locked = tmp_path / "text", tmp_path / "locked"
    text.write_text("no PEM")
    change = ["openssl", "ec", "-aes256", "-passout", "pass:word", "-in", str(pairs[0].key)]
    subprocess.run([*change, "-out", str(locked)], check=True, capture_output=True)
    for chain, key in (
        (pairs[0].chain, pairs[1].key),
        (pairs[0].chain, pairs[0].chain),
        (text, pairs[0].key),
        (pairs[0].chain, text),
        (pairs[0].chain, locked),
    ):
        with pytest.raises(ValueError, match=r"server\.tls_key_file: .* cannot be used") as caught:
            read_certificate(chain, key)
        assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match=r"server\.tls_key_file: .*absent: No such file"):
        read_certificate(pairs[0].chain, tmp_path / "absent")


def test_one_file_alone_is_refused() -> None:
    with pytest.raises(ValueError, match="allowed both or none"):
        ServerSettings(tls_key_file="key")


def test_half_a_change_keeps_the_old_pair_until_the_other_half(
    pairs: list[Pair], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pair = make_certificate(tmp_path, "mine")
    file = WatchedFile([*pair], pair.read)
    before = file.value
    pair.chain.write_bytes(pairs[1].chain.read_bytes())
    for _ in range(3):
        assert not file.refresh()
    assert file.value == before
    assert len(caplog.records) == 1
    pair.key.write_bytes(pairs[1].key.read_bytes())
    assert file.refresh()
    assert file.value == pairs[1].read()


def test_a_change_is_told_once_to_those_who_follow(pairs: list[Pair]) -> None:
    first, second = pairs[0].read(), pairs[1].read()
    tls = ServerTls(first)
    made, fetch = tls.follow(lambda given: given)
    assert made == [(first.key, first.chain)]
    assert fetch() is None
    tls.use(second)
    assert fetch() == [(second.key, second.chain)]
    assert fetch() is None
