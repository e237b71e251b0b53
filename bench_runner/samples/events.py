"""The bytes of an answer -> its events, and the read that completed each.

Nearly every answer takes the quick way: whole lines in whole HTTP chunks, found by one pattern and decoded in one call.
Whatever is not exactly so (a chunk boundary inside a line, carriage returns, a comment, garbage) goes the careful way,
line by line, which also finds the words for what is wrong. A test holds both to the same answer.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

import msgspec

from ..engines.base import Dialect, ProtocolError
from ..load.frames import Exchange
from ..load.framing import LAST_CHUNK, Body

DONE = b"[DONE]"
_LINE = {
    "sse": re.compile(rb"^data: ?(.*)$", re.MULTILINE),
    "ndjson": re.compile(rb"^(?![\da-fA-F]*\r?$)(.+)$", re.MULTILINE),  # all but chunk sizes and line ends
}
_END = {"sse": b"\n\n", "ndjson": b"}\n"}


@dataclass(slots=True)
class Events:
    """`decoded[i]` was completed by read `reads[i]`; `done`: an end mark came; `whole`: the answer was not streamed."""

    decoded: list[Any]
    reads: list[int]
    done: bool
    whole: bool = False


def quickly(exchange: Exchange, dialect: Dialect, head_bytes: int) -> Events | None:
    """The events of a whole, plainly framed stream; None where it needs care."""
    raw = exchange.data
    if not raw.endswith(LAST_CHUNK):
        return None
    lines: list[bytes] = _LINE[dialect.framing].findall(raw, head_bytes)
    count, end = raw.count, _END[dialect.framing]
    ends = [count(end, a, b) for a, b in pairwise(accumulate(exchange.sizes, initial=0))]
    if sum(ends) != len(lines):
        return None
    reads = [read for read, events in enumerate(ends) for _ in range(events)]
    done = bool(lines) and lines[-1] == DONE
    if done:
        lines.pop()
        reads.pop()
    try:
        events = dialect.events.decode_lines(b"\n".join(lines))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return Events(events, reads, done) if len(events) == len(reads) else None  # a blank line decodes to nothing


def carefully(exchange: Exchange, dialect: Dialect, body: Body) -> Events:
    """Line by line over the payload. Raises ProtocolError with the event that cannot be read."""
    out, payload = Events([], [], False), body.payload
    read_ends = list(accumulate(exchange.sizes))
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
        out.done = True
    elif line:
        out.decoded.append(decoded(dialect, line))
        out.reads.append(read)


def decoded(dialect: Dialect, data: bytes) -> Any:
    """One event, or a body that was not streamed. Raises ProtocolError."""
    try:
        return dialect.events.decode(data)
    except msgspec.ValidationError as exc:
        raise ProtocolError(
            f"an event of unexpected shape: {str(exc).replace(' | null', '')}; it begins {_shown(data)}"
        ) from exc
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise ProtocolError(f"not JSON: {_shown(data)}") from exc


def _shown(data: bytes) -> str:
    return repr(data[:80].decode("utf-8", "replace"))
