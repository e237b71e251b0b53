"""Exchange -> Sample: raw bytes and stamps become tokens and times, long after they arrived.

An event's time is the stamp of the read that brought its last byte. Where that read brought more than this one event,
the event may have arrived at any time since the read before: that interval is kept, because it is the instrument's
uncertainty about it.
"""

from __future__ import annotations

from array import array
from collections import Counter

import msgspec

from ..engines.base import VISIBLE, Answer, Dialect, ProtocolError, error_text
from ..load.frames import Exchange
from ..load.framing import Body, Head, body_of, parse_head
from .events import Events, carefully, decoded, quickly
from .sample import Failure, Sample

# the classes of failure that results count
TRANSPORT_FAILURES = {
    "cancelled": ("cancelled", "stopped before the answer was complete"),
    "connect": ("connect", "the connection was refused or could not be opened; is the server running there?"),
    "proxy": ("connect", "the proxy could not be used to reach the target: it refused, or did not answer"),
    "tls": (
        "tls",
        "the TLS handshake failed: the certificate or the protocol version is not accepted, or this is no https port",
    ),
    "reset": ("disconnected", "the server closed the connection without an answer"),
    "truncated": ("truncated", "the connection closed in the middle of the answer"),
    "not_http": ("protocol", "the answer is not HTTP"),
    "request_timeout": ("timeout", "the answer took longer than the request time limit"),
    "first_token_timeout": ("timeout", "no token arrived within the first-token time limit"),
    "too_large": ("protocol", "the answer is larger than 64 MiB"),
    "idle_timeout": ("timeout", "the stream fell silent for longer than the idle time limit"),
}

MOST_TOKENS = 2_000_000  # of one answer, where usage tells the tokens of each chunk: more is no answer
EVENT_ENDS = (b"\n\n", b"\n\n\r\n", b"}\n", b"}\n\r\n")


def decode(
    exchange: Exchange, dialect: Dialect, *, stage: str, repetition: int, request_id: str, stream: bool
) -> Sample:
    """One exchange -> its sample. Whatever the server sent, this returns; a bad answer is a Failure on the sample."""
    stamps = exchange.stamps_ns
    sample = Sample(
        id=request_id,
        stage=stage,
        repetition=repetition,
        seq=exchange.seq,
        due_ns=exchange.due_ns,
        ready_ns=exchange.ready_ns,
        sent_ns=exchange.sent_ns or None,
        first_byte_ns=stamps[0] if stamps else None,
        content_ns=array("q"),
        end_ns=exchange.end_ns,
        read_lags_s=[(user - stamp) / 1e9 for user, stamp in zip(exchange.reads_ns, stamps, strict=True)],
        reads=len(stamps),
        conversation=exchange.conversation if exchange.conversation >= 0 else None,
        turn=exchange.turn if exchange.turn >= 0 else None,
    )
    if exchange.outcome != "ok":
        sample.failure = Failure(*TRANSPORT_FAILURES[exchange.outcome])
    try:
        _read(sample, exchange, dialect, stream)
    except ProtocolError as exc:
        sample.failure = sample.failure or Failure("protocol", str(exc)[:300])
    return sample


def _read(sample: Sample, exchange: Exchange, dialect: Dialect, stream: bool) -> None:
    """Fills the sample from the bytes. Raises ProtocolError."""
    head = _plain_head(exchange.data)
    if head is not None and stream and exchange.outcome == "ok" and _streams(head):
        events = quickly(exchange, dialect, head.size)
        if events is not None:
            sample.status = head.status
            _fill(sample, dialect.read(events.decoded), events, exchange)
            return
    try:
        body = body_of(exchange.data)
    except ValueError as exc:
        raise ProtocolError("the answer is not HTTP") from exc
    sample.status = body.head.status
    if body.head.status != 200:
        sample.failure = _refused(body)
        return
    if exchange.outcome == "ok" and not body.complete:
        raise ProtocolError("the chunks of the answer do not add up")
    if b"html" in body.head.headers.get(b"content-type", b""):
        raise ProtocolError(f"expected JSON, got a page of HTML: {_shown(body.payload)}")
    events = carefully(exchange, dialect, body) if stream and _streams(body.head) else _whole(exchange, dialect, body)
    _fill(sample, dialect.read(events.decoded), events, exchange)


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


def _whole(exchange: Exchange, dialect: Dialect, body: Body) -> Events:
    """An answer in one piece: it has one time, that of its last byte."""
    return Events([decoded(dialect, body.payload)], [len(exchange.stamps_ns) - 1], done=True, whole=True)


def _refused(body: Body) -> Failure:
    status = body.head.status
    kind = {401: "unauthorized", 403: "unauthorized", 404: "not_found", 429: "rate_limited"}.get(
        status, "server_error" if status >= 500 else "rejected"
    )
    return Failure(kind, f"HTTP {status}: {_server_words(body.payload)}")


def _server_words(payload: bytes) -> str:
    try:
        words = msgspec.json.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _shown(payload)
    return error_text(words) if isinstance(words, dict) else _shown(payload)


def _shown(payload: bytes) -> str:
    return " ".join(payload[:200].decode("utf-8", "replace").split()) or "(empty body)"


def _fill(sample: Sample, answer: Answer, events: Events, exchange: Exchange) -> None:
    stamps, kinds = exchange.stamps_ns, answer.kinds
    reads = [read for read, kind in zip(events.reads, kinds, strict=True) if kind]
    sample.content_ns = array("q", [stamps[read] for read in reads])
    if VISIBLE in kinds:
        sample.visible_ns = stamps[events.reads[kinds.index(VISIBLE)]]
    sample.prompt_tokens, sample.cached_tokens = answer.prompt_tokens, answer.cached_tokens
    sample.reasoning_tokens, sample.engine_timings = answer.reasoning_tokens, answer.timings
    sample.reported_model = answer.model
    if answer.output_tokens is not None:
        sample.output_tokens, sample.token_source = answer.output_tokens, "usage"
    elif reads:
        sample.output_tokens, sample.token_source = len(reads), "chunks"
    if answer.chunk_tokens and len(answer.chunk_tokens) == len(reads) and sum(answer.chunk_tokens) <= MOST_TOKENS:
        sample.chunk_tokens = answer.chunk_tokens
    if reads:
        _uncertainty(sample, reads, events, exchange)
    if sample.failure is None:
        sample.failure = _judge(answer, events.done, len(reads))


def _uncertainty(sample: Sample, reads: list[int], events: Events, exchange: Exchange) -> None:
    """Which chunks shared a read, and how early the first and the last one may have arrived."""
    if len(set(reads)) != len(reads):
        shared = [read for read, chunks in Counter(reads).items() if chunks > 1]
        sample.coalesced_reads = len(shared)
        sample.coalesced_interval_ns = max(exchange.stamps_ns[read] - _before(exchange, read) for read in shared)
    if not events.whole:
        sample.first_earliest_ns = _earliest(reads[0], events, exchange)
        sample.last_earliest_ns = _earliest(reads[-1], events, exchange)


def _earliest(read: int, events: Events, exchange: Exchange) -> int | None:
    """None where the read's stamp is the event's own: nothing else came with that read, before or behind it."""
    with_end_mark = events.done and read == len(exchange.stamps_ns) - 1
    if events.reads.count(read) == 1 and not with_end_mark:
        end = sum(exchange.sizes[: read + 1])
        if exchange.data[end - 4 : end].endswith(EVENT_ENDS):
            return None
    return min(_before(exchange, read), exchange.stamps_ns[read])


def _before(exchange: Exchange, read: int) -> int:
    """What a read brought cannot have been there at the read before it, nor before the request left."""
    return exchange.reads_ns[read - 1] if read else exchange.sent_ns


def _judge(answer: Answer, done: bool, chunks: int) -> Failure | None:
    if answer.error is not None:
        return Failure("server_error", f"an error inside the stream: {answer.error}")
    if not answer.finished and not done:
        return Failure("truncated", "the stream ended without a finish reason or end mark")
    if not chunks:
        return Failure("empty", "the answer holds no text")
    return None
