"""Servers of every legal shape of a streamed answer: what real engines and what stands before them do with the same tokens.

`python -m tests.support.shapes SHAPE --truth FILE` serves one shape; every answer is a row of the truth file: when each token
was really written. A shape is a function from events to writes: (milliseconds after the write before, bytes, tokens in it).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

TTFT_MS, ITL_MS, TOKENS = 30.0, 5.0, 24
MODEL = "shape"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
Write = tuple[float, bytes, int]
Shape = Callable[[int], Iterator[Write]]


def event(delta: dict[str, str], end: bytes = b"\n\n", before: bytes = b"", **more: object) -> bytes:
    row = {
        "id": "c",
        "object": "chat.completion.chunk",
        "model": MODEL,
        "choices": [{"index": 0, "delta": delta}],
        **more,
    }
    return before + b"data: " + json.dumps(row).encode() + end


ROLE = event({"role": "assistant", "content": ""})


def token(number: int, **more: object) -> bytes:
    return event({"content": f" t{number}"}, **more)  # type: ignore[arg-type]


def stop(tokens: int, end: bytes = b"\n\n") -> bytes:
    row = {"id": "c", "model": MODEL, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    usage = {"id": "c", "model": MODEL, "choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": tokens}}
    return b"".join(b"data: " + json.dumps(part).encode() + end for part in (row, usage)) + b"data: [DONE]" + end


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


LAST = b"0\r\n\r\n"


def plain(n: int) -> Iterator[Write]:
    yield TTFT_MS / 2, CHUNKED + chunk(ROLE), 0
    yield TTFT_MS / 2, chunk(token(0)), 1
    for k in range(1, n):
        yield ITL_MS, chunk(token(k)), 1
    yield 0, chunk(stop(n)) + LAST, 0


def role_with_first(n: int) -> Iterator[Write]:
    yield TTFT_MS, CHUNKED + chunk(ROLE) + chunk(token(0)), 1
    for k in range(1, n):
        yield ITL_MS, chunk(token(k)), 1
    yield 0, chunk(stop(n)) + LAST, 0


def head_with_first(n: int) -> Iterator[Write]:
    yield TTFT_MS, CHUNKED + chunk(token(0)), 1
    for k in range(1, n):
        yield ITL_MS, chunk(token(k)), 1
    yield 0, chunk(stop(n)), 0
    yield 0.2, LAST, 0


def crlf(n: int) -> Iterator[Write]:
    yield TTFT_MS, CHUNKED + chunk(event({"role": "assistant"}, b"\r\n\r\n") + token(0, end=b"\r\n\r\n")), 1
    for k in range(1, n):
        yield ITL_MS, chunk(token(k, end=b"\r\n\r\n")), 1
    yield 0, chunk(stop(n, b"\r\n\r\n")) + LAST, 0


def three_a_write(n: int) -> Iterator[Write]:
    yield TTFT_MS, CHUNKED + chunk(ROLE), 0
    for k in range(0, n, 3):
        yield 3 * ITL_MS, chunk(token(k) + token(k + 1) + token(k + 2)), 3
    yield 0, chunk(stop(n)) + LAST, 0


def every_third(n: int) -> Iterator[Write]:
    """A proxy that passes on when it has three events: the first with the role and one more."""
    events = [ROLE, *[token(k) for k in range(n)], stop(n)]
    for at in range(0, len(events), 3):
        some = events[at : at + 3]
        tokens = sum(b'"content": " t' in one for one in some)
        yield (TTFT_MS if at == 0 else 3 * ITL_MS), (CHUNKED if at == 0 else b"") + b"".join(map(chunk, some)), tokens
    yield 0.1, LAST, 0


def event_and_id(n: int) -> Iterator[Write]:
    yield TTFT_MS, CHUNKED + chunk(token(0, before=b"event: message\nid: 0\n")), 1
    for k in range(1, n):
        yield ITL_MS, chunk(token(k, before=b"event: message\nid: %d\n" % k)), 1
    yield 0, chunk(stop(n)) + LAST, 0


def comments(n: int) -> Iterator[Write]:
    yield TTFT_MS / 2, CHUNKED + chunk(b": ping\n\n"), 0
    yield TTFT_MS / 2, chunk(token(0)), 1
    for k in range(1, n):
        yield ITL_MS, chunk(b": ping\n\n" + token(k)), 1
    yield 0, chunk(stop(n)) + LAST, 0


def split_writes(n: int) -> Iterator[Write]:
    """Each event in two segments; it is there when the second one is."""
    yield TTFT_MS - 1, CHUNKED, 0
    for k in range(n):
        packed = chunk(token(k))
        yield (1 if k == 0 else ITL_MS - 1), packed[:40], 0
        yield 1, packed[40:], 1
    yield 0, chunk(stop(n)) + LAST, 0


def until_close(n: int) -> Iterator[Write]:
    yield TTFT_MS, HEAD + b"Connection: close\r\n\r\n" + ROLE + token(0), 1
    for k in range(1, n):
        yield ITL_MS, token(k), 1
    yield 0, stop(n), 0


def usage_in_each(n: int) -> Iterator[Write]:
    def counted(k: int) -> bytes:
        return chunk(token(k, usage={"prompt_tokens": 9, "completion_tokens": k + 1}))

    yield TTFT_MS, CHUNKED + chunk(ROLE) + counted(0), 1
    for k in range(1, n):
        yield ITL_MS, counted(k), 1
    yield 0, chunk(stop(n)) + LAST, 0


def all_at_once(n: int) -> Iterator[Write]:
    """A proxy that buffers whole answers."""
    yield TTFT_MS + n * ITL_MS, CHUNKED + b"".join(chunk(token(k)) for k in range(n)) + chunk(stop(n)) + LAST, n


def lines_of_json(n: int) -> Iterator[Write]:
    """Ollama's own route."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"

    def line(text: str, **more: object) -> bytes:
        row = {"model": MODEL, "message": {"role": "assistant", "content": text}, "done": False, **more}
        return chunk(json.dumps(row).encode() + b"\n")

    yield TTFT_MS, head + line(" t0"), 1
    for k in range(1, n):
        yield ITL_MS, line(f" t{k}"), 1
    yield 0, line("", done=True, done_reason="stop", eval_count=n, prompt_eval_count=9) + LAST, 0


SHAPES: dict[str, Shape] = {
    "plain": plain,
    "role_with_first": role_with_first,
    "head_with_first": head_with_first,
    "crlf": crlf,
    "three_a_write": three_a_write,
    "every_third": every_third,
    "event_and_id": event_and_id,
    "comments": comments,
    "split_writes": split_writes,
    "until_close": until_close,
    "usage_in_each": usage_in_each,
    "all_at_once": all_at_once,
    "lines_of_json": lines_of_json,
}


async def _answer(shape: Shape, writer: asyncio.StreamWriter, request_id: str, truth: list[str]) -> None:
    """Writes at absolute times; what is logged is when the write was really made."""
    due, written = time.monotonic(), []
    for wait_ms, data, tokens in shape(TOKENS):
        due += wait_ms / 1000
        if (left := due - time.monotonic()) > 0:
            await asyncio.sleep(left)
        written += [time.monotonic_ns()] * tokens
        writer.write(data)
    await writer.drain()
    truth.append(json.dumps({"id": request_id, "sent_ns": written}) + "\n")


async def _serve(shape: Shape, truth_file: Path) -> None:
    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
                fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
                await reader.readexactly(int(fields.get("content-length", "0")))
                truth: list[str] = []
                await _answer(shape, writer, fields.get("x-request-id", ""), truth)
                with truth_file.open("a") as file:
                    file.writelines(truth)
                if shape is until_close:
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(client, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("--truth", type=Path, required=True)
    arguments = parser.parse_args()
    asyncio.run(_serve(SHAPES[arguments.shape], arguments.truth))


if __name__ == "__main__":
    main()
