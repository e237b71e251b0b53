"""`python -m tokenmark_rag`: everything it needs to know is in the environment."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys

from aiohttp import web

from .database import NoDatabase, postgres
from .service import application
from .settings import BadSettings, Settings


async def serve(settings: Settings, url: str) -> None:
    runner = web.AppRunner(await application(settings, url), access_log=None, shutdown_timeout=5)
    await runner.setup()
    site = web.TCPSite(runner, settings.host, settings.port)
    await site.start()
    port = runner.addresses[0][1]
    print(f"rag backend listens on http://{settings.host}:{port}, engine {settings.engine_url}", flush=True)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()
    await runner.cleanup()


def main() -> int:
    try:
        settings = Settings.of_environment()
    except BadSettings as exc:
        print(f"tokenmark_rag: {exc}", file=sys.stderr)
        return 2
    held = contextlib.nullcontext(settings.database) if settings.database is not None else postgres(settings.data)
    try:
        with held as url:
            asyncio.run(serve(settings, url))
    except NoDatabase as exc:
        print(f"tokenmark_rag: {exc}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
