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
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from tokenmark_schemas.errors import InvalidInput

from ..load.poll import READ, WRITE, new_poller
from .exposition import Tally
from .routes import Ask, SimRoute, routes
from .scenario import Scenario, Script, script

mono = time.monotonic_ns
MAX_REQUEST_BYTES = 16 * 2**20


@dataclass(slots=True)
class Reply:
    """One answer on its way."""

    id: str
    script: Script
    route: SimRoute
    ask: Ask
    read_ns: int
    head_due_ns: int  # 0 once it went out
    base_ns: int  # what its offsets count from: when it got its slot
    sent_ns: array[int] = field(default_factory=lambda: array("q"))
    k: int = 0


class Client:
    """One connection."""

    __slots__ = ("answer", "closing", "fd", "inbox", "outbox", "sock")

    def __init__(self, sock: socket.socket) -> None:
        self.sock, self.fd = sock, sock.fileno()
        self.inbox, self.outbox = bytearray(), bytearray()
        self.answer: Reply | None = None
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
        self.routes = routes(scenario)
        self.busy = 0
        self.tally = Tally()
        self.before_ns = int((scenario.embedding_ms + scenario.retrieval_ms) * 1e6)  # until an answer begins to be made
        self.queue: deque[tuple[Client, Reply]] = deque()
        self.started = time.monotonic()

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

    def _step(self, client: Client, answer: Reply, due_ns: int) -> None:
        """Sends what is due, and plans what comes next."""
        if answer.head_due_ns:
            self._head(client, answer)
            self._plan(client, max(answer.base_ns + answer.script.offsets_ns[0], mono()))
            return
        late = mono() - due_ns
        self.late_sum_ns += late
        self.late_max_ns = max(self.late_max_ns, late)
        self.sent_chunks += 1
        plan, route, ask = answer.script, answer.route, answer.ask
        if plan.abort_at is not None and answer.k >= plan.abort_at:
            self._end(client, answer, "aborted")
            self._drop(client)
            return
        if not ask.streaming:
            answer.sent_ns.append(mono())
            self._write(client, _response(200, route.whole(ask, plan.tokens)))
            self._end(client, answer, "ok")
            return
        tokens = min(plan.tokens, (answer.k + 1) * self.scenario.chunk_tokens)
        garbled = plan.garbage_at == answer.k
        chunk = route.garbage if garbled else route.chunk(ask, tokens, answer.k < self.scenario.reasoning_tokens)
        answer.sent_ns.append(mono())
        self._write(client, chunk)
        answer.k += 1
        if answer.k < len(plan.offsets_ns):
            self._plan(client, answer.base_ns + plan.offsets_ns[answer.k])
        else:
            self._write(client, route.closing(ask, plan.tokens) + b"0\r\n\r\n")
            self._end(client, answer, "garbage" if plan.garbage_at is not None else "ok")

    def _head(self, client: Client, answer: Reply) -> None:
        answer.head_due_ns = 0
        head = f"HTTP/1.1 200 OK\r\nContent-Type: {answer.route.content_type}\r\nTransfer-Encoding: chunked\r\n\r\n"
        self._write(client, head.encode() + answer.route.opening)

    def _plan(self, client: Client, at_ns: int) -> None:
        self.pushed += 1
        heapq.heappush(self.due, (at_ns, self.pushed, client))

    def _end(self, client: Client, answer: Reply, how: str) -> None:
        self.served += 1
        client.answer = None
        if (client, answer) in self.queue:
            self.queue.remove((client, answer))
        else:
            self.busy -= 1
        read, sent = answer.read_ns, answer.sent_ns or (answer.read_ns,)
        waited_s = max(0, answer.base_ns - read - self.before_ns) / 1e9
        first_s, last_s = (sent[0] - read) / 1e9, (sent[-1] - read) / 1e9
        self.tally.answered(how, answer.ask.prompt_tokens, answer.script.tokens, waited_s, first_s, last_s)
        while self.queue and self.scenario.slots is not None and self.busy < self.scenario.slots:
            self._start(*self.queue.popleft())
        if self.truth is not None:
            self.truth(
                {
                    "id": answer.id, "outcome": how, "tokens": answer.script.tokens, "read_ns": answer.read_ns,
                    "sent_ns": list(answer.sent_ns), "late_ns": [
                        sent - answer.base_ns - offset
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
        model = self.scenario.model
        if path in FACTS:
            self._write(client, _response(200, FACTS[path](model)))
        elif path == b"/metrics":
            self._write(client, _text(self._metrics()))
        elif path == b"/metrics/rag":
            self._write(client, _text(self._rag_metrics()))
        elif path not in self.routes:
            self._write(client, _problem(404, f"no such path: {path.decode('latin-1')}"))
        elif self.scenario.api_token and headers.get(b"authorization") != f"Bearer {self.scenario.api_token}".encode():
            self._write(client, _problem(401, "invalid or missing API key"))
        else:
            self._generate(client, self.routes[path], headers, body)

    def _metrics(self) -> str:
        return self.tally.vllm(self.scenario.model, self.busy, len(self.queue), self.scenario.slots)

    def _rag_metrics(self) -> str:
        steps = {"embedding": self.scenario.embedding_ms / 1e3, "retrieval": self.scenario.retrieval_ms / 1e3}
        return self.tally.rag(steps, self.scenario.retrieved)

    def _generate(self, client: Client, route: SimRoute, headers: dict[bytes, bytes], body: bytes) -> None:
        try:
            ask = route.ask(msgspec.json.decode(body))
        except (msgspec.DecodeError, KeyError, TypeError, ValueError, AttributeError):
            self._write(
                client, _problem(400, "the body must be JSON with a model and a prompt, as this route wants it")
            )
            return
        known = self.scenario.model
        if ask.model is not None and ask.model != known:
            self._write(client, _problem(404, f"the model `{ask.model}` does not exist; this server has `{known}`"))
            return
        plan = script(self.scenario, self.asked, ask.max_tokens, time.monotonic() - self.started)
        self.asked += 1
        if plan.status != 200:
            self._write(client, _problem(plan.status, "injected error", self.scenario.retry_after_s))
            return
        if not ask.streaming:
            plan.offsets_ns = plan.offsets_ns[-1:]
        now = mono()
        head_at = now + int(self.scenario.head_ms * 1e6)
        answer = Reply(
            id=headers.get(b"x-request-id", b"").decode("latin-1"), script=plan, route=route, ask=ask, read_ns=now,
            head_due_ns=head_at if ask.streaming else 0, base_ns=now,
        )  # fmt: skip
        client.answer = answer
        if self.scenario.slots is not None and self.busy >= self.scenario.slots:
            self.queue.append((client, answer))
            return
        self._start(client, answer)

    def _start(self, client: Client, answer: Reply) -> None:
        """The answer has its slot: from here on its times count."""
        self.busy += 1
        now = answer.base_ns = mono() + self.before_ns
        ask, plan = answer.ask, answer.script
        if ask.streaming and not self.scenario.head_ms:
            self._head(client, answer)
        self._plan(client, answer.head_due_ns or now + plan.offsets_ns[0])

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


_REASONS = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found", 429: "Too Many Requests"}


# what says which server this is, as each engine's clients ask for it
FACTS: dict[bytes, Callable[[str], dict[str, Any]]] = {
    b"/": lambda _: {"status": "ok"},
    b"/health": lambda _: {"status": "ok"},
    b"/v1/models": lambda model: {"object": "list", "data": [{"id": model, "object": "model"}]},
    b"/api/version": lambda _: {"version": "sim"},
    b"/api/tags": lambda model: {
        "models": [{"name": model, "size": 1, "details": {"family": "sim", "quantization_level": "F16"}}]
    },
    b"/version": lambda _: {"version": "sim"},
    b"/info": lambda model: {"model_id": model, "version": "sim"},
    b"/props": lambda model: {"model_path": model, "build_info": "sim"},
}


def _response(status: int, body: dict[str, Any], *headers: str) -> bytes:
    data = msgspec.json.encode(body)
    lines = [f"HTTP/1.1 {status} {_REASONS.get(status, 'Error')}", "Content-Type: application/json", *headers,
             f"Content-Length: {len(data)}"]  # fmt: skip
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + data


def _text(body: str) -> bytes:
    data = body.encode()
    return b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%b" % (len(data), data)


def _problem(status: int, message: str, retry_after_s: int | None = None) -> bytes:
    headers = [] if retry_after_s is None else [f"Retry-After: {retry_after_s}"]
    return _response(status, {"error": {"message": message, "type": "sim", "code": status}}, *headers)


def truth_file(path: Path) -> Callable[[dict[str, Any]], None]:
    """A truth sink that appends JSON lines."""
    try:
        file = path.open("w", buffering=1)
    except OSError as exc:
        raise InvalidInput(f"--truth {path} cannot be written: {exc.strerror}") from exc
    return lambda row: print(json.dumps(row), file=file)


def announce(simulator: Simulator, host: str) -> None:
    """Tells where it listens, on stderr."""
    print(
        f"simulator listens on http://{host}:{simulator.port}, model {simulator.scenario.model}",
        file=sys.stderr,
        flush=True,
    )
