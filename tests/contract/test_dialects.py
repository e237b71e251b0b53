"""One suite over every engine: whatever a server sends, decoding returns a true sample or a named failure."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench_runner.decode import decode
from bench_runner.engines.base import Dialect
from bench_runner.sample import Sample
from tests.support.builders import DIALECTS, MS, STREAM_HEAD, chunked, exchange_of, whole

every_engine = pytest.mark.parametrize("dialect", DIALECTS, ids=lambda d: d.name)


def event(delta: dict | None = None, finish: str | None = None, **more: object) -> bytes:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    return b"data: " + json.dumps({"model": "m", "choices": choices, **more}).encode() + b"\n\n"


def text(value: str) -> bytes:
    return event({"content": value})


ROLE = event({"role": "assistant", "content": ""})
STOP = event({}, finish="stop")
USAGE = event(usage={"prompt_tokens": 9, "completion_tokens": 3})
DONE = b"data: [DONE]\n\n"


def read(dialect: Dialect, *reads: bytes, stream: bool = True, outcome: str = "ok") -> Sample:
    return decode(
        exchange_of(*reads, outcome=outcome), dialect, stage="c1", repetition=0, request_id="x", stream=stream
    )


def stream(*events: bytes) -> list[bytes]:
    """A whole stream, one event a read; the head comes with the first, the end with the last."""
    parts = [b"%x\r\n%b\r\n" % (len(e), e) for e in events]
    return [STREAM_HEAD + parts[0], *parts[1:-1], parts[-1] + b"0\r\n\r\n"]


@every_engine
def test_text_chunks_are_stamped_by_the_read_that_completed_them(dialect: Dialect) -> None:
    sample = read(dialect, *stream(ROLE, text("a"), text("b"), text("c"), STOP, USAGE, DONE))
    assert sample.failure is None
    assert list(sample.content_ns) == [110 * MS, 120 * MS, 130 * MS]
    assert (sample.output_tokens, sample.prompt_tokens, sample.token_source) == (3, 9, "usage")
    assert sample.visible_ns == 110 * MS
    assert sample.reported_model == "m"


@every_engine
def test_a_role_only_opening_is_no_token(dialect: Dialect) -> None:
    assert read(dialect, *stream(ROLE, text("a"), STOP, DONE)).content_ns[0] == 110 * MS


@every_engine
def test_reasoning_counts_for_ttft_and_not_for_visible_output(dialect: Dialect) -> None:
    sample = read(dialect, *stream(event({"reasoning_content": "hm"}), text("a"), STOP, DONE))
    assert (sample.content_ns[0], sample.visible_ns) == (100 * MS, 110 * MS)


@every_engine
def test_a_tool_call_is_content(dialect: Dialect) -> None:
    call = event({"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": "{}"}}]})
    assert len(read(dialect, *stream(call, event({}, finish="tool_calls"), DONE)).content_ns) == 1


@every_engine
def test_without_usage_chunks_are_counted_and_said_to_be(dialect: Dialect) -> None:
    sample = read(dialect, *stream(text("a"), text("b"), STOP, DONE))
    assert (sample.output_tokens, sample.token_source) == (2, "chunks")


@every_engine
def test_chunks_that_came_in_one_read_are_counted_with_their_interval(dialect: Dialect) -> None:
    first, *rest = stream(ROLE, text("a"), text("b"), text("c"), STOP, DONE)
    sample = read(dialect, first, b"".join(rest))
    assert sample.coalesced_reads == 1
    assert sample.coalesced_interval_ns == 10 * MS - 1000
    assert set(sample.content_ns) == {110 * MS}


@every_engine
def test_one_byte_a_read_gives_the_time_of_each_events_last_byte(dialect: Dialect) -> None:
    whole_stream = b"".join(stream(text("é"), text("b"), STOP, DONE))
    sample = read(dialect, *[whole_stream[i : i + 1] for i in range(len(whole_stream))])
    assert sample.failure is None
    ends = [whole_stream.index(mark) + len(mark) for mark in (b'"\\u00e9"', b'"b"')]
    for stamp, end in zip(sample.content_ns, ends, strict=True):
        line_end = whole_stream.index(b"\n", end)
        assert stamp == 100 * MS + line_end * 10 * MS


@every_engine
def test_half_a_character_across_two_reads_is_whole(dialect: Dialect) -> None:
    body = b'data: {"choices":[{"delta":{"content":"\xc3\xa9"},"finish_reason":"stop"}]}\n\n'
    packed = STREAM_HEAD + chunked(body, DONE)
    cut = packed.index(b"\xc3") + 1
    assert read(dialect, packed[:cut], packed[cut:]).failure is None


@every_engine
@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        pytest.param(whole("400 Bad Request", b'{"error":{"message":"max_tokens is too large"}}'), "rejected", "max_tokens is too large", id="400"),
        pytest.param(whole("401 Unauthorized", b'{"detail":"no key"}'), "unauthorized", "HTTP 401: no key", id="401"),
        pytest.param(whole("404 Not Found", b'{"error":"model not found"}'), "not_found", "model not found", id="404"),
        pytest.param(whole("429 Too Many Requests", b"slow down", "text/plain"), "rate_limited", "slow down", id="429"),
        pytest.param(whole("500 Internal Server Error", b""), "server_error", "(empty body)", id="500"),
        pytest.param(whole("200 OK", b"<html>Bad gateway</html>", "text/html"), "protocol", "HTML", id="html from a proxy"),
        pytest.param(STREAM_HEAD + chunked(b"data: {broken\n\n"), "protocol", "not JSON", id="garbage"),
        pytest.param(STREAM_HEAD + chunked(b"data: [1,2]\n\n"), "protocol", "expected a JSON object", id="wrong shape"),
        pytest.param(STREAM_HEAD + chunked(b'data: {"choices":[{"delta":7}]}\n\n'), "protocol", "", id="wrong type"),
        pytest.param(STREAM_HEAD + chunked(b'data: {"error":{"message":"CUDA out of memory"}}\n\n'), "server_error", "CUDA", id="error inside a 200"),
        pytest.param(STREAM_HEAD + chunked(text("a")), "truncated", "finish reason", id="ends without a finish"),
        pytest.param(STREAM_HEAD + chunked(STOP, DONE), "empty", "no text", id="no text at all"),
        pytest.param(STREAM_HEAD + b"zz\r\nboom\r\n0\r\n\r\n", "protocol", "do not add up", id="bad chunk size"),
        pytest.param(b"SSH-2.0-OpenSSH_9\r\n\r\n", "protocol", "not HTTP", id="not http"),
    ],
)  # fmt: skip
def test_a_bad_answer_is_a_named_failure_in_the_servers_words(
    dialect: Dialect, answer: bytes, kind: str, words: str
) -> None:
    sample = read(dialect, answer)
    assert sample.failure is not None
    assert sample.failure.kind == kind
    assert words in sample.failure.message


@every_engine
@pytest.mark.parametrize(
    ("outcome", "kind"),
    [
        ("truncated", "truncated"),
        ("idle_timeout", "timeout"),
        ("cancelled", "cancelled"),
        ("request_timeout", "timeout"),
    ],
)
def test_a_cut_off_stream_keeps_what_arrived(dialect: Dialect, outcome: str, kind: str) -> None:
    sample = read(dialect, *stream(ROLE, text("a"), text("b"), STOP, DONE)[:3], outcome=outcome)
    assert sample.failure is not None
    assert sample.failure.kind == kind
    assert len(sample.content_ns) == 2


@every_engine
def test_an_answer_in_one_piece_has_the_time_of_its_last_byte(dialect: Dialect) -> None:
    body = json.dumps(
        {"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}], "usage": {"completion_tokens": 4}}
    )
    answer = whole("200 OK", body.encode())
    sample = read(dialect, answer[:30], answer[30:], stream=False)
    assert (list(sample.content_ns), sample.output_tokens) == ([110 * MS], 4)


@every_engine
@given(garbage=st.binary(max_size=300))
def test_no_bytes_make_decoding_raise(dialect: Dialect, garbage: bytes) -> None:
    assert read(dialect, STREAM_HEAD + chunked(garbage)).failure is not None
    read(dialect, garbage)


def test_llamacpp_keeps_the_engines_own_clock() -> None:
    llamacpp = next(d for d in DIALECTS if d.name == "llamacpp")
    last = event({}, finish="length", timings={"prompt_ms": 12.5, "predicted_per_token_ms": 3.5})
    assert read(llamacpp, *stream(text("a"), last, DONE)).engine_timings == {
        "prompt_ms": 12.5,
        "predicted_per_token_ms": 3.5,
    }
