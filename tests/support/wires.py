"""Two network namespaces and a veth pair between them, with a rate where one is wanted. Needs root.

Addresses are of the range that is reserved for benchmarks. Delay and loss are what `tc netem` would be for; where the kernel
has none, `weather` makes them."""

from __future__ import annotations

import contextlib
import gzip
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tokenmark_schemas.frames import FrameReader
from tokenmark_schemas.netprobe import ProbeTest
from tokenmark_schemas.probe_result import NetProbeResult, ProbeConfig

NEAR, FAR = "tmwire-near", "tmwire-far"
NEAR_ADDRESS, FAR_ADDRESS = "198.19.240.1", "198.19.240.2"


def ip(*words: str, check: bool = True) -> None:
    subprocess.run(["ip", *words], check=check, capture_output=True)


def inside(namespace: str, *words: str | Path) -> list[str]:
    """A command line that runs in a namespace."""
    return ["ip", "netns", "exec", namespace, *map(str, words)]


@contextlib.contextmanager
def wire(*, megabits: int | None = None) -> Iterator[None]:
    """NEAR and FAR, joined; `megabits` limits both directions."""
    for name in (NEAR, FAR):
        ip("netns", "del", name, check=False)
        ip("netns", "add", name)
    try:
        ip("link", "add", "wire0", "netns", NEAR, "type", "veth", "peer", "name", "wire0", "netns", FAR)
        for name, address in ((NEAR, NEAR_ADDRESS), (FAR, FAR_ADDRESS)):
            ip("-n", name, "addr", "add", f"{address}/30", "dev", "wire0")
            for link in ("lo", "wire0"):
                ip("-n", name, "link", "set", link, "up")
            if megabits:
                shaped = ("rate", f"{megabits}mbit", "burst", "64kb", "latency", "50ms")
                subprocess.run(inside(name, "tc", "qdisc", "add", "dev", "wire0", "root", "tbf", *shaped), check=True)
        yield
    finally:
        for name in (NEAR, FAR):
            ip("netns", "del", name, check=False)


@contextlib.contextmanager
def weather(program: Path, *, delay_us: int = 0, loss_ppm: int = 0, megabits: int = 0, seed: int = 1) -> Iterator[None]:
    """NEAR and FAR, joined by a wire (tests/rig/wire.c) that delays each way, loses packets and limits the rate."""
    for name in (NEAR, FAR):
        ip("netns", "del", name, check=False)
        ip("netns", "add", name)
    words = [str(program), NEAR, FAR, str(delay_us), str(loss_ppm), str(megabits), str(seed)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "wire is up\n"
        for name, address in ((NEAR, NEAR_ADDRESS), (FAR, FAR_ADDRESS)):
            ip("-n", name, "addr", "add", f"{address}/30", "dev", "wire0")
            for link in ("lo", "wire0"):
                ip("-n", name, "link", "set", link, "up")
        yield
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        for name in (NEAR, FAR):
            ip("netns", "del", name, check=False)


@contextlib.contextmanager
def started(namespace: str, *words: str | Path, says: str) -> Iterator[subprocess.Popen[str]]:
    """A program in a namespace, once it has said so."""
    process = subprocess.Popen(inside(namespace, *words), stdout=subprocess.PIPE, text=True, env=environment())
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert says in line, line
        yield process
    finally:
        process.terminate()
        process.wait(10)
        process.stdout.close()


@contextlib.contextmanager
def agent(namespace: str = FAR) -> Iterator[None]:
    """The answering agent."""
    with started(namespace, sys.executable, "-m", "netprobe", "server", "--deadline", "300", says="is ready"):
        yield


def probed(folder: Path, *tests: ProbeTest, repetitions: int = 1) -> NetProbeResult:
    """What the measuring agent finds from NEAR."""
    config = ProbeConfig(
        probe="wire", namespace="here", uid="wire", server_host=FAR_ADDRESS, source_node="near", target_node="far",
        tests=list(tests), repetitions=repetitions, deadline_s=300,
    )  # fmt: skip
    path = folder / "probe.json"
    path.write_text(config.model_dump_json())
    words = inside(NEAR, sys.executable, "-m", "netprobe", "client", path)
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=300, env=environment())
    reader = FrameReader()
    for line in done.stdout.splitlines():
        reader.feed(line)
    assert "result" in reader.blocks, done.stderr
    return NetProbeResult.model_validate_json(gzip.decompress(reader.blocks["result"]))


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONUNBUFFERED": "1"}
