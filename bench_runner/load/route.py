"""The way to a target, as the worker goes it: resolved addresses, TLS, a proxy, and what connections may do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .tls import Tls


@dataclass(frozen=True)
class Address:
    """A resolved TCP address: family, (host, port[, …]) as `socket` takes it."""

    family: int
    sockaddr: tuple[str | int, ...]


@dataclass(frozen=True)
class Route:
    """How to get to the target: its addresses in turn, TLS, a proxy's CONNECT request, and what connections may do."""

    addresses: tuple[Address, ...]
    tls: Tls | None = None
    connect_request: bytes | None = None  # sent first where a proxy must open the way
    reuse: bool = True
    max_connections: int = 16_384
    honour_retry_after: bool = False
