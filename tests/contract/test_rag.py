"""A RAG service on the wire: its own protocol, protocols of others by a mapping, and the header that tells steps."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from bench_runner.engines import dialect_of
from bench_runner.engines.base import Dialect, Prompt
from bench_runner.samples.decode import decode, server_timing
from bench_runner.samples.sample import Sample
from tests.contract.routes import DONE, line, sse
from tests.support.builders import chunked, exchange_of
from tokenmark_schemas.rag import RagMapping, Retrieval
from tokenmark_schemas.workload import WorkloadSpec

WORKLOAD = WorkloadSpec.model_validate({"maxOutputTokens": 64, "dataset": {"synthetic": {"inputTokens": {"mean": 8}}}})
OTHER = {
    "path": "/v2/ask",
    "request": json.dumps({
        "question": "{query}", "options": {"top_k": "{k}", "limit": "{max_tokens}", "stream": "{stream}"}, "index": "{docset}", "tag": "{k} of them",
    }),
    "framing": "ndjson", "text": "choices[0].delta", "done": "end", "error": "problem", "promptTokens": "used.prompt",
    "outputTokens": "used.completion", "retrieved": "sources",
    "steps": [{"name": "embedding", "path": "times.embed_ms", "unit": "ms"}, {"name": "retrieval", "path": "times.search"}],
}  # fmt: skip


def rag(**more: Any) -> Dialect:
    return dialect_of("rag", "", Retrieval(**more))[0]


def mapped(**changes: Any) -> Dialect:
    return rag(k=7, docset="handbook", mapping=RagMapping.model_validate({**OTHER, **changes}))


def answered(dialect: Dialect, *events: bytes, head: bytes = b"") -> Sample:
    kind = b"text/event-stream" if dialect.framing == "sse" else b"application/x-ndjson"
    opening = b"HTTP/1.1 200 OK\r\nContent-Type: " + kind + b"\r\n" + head + b"Transfer-Encoding: chunked\r\n\r\n"
    return decode(
        exchange_of(opening + chunked(*events)), dialect, stage="c1", repetition=0, request_id="x", stream=True
    )


def body(dialect: Dialect, query: str = "why?") -> dict[str, Any]:
    return dialect.with_prompt(dialect.payload("m", WORKLOAD, 64), Prompt(query))


def test_a_question_says_how_many_passages_and_how_long_an_answer() -> None:
    assert body(rag()) == {"query": "why?", "k": 5, "max_tokens": 64}
    assert body(rag(k=3, docset="handbook")) == {"query": "why?", "k": 3, "max_tokens": 64, "docset": "handbook"}


def test_steps_passages_and_counts_come_from_the_events() -> None:
    sample = answered(
        rag(), sse({"step": "embedding", "seconds": 0.004}), sse({"step": "retrieval", "seconds": 0.011, "retrieved": 5}),
        sse({"token": "a"}), sse({"token": " b"}), sse({"done": True, "steps": {"inference": 0.03}, "output_tokens": 2, "prompt_tokens": 900, "model": "m"}), DONE,
    )  # fmt: skip
    assert sample.failure is None
    assert sample.steps_s == {"embedding": 0.004, "retrieval": 0.011, "inference": 0.03}
    assert (sample.retrieved, sample.output_tokens, sample.prompt_tokens, sample.reported_model) == (5, 2, 900, "m")


def test_a_step_that_came_twice_took_both_times() -> None:
    two = [sse({"step": "retrieval", "seconds": 0.01}), sse({"step": "retrieval", "seconds": 0.02})]
    assert answered(rag(), *two, sse({"token": "a"}), sse({"done": True})).steps_s == {"retrieval": pytest.approx(0.03)}


@pytest.mark.parametrize(
    ("header", "steps"),
    [
        ("embedding;dur=4.5, retrieval;dur=11", {"embedding": 0.0045, "retrieval": 0.011}),
        ('db;desc="vector, search";dur=7', {"db": 0.007}),
        ("Re-Rank;dur=2", {"re_rank": 0.002}),
        ("cache;desc=hit, missing", None),
        ("x;dur=99999999999", None),
    ],
)
def test_steps_may_stand_in_the_header_that_is_made_for_it(header: str, steps: dict[str, float] | None) -> None:
    head = b"Server-Timing: " + header.encode() + b"\r\n"
    sample = answered(rag(), sse({"token": "a"}), sse({"done": True}), head=head)
    assert sample.steps_s == steps


def test_events_win_over_the_header() -> None:
    sample = answered(
        rag(),
        sse({"step": "a", "seconds": 1.0}),
        sse({"token": "a"}),
        sse({"done": True}),
        head=b"Server-Timing: b;dur=1\r\n",
    )
    assert sample.steps_s == {"a": 1.0}


@pytest.mark.parametrize("steps", [{"a": -1.0}, {"a": float("inf")}, {"a": 1e9}])
def test_a_step_that_cannot_be_is_none(steps: dict[str, float]) -> None:
    text = json.dumps({"token": "a", "steps": steps}).replace("Infinity", "1e400")
    sample = answered(rag(), b"data: " + text.encode() + b"\n\n", sse({"done": True}))
    assert sample.steps_s is None


def test_a_flood_of_steps_is_bounded() -> None:
    sample = answered(rag(), sse({"token": "a", "steps": {f"s{k}": 0.1 for k in range(500)}}), sse({"done": True}))
    assert len(sample.steps_s or {}) == 16


# --- protocols of others --------------------------------------------------------------------------------------------


def test_a_mapping_fills_whole_values_with_their_types_and_touches_no_others() -> None:
    dialect = mapped()
    assert (dialect.path, dialect.framing) == ("/v2/ask", "ndjson")
    assert body(dialect) == {
        "question": "why?", "options": {"top_k": 7, "limit": 64, "stream": True}, "index": "handbook", "tag": "{k} of them",
    }  # fmt: skip


def test_a_question_that_looks_like_a_place_is_left_as_it_is() -> None:
    assert body(mapped(), query="{k}")["question"] == "{k}"


def test_a_mapping_reads_text_counts_steps_and_sources() -> None:
    sample = answered(
        mapped(), line({"sources": [{"id": 1}, {"id": 2}], "times": {"embed_ms": 4}}), line({"times": {"search": 0.011}}),
        line({"choices": [{"delta": "a"}]}), line({"choices": [{"delta": " b"}]}), line({"end": True, "used": {"prompt": 900, "completion": 2}}),
    )  # fmt: skip
    assert sample.failure is None
    assert (sample.output_tokens, sample.prompt_tokens, sample.retrieved, len(sample.content_ns)) == (2, 900, 2, 2)
    assert sample.steps_s == {"embedding": pytest.approx(0.004), "retrieval": 0.011}


def test_without_an_end_mark_the_stream_s_end_is_enough_and_with_one_it_is_not() -> None:
    text = line({"choices": [{"delta": "a"}]})
    assert answered(mapped(done=None), text).failure is None
    cut = answered(mapped(), text).failure
    assert cut is not None
    assert cut.kind == "truncated"


def test_the_service_s_own_error_is_a_failure_with_its_words() -> None:
    failure = answered(mapped(), line({"problem": {"message": "no such index"}})).failure
    assert failure is not None
    assert "no such index" in failure.message


@given(event=st.recursive(st.none() | st.booleans() | st.floats() | st.text(max_size=5), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["choices", "delta", "end", "used", "prompt", "times", "embed_ms", "sources", "problem"]), inner, max_size=4), max_leaves=12))  # fmt: skip
def test_no_event_makes_a_mapping_raise(event: Any) -> None:
    answered(mapped(), json.dumps(event).encode() + b"\n")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"request": '{"k": {k}}'}, "request is no JSON; quote the places"),
        ({"request": "[]"}, "request is no JSON object"),
        ({"request": '{"q": "text"}'}, 'request lacks "{query}"'),
        ({"text": "a..b"}, "text"),
        ({"path": "ask"}, "path"),
    ],
)
def test_a_mapping_that_is_none_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said.replace("{", r"\{")):
        RagMapping.model_validate({**OTHER, **changes})


def test_an_address_may_end_in_the_route() -> None:
    for path in ("/api/v2/ask", "/api/"):
        assert dialect_of("rag", path, Retrieval(mapping=RagMapping.model_validate(OTHER)))[1] == "/api"
    assert dialect_of("rag", "/query/stream", Retrieval())[1] == ""


@given(st.binary(max_size=200))
def test_no_header_makes_reading_steps_raise(garbage: bytes) -> None:
    server_timing(b"HTTP/1.1 200 OK\r\nServer-Timing: " + garbage.replace(b"\n", b"") + b"\r\n\r\n")


def test_a_step_that_several_tell_takes_all_of_their_times() -> None:
    """Proxies add a header of their own; a service may do a thing twice; names may come to the same."""
    two = b"Server-Timing: retrieval;dur=20, retrieval;dur=5\r\nServer-Timing: edge;dur=1\r\n"
    sample = answered(rag(), sse({"token": "a"}), sse({"done": True}), head=two)
    assert sample.steps_s == {"retrieval": pytest.approx(0.025), "edge": pytest.approx(0.001)}
    spoken = {"Re-rank": 0.1, "re rank": 0.2, "检索": 0.3, "other": 0.4, "": 0.5}
    sample = answered(rag(), sse({"token": "a"}), sse({"done": True, "steps": spoken}))
    assert sample.steps_s == {"re_rank": pytest.approx(0.3)}, "what has no name, or that of the rest, is no step"


def test_a_number_beyond_all_time_is_no_step() -> None:
    huge = line({"choices": [{"delta": "x"}], "times": {"embed_ms": int("9" * 400), "search": 0.5}, "end": True})
    assert answered(mapped(), huge).steps_s == {"retrieval": 0.5}


def test_a_body_that_is_nested_without_end_is_refused() -> None:
    with pytest.raises(ValidationError, match="nested too deeply"):
        RagMapping.model_validate({**OTHER, "request": '{"a":' + "[" * 2000 + '"{query}"' + "]" * 2000 + "}"})
