"""Entry point: watches, queue workers, resync and the HTTP server in one event loop."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import time

import kopf
from aiohttp import web

from tokenmark_schemas.errors import TokenmarkError

from .access import certificate, renewed_for_ever
from .core.controller import Controller
from .core.counters import Counters
from .core.kube import ApiError, ClusterUnavailable, Kube
from .core.watch import build_registry, build_settings
from .kinds.registry import KINDS
from .kinds.sources import Sources
from .serve import application
from .settings import Settings

log = logging.getLogger("tokenmark.operator")


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["error"] = self.formatException(record.exc_info)
        return json.dumps(entry)


def configure_logging() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for noisy in ("kopf.objects", "kopf.activities", "aiohttp.access", "asyncio"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


async def resync_for_ever(controller: Controller, period_s: float) -> None:
    """A LIST every period; an unreachable API server is waited for."""
    while True:
        try:
            await controller.resync()
        except (ClusterUnavailable, ApiError) as exc:
            log.warning("resync: %s", exc)
            await asyncio.sleep(2)
            continue
        await asyncio.sleep(period_s)


async def operate(settings: Settings) -> None:
    """Runs until kopf ends (on SIGTERM or SIGINT)."""
    kube, counters = Kube(), Counters()
    await kube.open()
    controller = Controller(kube, settings, counters, KINDS, Sources)
    flag = asyncio.Event()
    tasks = [
        asyncio.create_task(controller.queue.work(controller.handle), name=f"worker-{i}")
        for i in range(settings.reconcilers)
    ]
    tasks.append(asyncio.create_task(resync_for_ever(controller, settings.resync_s), name="resync"))
    runner = web.AppRunner(
        application(controller, tasks, lambda: flag.is_set() and controller.resynced_at is not None), access_log=None
    )
    await runner.setup()
    tls = certificate(settings.tls_folder) if settings.tls_folder else None
    if tls:
        tasks.append(asyncio.create_task(renewed_for_ever(tls, settings.tls_folder), name="certificate"))
    await web.TCPSite(runner, port=settings.listen_port, ssl_context=tls).start()
    log.info("watching %s", ", ".join(settings.namespaces) or "all namespaces")
    try:
        await kopf.operator(
            registry=build_registry(controller), settings=build_settings(), standalone=True, clusterwide=not settings.namespaces,
            namespaces=list(settings.namespaces), ready_flag=flag,
            identity="tokenmark-operator",  # type: ignore[arg-type] # else kopf asks for a user name, which a pod has not
        )  # fmt: skip
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await controller.followers.close()
        await runner.cleanup()
        await kube.close()


def main() -> None:
    configure_logging()
    try:
        settings = Settings.from_env(os.environ)
        asyncio.run(operate(settings))
    except TokenmarkError as exc:
        log.error("%s", exc)
        sys.exit(exc.exit_code)


if __name__ == "__main__":
    main()
