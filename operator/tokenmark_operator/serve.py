"""`/metrics`, `/healthz`, `/readyz`, and the trigger where there is one.

`/healthz` fails where only a restart helps: a watch that tells nothing, a queue that does not move, a task that died.
An API server that is down is no reason: it comes back, and so do we.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from aiohttp import web
from prometheus_client import CollectorRegistry, exposition

from .access import Reviewed, guarded
from .core.controller import Controller
from .telemetry.projection import Projection
from .trigger import MOST_BODY_BYTES, Trigger
from .trigger import PATH as TRIGGER

STUCK_S = 180.0


def unhealthy(controller: Controller, tasks: list[asyncio.Task[None]]) -> str | None:
    """Why a restart would help; None when it would not."""
    if controller.cache.dead_watch:
        return controller.cache.dead_watch
    if controller.queue.oldest_s > STUCK_S:
        return f"the oldest object has waited {controller.queue.oldest_s:.0f} s for a worker"
    ended = [task.get_name() for task in tasks if task.done()]
    return f"ended unexpectedly: {', '.join(ended)}" if ended else None


def application(controller: Controller, tasks: list[asyncio.Task[None]], ready: Callable[[], bool]) -> web.Application:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(
        Projection(
            controller.cache,
            controller.queue,
            controller.kube,
            controller.counters,
            controller.followers.progress_of,
            controller.settings.newest_runs,
        )
    )

    async def metrics(_request: web.Request) -> web.StreamResponse:
        page = web.Response(
            body=exposition.generate_latest(registry), headers={"Content-Type": exposition.CONTENT_TYPE_LATEST}
        )
        page.enable_compression()  # for who accepts it, as Prometheus does: a twentieth of the bytes
        return page

    async def healthz(_request: web.Request) -> web.Response:
        why = unhealthy(controller, tasks)
        return web.Response(text=why or "ok", status=500 if why else 200)

    async def readyz(_request: web.Request) -> web.Response:
        is_ready = ready()
        return web.Response(text="ok" if is_ready else "not yet", status=200 if is_ready else 503)

    app = web.Application(client_max_size=MOST_BODY_BYTES)
    page = guarded(metrics, Reviewed(controller.kube)) if controller.settings.metrics_review else metrics
    app.add_routes([web.get("/metrics", page), web.get("/healthz", healthz), web.get("/readyz", readyz)])
    if controller.settings.trigger_namespace:
        folder = Path(controller.settings.trigger_folder)
        trigger = Trigger(
            controller.kube,
            controller.cache,
            controller.settings.trigger_namespace,
            folder / "token/token",
            folder / "template/run.yaml",
        )
        app.add_routes([web.post(TRIGGER, trigger)])
    return app
