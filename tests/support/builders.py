"""One builder a noun: a healthy default in round numbers, changed by keyword."""

from __future__ import annotations

from array import array
from datetime import UTC, datetime
from typing import Any

from bench_runner.engines import ENGINES
from bench_runner.load.frames import Exchange
from bench_runner.samples.sample import Sample

MS = 1_000_000
NOW = datetime(2030, 1, 1, tzinfo=UTC)


def a_sample(**changes: Any) -> Sample:
    """Due at 0, sent at 1 ms, five chunks from 100 ms on every 10 ms, closed at 150 ms."""
    healthy: dict[str, Any] = {
        "id": "r-1",
        "stage": "c1",
        "repetition": 0,
        "seq": 1,
        "due_ns": 0,
        "ready_ns": MS // 2,
        "connect_ns": MS // 4,
        "sent_ns": 1 * MS,
        "first_byte_ns": 99 * MS,
        "content_ns": array("q", [100 * MS, 110 * MS, 120 * MS, 130 * MS, 140 * MS]),
        "end_ns": 150 * MS,
        "visible_ns": 100 * MS,
        "output_tokens": 5,
        "prompt_tokens": 10,
        "token_source": "usage",
        "status": 200,
    }
    return Sample(**{**healthy, **changes})


def chunked(*parts: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def exchange_of(*reads: bytes, outcome: str = "ok", step_ns: int = 10 * MS, late_ns: int | None = None) -> Exchange:
    """Each argument is one read; reads arrive every 10 ms from 100 ms on, seen 1 µs later. The loop knows that nothing of a
    read came more than `late_ns` before its stamp; without it, it knows nothing."""
    stamps = array("q", [100 * MS + i * step_ns for i in range(len(reads))])
    users = array("q", [stamp + 1000 for stamp in stamps])
    end = stamps[-1] if stamps else 200 * MS
    since = array("q", [0 if late_ns is None else stamp - late_ns for stamp in stamps])
    sizes = array("I", map(len, reads))
    return Exchange(1, 0, 0, 0, 1 * MS, end, outcome, stamps, users, since, sizes, b"".join(reads))


def whole(status: str, body: bytes, content_type: str = "application/json") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


DIALECTS = [dialect for routes in ENGINES.values() for dialect in routes]


def a_run(name: str = "demo", **spec: Any) -> dict[str, Any]:
    """A raw BenchmarkRun as the API server gives it."""
    return {
        "apiVersion": "tokenmark.dev/v1alpha1",
        "kind": "BenchmarkRun",
        "metadata": {
            "name": name,
            "namespace": "bench",
            "uid": f"uid-{name}",
            "generation": 1,
            "creationTimestamp": "2030-01-01T00:00:00Z",
            "resourceVersion": "1",
        },
        "spec": {
            "target": {"engine": "openai", "model": "m", "serviceRef": {"name": "vllm", "port": 8000}},
            "workloadRef": {"name": "smoke"},
            **spec,
        },
    }
