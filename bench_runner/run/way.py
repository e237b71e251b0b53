"""The way to the target, measured right before the load, where no operator did: the probe's agent in a process of its own.

To an agent beside the target, where `tokenmark net server` runs there; else by connections to the target itself, which say
how far it is to whoever ends them.
"""

from __future__ import annotations

import gzip
import platform
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import ValidationError

from tokenmark_decisions.network_path import before_a_run, network_of
from tokenmark_schemas.errors import InvalidInput
from tokenmark_schemas.frames import FrameReader
from tokenmark_schemas.network import RunNetwork, WayToMeasure
from tokenmark_schemas.probe_result import PING_PORT, EastWest, NetProbeResult, ProbeConfig

from ..instrument.stop import Stop

MEASURED = "measured before the run"
A_REPETITION_S, SPARE_S = 60, 60


def measured_way(asked: WayToMeasure, url: str, stop: Stop) -> RunNetwork:
    """Takes ten seconds a repetition with an agent, six without. A failure is a reason in `missing`, never the end of the run."""
    agent = asked.host if _answers(asked.host) else None
    tests = before_a_run(agent, url)
    config = ProbeConfig(
        probe="way", namespace="", uid="way", server_host=agent, source_node=platform.node()[:253] or "here", target_node=agent,
        tests=tests, repetitions=asked.repetitions, deadline_s=asked.repetitions * A_REPETITION_S,
    )  # fmt: skip
    result, why = _by_agent(config, stop)
    if result is None:
        return RunNetwork(probe=MEASURED, missing=why[:512])
    found = network_of(MEASURED, [result], tests, url)
    said = next((m.error for m in result.measurements if m.error), None)
    return found if found.paths or not said else found.model_copy(update={"missing": said[:512]})


def _answers(host: str) -> bool:
    try:
        socket.create_connection((host, PING_PORT), timeout=1).close()
    except OSError:
        return False
    return True


def _by_agent(config: ProbeConfig, stop: Stop) -> tuple[NetProbeResult | None, str]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "probe.json"
        path.write_text(config.model_dump_json())
        words = [sys.executable, "-m", "netprobe", "client", str(path)]
        with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
            while True:
                if stop.asked:
                    process.terminate()
                try:
                    return _read(process.communicate(timeout=0.2)[0].splitlines())
                except subprocess.TimeoutExpired:
                    continue


def _read(lines: Iterable[str]) -> tuple[NetProbeResult | None, str]:
    reader = FrameReader()
    for line in lines:
        reader.feed(line)
    if "result" not in reader.blocks:
        return None, "the probe ended without a result"
    return NetProbeResult.model_validate_json(gzip.decompress(reader.blocks["result"])), ""


def read_way(path: Path, url: str) -> RunNetwork:
    """What a file of `tokenmark net` says. Raises InvalidInput."""
    try:
        text = path.read_text()
    except OSError as exc:
        raise InvalidInput(f"--network {path}: {exc.strerror}") from exc
    try:
        whole = EastWest.model_validate_json(text)
    except ValidationError as exc:
        raise InvalidInput(
            f"--network {path}: no result of `tokenmark net` (netprobe-ew/v1): {exc.errors()[0]['msg']}"
        ) from exc
    found = network_of(f"{whole.probe} of {whole.created_at}", whole.pairs, whole.tests, url)
    if not found.paths:
        raise InvalidInput(f"--network {path}: {found.missing}")
    host = urlsplit(url).hostname or ""
    if len({(way.source_node, way.target_node) for way in found.paths}) == 1 or any(
        w.target_node == host for w in found.paths
    ):
        return found.model_copy(update={"target_nodes": [host]})
    pairs = ", ".join(f"{way.source_node} to {way.target_node}" for way in found.paths[:4])
    raise InvalidInput(f"--network {path}: it holds {len(found.paths)} pairs ({pairs}, ...), and none ends at {host}")
