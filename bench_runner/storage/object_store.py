"""Results into an object store: every file tried again until it is there or a deadline has passed, and a receipt of both.

The library's own limits are for a service that asks again: it gives a refused connection up within seconds and waits
minutes for a server that has frozen. Here the deadline of the sink rules, and a signal shortens it to what a pod's grace
leaves. Files go up in parts, a few at a time, so memory stays bounded whatever their size.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tokenmark_schemas.errors import InvalidInput
from tokenmark_schemas.store import StoredObject, StoreReceipt, StoreSink

from .store_errors import Failure, failure_of

if TYPE_CHECKING:
    from obstore.store import ObjectStore

PART_BYTES = 5 * 2**20  # S3 takes no smaller ones; 10,000 of them are the largest file
PARTS_AT_ONCE = 3
REQUEST_S = 60.0
CONNECT_S = 5.0
HURRY_S = 12.0  # of the 20 that a pod is given
LOOK_S = 0.25
ADDRESS_WORD = {"s3": "endpoint", "gs": "base_url", "az": "endpoint"}
PAUSES_S = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0)


@dataclass(frozen=True)
class Piece:
    """One file for a store: what it is called in receipts, where it goes under the prefix, its bytes or its path."""

    name: str
    key: str
    content: bytes | Path


@dataclass
class Deadline:
    """Seconds that are left; fewer once `hurry` says that the process was told to end."""

    seconds: float
    hurry: Callable[[], bool]
    _began: float = field(default_factory=time.monotonic)
    _hurried: float | None = None

    def left(self) -> float:
        now = time.monotonic()
        if self._hurried is None and self.hurry():
            self._hurried = now
        until = self._began + self.seconds
        return min(until, self._hurried + HURRY_S if self._hurried is not None else until) - now


def upload(sink: StoreSink, pieces: Sequence[Piece], hurry: Callable[[], bool] = lambda: False) -> StoreReceipt:
    """Puts every piece; never raises for what a store does. The receipt names those that arrived, and what kept the others."""
    given = _credentials(sink)
    secrets = tuple(given.values())
    try:
        store, bucket, prefix = _open(sink, given)
    except Exception as exc:  # of many kinds; each means that the sink cannot be used as it is written
        failure = failure_of(exc, secrets)
        return _receipt(sink, [], Failure("StoreMisconfigured", failure.message, final=True))
    return asyncio.run(_upload(sink, store, bucket, prefix, pieces, Deadline(sink.deadline_s, hurry), secrets))


def fetch(sink: StoreSink, key: str, most_bytes: int) -> bytes:
    """One object. Raises InvalidInput where it is not there, is larger, or the store does not let us; tried once: somebody waits."""
    given = _credentials(sink)
    try:
        import obstore

        store, bucket, prefix = _open(sink, given)
        found = obstore.get(store, key)
        if found.meta["size"] <= most_bytes:
            return bytes(found.bytes())
    except InvalidInput:
        raise
    except Exception as exc:  # of many kinds, some of them Python's own
        raise InvalidInput(f"{sink.uri}/{key}: {failure_of(exc, tuple(given.values())).message}") from exc
    raise InvalidInput(f"{bucket}/{prefix}/{key} is larger than {most_bytes // 2**20} MiB; that is no result of a run")


def keys_under(sink: StoreSink) -> list[str]:
    """Of every object below the sink's prefix, relative to it. Raises InvalidInput where the store does not answer or let us."""
    given = _credentials(sink)
    try:
        import obstore

        store, _, _ = _open(sink, given)
        return [found["path"] for batch in obstore.list(store) for found in batch]
    except InvalidInput:
        raise
    except Exception as exc:  # of many kinds, some of them Python's own
        raise InvalidInput(f"{sink.uri}: {failure_of(exc, tuple(given.values())).message}") from exc


async def _upload(
    sink: StoreSink, store: ObjectStore, bucket: str, prefix: str, pieces: Sequence[Piece], deadline: Deadline,
    secrets: Sequence[str],
) -> StoreReceipt:  # fmt: skip
    done: list[StoredObject] = []
    for piece in pieces:
        failure = await _put(store, piece, deadline, secrets)
        if failure is not None:
            return _receipt(sink, done, failure)
        size, digest = _measure(piece.content)
        key = f"{prefix}/{piece.key}" if prefix else piece.key
        done.append(StoredObject(name=piece.name, url=bucket, key=key, size_bytes=size, sha256=digest))
    return _receipt(sink, done, None)


async def _put(store: ObjectStore, piece: Piece, deadline: Deadline, secrets: Sequence[str]) -> Failure | None:
    """None once it is there."""
    last: Failure | None = None
    for attempt in range(10_000):
        try:
            await _within(deadline, _one_put(store, piece))
            return None
        except TimeoutError:
            return last or Failure("StoreTimedOut", "no answer before the deadline", final=True)
        except Exception as exc:  # a store's refusals come as a dozen classes, some of them Python's own
            last = failure_of(exc, secrets)
        pause = PAUSES_S[min(attempt, len(PAUSES_S) - 1)]
        if last.final or deadline.left() <= pause:
            return last
        await asyncio.sleep(pause)
    return last


async def _one_put(store: ObjectStore, piece: Piece) -> None:
    import obstore

    kind = (
        "application/gzip"
        if piece.key.endswith(".gz")
        else "text/plain"
        if piece.key.endswith(".log")
        else "text/html; charset=utf-8"
        if piece.key.endswith(".html")
        else "application/json"
    )
    local = type(store).__name__ == "LocalStore"
    await obstore.put_async(
        store, piece.key, piece.content, chunk_size=PART_BYTES, max_concurrency=PARTS_AT_ONCE,
        attributes=None if local else {"Content-Type": kind},
    )  # fmt: skip


async def _within(deadline: Deadline, work: Any) -> None:
    """Raises TimeoutError, and gives the work up, once nothing is left; a signal may shorten that while it goes on."""
    task = asyncio.ensure_future(work)
    try:
        while (left := deadline.left()) > 0:
            await asyncio.wait({task}, timeout=min(left, LOOK_S))
            if task.done():
                task.result()
                return
        raise TimeoutError
    finally:
        if not task.done():
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await task


def _open(sink: StoreSink, given: Mapping[str, str]) -> tuple[ObjectStore, str, str]:
    """(store at the prefix, bucket, prefix). Raises what the library raises; InvalidInput where it is not installed."""
    try:
        from obstore.store import LocalStore, from_url
    except ImportError as exc:
        raise InvalidInput("object stores need one more package: pip install 'tokenmark[store]'") from exc
    parts = urlsplit(sink.uri)
    if parts.scheme == "file":
        return LocalStore(prefix=parts.path, mkdir=True), "file://", parts.path.strip("/")
    address = sink.endpoint or os.environ.get("AWS_ENDPOINT_URL", "")
    config: dict[str, Any] = dict(given)
    if sink.endpoint:
        config[ADDRESS_WORD[parts.scheme]] = sink.endpoint
    if sink.region:
        config["region"] = sink.region
    if parts.scheme == "s3":
        config["virtual_hosted_style_request"] = not address
    client: Any = {
        "timeout": f"{min(REQUEST_S, sink.deadline_s):.0f}s", "connect_timeout": f"{CONNECT_S:.0f}s",
        "allow_http": address.startswith("http://"), "user_agent": "tokenmark",
    }  # fmt: skip
    if sink.ca_file:
        client["root_certificate"] = Path(sink.ca_file).read_bytes()
    settings: Any = config  # which of them a store takes, it says itself
    store = from_url(sink.uri, config=settings, client_options=client, retry_config=_patience(sink.deadline_s))
    return store, f"{parts.scheme}://{parts.netloc}", parts.path.strip("/")


def _patience(deadline_s: float) -> Any:
    """A part that fails is asked for again before the whole file is."""
    from datetime import timedelta

    return {"max_retries": 3, "retry_timeout": timedelta(seconds=min(REQUEST_S, deadline_s))}


def _credentials(sink: StoreSink) -> dict[str, str]:
    """The store's own name of a credential -> its value. Without a prefix the library looks for plain names by itself."""
    prefix = sink.credentials_prefix
    if not prefix:
        return {}
    found = {name.removeprefix(prefix): value for name, value in os.environ.items() if name.startswith(prefix)}
    return {name.lower(): value.strip() for name, value in found.items()}


def _measure(content: bytes | Path) -> tuple[int, str]:
    """(bytes, sha256) of what was put."""
    if isinstance(content, bytes):
        return len(content), hashlib.sha256(content).hexdigest()
    with content.open("rb") as file:
        return content.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest()


def _receipt(sink: StoreSink, done: list[StoredObject], failure: Failure | None) -> StoreReceipt:
    if failure is None:
        said = f"{len(done)} files, {sum(piece.size_bytes for piece in done)} bytes"
        return StoreReceipt(sink=sink.name, uri=sink.uri, reason="Stored", message=said, objects=done)
    said = f"{failure.message}" + (f"; {len(done)} files are there" if done else "")
    return StoreReceipt(sink=sink.name, uri=sink.uri, reason=failure.reason, message=said[:1024], objects=done)
