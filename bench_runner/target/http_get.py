"""One small GET beside the load, for pages that say something about it. Best effort: no answer is no failure."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tokenmark_schemas.run import RunTarget

from .route import masked

if TYPE_CHECKING:
    import http.client

TIMEOUT_S, IN_ALL_S = 2.0, 3.0
MOST_BYTES = 8 * 2**20


@dataclass(frozen=True)
class Answer:
    """`seconds` from the first step to the last byte."""

    status: int
    body: bytes
    seconds: float


def fetch(url: str, *, token: str | None = None, ca_file: str | None = None, verify: bool = True) -> bytes | None:
    """A body of at most 8 MiB, within two seconds a step and three in all; None where there is none to have."""
    answer = ask(url, token=token, ca_file=ca_file, verify=verify)
    return answer.body if isinstance(answer, Answer) and answer.status == 200 else None


def ask(
    url: str, *, token: str | None = None, ca_file: str | None = None, verify: bool = True, timeout_s: float = TIMEOUT_S,
    body: bytes | None = None, method: str | None = None,
) -> Answer | str:  # fmt: skip
    """The answer, whatever its status, or what kept it away, in words. A `body` is posted as JSON."""
    import http.client  # here, because it takes a tenth of the time to the first request

    began = time.monotonic()
    until = began + IN_ALL_S * timeout_s / TIMEOUT_S
    try:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https"):  # else a database's password would go to it as a bearer's token
            raise ValueError
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        if body is not None:
            headers["Content-Type"] = "application/json"
        if parts.scheme == "https":
            from ..load.tls import context_for

            link: http.client.HTTPConnection = http.client.HTTPSConnection(
                parts.hostname or "", parts.port, timeout=timeout_s, context=context_for(ca_file, verify=verify)
            )
        else:
            link = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout_s)
        try:
            link.request(method or ("GET" if body is None else "POST"), parts.path or "/", body=body, headers=headers)
            answer = link.getresponse()
            found = _body(answer, until)
            if found is None:
                return "its answer is too long, or takes too long"
            return Answer(answer.status, found, time.monotonic() - began)
        finally:
            link.close()
    except TimeoutError:
        return f"no answer within {timeout_s:g} s"
    except ConnectionRefusedError:
        return "the connection is refused: nothing listens there"
    except ValueError:  # its words may hold what was to be sent
        return "it cannot be asked: the address or a header is none"
    except (OSError, http.client.HTTPException) as exc:
        return f"{getattr(exc, 'strerror', None) or exc or type(exc).__name__}"


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
