"""A path of a given length: a TCP relay that hands on every piece of data so much later, each way.

`python -m tests.support.relay HOST:PORT DELAY_MS` prints its port. Pieces keep their distances; nothing is joined or cut
that was not read so.
"""

from __future__ import annotations

import asyncio
import sys


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay_s: float) -> None:
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    async def deliver() -> None:
        while True:
            due, data = await queue.get()
            await asyncio.sleep(max(0.0, due - loop.time()))
            if not data:
                writer.close()
                return
            writer.write(data)

    sender = asyncio.create_task(deliver())
    try:
        while data := await reader.read(65_536):
            queue.put_nowait((loop.time() + delay_s, data))
    except ConnectionError:
        pass
    queue.put_nowait((loop.time() + delay_s, b""))
    await sender


async def serve(host: str, port: int, delay_s: float) -> None:
    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(host, port)
        await asyncio.gather(_pipe(reader, back, delay_s), _pipe(there, writer, delay_s), return_exceptions=True)

    server = await asyncio.start_server(client, "127.0.0.1", 0, backlog=512)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    target, _, at = sys.argv[1].rpartition(":")
    asyncio.run(serve(target, int(at), float(sys.argv[2]) / 1000))
