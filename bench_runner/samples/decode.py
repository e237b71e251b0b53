"""Exchange -> Sample: raw bytes and stamps become tokens and times, long after they arrived.

An event's time is the stamp of the read that brought its last byte, and the last event of a read owns that stamp. An
earlier one of the same read may have arrived at any time since the socket was last known to be empty: that interval is
kept, because it is the instrument's uncertainty about it.
"""

from __future__ import annotations

import re
from array import array
from collections import Counter

import msgspec

from ..engines.base import VISIBLE, Answer, Dialect, ProtocolError, error_text
from ..engines.rag import sane
from ..load.frames import READ_BYTES, Exchange
from ..load.framing import Body, parse_head
from .events import Events, Refused, events_of, shown
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
    "no_descriptors": (
        "client",
        "this machine has no file descriptors left: raise `ulimit -n`, or open fewer connections",
    ),
    "no_ports": (
        "client",
        "this machine has no local ports left for this target: keep connections open, or load it from several machines",
    ),
    "too_large": ("protocol", "the answer is larger than 64 MiB"),
    "idle_timeout": ("timeout", "the stream fell silent for longer than the idle time limit"),
}

MOST_TOKENS = 2_000_000  # of one answer, where usage tells the tokens of each chunk: more is no answer
_METRIC = re.compile(r'([A-Za-z][A-Za-z0-9_-]{0,62})((?:\s*;\s*[a-z]+\s*=\s*(?:"[^"]*"|[^",;]*))*)')
_DURATION = re.compile(r";\s*dur\s*=\s*(\d{1,9}(?:\.\d{1,9})?)\s*(?:;|$)")
TAIL_BYTES = 16  # of a read: enough to see what stands behind its last event


def decode(
    exchange: Exchange, dialect: Dialect, *, stage: str, repetition: int, request_id: str, stream: bool
) -> Sample:
    """One exchange -> its sample. Whatever the server sent, this returns; a bad answer is a Failure on the sample."""
    sample = stamped(exchange, stage=stage, repetition=repetition, request_id=request_id)
    try:
        _read(sample, exchange, dialect, stream)
    except ProtocolError as exc:
        sample.failure = sample.failure or Failure("protocol", str(exc)[:300])
    return sample


def stamped(exchange: Exchange, *, stage: str, repetition: int, request_id: str) -> Sample:
    """What the worker saw, before anybody reads what the answer says."""
    stamps = exchange.stamps_ns
    sample = Sample(
        id=request_id,
        stage=stage,
        repetition=repetition,
        seq=exchange.seq,
        due_ns=exchange.due_ns,
        ready_ns=exchange.ready_ns,
        sent_ns=exchange.sent_ns or None,
        connect_ns=exchange.connect_ns or None,
        first_byte_ns=stamps[0] if stamps else None,
        content_ns=array("q"),
        end_ns=exchange.end_ns,
        read_lags_s=[(user - stamp) / 1e9 for user, stamp in zip(exchange.reads_ns, stamps, strict=True)],
        reads=len(stamps),
        stalled_ns=exchange.stalled_ns,
        sent_bytes=exchange.sent_bytes,
        received_bytes=len(exchange.data),
        conversation=exchange.conversation if exchange.conversation >= 0 else None,
        turn=exchange.turn if exchange.turn >= 0 else None,
    )
    if exchange.outcome != "ok":
        sample.failure = Failure(*TRANSPORT_FAILURES[exchange.outcome])
    return sample


def _read(sample: Sample, exchange: Exchange, dialect: Dialect, stream: bool) -> None:
    """Fills the sample from the bytes. Raises ProtocolError."""
    try:
        events = events_of(exchange.data, exchange.sizes, dialect, stream=stream, ended=exchange.outcome == "ok")
    except Refused as exc:
        sample.status, sample.failure = exc.body.head.status, refused(exc.body)
        return
    sample.status, sample.unstreamed = 200, stream and events.whole
    _fill(sample, dialect.read(events.decoded), events, exchange, dialect.without_end)
    if dialect.tells_steps and sample.steps_s is None:
        sample.steps_s = server_timing(exchange.data)


def refused(body: Body) -> Failure:
    status = body.head.status
    kind = {401: "unauthorized", 403: "unauthorized", 404: "not_found", 429: "rate_limited"}.get(
        status, "server_error" if status >= 500 else "rejected"
    )
    return Failure(kind, f"HTTP {status}: {_server_words(body.payload)}")


def _server_words(payload: bytes) -> str:
    try:
        words = msgspec.json.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return shown(payload)
    return error_text(words) if isinstance(words, dict) else shown(payload)


def _fill(sample: Sample, answer: Answer, events: Events, exchange: Exchange, without_end: str) -> None:
    stamps, kinds = exchange.stamps_ns, answer.kinds
    content = [event for event, kind in enumerate(kinds) if kind]
    reads = [events.reads[event] for event in content]
    sample.content_ns = array("q", [stamps[read] for read in reads])
    if VISIBLE in kinds:
        sample.visible_ns = stamps[events.reads[kinds.index(VISIBLE)]]
    sample.prompt_tokens, sample.cached_tokens = answer.prompt_tokens, answer.cached_tokens
    sample.reasoning_tokens, sample.engine_timings = answer.reasoning_tokens, answer.timings
    sample.reported_model = answer.model
    sample.steps_s, sample.retrieved = answer.steps, answer.retrieved
    if answer.output_tokens is not None:
        sample.output_tokens, sample.token_source = answer.output_tokens, "usage"
    elif reads:
        sample.output_tokens, sample.token_source = len(reads), "chunks"
    if answer.chunk_tokens and len(answer.chunk_tokens) == len(reads) and sum(answer.chunk_tokens) <= MOST_TOKENS:
        sample.chunk_tokens = answer.chunk_tokens
    if reads:
        _uncertainty(sample, content, reads, events, exchange)
    if sample.failure is None:
        sample.failure = _judge(answer, events.done, len(reads), without_end)


def server_timing(data: bytes) -> dict[str, float] | None:
    """Steps of an answer's header Server-Timing (W3C: `name;dur=milliseconds`), in seconds."""
    head = parse_head(data)
    said = head.headers.get(b"server-timing", b"").decode("latin-1") if head is not None else ""
    told: dict[str, float] = {}
    for name, parameters in _METRIC.findall(said):
        if (ms := _DURATION.search(parameters)) is not None:
            told[name] = told.get(name, 0.0) + float(ms[1]) / 1000
    return sane(told)


def _uncertainty(sample: Sample, content: list[int], reads: list[int], events: Events, exchange: Exchange) -> None:
    """Which chunks shared a read, and how early the first and the last one may have arrived.

    The last event of a read owns its stamp, whatever stood before it. What stood before it, or has something behind it
    that is no event yet, arrived between the earliest moment of that read and its stamp.
    """
    if len(set(reads)) != len(reads):
        shared = [read for read, chunks in Counter(reads).items() if chunks > 1]
        sample.coalesced_s = [(exchange.stamps_ns[read] - _since(exchange, read)) / 1e9 for read in shared]
    if not events.whole:
        sample.first_earliest_ns = _earliest(content[0], events, exchange)
        sample.last_earliest_ns = _earliest(content[-1], events, exchange)


def _earliest(event: int, events: Events, exchange: Exchange) -> int | None:
    """None where the read's stamp is the event's own."""
    return None if _owns(event, events, exchange) else _since(exchange, events.reads[event])


def _owns(event: int, events: Events, exchange: Exchange) -> bool:
    """Whether nothing but line ends came behind an event with the read that completed it."""
    read = events.reads[event]
    if read == events.done_read or events.reads[event + 1 : event + 2] == [read]:
        return False
    end = sum(exchange.sizes[: read + 1])
    start = max(end - exchange.sizes[read], end - TAIL_BYTES)
    return exchange.data[start:end].rstrip(b"\r\n").endswith(b"}")


def _since(exchange: Exchange, read: int) -> int:
    """Before which moment nothing of a read can have come: what the loop knows of it, what was read before it, and the
    request itself. Where the read's own stamp gainsays the loop, the loop was wrong, and only the others count."""
    stamp = exchange.stamps_ns[read]
    while read and exchange.sizes[read - 1] >= READ_BYTES:  # that one took what it could, and left the rest waiting
        read -= 1
    before = exchange.reads_ns[read - 1] if read else exchange.sent_ns
    since = exchange.since_ns[read]
    return min(max(before, since) if since <= stamp else before, stamp)


def _judge(answer: Answer, done: bool, chunks: int, without_end: str) -> Failure | None:
    if answer.error is not None:
        return Failure("server_error", f"an error inside the stream: {answer.error}")
    if not answer.finished and not done:
        said = "the stream ended without a finish reason or end mark"
        return Failure("truncated", f"{said}; {without_end}" if without_end else said)
    if not chunks:
        return Failure("empty", "the answer holds no text")
    return None
