"""What each engine is asked, in its own words."""

from __future__ import annotations

from typing import Any

import pytest

from bench_runner.engines import ENGINES
from bench_runner.engines.base import Prompt
from tokenmark_schemas.workload import WorkloadSpec


def asked(engine: str, route: int = 0, prompt: Prompt | None = None, **work: Any) -> dict[str, Any]:
    workload = WorkloadSpec.model_validate({"dataset": {"prompts": ["x"]}, "max_output_tokens": 64, **work})
    dialect = ENGINES[engine][route]
    return dialect.with_prompt(dialect.payload("m", workload, 16), prompt or Prompt("hello"))


def test_openai() -> None:
    assert asked("openai") == {
        "model": "m", "max_tokens": 16, "temperature": 0.0, "stream": True,
        "stream_options": {"include_usage": True}, "messages": [{"role": "user", "content": "hello"}],
    }  # fmt: skip
    assert "stream_options" not in asked("openai", streaming=False)
    assert asked("openai-completions")["prompt"] == "hello"


def test_sampling_goes_where_the_engine_looks_for_it() -> None:
    sampling = {"temperature_milli": 700, "top_p_milli": 900, "seed": 3}
    want = {"temperature": 0.7, "top_p": 0.9, "seed": 3}
    assert want.items() <= asked("vllm", sampling=sampling).items()
    assert want.items() <= asked("ollama", sampling=sampling)["options"].items()
    assert {**want, "do_sample": True}.items() <= asked("tgi", sampling=sampling)["parameters"].items()


def test_vllm_and_sglang_tell_tokens_with_every_chunk_and_take_a_floor() -> None:
    for engine in ("vllm", "sglang"):
        body = asked(engine, min_output_tokens=40, ignore_eos="Force")
        assert body["stream_options"] == {"include_usage": True, "continuous_usage_stats": True}
        assert (body["min_tokens"], body["ignore_eos"]) == (16, True)


def test_tgi_is_greedy_by_leaving_the_temperature_out() -> None:
    body = asked("tgi", sampling={"top_p_milli": 1000})
    assert body == {"inputs": "hello", "parameters": {"max_new_tokens": 16, "details": True}}


def test_ollama() -> None:
    body = asked("ollama")
    assert (body["stream"], body["options"]) == (True, {"num_predict": 16, "temperature": 0.0})
    assert asked("ollama", route=1)["prompt"] == "hello"


@pytest.mark.parametrize(("shared", "cached"), [(0, False), (100, True)])
def test_llamacpp_caches_only_a_prefix_that_is_shared_on_purpose(shared: int, cached: bool) -> None:
    synthetic = {"input_tokens": {"mean": 200}, "shared_prefix_tokens": shared}
    assert asked("llamacpp", dataset={"synthetic": synthetic})["cache_prompt"] is cached


def test_a_conversation_becomes_one_text_where_a_route_takes_no_messages() -> None:
    talk = Prompt("", messages=({"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}))
    assert asked("tgi", prompt=talk)["inputs"] == "be brief\n\nhi"
    assert asked("ollama", prompt=talk)["messages"] == list(talk.messages or ())
