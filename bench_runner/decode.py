"""Exchange -> Sample: raw bytes and stamps become tokens and times, long after they arrived.

An event's time is the stamp of the read that brought its last byte. Where one read completed several events, the
earlier ones may have arrived at any time since the read before: that interval is kept, because it is the instrument's
uncertainty about them.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from dataclasses import dataclass, field
from itertools import accumulate

from .engines.base import Delta, Dialect, ProtocolError
from .engines.openai import error_text
from .load.framing import Body, body_of
from .load.link import Exchange
from .sample import Failure, Sample

# the classes of failure that results count
TRANSPORT_FAILURES = {
    "cancelled": ("cancelled", "stopped before the answer was complete"),
    "connect": ("connect", "the connection was refused or could not be opened; is the server running there?"),
    "reset": ("disconnected", "the server closed the connection without an answer"),
    "truncated": ("truncated", "the connection closed in the middle of the answer"),
    "not_http": ("protocol", "the answer is not HTTP"),
    "request_timeout": ("timeout", "the answer took longer than the request time limit"),
    "first_token_timeout": ("timeout", "no token arrived within the first-token time limit"),
    "too_large": ("protocol", "the answer is larger than 64 MiB"),
    "idle_timeout": ("timeout", "the stream fell silent for longer than the idle time limit"),
}


@dataclass(slots=True)
class _Stream:
    """What the events of one answer add up to."""

    content_ns: array[int] = field(default_factory=lambda: array("q"))
    chunk_tokens: array[int] = field(default_factory=lambda: array("q"))
    last: Delta = field(default_factory=Delta)
    visible_ns: int | None = None
    output_tokens: int | None = None
    prompt_tokens: int | None = None
    model: str | None = None
    timings: dict[str, object] | None = None
    error: str | None = None
    finished: bool = False
    per_read: dict[int, int] = field(default_factory=dict)

    def take(self, delta: Delta, read: int, stamp_ns: int) -> None:
        self.output_tokens = delta.output_tokens if delta.output_tokens is not None else self.output_tokens
        self.prompt_tokens = delta.prompt_tokens if delta.prompt_tokens is not None else self.prompt_tokens
        self.timings = delta.timings or self.timings
        self.model = self.model or delta.model
        self.error = self.error or delta.error
        self.finished = self.finished or delta.done or delta.finish is not None
        if delta.has_text:
            self.content_ns.append(stamp_ns)
            if delta.chunk_tokens is not None:
                self.chunk_tokens.append(delta.chunk_tokens)
            self.per_read[read] = self.per_read.get(read, 0) + 1
            if self.visible_ns is None and delta.text:
                self.visible_ns = stamp_ns


def decode(
    exchange: Exchange, dialect: Dialect, *, stage: str, repetition: int, request_id: str, stream: bool
) -> Sample:
    """One exchange -> its sample. Whatever the server sent, this returns; a bad answer is a Failure on the sample."""
    sample = Sample(
        id=request_id,
        stage=stage,
        repetition=repetition,
        seq=exchange.seq,
        due_ns=exchange.due_ns,
        ready_ns=exchange.ready_ns,
        sent_ns=exchange.sent_ns or None,
        first_byte_ns=exchange.stamps_ns[0] if exchange.stamps_ns else None,
        content_ns=array("q"),
        end_ns=exchange.end_ns,
        read_lags_ns=array("q", [u - s for u, s in zip(exchange.reads_ns, exchange.stamps_ns, strict=True)]),
        reads=len(exchange.stamps_ns),
    )
    if exchange.outcome != "ok":
        sample.failure = Failure(*TRANSPORT_FAILURES[exchange.outcome])
    try:
        body = body_of(exchange.data)
    except ValueError:
        sample.failure = sample.failure or Failure("protocol", "the answer is not HTTP")
        return sample
    sample.status = body.head.status
    if body.head.status != 200:
        sample.failure = _refused(body)
        return sample
    if exchange.outcome == "ok" and not body.complete:
        sample.failure = Failure("protocol", "the chunks of the answer do not add up")
        return sample
    content_type = body.head.headers.get(b"content-type", b"")
    if b"html" in content_type:
        sample.failure = Failure("protocol", f"expected JSON, got a page of HTML: {_shown(body.payload)}")
        return sample
    try:
        events = (
            _stream(exchange, body, dialect)
            if stream and b"json" not in content_type
            else _whole(exchange, body, dialect)
        )
    except (ProtocolError, TypeError, KeyError, AttributeError, IndexError) as exc:
        sample.failure = sample.failure or Failure("protocol", str(exc)[:300] or "an event of unexpected shape")
        return sample
    _fill(sample, events, exchange)
    return sample


def _refused(body: Body) -> Failure:
    status = body.head.status
    kind = {401: "unauthorized", 403: "unauthorized", 404: "not_found", 429: "rate_limited"}.get(
        status, "server_error" if status >= 500 else "rejected"
    )
    return Failure(kind, f"HTTP {status}: {_server_words(body.payload)}")


def _server_words(payload: bytes) -> str:
    import orjson

    try:
        decoded = orjson.loads(payload)
    except orjson.JSONDecodeError:
        return _shown(payload)
    return error_text(decoded) if isinstance(decoded, dict) else _shown(payload)


def _shown(payload: bytes) -> str:
    return " ".join(payload[:200].decode("utf-8", "replace").split()) or "(empty body)"


def _whole(exchange: Exchange, body: Body, dialect: Dialect) -> _Stream:
    """An answer in one piece: it has one time, that of its last byte."""
    out = _Stream()
    out.take(dialect.parse_whole(body.payload), len(exchange.stamps_ns) - 1, exchange.stamps_ns[-1])
    out.finished = True
    return out


def _stream(exchange: Exchange, body: Body, dialect: Dialect) -> _Stream:
    """Every line of the body, with the read that completed it."""
    out, payload = _Stream(), body.payload
    read_ends = list(accumulate(exchange.sizes))
    span_ends = list(accumulate(b - a for a, b in body.spans))
    at, span, read, parse = 0, 0, 0, dialect.parse
    while (end := payload.find(b"\n", at)) >= 0:
        line, at = payload[at:end], end + 1
        if not line or line == b"\r":
            continue
        delta = parse(line)
        if delta is None:
            continue
        while span_ends[span] <= end:
            span += 1
        raw = body.spans[span][1] - (span_ends[span] - end) + 1
        if read_ends[read] < raw:
            read = bisect_left(read_ends, raw, read + 1)
        out.take(delta, read, exchange.stamps_ns[read])
    rest = payload[at:].strip()
    if rest and (delta := parse(rest)) is not None:
        out.take(delta, len(read_ends) - 1, exchange.stamps_ns[-1])
    return out


def _fill(sample: Sample, events: _Stream, exchange: Exchange) -> None:
    sample.content_ns, sample.visible_ns = events.content_ns, events.visible_ns
    sample.prompt_tokens, sample.engine_timings = events.prompt_tokens, events.timings
    sample.reported_model = events.model
    chunks = len(events.content_ns)
    if events.output_tokens is not None:
        sample.output_tokens, sample.token_source = events.output_tokens, "usage"
    elif chunks:
        sample.output_tokens, sample.token_source = chunks, "chunks"
    if len(events.chunk_tokens) == chunks and chunks:
        sample.chunk_tokens = events.chunk_tokens
    for read, count in events.per_read.items():
        if count > 1:
            sample.coalesced_reads += 1
            since = exchange.reads_ns[read - 1] if read else exchange.sent_ns
            sample.coalesced_interval_ns = max(sample.coalesced_interval_ns, exchange.stamps_ns[read] - since)
    if sample.failure is None:
        sample.failure = _judge(events, chunks)


def _judge(events: _Stream, chunks: int) -> Failure | None:
    if events.error is not None:
        return Failure("server_error", f"an error inside the stream: {events.error}")
    if not events.finished:
        return Failure("truncated", "the stream ended without a finish reason or end mark")
    if not chunks:
        return Failure("empty", "the answer holds no text")
    return None
