"""OpenAI chat completions, as spoken by OpenAI, vLLM, SGLang, TGI, llama.cpp and most gateways."""

from __future__ import annotations

from typing import Any

import orjson

from tokenmark_schemas.workload import WorkloadSpec

from .base import Delta, Dialect, Prompt, ProtocolError

PATH = "/v1/chat/completions"


def payload(model: str, workload: WorkloadSpec, output_tokens: int) -> dict[str, Any]:
    """The request without its messages."""
    sampling = workload.sampling
    body: dict[str, Any] = {
        "model": model,
        "max_tokens": output_tokens,
        "temperature": sampling.temperature_milli / 1000,
        "stream": workload.streaming,
    }
    if workload.ignore_eos == "Force":
        body["ignore_eos"] = True  # vLLM, SGLang and llama.cpp know it; a server that does not says so
    if workload.streaming:
        body["stream_options"] = {"include_usage": True}
    if sampling.top_p_milli is not None:
        body["top_p"] = sampling.top_p_milli / 1000
    if sampling.seed is not None:
        body["seed"] = sampling.seed
    return body


def with_prompt(body: dict[str, Any], prompt: Prompt) -> dict[str, Any]:
    messages = list(prompt.messages) if prompt.messages else [{"role": "user", "content": prompt.text}]
    return {**body, "messages": messages}


def parse(line: bytes) -> Delta | None:
    """One line of the event stream -> what it says; None for blank lines, comments and other fields."""
    if not line.startswith(b"data:"):
        return None
    data = line[5:].strip()
    if data == b"[DONE]":
        return Delta(done=True)
    return read_event(_loads(data, line))


def parse_whole(body: bytes) -> Delta:
    """A completion that was not streamed."""
    return read_event(_loads(body, body), part="message")


def read_event(event: Any, part: str = "delta") -> Delta:
    """A decoded event; `part` is where a choice keeps its text."""
    if not isinstance(event, dict):
        raise ProtocolError(f"expected a JSON object, found {str(event)[:80]!r}")
    if event.get("error"):
        return Delta(error=error_text(event))
    model, timings = event.get("model"), event.get("timings")
    delta = Delta(
        model=model if isinstance(model, str) else None,
        timings=timings if isinstance(timings, dict) else None,
    )
    usage = event.get("usage")
    if usage:
        delta.output_tokens = _count(usage, "completion_tokens")
        delta.prompt_tokens = _count(usage, "prompt_tokens")
    choices = event.get("choices") or ()
    if choices:
        choice = choices[0]
        said = choice.get(part) or {}
        delta.text = said.get("content") or ""
        delta.reasoning = said.get("reasoning_content") or said.get("reasoning") or ""
        calls = said.get("tool_calls")
        if calls:
            delta.tool = str((calls[0].get("function") or {}).get("arguments") or calls[0].get("id") or "call")
        delta.finish = choice.get("finish_reason")
    return delta


def _count(usage: Any, name: str) -> int | None:
    """A number of tokens, or none; anything else would poison every sum."""
    value = usage.get(name)
    if value is None or (type(value) is int and 0 <= value < 2**31):
        return value
    raise ProtocolError(f"usage.{name} is {str(value)[:40]!r}, which is no count of tokens")


def error_text(event: dict[str, Any]) -> str:
    """The server's own words out of the shapes that errors come in."""
    error = event.get("error", event.get("detail", event.get("message", event)))
    if isinstance(error, dict):
        error = error.get("message", error)
    return str(error)[:500]


def _loads(data: bytes, shown: bytes) -> Any:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as exc:
        raise ProtocolError(f"not JSON: {shown[:80]!r}") from exc


OPENAI = Dialect(
    name="openai",
    path=PATH,
    payload=payload,
    with_prompt=with_prompt,
    parse=parse,
    parse_whole=parse_whole,
    probe_path="/v1/models",
)
