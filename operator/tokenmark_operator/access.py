"""Who may read `/metrics`: whoever the cluster says may.

The bearer's token is shown to the API server (TokenReview), and its owner asked for `get` on the path (SubjectAccessReview), as
`kubectl auth can-i get /metrics` would: no secret of our own to keep or to leak. An answer holds for a minute.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import ssl
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from aiohttp import web

from tokenmark_schemas.errors import InvalidInput

from .core.kube import ACCESS_REVIEWS, TOKEN_REVIEWS, ApiError, ClusterUnavailable, Kube

log = logging.getLogger("tokenmark.operator")
HOLDS_S = 60.0
REMEMBERED = 256
PATH = "/metrics"


class Reviewed:
    """`refusal` of a request's Authorization header, or None. `now` in seconds."""

    def __init__(self, kube: Kube, now: Callable[[], float] = time.monotonic) -> None:
        self._kube, self._now = kube, now
        self._known: dict[bytes, tuple[float, web.HTTPException | None]] = {}

    async def refusal(self, header: str) -> web.HTTPException | None:
        scheme, _, token = header.partition(" ")
        if scheme.lower() != "bearer" or not token:
            return web.HTTPUnauthorized(
                text="metrics are for who shows a service account's token: Authorization: Bearer …"
            )
        key = hashlib.sha256(token.encode()).digest()
        until, answer = self._known.get(key, (0.0, None))
        if until > self._now():
            return answer
        try:
            answer = await self._ask(token)
        except (ApiError, ClusterUnavailable) as exc:
            return web.HTTPServiceUnavailable(text=f"the token could not be reviewed: {exc}")
        if len(self._known) >= REMEMBERED:
            self._known.clear()
        self._known[key] = (self._now() + HOLDS_S, answer)
        return answer

    async def _ask(self, token: str) -> web.HTTPException | None:
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}}
        said = (await self._kube.create(TOKEN_REVIEWS, None, review)).get("status") or {}
        if not said.get("authenticated"):
            return web.HTTPUnauthorized(text="the API server does not know this token")
        user = said.get("user") or {}
        spec = {
            "user": user.get("username"), "uid": user.get("uid"), "groups": user.get("groups"), "extra": user.get("extra"),
            "nonResourceAttributes": {"path": PATH, "verb": "get"},
        }  # fmt: skip
        review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}
        if ((await self._kube.create(ACCESS_REVIEWS, None, review)).get("status") or {}).get("allowed"):
            return None
        return web.HTTPForbidden(
            text=f"{user.get('username')} may not get {PATH}: bind it to a ClusterRole with nonResourceURLs: [{PATH}], verbs: [get]"
        )


def guarded(
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]], reviewed: Reviewed
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """The handler, for those alone who may."""

    async def answer(request: web.Request) -> web.StreamResponse:
        if refusal := await reviewed.refusal(request.headers.get("Authorization", "")):
            raise refusal
        return await handler(request)

    return answer


def certificate(folder: str) -> ssl.SSLContext:
    """TLS by `tls.crt` and `tls.key` of a mounted Secret. Raises InvalidInput where they are not there or not a pair."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        _load(context, folder)
    except OSError as exc:  # ssl.SSLError is one
        raise InvalidInput(f"metrics.tlsSecret: {folder} holds no tls.crt with its tls.key: {exc}") from exc
    return context


def _load(context: ssl.SSLContext, folder: str) -> None:
    context.load_cert_chain(Path(folder) / "tls.crt", Path(folder) / "tls.key")


async def renewed_for_ever(context: ssl.SSLContext, folder: str, period_s: float = 300) -> None:
    """A Secret that is renewed is used from the next connection on, without a restart."""
    while True:
        await asyncio.sleep(period_s)
        try:
            _load(context, folder)
        except OSError as exc:  # half renewed: the old pair stands
            log.warning("the certificate in %s was not read again: %s", folder, exc)
