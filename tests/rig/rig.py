"""One client at a time against the reference server: what it reports beside what the server knows.

The server has one core, the client another. Nothing here is compared with a clock of another day: a client's figures
mean something beside the floor's of the same run. `python -m tests.rig` prints the table of docs/accuracy.md.
"""

from __future__ import annotations

import csv
import gzip
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.cluster.tools import debian_packages

SOURCES = Path(__file__).parent
MS = 1e6


@dataclass(frozen=True)
class Shape:
    """A load: streams in flight, requests, the server's times in milliseconds, tokens an answer, more server flags."""

    streams: int
    requests: int
    ttft_ms: float
    itl_ms: float
    tokens: int
    flags: tuple[str, ...] = ()


SHAPES = {
    "a": Shape(10, 200, 100, 10, 64),
    "b": Shape(200, 2000, 200, 20, 128),
    "c": Shape(1000, 4000, 200, 25, 128),
    "d": Shape(64, 16_000, 0, 0, 128),
}


@dataclass(frozen=True)
class Figures:
    """Milliseconds, but for what names another unit. Errors are absolute, per request or per gap, against the truth."""

    ttft_error_p50: float
    ttft_error_p99: float
    gap_error_p99: float
    matched: int
    tokens_per_s: float
    cpu_us_per_token: float
    rss_mb: float
    start_s: float
    server_late_p99_us: float
    verdict: str = ""


Times = dict[str, tuple[int, "array[int]"]]  # request id -> (sent, arrival of each token)


def build(folder: Path) -> Path:
    """Compiles the C programs, with the compiler that Debian has where there is none. Raises RuntimeError without."""
    if shutil.which("gcc") is None:
        debian_packages()
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("refengine", "cfloor", "cloop", "pingpong", "wire"):
        try:
            command = ["gcc", "-O2", "-w", "-o", str(folder / name), str(SOURCES / f"{name}.c")]
            subprocess.run(command, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as exc:
            raise RuntimeError(f"the rig needs a C compiler (Debian: apt-get install gcc libc6-dev): {exc}") from exc
    return folder


def cores() -> tuple[set[int], set[int]]:
    """(server's, client's): one each where there are two."""
    seen = sorted(os.sched_getaffinity(0))
    return ({seen[0]}, {seen[1]}) if len(seen) > 1 else (set(seen), set(seen))


@contextmanager
def reference_server(binaries: Path, shape: Shape, folder: Path) -> Iterator[int]:
    """The server on its core; its truth lies in `folder` once the block ends."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    words = [str(binaries / "refengine"), "--port", str(port), "--ttft-ms", str(shape.ttft_ms), "--itl-ms",
             str(shape.itl_ms), "--tokens", str(shape.tokens), "--csv", str(folder / "truth.csv"), "--toklog",
             str(folder / "truth.tok"), "--stats", str(folder / "truth.json"), *shape.flags]  # fmt: skip
    server = subprocess.Popen(words, stdout=subprocess.PIPE, preexec_fn=lambda: os.sched_setaffinity(0, cores()[0]))
    assert server.stdout is not None
    server.stdout.readline()
    try:
        yield port
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(30)
        server.stdout.close()


# --- clients ----------------------------------------------------------------------------------------------------------


def floor_command(binaries: Path, shape: Shape, port: int, out: Path) -> list[str]:
    return [str(binaries / "cfloor"), str(port), str(shape.streams), str(shape.requests), str(shape.tokens),
            str(out / "c.csv"), str(out / "c.tok"), "kts"]  # fmt: skip


def floor_times(out: Path) -> Times:
    arrivals = _token_log(out / "c.tok")
    rows = _table(out / "c.csv")
    return {r["xid"]: (int(r["start"]), arrivals[i][: int(r["ntok"])]) for i, r in enumerate(rows)}


def product_command(_binaries: Path, shape: Shape, port: int, out: Path) -> list[str]:
    return [sys.executable, "-m", "bench_runner", "run", "--target", f"http://127.0.0.1:{port}", "--model", "ref-model",
            "--concurrency", str(shape.streams), "--requests", str(shape.requests), "--warmup-requests", "0",
            "--input-tokens", "16", "--max-output-tokens", str(shape.tokens), "--detail", "chunks", "--out", str(out),
            "--name", "t", "--quiet", "--format", "json"]  # fmt: skip


def product_times(out: Path) -> Times:
    with gzip.open(out / "t" / "requests.jsonl.gz") as lines:
        rows = [json.loads(line) for line in lines]
    return {r["id"]: (r["sent_ns"], array("q", r["content_ns"])) for r in rows if not r["error"]}


CLIENTS: dict[str, tuple[Callable[[Path, Shape, int, Path], list[str]], Callable[[Path], Times]]] = {
    "C floor": (floor_command, floor_times),
    "tokenmark": (product_command, product_times),
}


def _table(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


def _token_log(path: Path) -> dict[int, array[int]]:
    """(time, request, index) records -> the times of each request."""
    raw = path.read_bytes()
    out: dict[int, array[int]] = {}
    times, requests = array("q", raw)[0::2], array("I", raw)[2::4]
    for at, request in zip(times, requests, strict=True):
        out.setdefault(request, array("q")).append(at)
    return out


# --- measuring --------------------------------------------------------------------------------------------------------


class Footprint:
    """Processor time and memory of a process and its children, sampled while they live."""

    def __init__(self, pid: int) -> None:
        self.samples: list[tuple[int, int]] = []
        self.rss_mb = 0.0
        self._cpu: dict[int, int] = {}
        self._pid, self._ended = pid, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def end(self) -> None:
        self._ended.set()
        self._thread.join()

    def cpu_ns(self, begin: int, end: int) -> float:
        """Between two times of the monotonic clock, by linear interpolation."""
        return self._at(end) - self._at(begin)

    def _at(self, when: int) -> float:
        for (t0, c0), (t1, c1) in pairwise(self.samples):
            if t0 <= when <= t1:
                return c0 + (c1 - c0) * (when - t0) / max(1, t1 - t0)
        return self.samples[0][1] if when < self.samples[0][0] else self.samples[-1][1]

    def _watch(self) -> None:
        while not self._ended.wait(0.03):
            resident = 0.0
            for pid in self._family(self._pid):
                try:
                    self._cpu[pid] = int(Path(f"/proc/{pid}/schedstat").read_text().split()[0])
                    resident += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096 / 2**20
                except (OSError, IndexError, ValueError):
                    continue
            self.rss_mb = max(self.rss_mb, resident)
            self.samples.append((time.monotonic_ns(), sum(self._cpu.values())))

    def _family(self, pid: int) -> list[int]:
        try:
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        except OSError:
            return []
        return [pid, *(p for child in children for p in self._family(int(child)))]


def measure(client: str, shape: Shape, binaries: Path) -> Figures:
    """One client, one shape. Raises AssertionError where too little can be compared."""
    command_of, times_of = CLIENTS[client]
    with tempfile.TemporaryDirectory() as text:
        out = Path(text)
        with reference_server(binaries, shape, out) as port:
            began = time.monotonic_ns()
            process = subprocess.Popen(
                command_of(binaries, shape, port, out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                preexec_fn=lambda: os.sched_setaffinity(0, cores()[1]),
            )  # fmt: skip
            footprint = Footprint(process.pid)
            process.wait(300)
            footprint.end()
        result = out / "t" / "result.json"
        verdict = json.loads(result.read_text())["verdict"]["state"] if result.exists() else ""
        return _figures(times_of(out), out, footprint, began, verdict)


def _figures(reported: Times, out: Path, footprint: Footprint, began: int, verdict: str) -> Figures:
    truth = {r["xid"]: r for r in _table(out / "truth.csv") if r["status"] == "200"}
    arrivals = _token_log(out / "truth.tok")
    ttft, gaps, tokens = [], [], 0
    for name, (sent, seen) in reported.items():
        row = truth.get(name)
        if row is None or not len(seen):
            continue
        sent_by_server = arrivals[int(row["req"])]
        ttft.append(abs((seen[0] - sent) - (sent_by_server[0] - int(row["head"]))) / MS)
        tokens += len(seen)
        if len(seen) == len(sent_by_server):
            gaps += [
                abs((b - a) - (d - c)) / MS
                for (a, b), (c, d) in zip(pairwise(seen), pairwise(sent_by_server), strict=True)
            ]
    assert ttft, "nothing could be compared: did the client run at all?"
    first, last = min(int(r["head"]) for r in truth.values()), max(int(r["done"]) for r in truth.values())
    facts: dict[str, Any] = json.loads((out / "truth.json").read_text())
    return Figures(
        ttft_error_p50=quantile(ttft, 0.5),
        ttft_error_p99=quantile(ttft, 0.99),
        gap_error_p99=quantile(gaps, 0.99) if gaps else float("nan"),
        matched=len(ttft),
        tokens_per_s=tokens / (last - first) * 1e9,
        cpu_us_per_token=footprint.cpu_ns(first, last) / 1e3 / tokens,
        rss_mb=footprint.rss_mb,
        start_s=(first - began) / 1e9,
        server_late_p99_us=facts["late_us"]["p99"],
        verdict=verdict,
    )


def quantile(values: list[float], q: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))]


def best(runs: list[Figures]) -> Figures:
    """Medians, field by field: a shared machine spoils single runs."""
    fields = [name for name in Figures.__dataclass_fields__ if name != "verdict"]
    return Figures(**{n: statistics.median(getattr(r, n) for r in runs) for n in fields}, verdict=runs[-1].verdict)


def short_answers(binaries: Path, requests: int = 60_000) -> tuple[float, float]:
    """Requests a second, not streamed, four tokens each, 64 in flight: (C loop, tokenmark)."""
    shape = Shape(64, requests, 0, 0, 4)
    with tempfile.TemporaryDirectory() as text:
        out = Path(text)
        with reference_server(binaries, shape, out) as port:
            pinned: dict[str, Any] = {"preexec_fn": lambda: os.sched_setaffinity(0, cores()[1])}
            words = [str(binaries / "cloop"), str(port), "64", str(requests), "4"]
            floor = float(subprocess.run(words, capture_output=True, text=True, check=True, **pinned).stdout)
            workload = out / "short.yaml"
            workload.write_text(
                "schema_version: workload/v1\nname: short\nquestion: How many short answers a second?\n"
                "dataset: {prompts: [hello world]}\nmax_output_tokens: 4\nstreaming: false\n"
                "stages: [{name: c, concurrency: 1, request_count: 1}]\n"
            )
            command = [*product_command(binaries, shape, port, out), "--workload", str(workload)]
            at = command.index("--input-tokens")
            del command[at : at + 2]
            subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False, **pinned)
        stage = json.loads((out / "t" / "result.json").read_text())["stages"][0]
        return floor, stage["requests"]["succeeded"] / stage["window"]["duration_s"]
