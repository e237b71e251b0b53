"""`POST /benchmark/run`: makes a BenchmarkRun of the chart's template, and nothing else.

For pipelines that have a URL and a token, and no kubeconfig. Off unless the chart mounts a token; that file is read at every
request, so that a token is renewed without a restart. What may be asked for is a closed list: a body cannot name another target.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import secrets
import time
from pathlib import Path
from typing import Annotated, Any

import yaml
from aiohttp import web
from pydantic import Field, ValidationError

from tokenmark_schemas.base import Contract, Text253
from tokenmark_schemas.benchmarkrun import BenchmarkRun
from tokenmark_schemas.kube import API_VERSION
from tokenmark_schemas.problems import problems_of

from .core.cache import Cache
from .core.kube import RUNS, ApiError, ClusterUnavailable, Kube
from .shared.admission import is_finished

log = logging.getLogger("tokenmark.operator")
PATH = "/benchmark/run"
LABEL = {"tokenmark.dev/trigger": "http"}
MOST_WAITING, MOST_BODY_BYTES = 10, 4096
WATCH_S = 60.0  # by then a watch has told of a run, or it is gone


class Asked(Contract):
    """The body. What is left out is the template's."""

    max_output_tokens: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    warmup_requests: Annotated[int, Field(ge=0, le=100_000)] | None = None
    concurrency: Annotated[int, Field(ge=1, le=10_000)] | None = None
    requests: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    duration_seconds: Annotated[int, Field(ge=1, le=86_400)] | None = None
    repetitions: Annotated[int, Field(ge=1, le=50)] | None = None
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None
    purpose: Text253 | None = None
    labels: Annotated[
        dict[Annotated[str, Field(max_length=63)], Annotated[str, Field(max_length=63)]], Field(max_length=16)
    ] = {}


def plan_triggered_run(template: dict[str, Any], asked: Asked, namespace: str, token: str) -> dict[str, Any]:
    """Template and body -> the object (pure). Raises ValueError, in sentences, where it would be none."""
    spec = {**template}
    for field, value in (
        ("maxOutputTokens", asked.max_output_tokens),
        ("repetitions", asked.repetitions),
        ("seed", asked.seed),
        ("purpose", asked.purpose),
    ):
        if value is not None:
            spec[field] = value
    if asked.warmup_requests is not None:
        spec["warmup"] = {"requestCount": asked.warmup_requests, "durationSeconds": 0}
    if asked.concurrency or asked.requests or asked.duration_seconds:
        spec["stages"] = [_stage(spec.get("stages"), asked)]
    if asked.labels:
        environment = dict(spec.get("environment") or {})
        spec["environment"] = {**environment, "labels": {**(environment.get("labels") or {}), **asked.labels}}
    run = {
        "apiVersion": API_VERSION, "kind": "BenchmarkRun",
        "metadata": {"name": f"triggered-{token}", "namespace": namespace, "labels": LABEL}, "spec": spec,
    }  # fmt: skip
    try:
        BenchmarkRun.model_validate(run)
    except ValidationError as exc:
        raise ValueError("; ".join(str(problem) for problem in problems_of(exc, BenchmarkRun))) from None
    return run


def _stage(stages: list[dict[str, Any]] | None, asked: Asked) -> dict[str, Any]:
    """The template's first, at another load. A load or an end that the body names takes the place of the template's."""
    stage = dict((stages or [{"concurrency": 1, "durationSeconds": 30}])[0])
    if asked.concurrency:
        for other in ("requestRate", "arrival", "burstiness", "rampTo", "trace"):
            stage.pop(other, None)
        stage |= {"name": f"c{asked.concurrency}", "concurrency": asked.concurrency}
    if asked.requests or asked.duration_seconds:
        stage.pop("requestCount", None)
        stage.pop("durationSeconds", None)
        stage |= {"requestCount": asked.requests} if asked.requests else {}
        stage |= {"durationSeconds": asked.duration_seconds} if asked.duration_seconds else {}
    return {"name": "triggered", **stage}


class Trigger:
    """`token` and `template` are files: what a request has to show, and the spec of the runs that it makes."""

    def __init__(self, kube: Kube, cache: Cache, namespace: str, token: Path, template: Path) -> None:
        self._kube, self._cache, self._namespace, self._token, self._template = kube, cache, namespace, token, template
        self._turn, self._new = (
            asyncio.Lock(),
            dict[str, float](),
        )  # one at a time, and what it made that the watch has not told of

    async def __call__(self, request: web.Request) -> web.Response:
        if not self._known(request.headers.get("Authorization", "")):
            return _said(401, "show the trigger's token: Authorization: Bearer …")
        try:
            asked = Asked.model_validate_json(await request.read() or b"{}")
            run = plan_triggered_run(self._spec(), asked, self._namespace, secrets.token_hex(4))
        except web.HTTPRequestEntityTooLarge:
            return _said(413, f"the body is longer than {MOST_BODY_BYTES} bytes")
        except ValidationError as exc:
            return _said(400, "; ".join(str(problem) for problem in problems_of(exc, Asked)))
        except ValueError as exc:
            return _said(400, str(exc))
        async with self._turn:
            if (waiting := self._waiting()) >= MOST_WAITING:
                return _said(429, f"{waiting} runs of this trigger are not over; wait for them")
            return await self._make(run)

    async def _make(self, run: dict[str, Any]) -> web.Response:
        try:
            made = await self._kube.create(RUNS, self._namespace, run)
        except ApiError as exc:
            return _said(422 if exc.status < 500 else 502, f"the API server refuses the run: {exc.message}")
        except ClusterUnavailable as exc:
            return _said(503, f"the API server is away: {exc}")
        meta = made["metadata"]
        self._new[meta["name"]] = time.monotonic()
        log.info("triggered: BenchmarkRun %s/%s", meta["namespace"], meta["name"])
        said = {"namespace": meta["namespace"], "name": meta["name"], "uid": meta["uid"]}
        return web.json_response(said, status=201)

    def _known(self, header: str) -> bool:
        scheme, _, shown = header.partition(" ")
        wanted = self._token.read_text().strip()
        return (
            scheme.lower() == "bearer"
            and len(wanted) >= 16
            and hmac.compare_digest(shown.strip().encode("utf-8", "surrogateescape"), wanted.encode())
        )

    def _waiting(self) -> int:
        """With those that the watch has not told of yet."""
        runs = self._cache.of_kind("BenchmarkRun")
        mine = [run for run in runs if (run["metadata"].get("labels") or {}).items() >= LABEL.items()]
        told, old = {run["metadata"]["name"] for run in runs}, time.monotonic() - WATCH_S
        self._new = {name: made for name, made in self._new.items() if name not in told and made > old}
        return len(self._new) + sum(not is_finished(run) for run in mine)

    def _spec(self) -> dict[str, Any]:
        found = yaml.safe_load(self._template.read_text())
        return found if isinstance(found, dict) else {}


def _said(status: int, message: str) -> web.Response:
    return web.Response(text=json.dumps({"error": message}) + "\n", status=status, content_type="application/json")
