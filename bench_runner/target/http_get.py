"""One small GET beside the load, for pages that say something about it. Best effort: no answer is no failure."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tokenmark_schemas.run import RunTarget

from .route import masked

if TYPE_CHECKING:
    import http.client

TIMEOUT_S, IN_ALL_S = 2.0, 3.0
MOST_BYTES = 8 * 2**20


def fetch(url: str, *, token: str | None = None, ca_file: str | None = None, verify: bool = True) -> bytes | None:
    """A body of at most 8 MiB, within two seconds a step and three in all; None where there is none to have."""
    import http.client  # here, because it takes a tenth of the time to the first request

    until = time.monotonic() + IN_ALL_S
    try:
        parts = urlsplit(url)
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        if parts.scheme == "https":
            from ..load.tls import context_for

            link: http.client.HTTPConnection = http.client.HTTPSConnection(
                parts.hostname or "", parts.port, timeout=TIMEOUT_S, context=context_for(ca_file, verify=verify)
            )
        else:
            link = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=TIMEOUT_S)
        try:
            link.request("GET", parts.path or "/", headers=headers)
            answer = link.getresponse()
            return _body(answer, until) if answer.status == 200 else None
        finally:
            link.close()
    except (OSError, http.client.HTTPException, ValueError):
        return None


def _body(answer: http.client.HTTPResponse, until: float) -> bytes | None:
    """All of it, unless it is too long or takes too long."""
    body = bytearray()
    while piece := answer.read1(65_536):
        body += piece
        if len(body) > MOST_BYTES or time.monotonic() > until:
            return None
    return bytes(body)


class Pages:
    """Pages of the target's own address, beside the load; none is asked for through a proxy."""

    def __init__(self, target: RunTarget, token: str | None) -> None:
        self._target, self._token = target, token

    def get(self, path: str) -> bytes | None:
        """The page without the token, should it hold it; None where there is none to have."""
        target = self._target
        if target.proxy_url:
            return None
        url = urlsplit(target.url)
        body = fetch(
            f"{url.scheme}://{url.netloc}{path}", token=self._token, ca_file=target.ca_file,
            verify=not target.insecure_skip_tls_verify,
        )  # fmt: skip
        return body and masked(body, [self._token])
