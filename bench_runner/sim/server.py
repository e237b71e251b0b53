"""The simulator: one epoll loop, absolute due times, truth logged per request.

Chunk k of an answer is due at (request fully read) + offset k; nothing accumulates drift. The log holds when each
chunk was really handed to the kernel, and the simulator prints its own lateness: it is an instrument too.
"""

from __future__ import annotations

import gc
import heapq
import json
import socket
import sys
import time
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from tokenmark_schemas.errors import InvalidInput

from ..load.poll import READ, WRITE, new_poller
from .scenario import Scenario, Script, script

mono = time.monotonic_ns
MAX_REQUEST_BYTES = 16 * 2**20
DONE = b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"
STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\nCache-Control: no-cache\r\n\r\n"


@dataclass(slots=True)
class Answer:
    """One answer on its way."""

    id: str
    script: Script
    read_ns: int
    streaming: bool
    usage: bool
    prompt_tokens: int
    sent_ns: array[int] = field(default_factory=lambda: array("q"))
    k: int = 0


class Client:
    """One connection."""

    __slots__ = ("answer", "closing", "fd", "inbox", "outbox", "sock")

    def __init__(self, sock: socket.socket) -> None:
        self.sock, self.fd = sock, sock.fileno()
        self.inbox, self.outbox = bytearray(), bytearray()
        self.answer: Answer | None = None
        self.closing = False


class Simulator:
    """Serve until `stop()`; `truth` gets one dict for each answer that ended."""

    def __init__(
        self,
        scenario: Scenario,
        host: str = "127.0.0.1",
        port: int = 0,
        truth: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        self.scenario, self.truth = scenario, truth
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.listener = socket.socket(family, socket.SOCK_STREAM)
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self.listener.bind((host, port))
        except OSError as exc:
            raise InvalidInput(f"cannot listen on {host}:{port}: {exc.strerror}; choose another --listen") from exc
        self.listener.listen(4096)
        self.listener.setblocking(False)
        self.port: int = self.listener.getsockname()[1]
        self.poller = new_poller()
        self.poller.add(self.listener.fileno(), READ)
        self.clients: dict[int, Client] = {}
        self.due: list[tuple[int, int, Client]] = []
        self.asked = self.served = self.pushed = self.late_max_ns = self.late_sum_ns = self.sent_chunks = 0
        self.running = True
        self._created = int(time.time())
        words = " token" * scenario.chunk_tokens
        self._chunk = _event(self._event({"content": words}))
        self._reasoning = _event(self._event({"reasoning_content": words}))

    def serve(self) -> None:
        """The loop: due chunks first, then the network."""
        gc.freeze()
        listener = self.listener.fileno()
        while self.running:
            self._send_due()
            wait = 0.2 if not self.due else min(0.2, max(0.0, (self.due[0][0] - mono()) / 1e9))
            for fd, mask in self.poller.poll(wait):
                if fd == listener:
                    self._accept()
                elif (client := self.clients.get(fd)) is not None:
                    if mask & WRITE:
                        self._flush(client)
                    if mask & READ:
                        self._read(client)
        for client in list(self.clients.values()):
            self._drop(client)
        self.listener.close()

    def stop(self) -> None:
        self.running = False

    def lateness(self) -> str:
        """How late the simulator itself was, as a sentence."""
        mean = self.late_sum_ns / self.sent_chunks / 1e3 if self.sent_chunks else 0.0
        return (
            f"{self.served} answers, {self.sent_chunks} chunks; own lateness mean {mean:.0f} µs, "
            f"max {self.late_max_ns / 1e6:.2f} ms"
        )

    # --- sending ----------------------------------------------------------------------------------------------------

    def _send_due(self) -> None:
        due = self.due
        while due and due[0][0] <= mono():
            at, _, client = heapq.heappop(due)
            answer = client.answer
            if answer is None or client.fd not in self.clients:
                continue
            self._step(client, answer, at)

    def _step(self, client: Client, answer: Answer, due_ns: int) -> None:
        """Sends the chunk that is due and plans the next."""
        late = mono() - due_ns
        self.late_sum_ns += late
        self.late_max_ns = max(self.late_max_ns, late)
        self.sent_chunks += 1
        if answer.script.abort_at is not None and answer.k >= answer.script.abort_at:
            self._end(client, answer, "aborted")
            self._drop(client)
            return
        if not answer.streaming:
            answer.sent_ns.append(mono())
            self._write(client, self._whole(answer))
            self._end(client, answer, "ok")
            return
        chunk = self._reasoning if answer.k < self.scenario.reasoning_tokens else self._chunk
        answer.sent_ns.append(mono())
        self._write(client, chunk)
        answer.k += 1
        if answer.k < len(answer.script.offsets_ns):
            self._plan(client, answer.read_ns + answer.script.offsets_ns[answer.k])
        else:
            self._write(client, self._closing(answer))
            self._end(client, answer, "ok")

    def _plan(self, client: Client, at_ns: int) -> None:
        self.pushed += 1
        heapq.heappush(self.due, (at_ns, self.pushed, client))

    def _closing(self, answer: Answer) -> bytes:
        end = _event(self._event({}, finish="length"))
        if answer.usage:
            end += _event({**self._event(None), "usage": self._usage(answer)})
        return end + DONE

    def _usage(self, answer: Answer) -> dict[str, int]:
        tokens = answer.script.tokens
        return {
            "prompt_tokens": answer.prompt_tokens,
            "completion_tokens": tokens,
            "total_tokens": answer.prompt_tokens + tokens,
        }

    def _event(self, delta: dict[str, Any] | None, finish: str | None = None) -> dict[str, Any]:
        choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
        return {
            "id": "chatcmpl-sim", "object": "chat.completion.chunk", "created": self._created,
            "model": self.scenario.model, "choices": choices,
        }  # fmt: skip

    def _whole(self, answer: Answer) -> bytes:
        message = {"role": "assistant", "content": " token" * answer.script.tokens}
        body = {
            "id": "chatcmpl-sim", "object": "chat.completion", "created": self._created, "model": self.scenario.model,
            "choices": [{"index": 0, "message": message, "finish_reason": "length"}], "usage": self._usage(answer),
        }  # fmt: skip
        return _response(200, body)

    def _end(self, client: Client, answer: Answer, how: str) -> None:
        self.served += 1
        client.answer = None
        if self.truth is not None:
            self.truth(
                {
                    "id": answer.id, "outcome": how, "tokens": answer.script.tokens, "read_ns": answer.read_ns,
                    "sent_ns": list(answer.sent_ns), "late_ns": [
                        sent - answer.read_ns - offset
                        for sent, offset in zip(answer.sent_ns, answer.script.offsets_ns, strict=False)
                    ],
                }
            )  # fmt: skip

    # --- network ----------------------------------------------------------------------------------------------------

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self.listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            client = Client(sock)
            self.clients[client.fd] = client
            self.poller.add(client.fd, READ)

    def _read(self, client: Client) -> None:
        try:
            data = client.sock.recv(262_144)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data or len(client.inbox) > MAX_REQUEST_BYTES:
            self._drop(client)
            return
        client.inbox += data
        if client.answer is None:
            self._request(client)

    def _request(self, client: Client) -> None:
        """Starts the answer once a request is complete."""
        end = client.inbox.find(b"\r\n\r\n")
        if end < 0:
            return
        first, *lines = bytes(client.inbox[:end]).split(b"\r\n")
        headers = {n.strip().lower(): v.strip() for n, _, v in (line.partition(b":") for line in lines)}
        length = headers.get(b"content-length", b"0")
        size = int(length) if length.isdigit() else 0
        if len(client.inbox) < end + 4 + size:
            return
        body = bytes(client.inbox[end + 4 : end + 4 + size])
        del client.inbox[: end + 4 + size]
        self._answer(client, first, headers, body)

    def _answer(self, client: Client, first: bytes, headers: dict[bytes, bytes], body: bytes) -> None:
        path = first.split(b" ")[1] if first.count(b" ") >= 2 else b"/"
        if path in (b"/health", b"/"):
            self._write(client, _response(200, {"status": "ok"}))
        elif path == b"/v1/models":
            self._write(
                client, _response(200, {"object": "list", "data": [{"id": self.scenario.model, "object": "model"}]})
            )
        elif path != b"/v1/chat/completions":
            self._write(client, _problem(404, f"no such path: {path.decode('latin-1')}"))
        elif self.scenario.api_token and headers.get(b"authorization") != f"Bearer {self.scenario.api_token}".encode():
            self._write(client, _problem(401, "invalid or missing API key"))
        else:
            self._chat(client, headers, body)

    def _chat(self, client: Client, headers: dict[bytes, bytes], body: bytes) -> None:
        try:
            asked = msgspec.json.decode(body)
            model, prompt = asked["model"], asked["messages"]
            max_tokens = int(asked.get("max_tokens", 16))
        except (msgspec.DecodeError, KeyError, TypeError, ValueError):
            self._write(client, _problem(400, "the body must be JSON with model and messages"))
            return
        if model != self.scenario.model:
            self._write(
                client, _problem(404, f"the model `{model}` does not exist; this server has `{self.scenario.model}`")
            )
            return
        plan = script(self.scenario, self.asked, max_tokens)
        self.asked += 1
        if plan.status != 200:
            self._write(client, _problem(plan.status, "injected error"))
            return
        streaming = bool(asked.get("stream"))
        if not streaming:
            plan.offsets_ns = plan.offsets_ns[-1:]
        client.answer = Answer(
            id=headers.get(b"x-request-id", b"").decode("latin-1"),
            script=plan,
            read_ns=mono(),
            streaming=streaming,
            usage=self.scenario.usage and bool((asked.get("stream_options") or {}).get("include_usage")),
            prompt_tokens=sum(len(str(m.get("content", "")).split()) for m in prompt),
        )
        if streaming:
            role = _event(self._event({"role": "assistant", "content": ""})) if self.scenario.role_chunk else b""
            self._write(client, STREAM_HEAD + role)
        self._plan(client, client.answer.read_ns + plan.offsets_ns[0])

    def _write(self, client: Client, data: bytes) -> None:
        if client.outbox:
            client.outbox += data
            return
        try:
            sent = client.sock.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._drop(client)
            return
        if sent < len(data):
            client.outbox += data[sent:]
            self.poller.modify(client.fd, READ | WRITE)

    def _flush(self, client: Client) -> None:
        try:
            del client.outbox[: client.sock.send(client.outbox)]
        except BlockingIOError:
            return
        except OSError:
            self._drop(client)
            return
        if not client.outbox:
            self.poller.modify(client.fd, READ)

    def _drop(self, client: Client) -> None:
        if self.clients.pop(client.fd, None) is not None:
            if client.answer is not None:
                self._end(client, client.answer, "cancelled")
            self.poller.remove(client.fd)
            client.sock.close()


def _event(event: dict[str, Any]) -> bytes:
    data = b"data: %b\n\n" % msgspec.json.encode(event)
    return b"%x\r\n%b\r\n" % (len(data), data)


_REASONS = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found", 429: "Too Many Requests"}


def _response(status: int, body: dict[str, Any]) -> bytes:
    data = msgspec.json.encode(body)
    head = f"HTTP/1.1 {status} {_REASONS.get(status, 'Error')}\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
    return head.encode() + data


def _problem(status: int, message: str) -> bytes:
    return _response(status, {"error": {"message": message, "type": "sim", "code": status}})


def truth_file(path: Path) -> Callable[[dict[str, Any]], None]:
    """A truth sink that appends JSON lines."""
    file = path.open("w", buffering=1)
    return lambda row: print(json.dumps(row), file=file)


def announce(simulator: Simulator, host: str) -> None:
    """Tells where it listens, on stderr."""
    print(
        f"simulator listens on http://{host}:{simulator.port}, model {simulator.scenario.model}",
        file=sys.stderr,
        flush=True,
    )
