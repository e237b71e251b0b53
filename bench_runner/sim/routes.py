"""How the simulator speaks: one route a route, each the mirror of a row in `engines`.

Whatever can be rendered before the load begins is: a token then costs a slice of memory and a send.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import msgspec

from .scenario import Scenario

WORD = " token"


@dataclass(frozen=True, slots=True)
class Ask:
    """What a request wants. `usage_each`: a count with every chunk."""

    model: str | None
    prompt_tokens: int
    max_tokens: int
    streaming: bool
    usage: bool = False
    usage_each: bool = False


def http_chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def sse(event: Any) -> bytes:
    return http_chunk(b"data: %b\n\n" % msgspec.json.encode(event))


def line(event: Any) -> bytes:
    return http_chunk(msgspec.json.encode(event) + b"\n")


def words_in(text: Any) -> int:
    return len(str(text or "").split())


class Chat:
    """/v1/chat/completions."""

    content_type = "text/event-stream"
    object_name = "chat.completion.chunk"

    def __init__(self, scenario: Scenario) -> None:
        self.scenario, self.created = scenario, int(time.time())
        text = WORD * scenario.chunk_tokens
        self.visible, self.reasoning = sse(self.event(self.said(text))), sse(self.event({"reasoning_content": text}))
        self.opening = sse(self.event({"role": "assistant", "content": ""})) if scenario.role_chunk else b""
        self.garbage = http_chunk(b"data: {this is not JSON\n\n")

    def said(self, text: str) -> dict[str, Any]:
        return {"content": text}

    def choice(self, delta: dict[str, Any], finish: str | None) -> dict[str, Any]:
        return {"index": 0, "delta": delta, "finish_reason": finish}

    def event(self, delta: dict[str, Any] | None, finish: str | None = None) -> dict[str, Any]:
        choices = [] if delta is None else [self.choice(delta, finish)]
        return {"id": "sim", "object": self.object_name, "created": self.created, "model": self.scenario.model,
                "choices": choices}  # fmt: skip

    def ask(self, body: dict[str, Any]) -> Ask:
        options = body.get("stream_options") or {}
        return Ask(
            model=str(body["model"]),
            prompt_tokens=self.prompt_tokens(body),
            max_tokens=int(body.get("max_completion_tokens") or body.get("max_tokens") or 16),
            streaming=bool(body.get("stream")),
            usage=bool(options.get("include_usage")),
            usage_each=bool(options.get("continuous_usage_stats")),
        )

    def prompt_tokens(self, body: dict[str, Any]) -> int:
        return sum(words_in(message.get("content")) for message in body["messages"])

    def usage(self, ask: Ask, tokens: int) -> dict[str, int]:
        return {
            "prompt_tokens": ask.prompt_tokens,
            "completion_tokens": tokens,
            "total_tokens": ask.prompt_tokens + tokens,
        }

    def chunk(self, ask: Ask, so_far: int, reasoning: bool) -> bytes:
        """The next chunk; `so_far` counts the tokens up to and with it."""
        if not ask.usage_each:
            return self.reasoning if reasoning else self.visible
        text = WORD * self.scenario.chunk_tokens
        delta = {"reasoning_content": text} if reasoning else self.said(text)
        return sse({**self.event(delta), "usage": self.usage(ask, so_far)})

    def closing(self, ask: Ask, tokens: int) -> bytes:
        end = sse(self.event({}, finish="length"))
        if ask.usage and self.scenario.usage:
            end += sse({**self.event(None), "usage": self.usage(ask, tokens)})
        return end + http_chunk(b"data: [DONE]\n\n")

    def whole(self, ask: Ask, tokens: int) -> dict[str, Any]:
        message = {"role": "assistant", "content": WORD * tokens}
        choices = [{"index": 0, "message": message, "finish_reason": "length"}]
        return {**self.event(None), "object": "chat.completion", "choices": choices, "usage": self.usage(ask, tokens)}


class Completion(Chat):
    """/v1/completions."""

    object_name = "text_completion"

    def __init__(self, scenario: Scenario) -> None:
        super().__init__(scenario)
        self.reasoning, self.opening = self.visible, b""

    def said(self, text: str) -> dict[str, Any]:
        return {"text": text}

    def choice(self, delta: dict[str, Any], finish: str | None) -> dict[str, Any]:
        return {"index": 0, "text": delta.get("text", ""), "logprobs": None, "finish_reason": finish}

    def prompt_tokens(self, body: dict[str, Any]) -> int:
        return words_in(body["prompt"])

    def whole(self, ask: Ask, tokens: int) -> dict[str, Any]:
        choices = [self.choice({"text": WORD * tokens}, "length")]
        return {**self.event(None), "choices": choices, "usage": self.usage(ask, tokens)}


class Tgi:
    """/generate_stream and /generate: one event a token, the last with everything."""

    content_type = "text/event-stream"
    opening = b""
    garbage = http_chunk(b"data: {this is not JSON\n\n")

    def __init__(self, scenario: Scenario, *, streaming: bool) -> None:
        self.scenario, self.streaming = scenario, streaming
        self.token = sse(self.event(WORD)) * scenario.chunk_tokens

    @staticmethod
    def event(text: str, **more: Any) -> dict[str, Any]:
        token = {"id": 1, "text": text, "logprob": -0.1, "special": not text}
        return {"index": 0, "token": token, "generated_text": None, "details": None, **more}

    def ask(self, body: dict[str, Any]) -> Ask:
        parameters = body.get("parameters") or {}
        return Ask(None, words_in(body["inputs"]), int(parameters.get("max_new_tokens", 16)), self.streaming, True)

    def details(self, ask: Ask, tokens: int) -> dict[str, Any]:
        return {"finish_reason": "length", "generated_tokens": tokens, "input_length": ask.prompt_tokens, "seed": None}

    def chunk(self, _ask: Ask, _so_far: int, _reasoning: bool) -> bytes:
        return self.token

    def closing(self, ask: Ask, tokens: int) -> bytes:
        details = self.details(ask, tokens) if self.scenario.usage else None
        return sse(self.event("", generated_text=WORD * tokens, details=details))

    def whole(self, ask: Ask, tokens: int) -> dict[str, Any]:
        return {"generated_text": WORD * tokens, "details": self.details(ask, tokens)}


class OllamaChat:
    """/api/chat: newline-delimited JSON, counters in the last line."""

    content_type = "application/x-ndjson"
    opening = b""
    garbage = http_chunk(b"{this is not JSON\n")

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        text = WORD * scenario.chunk_tokens
        self.visible, self.reasoning = line(self.event(text)), line(self.event("", thinking=text))

    def said(self, text: str, thought: dict[str, str]) -> dict[str, Any]:
        return {"message": {"role": "assistant", "content": text, **thought}}

    def event(self, text: str, thinking: str = "", **more: Any) -> dict[str, Any]:
        said = self.said(text, {"thinking": thinking} if thinking else {})
        head = {"model": self.scenario.model, "created_at": "2030-01-01T00:00:00Z"}
        return {**head, **said, "done": False, **more}

    def ask(self, body: dict[str, Any]) -> Ask:
        options = body.get("options") or {}
        return Ask(
            str(body["model"]),
            self.prompt_tokens(body),
            int(options.get("num_predict", 128)),
            body.get("stream") is not False,
            True,
        )

    def prompt_tokens(self, body: dict[str, Any]) -> int:
        return sum(words_in(message.get("content")) for message in body["messages"])

    def chunk(self, _ask: Ask, _so_far: int, reasoning: bool) -> bytes:
        return self.reasoning if reasoning else self.visible

    def ended(self, ask: Ask, tokens: int, text: str) -> dict[str, Any]:
        prompt_ns = int(self.scenario.ttft_ms * 1e6)
        output_ns = int(self.scenario.itl_ms * 1e6) * max(0, tokens - 1)
        counted: dict[str, Any] = {
            "prompt_eval_count": ask.prompt_tokens, "eval_count": tokens, "load_duration": 1000,
            "prompt_eval_duration": prompt_ns, "eval_duration": output_ns, "total_duration": 1000 + prompt_ns + output_ns,
        }  # fmt: skip
        return self.event(text, done=True, done_reason="length", **(counted if self.scenario.usage else {}))

    def closing(self, ask: Ask, tokens: int) -> bytes:
        return line(self.ended(ask, tokens, ""))

    def whole(self, ask: Ask, tokens: int) -> dict[str, Any]:
        return self.ended(ask, tokens, WORD * tokens)


class OllamaGenerate(OllamaChat):
    """/api/generate."""

    def said(self, text: str, thought: dict[str, str]) -> dict[str, Any]:
        return {"response": text, **thought}

    def prompt_tokens(self, body: dict[str, Any]) -> int:
        return words_in(body["prompt"])


class Rag:
    """/query/stream and /query: the steps before the first token, then one event a token."""

    content_type = "text/event-stream"
    garbage = http_chunk(b"data: {this is not JSON\n\n")

    def __init__(self, scenario: Scenario, *, streaming: bool) -> None:
        self.scenario, self.streaming = scenario, streaming
        self.token = sse({"token": WORD * scenario.chunk_tokens})
        self.opening = sse({"step": "embedding", "seconds": scenario.embedding_ms / 1e3}) + sse(
            {"step": "retrieval", "seconds": scenario.retrieval_ms / 1e3, "retrieved": scenario.retrieved}
        )

    def ask(self, body: dict[str, Any]) -> Ask:
        return Ask(None, words_in(body["query"]), int(body.get("max_tokens", 256)), self.streaming, True)

    def chunk(self, _ask: Ask, _so_far: int, _reasoning: bool) -> bytes:
        return self.token

    def ended(self, ask: Ask, tokens: int) -> dict[str, Any]:
        counted = {"prompt_tokens": ask.prompt_tokens, "output_tokens": tokens} if self.scenario.usage else {}
        inference = {"inference": self.scenario.ttft_ms / 1e3}
        return {"done": True, "model": self.scenario.model, "steps": inference, **counted}

    def closing(self, ask: Ask, tokens: int) -> bytes:
        return sse(self.ended(ask, tokens)) + http_chunk(b"data: [DONE]\n\n")

    def whole(self, ask: Ask, tokens: int) -> dict[str, Any]:
        steps = {"embedding": self.scenario.embedding_ms / 1e3, "retrieval": self.scenario.retrieval_ms / 1e3}
        found = self.ended(ask, tokens)
        return {**found, "answer": WORD * tokens, "retrieved": self.scenario.retrieved, "steps": steps | found["steps"]}


SimRoute = Chat | Tgi | OllamaChat | Rag


def routes(scenario: Scenario) -> dict[bytes, SimRoute]:
    """A route for every path that answers."""
    return {
        b"/v1/chat/completions": Chat(scenario),
        b"/v1/completions": Completion(scenario),
        b"/generate_stream": Tgi(scenario, streaming=True),
        b"/generate": Tgi(scenario, streaming=False),
        b"/api/chat": OllamaChat(scenario),
        b"/api/generate": OllamaGenerate(scenario),
        b"/query/stream": Rag(scenario, streaming=True),
        b"/query": Rag(scenario, streaming=False),
    }
