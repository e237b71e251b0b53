"""Prompts: seeded, of the length asked for, never twice the same."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from bench_runner.engines import ENGINES
from bench_runner.workload.datasets import read_json_lines
from bench_runner.workload.prompts import RequestFactory, salt_of
from tokenmark_schemas.errors import InvalidInput
from tokenmark_schemas.workload import WorkloadSpec


def factory(**synthetic: object) -> RequestFactory:
    dataset = {"synthetic": {"inputTokens": {"mean": 64}, **synthetic}}
    workload = WorkloadSpec.model_validate({"dataset": dataset, "maxOutputTokens": 32})
    return RequestFactory(ENGINES["openai"][0], "m", workload, host="h:1", path="/v1/chat/completions", token="t0k")


def body_of(request: bytes) -> dict:
    head, _, body = request.partition(b"\r\n\r\n")
    assert f"Content-Length: {len(body)}".encode() in head
    return json.loads(body)


def prompt_of(request: bytes) -> str:
    return body_of(request)["messages"][0]["content"]


def test_the_same_seed_asks_the_same_everywhere_but_for_the_salt() -> None:
    one = factory().renderer(salt_of("run-a"), "a")
    two = factory().renderer(salt_of("run-b"), "b")
    for seq in range(20):
        first, second = prompt_of(one(seq)), prompt_of(two(seq))
        assert first.split(" ", 1)[1] == second.split(" ", 1)[1]
        assert len(first) == len(second)
        assert first != second


def test_no_prompt_stands_twice() -> None:
    render = factory().renderer("00000000", "a")
    assert len({prompt_of(render(seq)) for seq in range(500)}) == 500


def test_lengths_follow_the_distribution_and_its_limits() -> None:
    render = factory(inputTokens={"mean": 100, "stddev": 30, "min": 60, "max": 150}).renderer("0" * 8, "a")
    lengths = [len(prompt_of(render(seq)).split()) + 7 for seq in range(400)]
    assert min(lengths) >= 60
    assert max(lengths) <= 150
    assert 95 < sum(lengths) / len(lengths) < 105


def test_a_shared_prefix_is_shared_and_the_rest_is_not() -> None:
    render = factory(sharedPrefixTokens=20).renderer("0" * 8, "a")
    one, two = prompt_of(render(1)).split(), prompt_of(render(2)).split()
    assert one[:20] == two[:20]
    assert one[20:] != two[20:]


def test_every_request_carries_its_id_and_the_token() -> None:
    request = factory().renderer("0" * 8, "run-a1-c1-r0")(7)
    assert b"X-Request-Id: run-a1-c1-r0-7\r\n" in request
    assert b"Authorization: Bearer t0k\r\n" in request


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param("{broken", "data.jsonl:1: JSON is malformed", id="not JSON"),
        pytest.param('{"prompt": "a"}\n{"other": 1}', "data.jsonl:2: neither prompt, messages, turns", id="no prompt"),
        pytest.param(
            '{"input_length": 0}', "data.jsonl:1: Expected `int` >= 1 - at `\\$.input_length`", id="wrong length"
        ),
        pytest.param("\n\n", "data.jsonl holds no prompts", id="empty"),
    ],
)
def test_a_bad_line_is_named(text: str, says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        read_json_lines(text, "data.jsonl")


TRACE = "\n".join([
    '{"timestamp": 5000, "input_length": 40, "output_length": 7}',
    '{"timestamp": 4000, "prompt": "hello"}',
    '{"timestamp": 4250.5, "messages": [{"role": "user", "content": "hi"}], "max_output_tokens": 3}',
])  # fmt: skip


def traced(tmp_path: Path, text: str = TRACE) -> RequestFactory:
    path = tmp_path / "trace.jsonl"
    path.write_text(text)
    source = {"uri": f"file://{path}", "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    workload = WorkloadSpec.model_validate({"dataset": {"jsonl": source}, "max_output_tokens": 99})
    return RequestFactory(ENGINES["openai"][0], "m", workload, host="h:1", path="/", token=None)


def test_a_trace_is_replayed_in_the_order_of_its_times(tmp_path: Path) -> None:
    factory = traced(tmp_path)
    assert factory.trace_offsets(1) == [0, 250_500_000, 1_000_000_000]
    assert factory.trace_offsets(2) == [0, 125_250_000, 500_000_000]
    bodies = [json.loads(factory.renderer("0" * 8, "x")(seq).split(b"\r\n\r\n")[1]) for seq in range(3)]
    assert [body["max_tokens"] for body in bodies] == [99, 3, 7]
    assert [body["messages"][0]["content"] for body in bodies[:2]] == ["hello", "hi"]
    assert 30 <= len(bodies[2]["messages"][0]["content"].split()) <= 41


def test_a_trace_without_times_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="timestamp in milliseconds"):
        traced(tmp_path, '{"prompt": "a"}').trace_offsets(1)


LINES = ("{\"prompt\": \"a\", \"output_length\": 800}\n{\"prompt\": \"b\", \"max_output_tokens\": 5}\n"
         "{\"prompt\": \"c\"}\n{\"turns\": [\"d\", \"e\"], \"output_length\": 900}\n")  # fmt: skip


@pytest.mark.parametrize("conversation", [None, {}])
def test_no_source_of_length_allows_more_than_the_workload(tmp_path: Path, conversation: dict | None) -> None:
    lines = LINES.splitlines()[3:] if conversation is not None else LINES.splitlines()[:3]
    data = tmp_path / "data.jsonl"
    data.write_text("\n".join(lines) + "\n")
    digest = hashlib.sha256(data.read_bytes()).hexdigest()
    spec = {"dataset": {"jsonl": {"uri": f"file://{data}", "sha256": digest}}, "maxOutputTokens": 64}
    workload = WorkloadSpec.model_validate(
        {**spec, **({"conversation": conversation} if conversation is not None else {})}
    )
    made = RequestFactory(ENGINES["openai"][0], "m", workload, host="h:1", path="/v1/chat/completions", token=None)
    if conversation is not None:
        words = made.said_by_user(0, 0, "0" * 8, 0)
        assert body_of(made.request("x", words, 0, 0))["max_tokens"] == made.output_limit(0, 0) == 64
        return
    render = made.renderer("0" * 8, "a")
    assert [body_of(render(seq))["max_tokens"] for seq in range(3)] == [64, 5, 64]
    assert [made.output_limit(seq) for seq in range(3)] == [64, 5, 64]


def test_spread_lengths_are_capped_too() -> None:
    made = factory(outputTokens={"mean": 100, "stddev": 50})
    assert {made.output_limit(seq) <= 32 for seq in range(200)} == {True}
