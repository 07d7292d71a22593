"""Certificates that sign themselves, for tests of TLS."""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from serving.configuration.certificates import Certificate, read_certificate


class Pair(NamedTuple):
    """A certificate and its key, as files."""

    chain: Path
    key: Path

    def read(self) -> Certificate:
        return read_certificate(self.chain, self.key)

    def replace(self, other: "Pair") -> None:
        """Put the content of another pair into these files."""
        for mine, its in zip(self, other, strict=True):
            mine.write_bytes(its.read_bytes())


_P256 = ("ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")


def make_certificate(folder: Path, name: str, *, kind: Sequence[str] = _P256) -> Pair:
    """A new pair for 127.0.0.1, with a key of this kind. The test is skipped where the program
    openssl is missing.
    """
    if shutil.which("openssl") is None:
        pytest.skip("the program openssl is missing: run apt-get install openssl as root")
    pair = Pair(folder / f"{name}.crt", folder / f"{name}.key")
    subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", *kind,
            "-nodes", "-days", "2", "-subj", f"/CN={name}",
            "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost",
            "-keyout", str(pair.key), "-out", str(pair.chain),
        ],
        check=True,
        capture_output=True,
    )  # fmt: skip
    return pair
