"""llama.cpp's server: the OpenAI routes, plus an unshared prompt cache and its own `timings`."""

from __future__ import annotations

import dataclasses
from typing import Any

from tokenmark_schemas.workload import WorkloadSpec

from . import openai
from .base import with_text


def payload(model: str, workload: WorkloadSpec, output_tokens: int) -> dict[str, Any]:
    body = openai.payload(model, workload, output_tokens)
    shared = workload.dataset.synthetic.shared_prefix_tokens if workload.dataset.synthetic else 0
    body["cache_prompt"] = bool(shared)
    return body


LLAMACPP = dataclasses.replace(openai.OPENAI, name="llamacpp", payload=payload)
LLAMACPP_COMPLETION = dataclasses.replace(LLAMACPP, path=openai.COMPLETIONS, with_prompt=with_text)
