"""The bytes of an answer -> its events, and the read that completed each: the one place that reads an answer.

Nearly every answer takes the quick way: whole lines in whole HTTP chunks, found by one pattern and decoded in one call.
Whatever is not exactly so (a chunk boundary inside a line, carriage returns, a comment, garbage) goes the careful way,
line by line, which also finds the words for what is wrong. A test holds both to the same answer.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

import msgspec

from ..engines.base import Dialect, ProtocolError
from ..load.framing import LAST_CHUNK, Body, Head, body_of, parse_head

DONE = b"[DONE]"
_LINE = {
    "sse": re.compile(rb"^data: ?(.*)$", re.MULTILINE),
    "ndjson": re.compile(rb"^(?![\da-fA-F]*\r?$)(.+)$", re.MULTILINE),  # all but chunk sizes and line ends
}
_END = {"sse": b"\n\n", "ndjson": b"}\n"}


@dataclass(slots=True)
class Events:
    """`decoded[i]` was completed by read `reads[i]`; `done`: an end mark came, with read `done_read`; `whole`: the answer was
    not streamed."""

    decoded: list[Any]
    reads: list[int]
    done: bool
    whole: bool = False
    done_read: int = -1


class Refused(ProtocolError):
    """The server answered with another status than 200."""

    def __init__(self, body: Body) -> None:
        super().__init__(f"HTTP {body.head.status}")
        self.body = body


def events_of(raw: bytes, sizes: Sequence[int], dialect: Dialect, *, stream: bool, ended: bool = True) -> Events:
    """The events of an answer that came in reads of these sizes; not `ended` is one that broke off.

    Raises Refused for a status of the server's, ProtocolError for what cannot be read.
    """
    head = _plain_head(raw)
    if head is not None and stream and ended and _streams(head):
        events = quickly(raw, sizes, dialect, head.size)
        if events is not None:
            return events
    try:
        body = body_of(raw)
    except ValueError as exc:
        raise ProtocolError("the answer is not HTTP") from exc
    if body.head.status != 200:
        raise Refused(body)
    if ended and not body.complete:
        raise ProtocolError("the chunks of the answer do not add up")
    if b"html" in body.head.headers.get(b"content-type", b""):
        raise ProtocolError(f"expected JSON, got a page of HTML: {shown(body.payload)}")
    if stream and _streams(body.head):
        return carefully(sizes, dialect, body)
    return Events([decoded(dialect, body.payload)], [len(sizes) - 1], done=True, whole=True)


def _plain_head(data: bytes) -> Head | None:
    """The head of an answer that can go the quick way: 200, chunked."""
    try:
        head = parse_head(data)
    except ValueError:
        return None
    if head is None or head.status != 200:
        return None
    return head if head.headers.get(b"transfer-encoding", b"").lower() == b"chunked" else None


def _streams(head: Head) -> bool:
    content_type = head.headers.get(b"content-type", b"")
    return not content_type.startswith(b"application/json") and b"html" not in content_type


def quickly(raw: bytes, sizes: Sequence[int], dialect: Dialect, head_bytes: int) -> Events | None:
    """The events of a whole, plainly framed stream; None where it needs care."""
    if not raw.endswith(LAST_CHUNK):
        return None
    lines: list[bytes] = _LINE[dialect.framing].findall(raw, head_bytes)
    count, end = raw.count, _END[dialect.framing]
    ends = [count(end, a, b) for a, b in pairwise(accumulate(sizes, initial=0))]
    if sum(ends) != len(lines):
        return None
    reads = [read for read, events in enumerate(ends) for _ in range(events)]
    done, done_read = bool(lines) and lines[-1] == DONE, -1
    if done:
        lines.pop()
        done_read = reads.pop()
    try:
        events = dialect.events.decode_lines(b"\n".join(lines))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return (
        Events(events, reads, done, done_read=done_read) if len(events) == len(reads) else None
    )  # a blank line decodes to nothing


def carefully(sizes: Sequence[int], dialect: Dialect, body: Body) -> Events:
    """Line by line over the payload. Raises ProtocolError with the event that cannot be read."""
    out, payload = Events([], [], False), body.payload
    read_ends = list(accumulate(sizes))
    span_ends = list(accumulate(b - a for a, b in body.spans))
    at = span = read = 0
    while (end := payload.find(b"\n", at)) >= 0:
        line, at = payload[at:end], end + 1
        if not line.strip():
            continue
        while span_ends[span] <= end:
            span += 1
        raw = body.spans[span][1] - (span_ends[span] - end) + 1
        if read_ends[read] < raw:
            read = bisect_left(read_ends, raw, read + 1)
        _take(out, dialect, line, read)
    _take(out, dialect, payload[at:], len(read_ends) - 1)
    return out


def _take(out: Events, dialect: Dialect, line: bytes, read: int) -> None:
    """One line; blank lines, comments and other fields of an event stream say nothing."""
    if dialect.framing == "sse":
        if not line.startswith(b"data:"):
            return
        line = line[5:]
    line = line.strip()
    if line == DONE:
        out.done, out.done_read = True, read
    elif line:
        out.decoded.append(decoded(dialect, line))
        out.reads.append(read)


def decoded(dialect: Dialect, data: bytes) -> Any:
    """One event, or a body that was not streamed. Raises ProtocolError."""
    try:
        return dialect.events.decode(data)
    except msgspec.ValidationError as exc:
        raise ProtocolError(
            f"an event of unexpected shape: {str(exc).replace(' | null', '')}; it begins {_quoted(data)}"
        ) from exc
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise ProtocolError(f"not JSON: {_quoted(data)}") from exc


def _quoted(data: bytes) -> str:
    return repr(data[:80].decode("utf-8", "replace"))


def shown(payload: bytes) -> str:
    """The beginning of a body, for a person."""
    return " ".join(payload[:200].decode("utf-8", "replace").split()) or "(empty body)"
