"""What can be known before a load begins: is the engine up, does it serve the model, does one request work, and is this machine fit
to measure? Each check is a row with what to do about it; none of them loads anything.
"""

from __future__ import annotations

import ctypes
import os
import resource
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tokenmark_schemas.database import DATABASES
from tokenmark_schemas.engines import EngineConnection
from tokenmark_schemas.errors import TokenmarkError
from tokenmark_schemas.run import RunTarget
from tokenmark_schemas.workload import WorkloadSpec

from ..instrument.single import ask_once
from ..load.cores import cores
from ..storage import cluster
from ..target.discovery import health, models, target_of
from ..target.gpu import gpus_of

State = Literal["ok", "warn", "fail"]
SPARE_DESCRIPTORS, LEAST_DISK_BYTES = 64, 200 * 2**20
UNSYNCHRONISED, TIMEX_BYTES, STATUS_AT = 0x40, 208, 40  # of adjtimex(2)'s struct, on 64-bit Linux
ONE = WorkloadSpec.model_validate({"maxOutputTokens": 4, "dataset": {"prompts": ["Say hello."]}})


@dataclass(frozen=True)
class Check:
    """`said` is what was found, and of what is not fine what to do."""

    name: str
    state: State
    said: str


def of_engine(connection: EngineConnection, token: str | None, model: str | None) -> Iterator[Check]:
    """What follows from a check that failed is left out."""
    up = health(connection, token)
    if not up.up:
        yield Check("engine", "fail", f"{connection.url}: {up.said}")
        return
    yield Check("engine", "ok", f"{connection.url} answers {up.path} in {1000 * (up.seconds or 0):.1f} ms")
    if connection.engine in DATABASES:
        return
    served = models(connection, token)
    if isinstance(served, str):
        yield Check("model", "warn", f"{served}; whether it serves {model or 'a model'} is not known")
    else:
        names = [each.id for each in served]
        wanted = model or (names[0] if names else None)
        if wanted is None or (names and not _serves(names, wanted)):
            yield Check("model", "fail", f"{wanted or 'none'} is not served; served: {', '.join(names[:8]) or 'none'}")
            return
        model = wanted
        yield Check("model", "ok", wanted)
    yield _one_request(connection, token, model or "default")


def _serves(names: list[str], wanted: str) -> bool:
    """Ollama leaves out `:latest`, and llama-server answers to any name."""
    return any(name in (wanted, f"{wanted}:latest") for name in names) or any(name.endswith(".gguf") for name in names)


def _one_request(connection: EngineConnection, token: str | None, model: str) -> Check:
    try:
        sample = ask_once(target_of(connection, model), ONE, token).sample
    except TokenmarkError as exc:
        return Check("request", "fail", str(exc))
    if sample.failure is not None:
        return Check("request", "fail", sample.failure.message)
    if sample.unstreamed:
        return Check(
            "request", "warn", "the answer came in one piece though a stream was asked for: TTFT would be its end"
        )
    counted_by = sample.token_source
    if counted_by != "usage":
        return Check("request", "warn", "an answer came, but no token count: chunks will be counted for tokens")
    first = (sample.content_ns[0] - (sample.sent_ns or 0)) / 1e6
    return Check("request", "ok", f"first token after {first:.1f} ms, {sample.output_tokens} tokens told by the engine")


def of_machine(streams: int, out: Path) -> Iterator[Check]:
    yield _processors()
    yield _descriptors(streams)
    yield _stamps()
    yield _clock()
    yield _disk(out)
    yield _gpu()


def _processors() -> Check:
    count, busy = cores(), os.getloadavg()[0]
    if count < 2:
        return Check(
            "processors", "warn", f"{count:g}: the client shares with whatever else runs here; the verdict will tell"
        )
    if busy > 0.7 * count:
        return Check(
            "processors",
            "warn",
            f"{count:g}, and {busy:.1f} of them were busy in the last minute: wait, or measure from elsewhere",
        )
    return Check("processors", "ok", f"{count:g}, {busy:.1f} busy")


def _descriptors(streams: int) -> Check:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = streams + SPARE_DESCRIPTORS
    if soft >= needed or soft == resource.RLIM_INFINITY:
        return Check("descriptors", "ok", f"{soft} may be open, {needed} are needed")
    state: State = "warn" if hard == resource.RLIM_INFINITY or hard >= needed else "fail"
    return Check("descriptors", state, f"{soft} may be open and {needed} are needed: ulimit -n {needed}")


def _stamps() -> Check:
    if sys.platform == "linux":
        return Check("stamps", "ok", "the kernel stamps what arrives")
    return Check(
        "stamps",
        "warn",
        "no kernel stamps on this system: read lag cannot be told from latency, and the verdict is degraded",
    )


def _clock() -> Check:
    """Whether the kernel's clock is kept by somebody: latency does not need it, comparing hosts and series does."""
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        answer = ctypes.create_string_buffer(TIMEX_BYTES)
        state = libc.adjtimex(answer)
    except (OSError, AttributeError):
        return Check("clock", "warn", "this system does not tell whether its clock is kept")
    status = int.from_bytes(answer.raw[STATUS_AT : STATUS_AT + 4], sys.byteorder)
    if state < 0 or status & UNSYNCHRONISED:
        return Check("clock", "warn", "nobody keeps it (NTP): latencies stand, times of day may be off")
    return Check("clock", "ok", "it is kept")


def _disk(out: Path) -> Check:
    place = next((each for each in (out, *out.absolute().parents) if each.exists()), Path("/"))
    free = shutil.disk_usage(place).free
    if not os.access(place, os.W_OK):
        return Check("disk", "fail", f"{place} cannot be written: choose another --out")
    if free < LEAST_DISK_BYTES:
        return Check("disk", "fail", f"{free / 2**20:.0f} MiB are left at {place}: free some, or choose another --out")
    return Check("disk", "ok", f"{free / 2**30:.0f} GiB are left at {place}")


def _gpu() -> Check:
    """Of this machine; a target elsewhere has its own, see gpuMetricsUrl."""
    found = gpus_of(RunTarget(engine="openai", model="", url="http://127.0.0.1"))
    if found is None:
        return Check("gpu", "ok", "none on this machine that the driver's library tells of")
    seen = found.read() or {}
    return Check("gpu", "ok", f"{seen.get('count', 0):.0f} × {found.model() or 'of no name'}")


def of_cluster(namespace: str, ask: Callable[..., str | None] = cluster.words) -> Iterator[Check]:
    """By kubectl, as whoever its configuration says. What cannot be read is said, not guessed."""
    if ask("version", "--request-timeout=5s") is None:
        yield Check("cluster", "fail", "kubectl reaches no cluster: look at KUBECONFIG")
        return
    yield Check("cluster", "ok", f"reached; namespace {namespace}")
    found = ask("get", "crd", "benchmarkruns.tokenmark.dev", "-o", "name")
    yield (
        Check("crds", "ok", "installed")
        if found
        else Check("crds", "fail", "BenchmarkRun is not installed: helm upgrade --install tokenmark …")
    )
    for verb, kind in (
        ("create", "benchmarkruns.tokenmark.dev"),
        ("get", "benchmarkruns.tokenmark.dev"),
        ("get", "configmaps"),
    ):
        allowed = (ask("auth", "can-i", verb, kind, "-n", namespace) or "").strip() == "yes"
        said = f"may {verb} {kind}" if allowed else f"may not {verb} {kind} in {namespace}: ask for a role that does"
        yield Check("rights", "ok" if allowed else "fail", said)
    yield _operator(ask)
    yield _quota(ask, namespace)


def _operator(ask: Callable[..., str | None]) -> Check:
    where = ["-A", "-l", "app.kubernetes.io/name=tokenmark,app.kubernetes.io/component=operator"]
    ready = ask("get", "deploy", *where, "-o", "jsonpath={range .items[*]}{.status.readyReplicas}{end}")
    if ready is None:
        return Check("operator", "warn", "deployments of all namespaces may not be read: whether it runs is not known")
    if not ready.strip() or ready.strip() == "0":
        return Check("operator", "fail", "no operator is ready: kubectl -n tokenmark-system get pods")
    image = ask(
        "get",
        "deploy",
        *where,
        "-o",
        "jsonpath={range .items[*].spec.template.spec.containers[*].env[?(@.name=='TOKENMARK_RUNNER_IMAGE')]}{.value}{end}",
    )
    return Check("operator", "ok", f"ready; its runners are {image.strip()}" if image and image.strip() else "ready")


def _quota(ask: Callable[..., str | None], namespace: str) -> Check:
    text = ask(
        "get",
        "resourcequota",
        "-n",
        namespace,
        "-o",
        "jsonpath={range .items[*]}{.status.used.pods}/{.status.hard.pods} {end}",
    )
    if text is None:
        return Check("quota", "warn", f"quotas of {namespace} may not be read")
    full = [pair for pair in text.split() if "/" in pair and pair.split("/")[0] == pair.split("/")[1] != ""]
    if full:
        return Check("quota", "fail", f"no pod fits into {namespace}: {', '.join(full)} pods are used")
    return Check("quota", "ok", "none, or not full")
