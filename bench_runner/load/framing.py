"""Where an HTTP/1.1 response ends: the only thing the worker must know about the bytes it receives.

A chunked body is not parsed as it arrives. Its end is the last-chunk line and a blank line, a byte sequence that cannot
stand anywhere else in a stream of JSON events; the parent checks the framing of the whole answer afterwards
(`Body.complete`), so that a stream which fooled this shortcut is a failure, never a wrong number.
"""

from __future__ import annotations

from dataclasses import dataclass

MAX_HEAD_BYTES = 65_536
CRLF = b"\r\n"
BLANK = b"\r\n\r\n"
LAST_CHUNK = b"\r\n0\r\n\r\n"

HEAD, CHUNKED, LENGTH, UNTIL_CLOSE, DONE, BROKEN = range(6)


@dataclass(slots=True)
class Head:
    """Status line and the few headers that matter here."""

    status: int
    headers: dict[bytes, bytes]
    size: int

    @property
    def keep_alive(self) -> bool:
        return self.headers.get(b"connection", b"").lower() != b"close"


def parse_head(data: bytes) -> Head | None:
    """The head of a response, None while it is incomplete. Raises ValueError when it is not HTTP."""
    end = data.find(BLANK)
    if end < 0:
        if len(data) > MAX_HEAD_BYTES or (len(data) >= 5 and not data.startswith(b"HTTP/")):
            raise ValueError("the answer is not HTTP")
        return None
    first, *lines = data[:end].split(CRLF)
    parts = first.split(b" ", 2)
    if len(parts) < 2 or not parts[0].startswith(b"HTTP/1.") or not parts[1].isdigit():
        raise ValueError("the answer is not HTTP/1.1")
    headers: dict[bytes, bytes] = {}
    for line in lines:
        name, _, value = line.partition(b":")
        key, value = name.strip().lower(), value.strip()
        headers[key] = headers[key] + b", " + value if key == b"server-timing" and key in headers else value
    return Head(int(parts[1]), headers, end + len(BLANK))


class Framing:
    """Follows one response. `mode` is HEAD, CHUNKED, LENGTH or UNTIL_CLOSE, then DONE or BROKEN."""

    __slots__ = ("_left", "_pending", "extra", "head", "mode")

    def __init__(self) -> None:
        self.mode = HEAD
        self.head: Head | None = None
        self.extra = 0  # bytes after the end of the response: nobody asked for them
        self._pending = b""
        self._left = 0

    def feed(self, data: bytes) -> int:
        """Takes the next bytes of a head or of a body of known length; returns the mode."""
        if self.mode == HEAD:
            data = self._begin(data)
        if self.mode == LENGTH:
            self._left -= len(data)
            if self._left <= 0:
                self.extra, self.mode = -self._left, DONE
        elif self.mode == CHUNKED and ends_chunked(data):
            self.mode = DONE
        return self.mode

    def _begin(self, data: bytes) -> bytes:
        """Looks for the end of the head; returns the body bytes behind it."""
        self._pending += data
        try:
            head = parse_head(self._pending)
            while head is not None and 100 <= head.status < 200:
                self._pending = self._pending[head.size :]
                head = parse_head(self._pending)
            if head is None:
                return b""
            body, self._pending = self._pending[head.size - 2 :], b""
            self.head = head
            if b"chunked" in head.headers.get(b"transfer-encoding", b"").lower():
                self.mode = CHUNKED
                return body  # with the line end before it, which ends_chunked wants to see
            if b"content-length" in head.headers:
                self._left = int(head.headers[b"content-length"])
                self.mode = LENGTH
            else:
                self.mode = DONE if head.status in (204, 304) else UNTIL_CLOSE
        except ValueError:
            self.mode = BROKEN
            return b""
        return body[2:]


def ends_chunked(tail: bytes) -> bool:
    """True when these last bytes of a chunked body hold its end: the last-chunk line, trailers or none, a blank line."""
    return tail.endswith(BLANK) and b"\r\n0\r\n" in tail


@dataclass(slots=True)
class Body:
    """A response taken apart: `spans` are the (start, end) offsets of the body's payload within the raw bytes."""

    head: Head
    payload: bytes
    spans: list[tuple[int, int]]
    complete: bool = True


def body_of(data: bytes) -> Body:
    """A whole or cut off response. Raises ValueError when it has no complete head."""
    base, head = 0, parse_head(data)
    while head is not None and 100 <= head.status < 200:
        base += head.size
        head = parse_head(data[base:])
    if head is None:
        raise ValueError("the answer has no complete head")
    at = base + head.size
    if b"chunked" not in head.headers.get(b"transfer-encoding", b"").lower():
        return Body(head, data[at:], [(at, len(data))])
    spans, complete = [], False
    while (end := data.find(b"\n", at)) >= 0:
        size = _chunk_size(data[at:end])
        if size <= 0:
            complete = size == 0 and data.endswith(BLANK)
            break
        spans.append((end + 1, min(end + 1 + size, len(data))))
        at = end + 1 + size + 2
    return Body(head, b"".join([data[a:b] for a, b in spans]), spans, complete)


def _chunk_size(line: bytes) -> int:
    try:
        return int(line.split(b";", 1)[0].strip(), 16)
    except ValueError:
        return -1
