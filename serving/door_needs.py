"""What the HTTP door needs of the engine and of the metrics, and no more."""

from collections.abc import Mapping
from typing import Protocol

from core.messages import Reply, Request
from serving.catalog import Catalog, ServedRoute


class Engine(Protocol):
    """What this door needs of the engine."""

    @property
    def catalog(self) -> Catalog: ...
    @property
    def draining(self) -> bool: ...
    def resolve(self, route: str, version: str | None) -> ServedRoute: ...
    def profile(self, served: ServedRoute) -> Mapping[str, object]: ...
    async def answer(self, request: Request) -> Reply: ...


class Metrics(Protocol):
    """Where answered requests are counted; `result` is "ok" or the error's class name."""

    def request(self, route: str | None, result: str, /) -> None: ...
    def render(self) -> tuple[bytes, str]: ...
