"""How a run reaches its target: names resolved, TLS prepared, a proxy's way opened, all before the load begins."""

from __future__ import annotations

import base64
import os
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, unquote, urlsplit

from tokenmark_schemas.errors import InvalidInput, RunFailed
from tokenmark_schemas.problems import without_login
from tokenmark_schemas.run import RunConfig, RunTarget

from ..load.route import Address, Route

if TYPE_CHECKING:
    from ..load.tls import Tls

RESOLVE_PATIENCE_S = 15.0
DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Destination:
    """Where requests go: the way there, the value of `Host`, the path of the address, and what stands before a path in
    the request line (the whole origin, for a proxy of plain http)."""

    route: Route
    host: str
    path: str
    origin: str
    proxy_authorization: str | None = None


def route_to(target: RunTarget, stopped: Callable[[], bool] = lambda: False) -> Destination:
    """Raises InvalidInput where the address is none, RunFailed where a name has no address."""
    url = split(target.url, "target")
    secure = url.scheme == "https"
    proxy = split(target.proxy_url, "proxy") if target.proxy_url else None
    gate = proxy or url
    port = url.port or DEFAULT_PORTS[url.scheme]
    tunnel = None
    if proxy is not None and secure:
        authority = f"{_bracketed(url.hostname or '')}:{port}"
        login = f"Proxy-Authorization: {said}\r\n" if (said := _authorization(proxy)) else ""
        tunnel = f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n{login}\r\n".encode()
    return Destination(
        route=Route(
            addresses=resolve(gate.hostname or "", gate.port or DEFAULT_PORTS[gate.scheme], stopped),
            tls=_tls(target, url.hostname or "") if secure else None,
            connect_request=tunnel,
            reuse=target.reuse_connections,
            max_connections=target.max_connections,
            honour_retry_after=target.honour_retry_after,
        ),
        host=url.netloc,
        path=url.path,
        origin=f"http://{url.netloc}" if proxy is not None and not secure else "",
        proxy_authorization=_authorization(proxy) if proxy is not None and not secure else None,
    )


def split(text: str, what: str) -> SplitResult:
    """The parts of an http or https address. Raises InvalidInput where it is none."""
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError as exc:
        raise InvalidInput(f"{what} {without_login(text)}: {exc}; write for example http://host:8000") from None
    if parts.scheme not in DEFAULT_PORTS or not parts.hostname or (what == "proxy" and parts.scheme != "http"):
        raise InvalidInput(
            f"{what} {parts._replace(netloc=parts.hostname or '').geturl()}: write for example http://host:8000"
        )
    return parts


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _authorization(proxy: SplitResult) -> str | None:
    if proxy.username is None:
        return None
    login = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
    return "Basic " + base64.b64encode(login.encode()).decode()


def _tls(target: RunTarget, host: str) -> Tls:
    from ..load.tls import Tls, context_for

    try:
        return Tls(context_for(target.ca_file, verify=not target.insecure_skip_tls_verify), host)
    except OSError as exc:
        raise InvalidInput(
            f"the certificate authorities in {target.ca_file} cannot be read: {exc}; give a PEM file"
        ) from exc


def resolve(host: str, port: int, stopped: Callable[[], bool] = lambda: False) -> tuple[Address, ...]:
    """All addresses of a name, in the resolver's order. Raises RunFailed when it has none.

    A resolver that says "try again" is asked again for RESOLVE_PATIENCE_S, and so is any answer about a Service's name:
    cluster DNS learns of a Service a moment after the API server does.
    """
    limit = time.monotonic() + RESOLVE_PATIENCE_S
    while True:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            named = [Address(f, tuple(part for part in at if isinstance(part, str | int))) for f, _, _, _, at in found]
            return tuple(dict.fromkeys(named))
        except UnicodeError as exc:
            raise RunFailed(f"the name {host} is no host name; check target") from exc
        except OSError as exc:
            patient = exc.errno == socket.EAI_AGAIN or host.endswith(".svc")
            if not patient or stopped() or time.monotonic() > limit:
                raise RunFailed(f"the name {host} does not resolve: {exc.strerror or exc}; check target") from exc
        time.sleep(0.25)


def masked(data: bytes, secrets: Iterable[str | None]) -> bytes:
    """The same bytes, as many, with every secret blotted out: a server that echoes what it was sent must not publish it
    through us, and what is cut later cannot be searched for any more."""
    for secret in secrets:
        if secret and (found := secret.encode()) in data:
            data = data.replace(found, b"*" * len(found))
    return data


def bearer_token(config: RunConfig) -> str | None:
    """The token, from the environment variable that the run names. Raises InvalidInput when that is empty."""
    if config.target.token_env is None:
        return None
    return token_in(config.target.token_env, "the API token", os.environ)


def token_in(variable: str, what: str, environment: Mapping[str, str]) -> str:
    """Visible ASCII, as RFC 6750 has it: a line end would begin another header. Raises InvalidInput without the value in it."""
    token = environment.get(variable, "").strip()
    if not token:
        raise InvalidInput(f"the environment variable {variable} should hold {what} and is empty")
    if not all("!" <= character <= "~" for character in token):
        raise InvalidInput(
            f"the environment variable {variable} holds what no header can carry: one line of plain characters is a token"
        )
    return token
