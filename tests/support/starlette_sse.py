"""An OpenAI-style server as many are written: Starlette, sse-starlette (lines end in CR LF), a token every few milliseconds."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from sse_starlette.sse import EventSourceResponse
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

TOKENS, TTFT_S, ITL_S = 16, 0.04, 0.005


def _chunk(delta: dict[str, str], **more: Any) -> dict[str, str]:
    row = {
        "id": "c",
        "model": "m",
        "choices": [{"index": 0, "delta": delta, "finish_reason": more.pop("stop", None)}],
        **more,
    }
    return {"data": json.dumps(row)}


async def _tokens() -> AsyncIterator[dict[str, str]]:
    await asyncio.sleep(TTFT_S)
    yield _chunk({"role": "assistant", "content": ""})
    for number in range(TOKENS):
        yield _chunk({"content": f" t{number}"})
        await asyncio.sleep(ITL_S)
    yield _chunk({}, stop="stop", usage={"prompt_tokens": 9, "completion_tokens": TOKENS})
    yield {"data": "[DONE]"}


async def chat(request: Request) -> Response:
    await request.json()
    return EventSourceResponse(_tokens())


async def health(_request: Request) -> Response:
    return PlainTextResponse("ok")


app = Starlette(routes=[Route("/v1/chat/completions", chat, methods=["POST"]), Route("/health", health)])
