"""POST /query/stream and /query, /metrics, /health: a question's steps are told as they end."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import aiohttp
from aiohttp import web
from prometheus_client import disable_created_metrics, generate_latest

from .embedding import Embedder
from .generation import Engine, EngineFailed, Usage
from .passages import Passages
from .settings import Settings
from .telemetry import Telemetry

disable_created_metrics()  # type: ignore[no-untyped-call]  # the names of its metrics are a contract, and hold no more
MOST_BODY_BYTES, MOST_QUERY, MOST_K, MOST_TOKENS = 65_536, 8192, 50, 4096


class BadQuestion(Exception):
    """What is wrong with a body, in a sentence."""


@dataclass(frozen=True)
class Question:
    query: str
    k: int
    max_tokens: int
    docset: str

    @classmethod
    def of(cls, body: Any, docset: str) -> Question:
        """Raises BadQuestion."""
        if not isinstance(body, dict) or not isinstance(body.get("query"), str) or not body["query"].strip():
            raise BadQuestion("query is missing: the question, as text")
        for name, most in (("k", MOST_K), ("max_tokens", MOST_TOKENS)):
            value = body.get(name, 1)
            if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
                raise BadQuestion(f"{name} is a whole number from 1 to {most}")
        if len(body["query"]) > MOST_QUERY:
            raise BadQuestion(f"query is longer than {MOST_QUERY} characters")
        return cls(body["query"], body.get("k", 5), body.get("max_tokens", 256), str(body.get("docset") or docset))


class Service:
    def __init__(self, settings: Settings, embedder: Embedder, passages: Passages, engine: Engine) -> None:
        self._settings, self._embedder, self._passages, self._engine = settings, embedder, passages, engine
        self._telemetry = Telemetry()

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/query/stream", self.stream), web.post("/query", self.whole), web.get("/metrics", self.metrics),
            web.get("/health", self.health),
        ]  # fmt: skip

    async def events(self, question: Question) -> AsyncIterator[dict[str, Any]]:
        """Steps, tokens, the end; or an error as the last one. What it took is observed when it is over."""
        began = time.perf_counter()
        steps: dict[str, float] = {}
        usage, first_s = Usage(), None
        try:
            vector = (await asyncio.to_thread(self._embedder.vectors, [question.query]))[0]
            steps["embedding"] = time.perf_counter() - began
            yield {"step": "embedding", "seconds": round(steps["embedding"], 9)}
            at = time.perf_counter()
            found = await self._passages.nearest(question.docset, vector, question.k)
            steps["retrieval"] = time.perf_counter() - at
            sources = list(dict.fromkeys(p.source for p in found))
            told = {"retrieved": len(found), "sources": sources}
            yield {"step": "retrieval", "seconds": round(steps["retrieval"], 9), **told}
            at = time.perf_counter()
            async for text in self._engine.answer(question.query, found, question.max_tokens, usage):
                if first_s is None:
                    first_s = time.perf_counter() - began
                    yield {"token": text, "step": "inference", "seconds": round(time.perf_counter() - at, 9)}
                else:
                    yield {"token": text}
            if first_s is None:
                raise EngineFailed("the engine answered without a text")
        except EngineFailed as exc:
            self._telemetry.failed()
            yield {"error": {"message": str(exc)}}
            return
        except BaseException:
            self._telemetry.failed()
            raise
        tokens = usage.output_tokens or usage.chunks
        self._telemetry.answered(steps, first_s, time.perf_counter() - began, tokens, len(found))
        yield {
            "done": True,
            "prompt_tokens": usage.prompt_tokens,
            "output_tokens": usage.output_tokens,
            "model": usage.model,
        }

    async def stream(self, request: web.Request) -> web.StreamResponse:
        question = await self._question(request)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
        await response.prepare(request)
        async for event in self.events(question):
            await response.write(b"data: %b\n\n" % json.dumps(event).encode())
        await response.write(b"data: [DONE]\n\n")
        return response

    async def whole(self, request: web.Request) -> web.Response:
        steps: dict[str, float] = {}
        out: dict[str, Any] = {"answer": ""}
        async for event in self.events(await self._question(request)):
            if "error" in event:
                return web.json_response(event, status=502)
            if "step" in event:
                steps[event["step"]] = event["seconds"]
            out["answer"] += event.get("token", "")
            out |= {
                key: event[key]
                for key in ("retrieved", "sources", "prompt_tokens", "output_tokens", "model")
                if key in event
            }
        return web.json_response({**out, "steps": steps})

    async def _question(self, request: web.Request) -> Question:
        try:
            return Question.of(await request.json(), self._settings.docset)
        except (BadQuestion, ValueError) as exc:
            said = str(exc) if isinstance(exc, BadQuestion) else "the body is no JSON"
            raise web.HTTPBadRequest(
                text=json.dumps({"error": {"message": said}}), content_type="application/json"
            ) from None

    async def metrics(self, _request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self._telemetry.registry), content_type="text/plain")

    async def health(self, _request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})


async def application(settings: Settings, database: str) -> web.Application:
    """Passages in place, routes ready."""
    embedder, passages = Embedder(), Passages(database)
    await passages.open()
    count = await passages.fill(settings.docset, settings.documents, embedder)
    timeout = aiohttp.ClientTimeout(total=settings.engine_timeout_s, connect=10)
    session = aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0))
    service = Service(settings, embedder, passages, Engine(session, settings.engine_url, settings.model))
    app = web.Application(client_max_size=MOST_BODY_BYTES)
    app.add_routes(service.routes())

    async def closed(_: web.Application) -> None:
        await session.close()
        await passages.close()

    app.on_cleanup.append(closed)
    print(f"{count} passages of docset {settings.docset}", flush=True)
    return app
