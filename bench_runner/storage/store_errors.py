"""What a store said -> one sentence and a reason. The library's text holds both the store's answer and its own innards: the
answer is kept in the store's words, the innards tell whether trying again can help, and no credential is ever in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from tokenmark_schemas.store import StoreReason

MOST_CHARACTERS = 400
SHORTEST_SECRET = 6
NOISE = re.compile(r"Error performing (\w+) (\S+) in [^-]*? - ")
FULL = re.compile(r"no space left|quota|storage ?full|insufficient ?storage|disk is full", re.IGNORECASE)
AWAY = re.compile(
    r"kind: (Connect|Timeout|Interrupted)|dns error|connection (refused|reset|closed)|timed? ?out", re.IGNORECASE
)
KEY_UNKNOWN = re.compile(
    r"InvalidAccessKeyId|UserNotFound|AccessDenied|InvalidToken|AuthenticationFailed", re.IGNORECASE
)
IDENTITY = "http://169.254.169.254/"  # where a cloud's machines ask who they are
INSUFFICIENT_STORAGE = 507
URL = re.compile(r"https?://\S+")  # a bucket may be called anything, "quota" too
QUERY = re.compile(r"(https?://[^\s?]+)\?\S*")  # where a signature may stand
TRANSIENT_STATUS = (408, 425, 429)


@dataclass(frozen=True)
class Failure:
    """`final`: asking again would be answered alike."""

    reason: StoreReason
    message: str
    final: bool


def failure_of(exc: BaseException, secrets: Iterable[str] = ()) -> Failure:
    """Any error of the library, or of Python, as what it means for an upload."""
    text = QUERY.sub(r"\1", str(exc))
    if IDENTITY in text:  # the library's last resort, and never the store
        said = "no credentials: none are given, and this machine has no identity of its own to sign with"
        return Failure("StoreForbidden", said, final=True)
    if certificate := re.search(r"InvalidCertificate\(\s*(\w+)", text):
        said = f"its certificate is not trusted ({certificate[1]}); name the authority, in a cluster by caBundleRef"
        return Failure("StoreMisconfigured", said, final=True)
    reason, final = _meaning(type(exc).__name__, text)
    return Failure(reason, without_secrets(_words(text) or type(exc).__name__, secrets), final)


def _meaning(kind: str, text: str) -> tuple[StoreReason, bool]:
    found = re.search(r"status: (\d{3})", text)
    status = int(found[1]) if found else 0
    if status == INSUFFICIENT_STORAGE or FULL.search(URL.sub("", text)):
        return "StoreFull", True
    if kind in ("PermissionDeniedError", "UnauthenticatedError", "PermissionError") or KEY_UNKNOWN.search(text):
        return "StoreForbidden", True
    if kind in ("FileNotFoundError", "NotFoundError") or status == 404:
        return "StoreNotFound", True
    if 400 <= status < 500 and status not in TRANSIENT_STATUS:
        return "StoreRefused", True
    if AWAY.search(text):
        return "StoreUnreachable", False
    return ("StoreRefused", False) if status else ("StoreMisconfigured", True)


def _words(text: str) -> str:
    """The store's own answer where it gave one, else the library's first sentence with the system's word for it."""
    code, message = (re.search(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL) for tag in ("Code", "Message"))
    if code:
        return f"{code[1]}: {message[1]}" if message else code[1]
    said = re.search(r'"message": ?"([^"]+)"', text)
    if said:
        return said[1]
    head = NOISE.sub(r"\1 \2: ", text.split("\n\nDebug source:")[0])
    inner = re.search(r'(?:message|error): "([^"]+)"', text)
    return " ".join(f"{head} ({inner[1]})".split() if inner and inner[1] not in head else head.split())


def without_secrets(text: str, secrets: Iterable[str] = ()) -> str:
    """Cut to a line; nothing of a credential is left."""
    for secret in sorted((s for s in secrets if len(s) >= SHORTEST_SECRET), key=len, reverse=True):
        text = text.replace(secret, "***")
    return text if len(text) <= MOST_CHARACTERS else text[: MOST_CHARACTERS - 1] + "…"
