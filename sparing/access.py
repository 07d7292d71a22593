"""How a command reaches a server: its bearer token, and the CA that its certificate is checked
with. A token is never printed.
"""

import os
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer

from sparing.failure import Failure

VARIABLE = "SPARING_TOKEN"
HOW_TO_GIVE = f"set {VARIABLE} to it, or give --token-file"
_SENDABLE = re.compile(r"[ -~\xa1-\xff]{1,1024}")

TokenOption = Annotated[
    str | None,
    typer.Option(
        "--token",
        help="The server's bearer token. Other users of this machine may see it in the list of "
        f"processes: prefer the variable. [dim]Default: {VARIABLE}.[/]",
    ),
]
TokenFileOption = Annotated[
    Path | None,
    typer.Option("--token-file", help="Read the bearer token from the first line of this file."),
]
CaFileOption = Annotated[
    Path | None,
    typer.Option(
        "--ca-file",
        help="Trust the CA certificates in this PEM file, for https URLs. [dim]Default: those of "
        "the system.[/]",
    ),
]


@dataclass(frozen=True, slots=True)
class Access:
    """What a request to a server needs beside its URL."""

    token: str = field(default="", repr=False)  # empty: none
    ca_file: Path | None = None  # None: the system's

    def make_headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    def open_tls(self) -> ssl.SSLContext:
        """Return what checks a server's certificate. Raises Failure if the CA file is none."""
        try:
            return ssl.create_default_context(cafile=self.ca_file)
        except ssl.SSLError as error:
            raise Failure(f"--ca-file: {self.ca_file}: no PEM certificate in it", 2) from error
        except OSError as error:
            raise Failure(f"--ca-file: {self.ca_file}: {error.strerror}", 2) from error

    def explain_refusal(self, url: str) -> Failure:
        """Return the failure of a request that the server answered with 401."""
        if self.token:
            return Failure(f"{url}: the server refuses this bearer token; {HOW_TO_GIVE}")
        return Failure(f"{url}: the server needs a bearer token; {HOW_TO_GIVE}")


NO_ACCESS = Access()


def choose_access(
    token: str | None = None,
    token_file: Path | None = None,
    ca_file: Path | None = None,
    environment: Mapping[str, str] = os.environ,
) -> Access:
    """Return what the options say, and the environment where they say nothing of a token.

    Raises Failure if a file cannot be read or a token cannot be sent; its sentence has no token.
    """
    if token is not None and token_file is not None:
        raise Failure("--token, --token-file: both given, allowed one", 2)
    source = "--token"
    if token_file is not None:
        source, token = f"--token-file: {token_file}", _read_first_line(token_file)
    elif token is None:
        source, token = VARIABLE, environment.get(VARIABLE, "")
    token = token.strip()
    if token and not _SENDABLE.fullmatch(token):
        raise Failure(f"{source}: the token is not 1 to 1024 characters that a header can hold", 2)
    return Access(token, ca_file)


def _read_first_line(path: Path) -> str:
    try:
        lines = path.read_text(encoding="latin-1").splitlines()
    except OSError as error:
        raise Failure(f"--token-file: {path}: {error.strerror}", 2) from error
    found = next((line for line in lines if line.strip()), "")
    if not found:
        raise Failure(f"--token-file: {path}: no token in it", 2)
    return found
