"""The answer, from an engine that speaks OpenAI's chat route, as it comes."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from .passages import Passage

ASK = "Answer the question by these passages, in a few sentences.\n\n{passages}\n\nQuestion: {question}"
TRIES = 3  # of one question


class EngineFailed(Exception):
    """The engine's own words, or what kept it from answering."""


@dataclass
class Usage:
    """What the engine counted; None where it does not."""

    prompt_tokens: int | None = None
    output_tokens: int | None = None
    model: str | None = None
    chunks: int = field(default=0)


class Engine:
    def __init__(self, session: aiohttp.ClientSession, url: str, model: str) -> None:
        self._session, self._url, self._model = session, url, model

    async def answer(
        self, question: str, passages: Sequence[Passage], max_tokens: int, usage: Usage
    ) -> AsyncIterator[str]:
        """Pieces of text. Raises EngineFailed."""
        body = {
            "model": self._model, "stream": True, "stream_options": {"include_usage": True}, "max_tokens": max_tokens, "temperature": 0,
            "messages": [{"role": "user", "content": ASK.format(passages="\n\n".join(p.body for p in passages), question=question)}],
        }  # fmt: skip
        try:
            async with await self._asked(body) as answer:
                if answer.status != 200:
                    raise EngineFailed(f"the engine answered {answer.status}: {(await answer.text())[:200]}")
                async for line in answer.content:
                    if text := _taken(line, usage):
                        yield text
        except (aiohttp.ClientError, TimeoutError, ValueError) as exc:
            raise EngineFailed(f"the engine at {self._url} did not answer: {type(exc).__name__}: {exc}") from exc

    async def _asked(self, body: dict[str, Any]) -> aiohttp.ClientResponse:
        """The head of an answer. A kept connection may be closed by the engine in the moment in which it is taken, as llama-server
        does once in some fifty times: nothing of an answer has come then, and the question goes out again."""
        for _ in range(TRIES - 1):
            with contextlib.suppress(aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
                return await self._session.post(f"{self._url}/v1/chat/completions", json=body)
        return await self._session.post(f"{self._url}/v1/chat/completions", json=body)


def _taken(line: bytes, usage: Usage) -> str:
    """The text of one event; what it counts goes into `usage`."""
    if not line.startswith(b"data:") or line.strip() == b"data: [DONE]":
        return ""
    event: dict[str, Any] = json.loads(line[5:])
    if "error" in event:
        raise EngineFailed(str(event["error"])[:300])
    usage.model = event.get("model") or usage.model
    if counted := event.get("usage"):
        usage.prompt_tokens, usage.output_tokens = counted.get("prompt_tokens"), counted.get("completion_tokens")
    choices = event.get("choices") or [{}]
    text = (choices[0].get("delta") or {}).get("content") or ""
    usage.chunks += bool(text)
    return str(text)
