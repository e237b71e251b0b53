"""How each engine says the same things on the wire, as its documentation and its real answers show."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from bench_runner.engines.base import Dialect


def sse(event: Any) -> bytes:
    return b"data: " + json.dumps(event).encode() + b"\n\n"


def line(event: Any) -> bytes:
    return json.dumps(event).encode() + b"\n"


@dataclass(frozen=True)
class Said:
    """Events are whole bytes of the body. None where the engine has no such thing."""

    opening: bytes | None  # before the first token, without text
    visible: bytes
    reasoning: bytes | None
    tool: bytes | None
    stop: list[bytes]  # the end, with usage of 3 output and 9 prompt tokens where the engine tells prompt tokens
    bare_stop: list[bytes]  # the end without usage
    error: bytes
    whole: bytes  # an answer in one piece: 4 output tokens
    prompt_told: bool = True


USAGE = {"prompt_tokens": 9, "completion_tokens": 3}
DONE = b"data: [DONE]\n\n"


def _chat(delta: dict[str, Any] | None, finish: str | None = None, **more: Any) -> bytes:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    return sse({"id": "x", "object": "chat.completion.chunk", "model": "m", "choices": choices, **more})


CHAT = Said(
    opening=_chat({"role": "assistant", "content": ""}),
    visible=_chat({"content": "é a"}),
    reasoning=_chat({"reasoning_content": "hm"}),
    tool=_chat({"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": "{}"}}]}),
    stop=[_chat({}, "stop"), _chat(None, usage=USAGE), DONE],
    bare_stop=[_chat({}, "stop"), DONE],
    error=sse({"error": {"message": "CUDA out of memory", "code": 500}}),
    whole=json.dumps(
        {
            "model": "m",
            "choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}],
            "usage": {"completion_tokens": 4},
        }
    ).encode(),
)


def _completion(text: str, finish: str | None = None, **more: Any) -> bytes:
    choices = [{"index": 0, "text": text, "logprobs": None, "finish_reason": finish}]
    return sse({"object": "text_completion", "model": "m", "choices": choices, **more})


COMPLETION = Said(
    opening=None,
    visible=_completion("é a"),
    reasoning=None,
    tool=None,
    stop=[_completion("", "stop"), sse({"model": "m", "choices": [], "usage": USAGE}), DONE],
    bare_stop=[_completion("", "stop"), DONE],
    error=CHAT.error,
    whole=json.dumps(
        {"model": "m", "choices": [{"text": "hi", "finish_reason": "stop"}], "usage": {"completion_tokens": 4}}
    ).encode(),
)


def _token(text: str, **more: Any) -> bytes:
    special = text == "</s>"
    token = {"id": 7, "text": text, "logprob": -0.5, "special": special}
    return sse({"index": 1, "token": token, "generated_text": None, "details": None, **more})


TGI = Said(
    opening=None,
    visible=_token("é a"),
    reasoning=None,
    tool=None,
    stop=[_token("</s>", generated_text="é a", details={"finish_reason": "eos_token", "generated_tokens": 3,
                                                         "input_length": 9, "seed": None})],
    bare_stop=[_token("</s>", generated_text="é a")],
    error=sse({"error": "CUDA out of memory", "error_type": "generation"}),
    whole=json.dumps({"generated_text": "hi", "details": {"finish_reason": "length", "generated_tokens": 4}}).encode(),
)  # fmt: skip


def _ollama(message: dict[str, Any], **more: Any) -> bytes:
    return line({"model": "m", "created_at": "2030-01-01T00:00:00Z", "message": message, "done": False, **more})


OLLAMA_COUNTERS = {"total_duration": 5_000_000, "load_duration": 1_000_000, "prompt_eval_duration": 2_000_000,
                   "eval_duration": 2_000_000}  # fmt: skip
_ENDED = {"done": True, "done_reason": "stop"}
_COUNTED = {**_ENDED, "prompt_eval_count": 9, "eval_count": 3, **OLLAMA_COUNTERS}
OLLAMA = Said(
    opening=_ollama({"role": "assistant", "content": ""}),
    visible=_ollama({"role": "assistant", "content": "é a"}),
    reasoning=_ollama({"role": "assistant", "content": "", "thinking": "hm"}),
    tool=_ollama({"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f", "arguments": {}}}]}),
    stop=[_ollama({"role": "assistant", "content": ""}, **_COUNTED)],
    bare_stop=[_ollama({"role": "assistant", "content": ""}, **_ENDED)],
    error=line({"error": "CUDA out of memory"}),
    whole=json.dumps({"model": "m", "message": {"content": "hi"}, **_ENDED, "eval_count": 4}).encode(),
)


def _generate(text: str, **more: Any) -> bytes:
    return line({"model": "m", "created_at": "2030-01-01T00:00:00Z", "response": text, "done": False, **more})


OLLAMA_GENERATE = Said(
    opening=_generate(""),
    visible=_generate("é a"),
    reasoning=_generate("", thinking="hm"),
    tool=None,
    stop=[_generate("", **_COUNTED)],
    bare_stop=[_generate("", **_ENDED)],
    error=OLLAMA.error,
    whole=json.dumps({"model": "m", "response": "hi", **_ENDED, "eval_count": 4}).encode(),
)

RAG = Said(
    opening=sse({"step": "embedding", "seconds": 0.004}),
    visible=sse({"token": "é a"}),
    reasoning=None,
    tool=None,
    stop=[sse({"done": True, "prompt_tokens": 9, "output_tokens": 3}), DONE],
    bare_stop=[sse({"done": True}), DONE],
    error=CHAT.error,
    whole=json.dumps({"answer": "hi", "output_tokens": 4}).encode(),
)

BY_PATH = {
    "/v1/chat/completions": CHAT,
    "/v1/completions": COMPLETION,
    "/generate_stream": TGI,
    "/api/chat": OLLAMA,
    "/api/generate": OLLAMA_GENERATE,
    "/query/stream": RAG,
}


def said_by(dialect: Dialect) -> Said:
    return BY_PATH[dialect.path]
