"""vLLM and SGLang: the OpenAI routes, plus usage with every chunk and a floor under the output length.

`continuous_usage_stats` tells how many tokens each chunk holds: with speculative decoding or a stream interval a chunk
is no token, and an inter-token latency that takes it for one is wrong.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from tokenmark_schemas.workload import WorkloadSpec

from . import openai
from .base import with_text


def payload(model: str, workload: WorkloadSpec, output_tokens: int) -> dict[str, Any]:
    body = openai.payload(model, workload, output_tokens)
    if workload.streaming:
        body["stream_options"]["continuous_usage_stats"] = True
    if workload.min_output_tokens is not None:
        body["min_tokens"] = min(workload.min_output_tokens, output_tokens)
    return body


VLLM = dataclasses.replace(openai.OPENAI, name="vllm", payload=payload)
VLLM_COMPLETION = dataclasses.replace(VLLM, path=openai.COMPLETIONS, with_prompt=with_text)
SGLANG = dataclasses.replace(VLLM, name="sglang")
SGLANG_COMPLETION = dataclasses.replace(VLLM_COMPLETION, name="sglang")
