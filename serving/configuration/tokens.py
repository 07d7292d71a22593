"""The bearer tokens that the server accepts, from the settings and from files."""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

from serving.configuration.watched_files import WatchedFile, read_file
from serving.settings import TENANT_PATTERN, TOKEN_PATTERN, ServerSettings

_TOKEN_FILE, _TENANTS_FILE = "server.bearer_token_file", "server.tenants_file"
_MAX_TENANTS = 256

Tokens = Mapping[str, str]  # token to tenant; the tenant is empty for a token of all clients


def list_token_files(settings: ServerSettings) -> Mapping[str, Path]:
    """Return the files that hold tokens, by the setting that names each."""
    named = {_TOKEN_FILE: settings.bearer_token_file, _TENANTS_FILE: settings.tenants_file}
    return {setting: Path(name) for setting, name in named.items() if name}


def open_tokens(settings: ServerSettings) -> WatchedFile[Tokens]:
    """Return all tokens, read again when their files change. Raises ValueError."""
    paths = [*list_token_files(settings).values()]
    return WatchedFile(paths, lambda: read_tokens(settings))


def read_tokens(settings: ServerSettings) -> Tokens:
    """Return all tokens. Raises ValueError, with one sentence without a token."""
    tokens: dict[str, str] = {}
    for one in _list_common(settings):
        tokens[one] = ""
    for tenant, token in _list_tenants(settings).items():
        if token in tokens:
            raise ValueError(
                "server: two tenants, or a tenant and all clients, have the same token"
            )
        tokens[token] = tenant
    return tokens


def _list_common(settings: ServerSettings) -> list[str]:
    """Return the tokens of all clients: the setting's, or each line of the file."""
    if not settings.bearer_token_file:
        token = settings.bearer_token.get_secret_value()
        return [token] if token else []
    path = Path(settings.bearer_token_file)
    text = read_file(_TOKEN_FILE, path).decode("latin-1")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:  # else no token would be needed
        raise ValueError(f"{_TOKEN_FILE}: {path}: no token in it")
    for line in lines:
        _check(_TOKEN_FILE, path, line)
    return lines


def _list_tenants(settings: ServerSettings) -> Mapping[str, str]:
    if not settings.tenants_file:
        return {name: token.get_secret_value() for name, token in settings.tenants.items()}
    path = Path(settings.tenants_file)
    try:
        table = tomllib.loads(read_file(_TENANTS_FILE, path).decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError):
        # its message may hold a token
        raise ValueError(f'{_TENANTS_FILE}: {path}: no TOML of lines such as shop = "…"') from None
    if not table:  # else no token would be needed
        raise ValueError(f"{_TENANTS_FILE}: {path}: no tenant in it")
    if len(table) > _MAX_TENANTS:
        raise ValueError(f"{_TENANTS_FILE}: {path}: more than {_MAX_TENANTS} tenants")
    for tenant, token in table.items():
        if re.fullmatch(TENANT_PATTERN, tenant) is None:
            raise ValueError(f"{_TENANTS_FILE}: {path}: a name is no tenant's name")
        _check(_TENANTS_FILE, path, token)
    return table


def _check(setting: str, path: Path, token: object) -> None:
    if not isinstance(token, str) or re.fullmatch(TOKEN_PATTERN, token) is None:
        raise ValueError(f"{setting}: {path}: a token is not 1 to 1024 visible ASCII characters")
