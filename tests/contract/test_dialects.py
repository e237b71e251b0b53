"""One suite over every route of every engine: whatever a server sends, decoding returns a true sample or a named failure."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench_runner.engines import ENGINES, dialect_of
from bench_runner.engines.base import Dialect
from bench_runner.load.frames import READ_BYTES
from bench_runner.load.framing import body_of
from bench_runner.samples.decode import decode
from bench_runner.samples.events import carefully, quickly
from bench_runner.samples.sample import Sample
from bench_runner.workload.conversations import spoken
from tests.contract.routes import OLLAMA_COUNTERS, USAGE, _chat, said_by
from tests.support.builders import DIALECTS, MS, chunked, exchange_of, whole

every_route = pytest.mark.parametrize("dialect", DIALECTS, ids=lambda d: d.name + d.path)


def head(dialect: Dialect) -> bytes:
    kind = b"text/event-stream" if dialect.framing == "sse" else b"application/x-ndjson"
    return b"HTTP/1.1 200 OK\r\nContent-Type: " + kind + b"\r\nTransfer-Encoding: chunked\r\n\r\n"


def read(
    dialect: Dialect, *reads: bytes, stream: bool = True, outcome: str = "ok", late_ns: int | None = None
) -> Sample:
    exchange = exchange_of(*reads, outcome=outcome, late_ns=late_ns)
    return decode(exchange, dialect, stage="c1", repetition=0, request_id="x", stream=stream)


def reads_of(dialect: Dialect, *events: bytes) -> list[bytes]:
    """A whole stream, one event a read; the head comes with the first, the end with the last."""
    parts = [b"%x\r\n%b\r\n" % (len(e), e) for e in events]
    parts[-1] += b"0\r\n\r\n"
    return [head(dialect) + parts[0], *parts[1:]]


@every_route
def test_text_chunks_are_stamped_by_the_read_that_completed_them(dialect: Dialect) -> None:
    said = said_by(dialect)
    opening = [said.opening] if said.opening else []
    sample = read(dialect, *reads_of(dialect, *opening, said.visible, said.visible, said.visible, *said.stop))
    assert sample.failure is None
    first = 100 * MS + len(opening) * 10 * MS
    assert list(sample.content_ns) == [first, first + 10 * MS, first + 20 * MS]
    assert (sample.output_tokens, sample.prompt_tokens, sample.token_source) == (3, 9, "usage")
    assert sample.visible_ns == first
    assert sample.first_earliest_ns is None
    assert sample.coalesced_s == []


@every_route
def test_an_opening_without_text_is_no_token(dialect: Dialect) -> None:
    said = said_by(dialect)
    if said.opening is None:
        pytest.skip("this route sends no opening")
    assert read(dialect, *reads_of(dialect, said.opening, said.visible, *said.stop)).content_ns[0] == 110 * MS


@every_route
def test_reasoning_counts_for_ttft_and_not_for_visible_output(dialect: Dialect) -> None:
    said = said_by(dialect)
    if said.reasoning is None:
        pytest.skip("this route has no reasoning")
    sample = read(dialect, *reads_of(dialect, said.reasoning, said.visible, *said.stop))
    assert (sample.content_ns[0], sample.visible_ns) == (100 * MS, 110 * MS)


@every_route
def test_a_tool_call_is_content(dialect: Dialect) -> None:
    said = said_by(dialect)
    if said.tool is None:
        pytest.skip("this route has no tool calls")
    assert len(read(dialect, *reads_of(dialect, said.tool, *said.stop)).content_ns) == 1


@every_route
def test_without_usage_chunks_are_counted_and_said_to_be(dialect: Dialect) -> None:
    said = said_by(dialect)
    sample = read(dialect, *reads_of(dialect, said.visible, said.visible, *said.bare_stop))
    assert (sample.failure, sample.output_tokens, sample.token_source) == (None, 2, "chunks")


@every_route
def test_chunks_that_came_in_one_read_carry_their_interval(dialect: Dialect) -> None:
    said = said_by(dialect)
    first, *rest = reads_of(dialect, said.opening or said.visible, said.visible, said.visible, *said.stop)
    sample = read(dialect, first, b"".join(rest))
    assert sample.coalesced_s == pytest.approx([0.010 - 1e-6])
    assert sample.content_ns[-1] == 110 * MS
    assert sample.last_earliest_ns == 100 * MS + 1000


@every_route
def test_a_first_token_that_shared_its_read_may_have_come_right_after_the_request(dialect: Dialect) -> None:
    said = said_by(dialect)
    packed = b"".join(reads_of(dialect, said.visible, said.visible, *said.stop))
    sample = read(dialect, packed)
    assert sample.first_earliest_ns == sample.sent_ns == 1 * MS
    assert read(dialect, packed, late_ns=MS).first_earliest_ns == 99 * MS, (
        "the loop knew that the socket was empty then"
    )


@every_route
def test_the_last_event_of_a_read_owns_its_stamp_whatever_stood_before_it(dialect: Dialect) -> None:
    said = said_by(dialect)
    opening = [said.opening] if said.opening else []
    first, *rest = reads_of(dialect, *opening, said.visible, said.visible, *said.stop)
    together = [first + b"".join(rest[: len(opening)]), *rest[len(opening) :]]  # head, role chunk and first token
    sample = read(dialect, *together)
    assert (sample.failure, sample.first_earliest_ns, sample.content_ns[0]) == (None, None, 100 * MS)


@every_route
def test_what_has_the_end_of_the_body_behind_it_does_not_own_the_stamp(dialect: Dialect) -> None:
    said = said_by(dialect)
    (only,) = reads_of(dialect, said.visible)
    assert only.endswith(b"0\r\n\r\n")
    sample = read(dialect, only, late_ns=MS)
    assert (sample.content_ns[0], sample.first_earliest_ns) == (100 * MS, 99 * MS)


@every_route
def test_behind_a_read_that_was_full_waited_what_the_next_one_found(dialect: Dialect) -> None:
    said = said_by(dialect)
    packed = b"".join(reads_of(dialect, *[said.visible] * 600, *said.stop))
    assert len(packed) > READ_BYTES
    sample = read(dialect, packed[:READ_BYTES], packed[READ_BYTES:], late_ns=MS)
    assert sample.last_earliest_ns == 99 * MS, "what came with the second read was there before the first"


@every_route
def test_where_a_stamp_gainsays_the_loop_the_loop_was_wrong(dialect: Dialect) -> None:
    said = said_by(dialect)
    packed = b"".join(reads_of(dialect, said.visible, said.visible, *said.stop))
    exchange = exchange_of(packed)
    exchange.since_ns[0] = 101 * MS
    assert decode(exchange, dialect, stage="c1", repetition=0, request_id="x", stream=True).first_earliest_ns == 1 * MS


@every_route
def test_a_read_that_ends_inside_the_next_event_leaves_the_one_before_uncertain(dialect: Dialect) -> None:
    said = said_by(dialect)
    packed = b"".join(reads_of(dialect, said.visible, said.visible, *said.stop))
    cut = len(reads_of(dialect, said.visible, said.visible)[0]) + 5
    assert read(dialect, packed[:cut], packed[cut:]).first_earliest_ns == 1 * MS


@every_route
def test_one_byte_a_read_gives_the_time_of_each_events_last_byte(dialect: Dialect) -> None:
    said = said_by(dialect)
    packed = b"".join(reads_of(dialect, said.visible, said.visible, *said.stop))
    sample = read(dialect, *[packed[i : i + 1] for i in range(len(packed))])
    assert sample.failure is None
    text = said.visible.rstrip()
    starts = [packed.index(text), packed.index(text, packed.index(text) + 1)]
    for stamp, start in zip(sample.content_ns, starts, strict=True):
        event_end = start + len(text)
        assert event_end <= (stamp - 100 * MS) // (10 * MS) <= event_end + 1


@every_route
@pytest.mark.parametrize("size", [3, 64, 1000])
def test_wherever_the_stream_is_cut_the_answer_is_the_same(dialect: Dialect, size: int) -> None:
    """Half characters, half lines, half chunk sizes: reads end anywhere, and http chunks need not hold whole lines."""
    said = said_by(dialect)
    body = said.visible * 5 + b"".join(said.stop)
    odd = b"".join(b"%x\r\n%b\r\n" % (len(body[i : i + 50]), body[i : i + 50]) for i in range(0, len(body), 50))
    for packed in (b"".join(reads_of(dialect, *[said.visible] * 5, *said.stop)), head(dialect) + odd + b"0\r\n\r\n"):
        sample = read(dialect, *[packed[i : i + size] for i in range(0, len(packed), size)])
        assert sample.failure is None
        assert (len(sample.content_ns), sample.output_tokens) == (5, 3)


@every_route
@given(cuts=st.lists(st.integers(1, 2000), max_size=12))
def test_the_quick_way_and_the_careful_way_agree(dialect: Dialect, cuts: list[int]) -> None:
    said = said_by(dialect)
    packed = b"".join(reads_of(dialect, *[said.visible] * 6, *said.stop))
    edges = [0, *sorted({cut for cut in cuts if cut < len(packed)}), len(packed)]
    exchange = exchange_of(*[packed[a:b] for a, b in pairwise(edges)])
    quick = quickly(exchange.data, exchange.sizes, dialect, len(head(dialect)))
    careful = carefully(exchange.sizes, dialect, body_of(packed))
    assert quick is None or (quick.decoded, quick.done) == (careful.decoded, careful.done)
    # a cut between the two ends of an event's blank line may put the same event one read later, never earlier
    assert quick is None or all(0 <= a - b <= 1 for a, b in zip(quick.reads, careful.reads, strict=True))


@every_route
@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        pytest.param(whole("400 Bad Request", b'{"error":{"message":"max_tokens is too large"}}'), "rejected", "max_tokens is too large", id="400"),
        pytest.param(whole("401 Unauthorized", b'{"detail":"no key"}'), "unauthorized", "HTTP 401: no key", id="401"),
        pytest.param(whole("404 Not Found", b'{"error":"model not found"}'), "not_found", "model not found", id="404"),
        pytest.param(whole("429 Too Many Requests", b"slow down", "text/plain"), "rate_limited", "slow down", id="429"),
        pytest.param(whole("500 Internal Server Error", b""), "server_error", "(empty body)", id="500"),
        pytest.param(whole("200 OK", b"<html>Bad gateway</html>", "text/html"), "protocol", "HTML", id="html from a proxy"),
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


def marked(dialect: Dialect, data: bytes) -> bytes:
    return b"data: " + data + b"\n\n" if dialect.framing == "sse" else data + b"\n"


@every_route
@pytest.mark.parametrize(
    ("data", "kind", "words"),
    [
        pytest.param(b"{broken", "protocol", "not JSON", id="garbage"),
        pytest.param(b"[1,2]", "protocol", "Expected `object`", id="wrong shape"),
        pytest.param(b'{"choices":7,"token":7,"message":7,"response":7}', "protocol", "Expected", id="wrong type"),
        pytest.param(b'{"error":"\xff\xfe"}', "protocol", "", id="not text"),
    ],
)
def test_an_event_that_cannot_be_read_is_shown(dialect: Dialect, data: bytes, kind: str, words: str) -> None:
    sample = read(dialect, head(dialect) + chunked(marked(dialect, data)))
    assert sample.failure is not None
    assert sample.failure.kind == kind
    assert words in sample.failure.message


@every_route
def test_an_error_inside_a_good_status_is_a_failure(dialect: Dialect) -> None:
    said = said_by(dialect)
    for events in ([said.error], [said.visible, said.error]):
        sample = read(dialect, *reads_of(dialect, *events))
        assert sample.failure is not None
        assert (sample.failure.kind, "CUDA out of memory" in sample.failure.message) == ("server_error", True)


@every_route
def test_a_stream_without_an_end_is_truncated_and_one_without_text_is_empty(dialect: Dialect) -> None:
    said = said_by(dialect)
    cut = read(dialect, *reads_of(dialect, said.visible))
    assert cut.failure is not None
    assert cut.failure.kind == "truncated"
    assert cut.failure.message.endswith(dialect.without_end or "end mark")
    if dialect.path != "/generate_stream":  # there the last event repeats the whole text
        empty = read(dialect, *reads_of(dialect, *said.bare_stop))
        assert empty.failure is not None
        assert empty.failure.kind == "empty"


@every_route
def test_a_chunk_size_that_is_none_is_a_broken_answer(dialect: Dialect) -> None:
    sample = read(dialect, head(dialect) + b"zz\r\nboom\r\n0\r\n\r\n")
    assert sample.failure is not None
    assert sample.failure.kind in ("protocol", "truncated")


@every_route
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
    said = said_by(dialect)
    sample = read(dialect, *reads_of(dialect, said.visible, said.visible, *said.stop)[:2], outcome=outcome)
    assert sample.failure is not None
    assert sample.failure.kind == kind
    assert len(sample.content_ns) == 2


@every_route
def test_an_answer_in_one_piece_has_the_time_of_its_last_byte(dialect: Dialect) -> None:
    answer = whole("200 OK", said_by(dialect).whole)
    sample = read(dialect, answer[:30], answer[30:], stream=False)
    assert (sample.failure, list(sample.content_ns), sample.output_tokens) == (None, [110 * MS], 4)
    assert sample.first_earliest_ns is None


@every_route
@given(garbage=st.binary(max_size=300))
def test_no_bytes_make_decoding_raise(dialect: Dialect, garbage: bytes) -> None:
    assert read(dialect, head(dialect) + chunked(garbage)).failure is not None
    read(dialect, garbage)
    read(dialect, garbage, stream=False)


# --- what only some engines have ------------------------------------------------------------------------------------


def test_llamacpp_keeps_the_engines_own_clock() -> None:
    llamacpp = ENGINES["llamacpp"][0]
    timings = {"prompt_ms": 12.5, "predicted_per_token_ms": 3.5}
    last = _chat({}, "length", timings=timings)
    assert read(llamacpp, *reads_of(llamacpp, _chat({"content": "a"}), last)).engine_timings == timings


def test_ollama_keeps_its_counters_in_nanoseconds() -> None:
    ollama = ENGINES["ollama"][0]
    said = said_by(ollama)
    timings = read(ollama, *reads_of(ollama, said.visible, *said.stop)).engine_timings
    assert timings == {f"{name}_ns": value for name, value in OLLAMA_COUNTERS.items()}


def test_usage_with_every_chunk_tells_the_tokens_of_each() -> None:
    """Speculative decoding: the second chunk holds four tokens, and a token without text goes to the next chunk."""
    vllm = ENGINES["vllm"][0]

    def chunk(total: int, text: str) -> bytes:
        return _chat({"content": text}, usage={"prompt_tokens": 9, "completion_tokens": total})

    sample = read(vllm, *reads_of(vllm, chunk(0, ""), chunk(1, "a"), chunk(5, "b c d e"), chunk(6, ""), chunk(8, "f"), _chat({}, "stop")))  # fmt: skip
    assert (sample.output_tokens, sample.chunk_tokens) == (8, [1, 4, 3])


def test_cached_and_reasoning_tokens_are_kept_as_told() -> None:
    openai = ENGINES["openai"][0]
    usage = {
        **USAGE,
        "prompt_tokens_details": {"cached_tokens": 8},
        "completion_tokens_details": {"reasoning_tokens": 2},
    }
    sample = read(openai, *reads_of(openai, _chat({"content": "a"}), _chat({}, "stop"), _chat(None, usage=usage)))
    assert (sample.cached_tokens, sample.reasoning_tokens) == (8, 2)


def test_an_old_vllm_error_has_no_error_key() -> None:
    vllm = ENGINES["vllm"][0]
    event = b"data: " + json.dumps({"object": "error", "message": "boom", "code": 400}).encode() + b"\n\n"
    sample = read(vllm, *reads_of(vllm, event))
    assert sample.failure is not None
    assert "boom" in sample.failure.message


@pytest.mark.parametrize(
    ("engine", "path", "route", "base"),
    [
        ("openai", "/v1", "/v1/chat/completions", ""),
        ("vllm", "/llama/v1/completions", "/v1/completions", "/llama"),
        ("ollama", "", "/api/chat", ""),
        ("ollama", "/api/generate/", "/api/generate", ""),
        ("tgi", "", "/generate_stream", ""),
        ("tgi", "/v1/chat/completions", "/v1/chat/completions", ""),
    ],
)
def test_an_address_that_ends_in_a_route_picks_it(engine: str, path: str, route: str, base: str) -> None:
    dialect, before = dialect_of(engine, path)
    assert (dialect.path, before) == (route, base)


@every_route
@pytest.mark.parametrize("odd", [b"data: \n\n", b"data:\n\n", b"\n", b": ping\n\n"])
def test_a_line_that_says_nothing_changes_nothing(dialect: Dialect, odd: bytes) -> None:
    said = said_by(dialect)
    if dialect.framing == "ndjson" and odd != b"\n":
        pytest.skip("lines of JSON have no comments")
    sample = read(dialect, *reads_of(dialect, said.visible, odd, said.visible, *said.stop))
    assert (sample.failure, len(sample.content_ns), sample.output_tokens) == (None, 2, 3)


@every_route
def test_an_event_nested_without_end_is_a_named_failure(dialect: Dialect) -> None:
    deep = b'{"x":' + b"[" * 5000 + b"]" * 5000 + b"}"
    sample = read(dialect, head(dialect) + chunked(marked(dialect, deep)))
    assert sample.failure is not None
    assert sample.failure.kind == "protocol"


def test_a_count_beyond_all_answers_is_not_spread_over_chunks() -> None:
    vllm = ENGINES["vllm"][0]
    events = [_chat({"content": "a"}, usage={"completion_tokens": n}) for n in (1, 2_000_000_000)]
    assert read(vllm, *reads_of(vllm, *events, _chat({}, "stop"))).chunk_tokens is None


@every_route
def test_what_an_engine_said_can_be_said_again_in_the_next_turn(dialect: Dialect) -> None:
    said = said_by(dialect)
    opening = [part for part in (said.opening, said.reasoning) if part]
    stream = b"".join(reads_of(dialect, *opening, said.visible, *said.stop))
    assert spoken(stream, dialect, streaming=True) == "é a", "reasoning is not part of what was said"
    halves = head(dialect) + chunked(said.visible[:9], said.visible[9:], *said.stop)
    assert spoken(halves, dialect, streaming=True) == "é a", "however it was cut"
    assert spoken(whole("200 OK", said.whole), dialect, streaming=False) == "hi"
    assert spoken(b"\x00garbage", dialect, streaming=True) == ""
